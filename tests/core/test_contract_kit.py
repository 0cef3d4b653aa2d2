"""The kit around the contracts: expected failures, runner, `covary check`, pytest plugin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

import covary
import tiny_components
from covary.cli import cli
from covary.testing import CheckResult, ClustererContract, ContractError, contract_for, run_contract
from covary.testing.plugin import IsolatedRegistry

PLUGIN_TEST = '''
import covary
import torch
from covary.testing import ClustererContract


class Halves(covary.Clusterer):
    """The left and the right half of the image."""

    def fit(self, summary, ctx=None):
        columns = torch.arange(summary.pixels) % summary.size[1]
        labels = (columns >= summary.size[1] / 2).long()
        matrix = summary.matrix()
        centers = torch.stack([matrix[labels == i].mean(dim=0) for i in (0, 1)])
        inertia = float((matrix - centers[labels]).double().square().sum())
        return covary.ClusterMap.from_labels(
            labels, centers, size=summary.size, inertia=inertia, iterations=1
        )


class TestHalves(ClustererContract):
    expected_failures = {
        "finds_distant_groups": "it does not look at the pixels",
        "leaves_the_summary_unchanged": "wrongly expected",
    }

    def create(self, **params):
        params.pop("k", None)
        return Halves(**params)


class TestAgain(TestHalves):
    expected_failures = {}
'''


def run_pytest(folder: Path, *arguments: str, test: str = PLUGIN_TEST) -> tuple[int, str]:
    """pytest in a process of its own, as a plugin's author runs it: status and output."""
    (folder / "conftest.py").write_text('pytest_plugins = ["covary.testing.plugin"]\n')
    (folder / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


class TestExpectedFailures:
    def test_are_strict_and_not_inherited_by_another_table(self, tmp_path: Path) -> None:
        chosen = "finds_distant_groups or leaves_the_summary"
        status, said = run_pytest(tmp_path, "-k", chosen)
        assert status == 1
        assert "XFAIL test_it.py::TestHalves::test_finds_distant_groups - it does not look" in said
        assert "FAILED test_it.py::TestHalves::test_leaves_the_summary_unchanged" in said
        assert "[XPASS(strict)] wrongly expected" in said
        assert "FAILED test_it.py::TestAgain::test_finds_distant_groups" in said
        assert "PASSED test_it.py::TestAgain::test_leaves_the_summary_unchanged" in said

    def test_the_runner_tells_them_apart(self) -> None:
        class Tested(ClustererContract):
            name = "lloyd"
            expected_failures = {"takes_a_single_pixel": "we thought so"}

            def test_takes_part(self) -> None:
                """A rule that does not apply."""
                self.skip("not today")

            def test_breaks(self) -> None:
                """A rule that meets an error of somebody else's."""
                raise RuntimeError("no luck")

        only = ("takes_a_single_pixel", "takes_part", "breaks", "declares_its_determinism")
        begun: list[str] = []
        results = run_contract(Tested, only, begun.append)
        assert begun == list(only)
        assert [(r.outcome, r.good) for r in results] == [
            ("unexpected pass", False), ("skipped", True), ("failed", False), ("passed", True)
        ]  # fmt: skip
        assert results[1].message == "not today"
        assert results[2].message == "it raised RuntimeError: no luck"
        assert results[2].rule == "A rule that meets an error of somebody else's."

    def test_name_checks_that_there_are(self) -> None:
        with pytest.raises(covary.UnknownNameError, match="takes_a_single_pixel"):

            class Misspelt(ClustererContract):
                expected_failures = {"takes_a_single_pixle": "reason"}


class TestRunner:
    def test_refuses_a_check_that_there_is_not(self) -> None:
        with pytest.raises(covary.UnknownNameError, match=r"no check 'pickle'.*pickles"):
            run_contract(contract_for("lloyd"), ["pickle"])

    def test_an_expected_failure_needs_its_reason(self) -> None:
        with pytest.raises(covary.InputError, match="reason"):
            contract_for("lloyd", expected_failures={"pickles": " "})

    def test_gives_the_example_that_fails_and_prints_nothing(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Tested(ClustererContract):
            def create(self, **params: Any) -> Any:
                return tiny_components.Distinct()

        monkeypatch.chdir(tmp_path)
        (result,) = run_contract(Tested, ["finds_distant_groups"])
        assert result.outcome == "failed"
        assert "seed=" in result.example
        assert capsys.readouterr().out == ""
        assert list(tmp_path.iterdir()) == []

    def test_every_rule_is_one_sentence(self) -> None:
        from covary.testing.contracts import CONTRACTS

        assert set(CONTRACTS) == set(covary.catalogue.KINDS)
        for contract in CONTRACTS.values():
            for check in contract.checks():
                assert contract.rule(check).endswith("."), check

    def test_a_contract_without_a_component_says_what_it_needs(self) -> None:
        (result,) = run_contract(ClustererContract, ["pickles"])
        assert "needs the name of a registered component" in result.message

    def test_without_its_packages_it_says_what_to_install(self, tmp_path: Path) -> None:
        code = (
            "import sys; sys.modules['hypothesis'] = None\n"
            "from covary.testing import worlds\n"
            "from covary.testing import ClustererContract"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 1
        assert "needs hypothesis; run: pip install 'covary[testing]'" in done.stderr

    def test_a_broken_rule_is_an_assertion_and_an_error_of_covary(self) -> None:
        assert issubclass(ContractError, AssertionError)
        assert issubclass(ContractError, covary.CovaryError)

    def test_results_compare_by_value(self) -> None:
        assert CheckResult("a", "A.", "passed") == CheckResult("a", "A.", "passed")


def check(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["check", *arguments])


class Plugin:
    """A plugin object: components of ``tiny_components``."""

    @covary.hookimpl
    def covary_components(self) -> list[covary.Component]:
        target = "tiny_components:Distinct"
        more = {"summary": "of a test", "license": "MIT"}
        return [
            covary.Component(kind="clusterer", name="distinct", target=target, **more),
            covary.Component(
                kind="clusterer", name="absent", target=target, requires=("no_such_module",), **more
            ),
            covary.Component(kind="clusterer", name="lloyd", target=target, devices=("cuda",)),
        ]


class TestCommand:
    def test_a_good_component_exits_with_0(self) -> None:
        done = check("lloyd", "--only", "takes_a_single_pixel", "--set", "k=2")
        assert done.exit_code == 0, done.output
        assert "covary/lloyd (clusterer)" in done.output
        assert "1 passed" in done.output

    def test_a_wrong_one_exits_with_1_and_explains(
        self, isolated_registry: IsolatedRegistry
    ) -> None:
        isolated_registry.register("acme", Plugin())
        # It finds one cluster for each distinct pixel, whatever it is asked.
        done = check("acme/distinct", "--only", "finds_distant_groups", "--only", "pickles")
        assert done.exit_code == 1
        assert "finds_distant_groups: failed" in done.output
        assert "rule: Groups of pixels" in done.output
        assert "has no parameter 'k'" in done.output
        assert "1 failed, 1 passed" in done.output

    def test_json_has_every_check(self, isolated_registry: IsolatedRegistry) -> None:
        isolated_registry.register("acme", Plugin())
        done = check("distinct", "--json", "--expect", "finds_distant_groups=it has no k")
        data = json.loads(done.stdout)
        assert (data["id"], data["kind"], data["good"]) == ("acme/distinct", "clusterer", False)
        assert [row["check"] for row in data["checks"]] == list(ClustererContract.checks())
        outcomes = {row["check"]: row["outcome"] for row in data["checks"]}
        assert outcomes["finds_distant_groups"] == "expected failure"
        assert outcomes["describes_its_parameters"] == "passed"
        assert outcomes["comes_near_the_best_inertia"] == "failed"

    @pytest.mark.parametrize(
        ("arguments", "status", "words"),
        [
            (["loyd"], 2, "did you mean 'lloyd'?"),
            (["lloyd", "--only", "pickle"], 2, "pickles"),
            (["lloyd", "--set", "k"], 2, "name=value"),
            (["lloyd", "--set", "q=1"], 2, "has no parameter 'q'"),
            (["lloyd", "--set", "k=0"], 2, "'k'"),
            (["lloyd", "--expect", "pickles="], 2, "reason"),
            (["lloyd", "--expect", "tickles=no"], 2, "pickles"),
            (["lloyd", "--device", "warp"], 2, "auto, cpu, cuda"),
            (["acme/absent"], 1, "no_such_module"),
            (["acme/lloyd"], 1, "a CUDA GPU"),
        ],
    )
    def test_wrong_use_is_one_message(
        self, isolated_registry: IsolatedRegistry, arguments: list[str], status: int, words: str
    ) -> None:
        isolated_registry.register("acme", Plugin())
        if "acme/lloyd" in arguments and torch.cuda.is_available():
            pytest.skip("it could run here")
        done = check(*arguments)
        assert done.exit_code == status, done.output
        assert words in done.output
        assert "Traceback" not in done.output


class TestPytestPlugin:
    def test_the_registry_has_the_built_ins_and_what_is_registered(
        self, isolated_registry: IsolatedRegistry
    ) -> None:
        before = {entry.origin.namespace for entry in covary.components()}
        assert before == {"covary"}
        isolated_registry.register("acme", Plugin())
        assert covary.create("acme/distinct").id == "acme/distinct"
        assert covary.create("lloyd", k=3).id == "covary/lloyd"
        assert covary.problems() == ()

    def test_what_a_test_registers_is_gone_in_the_next(
        self, isolated_registry: IsolatedRegistry
    ) -> None:
        with pytest.raises(covary.UnknownNameError):
            covary.create("acme/distinct")

    def test_a_broken_plugin_is_a_problem_as_it_would_be_installed(
        self, isolated_registry: IsolatedRegistry
    ) -> None:
        isolated_registry.register("acme", object())
        (problem,) = covary.problems()
        assert problem.namespace == "acme"
        assert "implements no hook" in problem.what

    def test_the_users_settings_do_not_reach_a_test(self, tmp_path: Path) -> None:
        test = (
            "import os, covary\n"
            "def test_it(isolated_registry):\n"
            "    assert not [name for name in os.environ if name.startswith('COVARY_')]\n"
            "    assert covary.components('clusterer')\n"
        )
        environment = {**os.environ, "COVARY_DISABLE": "covary"}
        (tmp_path / "conftest.py").write_text("pytest_plugins = ['covary.testing.plugin']")
        (tmp_path / "test_it.py").write_text(test)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout

    def test_the_device_reaches_every_contract(self, tmp_path: Path) -> None:
        test = (
            "from covary.testing import Contract, ClustererContract\n"
            "class TestMine(ClustererContract):\n"
            "    def test_knows_its_device(self):\n"
            "        assert (Contract.device, self.device) == ('meta', 'meta')\n"
        )
        chosen = ("--covary-device", "meta", "-k", "knows_its_device")
        status, said = run_pytest(tmp_path, *chosen, test=test)
        assert (status, "1 passed" in said) == (0, True), said

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_a_device_that_is_not_there_is_refused_at_once(self, tmp_path: Path) -> None:
        status, said = run_pytest(tmp_path, "--covary-device", "cuda")
        assert status != 0
        assert "a CUDA device that torch can see" in said
