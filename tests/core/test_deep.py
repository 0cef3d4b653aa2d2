"""``covary doctor --deep``: what crashes or hangs is a line of the report, and no more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import strange_clusterers
from covary import processes
from covary._deep import Trial, attempt, dangerous_plugins_disabled, trials
from covary._registry import registry
from covary.cli import cli
from covary.doctor import _cuda_verdict
from plugin_factory import write_plugin

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals and process groups")

TESTS = Path(__file__).parents[1]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A site folder, without the built-ins beside it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COVARY_DISABLE", "covary")
    for name in ("odd_plugin", "odd_clusterers"):  # another test's, of other clusterers
        monkeypatch.delitem(sys.modules, name, raising=False)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


OPENMP = """
import os, sys
sys.stderr.write("OMP: Error #15: Initializing libomp.dylib, but found libiomp5 already there.\\n")
sys.stderr.flush()
"""


class TestAttempt:
    @pytest.mark.parametrize(
        ("text", "note", "fix"),
        [
            ("import os; os.kill(os.getpid(), 11)", "died of SIGSEGV", "--force-reinstall backend"),
            ("import os; os.abort()", "died of SIGABRT", "--force-reinstall backend"),
            ("import os; os.kill(os.getpid(), 4)", "died of SIGILL", "another processor"),
            ("import os; os.kill(os.getpid(), 9)", "SIGKILL", "memory"),
            ("import time; time.sleep(99)", "not done after 2 s", "raise --timeout"),
            ("import os; os._exit(0)", "ended the process without an error", "reinstall"),
            ("import os; os._exit(3)", "exited with status 3", "reinstall"),
            ("raise SystemExit(0)", "ended the process without an error", "reinstall"),
            (OPENMP + "os.abort()", "OMP: Error #15: Initializing libomp.dylib", "two OpenMP"),
            (OPENMP, "OMP: Error #15: Initializing libomp.dylib", "two OpenMP"),
        ],
    )
    def test_a_process_that_does_not_come_to_its_end(
        self, site: Path, text: str, note: str, fix: str
    ) -> None:
        (site / "backend.py").write_text(text)
        outcome = attempt(Trial("backend", ("backend",)), timeout=2)
        assert (outcome.status, outcome.crashed) == ("failed", True)
        assert note in outcome.note
        assert fix in outcome.fix
        assert outcome.dangerous == {"backend"}
        assert "\n" not in outcome.note

    def test_an_exception_is_a_failure_without_danger(self, site: Path) -> None:
        (site / "backend.py").write_text("raise OSError('libcudart.so.13: no such file')")
        outcome = attempt(Trial("backend", ("backend",)), timeout=60)
        assert outcome.note == "OSError: libcudart.so.13: no such file"
        assert (outcome.status, outcome.dangerous) == ("failed", set())

    def test_modules_are_imported_in_order(self, site: Path) -> None:
        (site / "first.py").write_text("import os; os.environ['FIRST'] = '1'; print('x' * 99999)")
        (site / "second.py").write_text("import os; os.environ['FIRST']")
        assert attempt(Trial("second", ("first", "second")), timeout=60).status == "ok"
        assert "KeyError" in attempt(Trial("first", ("second", "first")), timeout=60).note

    @pytest.mark.parametrize(
        ("name", "status", "note"),
        [
            ("good", "ok", ""),
            ("segfaults", "failed", "died of SIGSEGV; it last said: about to die"),
            ("raises", "failed", "RuntimeError: no luck today"),
            ("refuses", "ok", "loaded, not run: this image"),
            ("misshapes", "failed", "labels: expected shape (8, 8), got (7, 8)"),
        ],
    )
    def test_a_clusterer_is_run(self, site: Path, name: str, status: str, note: str) -> None:
        strange_clusterers.install(site, (name,))
        registry.cache_clear()
        trial = trials()[-1]
        assert (trial.what, trial.origin) == (f"odd/{name} (clusterer)", ("odd", "covary-odd"))
        outcome = attempt(trial, timeout=60)
        assert outcome.status == status, outcome.note
        assert note in outcome.note
        assert bool(outcome.note) is bool(note)


def test_everything_here_is_tried_once() -> None:
    pytest.importorskip("sklearn")
    registry.cache_clear()
    names = [trial.what for trial in trials()]
    assert len(names) == len(set(names))
    assert names[0] == "torch"
    assert {
        "sklearn",
        "torch + sklearn",
        "covary/sklearn (clusterer)",
        "covary/rgb (features)",
    } <= {*names}
    # No GPU or no package: the doctor says so elsewhere.
    missing = [c for c in registry().components if c.unavailable()]
    assert not {f"{entry.id} ({entry.kind})" for entry in missing} & {*names}


def test_plugins_whose_import_is_deadly_are_switched_off(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(site, "deadly", "import os; os.abort()")
    write_plugin(site, "stuck", "import time; time.sleep(99)", group="covary.commands")
    write_plugin(site, "wrong", "1 / 0")
    told: list[str] = []
    with dangerous_plugins_disabled(2, told.append) as found:
        assert {outcome.trial.what for outcome in found} == {"plugin deadly", "plugin stuck"}
        assert os.environ["COVARY_DISABLE"] == "covary,deadly,covary-stuck"
        (problem,) = registry().problems
        assert problem.namespace == "wrong"
    assert os.environ["COVARY_DISABLE"] == "covary"
    assert told == ["plugin deadly", "plugin wrong", "plugin stuck"]


class TestCommand:
    def doctor(self, *args: str) -> tuple[int, str]:
        registry.cache_clear()
        result = CliRunner().invoke(cli, ["doctor", "--deep", *args])
        return result.exit_code, result.stdout

    def test_reports_what_died(self, site: Path) -> None:
        strange_clusterers.install(site, ("good", "segfaults"))
        write_plugin(site, "deadly", "import os; os.abort()")
        code, text = self.doctor("--json")
        report = json.loads(text)
        assert code == 1
        rows = {row["what"]: row for row in report["deep"]}
        assert rows["torch"]["status"] == "ok"
        assert rows["odd/good (clusterer)"]["status"] == "ok"
        assert "SIGSEGV" in rows["odd/segfaults (clusterer)"]["note"]
        assert "COVARY_DISABLE=deadly" in rows["plugin deadly"]["fix"]
        problems = {p["distribution"]: p["what"] for p in report["problems"]}
        assert problems["covary-odd"].startswith("odd/segfaults (clusterer): died of SIGSEGV")
        assert "SIGABRT" in problems["covary-deadly"]

    def test_prints_a_line_each(self, site: Path) -> None:
        write_plugin(site, "deadly", "import os; os.abort()")
        code, text = self.doctor()
        lines = [line.split() for line in text.splitlines()]
        assert code == 1
        assert any(line[:2] == ["torch", "ok,"] for line in lines)
        assert any(line[:3] == ["plugin", "deadly", "failed,"] for line in lines)
        assert "covary-deadly: plugin deadly: died of SIGABRT" in text

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    def test_ctrl_c_leaves_no_process(self, site: Path) -> None:
        awake = site / "awake"
        source = f"""
            import os, pathlib, time
            pathlib.Path({str(awake)!r}).write_text(str(os.getpid()))
            time.sleep(600)
            """
        write_plugin(site, "stuck", source)
        env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(site), str(TESTS)))}
        doctor = subprocess.Popen(
            [sys.executable, "-m", "covary", "doctor", "--deep"],
            env=env, cwd=site, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not (awake.exists() and awake.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        doctor.send_signal(signal.SIGINT)
        _, said = doctor.communicate(timeout=60)
        assert (doctor.returncode, said) == (130, "stopped\n")
        assert not Path(f"/proc/{awake.read_text()}").exists()


@pytest.mark.parametrize(
    ("driver", "majors", "words"),
    [
        ("", {"torch": "", "faiss-cpu": ""}, []),
        ("12.4", {"torch": "12", "cupy-cuda12x": "12", "faiss-cpu": ""}, []),
        ("13.0", {"torch": "12", "cupy-cuda13x": "13"}, ["different CUDA majors: torch 12, cupy"]),
        ("12.4", {"torch": "13"}, ["built for CUDA 13, and the driver can run CUDA 12.4 at most"]),
        ("", {"torch": "13"}, []),
    ],
)
def test_cuda_majors_are_compared(driver: str, majors: dict[str, str], words: list[str]) -> None:
    found = list(_cuda_verdict(driver, majors))
    assert len(found) == len(words)
    assert all(word in problem.what for word, problem in zip(words, found, strict=True))


class TestCall:
    def test_gives_what_the_function_returns(self) -> None:
        ended, answer = processes.call("json:dumps", [1, "ä"], timeout=60)
        assert (ended.status, answer) == ("ok", json.dumps([1, "ä"]))

    def test_gives_nothing_where_it_does_not_return(self) -> None:
        ended, answer = processes.call("os:chdir", "/no/such/folder", timeout=60)
        assert (ended.status, answer) == ("crashed", None)
        assert "FileNotFoundError" in ended.reason

    def test_signals_have_names(self) -> None:
        assert processes.signal_name(11) == "SIGSEGV"
        assert processes.signal_name(999) == "signal 999"
