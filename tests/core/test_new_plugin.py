"""``covary new-plugin``: names, what is written, and that it is whole or absent."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from covary import _scaffold
from covary._hooks import API_VERSION
from covary._scaffold import skeleton, write
from covary.catalogue import KINDS
from covary.cli import cli
from covary.errors import InputError, OutputError

WORDS = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)


def new_plugin(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["new-plugin", *map(str, arguments)])


@pytest.mark.parametrize(
    ("name", "namespace", "package"),
    [
        ("covary-sketch", "sketch", "covary_sketch"),
        ("acme-covary", "acme", "acme_covary"),
        ("sketchy", "sketchy", "sketchy"),
        ("covary-sketch-2", "sketch-2", "covary_sketch_2"),
    ],
)
def test_names_follow_from_the_distributions(name: str, namespace: str, package: str) -> None:
    plan = skeleton(name, "clusterer")
    assert (plan.namespace, plan.package) == (namespace, package)
    assert plan.id == f"{namespace}/{namespace}"


def test_a_component_may_have_a_name_of_its_own() -> None:
    plan = skeleton("acme-covary", "foreground", "soft-edges")
    assert (plan.id, plan.module, plan.class_name) == ("acme/soft-edges", "soft_edges", "SoftEdges")


@pytest.mark.parametrize(
    ("name", "component", "says"),
    [
        ("Covary_Sketch", None, "for example 'covary-sketch'"),
        ("covary--sketch", None, "single hyphens"),
        ("3d", None, "a letter first"),
        ("../elsewhere", None, "lower-case letters"),
        ("", None, "lower-case letters"),
        ("a" * 31, None, "at most 30"),
        ("covary", None, "reserved"),
        ("covary-user", None, "reserved"),
        ("covary-covary", None, "reserved"),
        ("covary-plugins", None, "hides no other"),
        ("class", None, "a keyword"),
        ("json", None, "hides no other"),
        ("torch", None, "for example covary-torch"),
        ("covary-class", None, "--component"),
        ("covary-sketch", "None", "lower-case letters"),
        ("covary-sketch", "none", "a keyword"),
        ("covary-sketch", "tensor", "what the component's module imports"),
        ("covary-sketch", "a.b", "for example 'a-b'"),
    ],
)
def test_names_that_cannot_be_are_refused(
    name: str, component: str | None, says: str, tmp_path: Path
) -> None:
    more = [] if component is None else ["--component", component]
    result = new_plugin(name, "--kind", "clusterer", "-o", tmp_path, *more)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'clusterer'"):
        skeleton("covary-sketch", "clusterers")


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=4), st.lists(WORDS, min_size=1, max_size=4))
def test_whatever_is_accepted_is_python_toml_and_filled_in(
    words: list[str], others: list[str]
) -> None:
    kind = KINDS[sum(map(len, words)) % len(KINDS)]
    try:
        plan = skeleton("-".join(words), kind, "-".join(others))
    except InputError:
        return
    files = plan.files()
    for name, text in files.items():
        assert not re.search(r"@\w+@", name + text)
        assert text == "" or text.endswith("\n")
        if name.endswith(".py"):
            ast.parse(text)
    project = tomllib.loads(files["pyproject.toml"])
    assert project["project"]["entry-points"]["covary"] == {plan.namespace: plan.package}
    assert f"class {plan.class_name}(" in files[f"src/{plan.package}/{plan.module}.py"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_whole(kind: str, tmp_path: Path) -> None:
    result = new_plugin("covary-sketch", "--kind", kind, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "covary-sketch"
    written = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert written == {
        ".github/workflows/tests.yml", ".gitignore", "LICENSE", "README.md", "pyproject.toml",
        "src/covary_sketch/__init__.py", "src/covary_sketch/py.typed",
        "src/covary_sketch/sketch.py", "tests/conftest.py", "tests/test_sketch.py",
    }  # fmt: skip
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert all(Path(name).name in lines for name in written)
    assert lines[-3:] == [
        f"pip install -e '{folder}[dev]'", "covary check sketch/sketch", "covary show sketch/sketch"
    ]  # fmt: skip
    hook = (folder / "src/covary_sketch/__init__.py").read_text()
    assert f'kind="{kind}"' in hook
    assert f'api="{API_VERSION}"' in hook


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_linted_and_formatted(kind: str, tmp_path: Path) -> None:
    for name, component in (
        ("covary-a", "b"),
        ("covary-a-plugin-of-a-long-name", "a-component-whose-name-is-long"),
    ):
        folder = write(skeleton(name, kind, component), tmp_path)
        for command in (["check"], ["format", "--check"]):
            ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "--quiet", "."]
            done = subprocess.run(ruff, cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr


def test_a_template_for_each_kind_and_no_more() -> None:
    assert {path.name for path in _scaffold._TEMPLATES.iterdir()} == {*KINDS, "package"}


def test_what_exists_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "covary-sketch"
    mine.mkdir()
    (mine / "mine.txt").write_text("mine")
    result = new_plugin("covary-sketch", "--kind", "clusterer", "-o", tmp_path)
    assert result.exit_code == 2
    assert "expected a new one" in result.stderr
    assert [path.name for path in mine.iterdir()] == ["mine.txt"]
    assert list(tmp_path.iterdir()) == [mine]


def test_nothing_remains_of_a_half_written_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, *_: object, **__: object) -> int:
        if self.name == "pyproject.toml":
            raise OSError(28, "No space left on device")
        return len(self.name)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match="No space left"):
        write(skeleton("covary-sketch", "clusterer"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    folder = write(skeleton("covary-sketch", "clusterer"), tmp_path)
    expected = tmp_path / "made-by-mkdir"
    expected.mkdir()
    assert folder.stat().st_mode == expected.stat().st_mode


def test_it_is_written_here_by_default(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "covary", "new-plugin", "covary-sketch", "--kind", "source"],
        cwd=tmp_path, capture_output=True, text=True, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("covary-sketch/\n")
    assert (tmp_path / "covary-sketch/README.md").is_file()
