"""A generated plugin of each kind, installed in a fresh environment, tested and used there."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import covary
from covary._scaffold import skeleton, write
from covary.catalogue import KINDS
from covary.testing import worlds
from fresh_environment import Environment

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.xdist_group("new-plugin")


@dataclass(frozen=True)
class House:
    """A plugin of each kind, and the environment in which all of them are installed."""

    environment: Environment
    folders: dict[str, Path]

    def run(self, *command: object, cwd: Path) -> str:
        return self.environment.run(*command, cwd=cwd)


@pytest.fixture(scope="session")
def house(
    build: Callable[..., Path],
    environment: Callable[..., Environment],
    tmp_path_factory: pytest.TempPathFactory,
) -> House:
    parent = tmp_path_factory.mktemp("generated")
    folders = {kind: write(skeleton(f"my-{kind}-covary", kind), parent) for kind in KINDS}
    wheels = [build(folder, "wheel", parent / "dist" / folder.name) for folder in folders.values()]
    return House(environment(*wheels), folders)


def readme_blocks(folder: Path, language: str) -> list[str]:
    text = (folder / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def readme_commands(folder: Path, *starts: str) -> list[str]:
    lines = "".join(readme_blocks(folder, "console")).splitlines()
    commands = [line.removeprefix("$ ").partition("  #")[0] for line in lines]
    return [command for command in commands if command.startswith(starts)]


def smaller(block: str) -> str:
    """A block of a README with little to do."""
    for large, small in (("0-3", "0-1"), ('{"n": 20}', '{"n": 4}'), ("n = 20", "n = 4"),
                         ('source="worlds"', 'source=("worlds", {"n": 4})')):  # fmt: skip
        block = block.replace(large, small)
    block = block.replace("covary segment", "covary segment --set source.n=4")
    for command in ("covary eval", "covary generate"):
        few = f"{command} --set source.n=4 --set source.resolution=64"
        block = block.replace(command, few)
    for component in ("worlds", "my-source/my-source"):
        block = block.replace(f'("{component}", {{', f'("{component}", {{"resolution": 64, ')
        block = block.replace(f'use = "{component}"', f'use = "{component}", resolution = 64')
    return block


def test_the_environment_has_nothing_of_the_checkout(house: House, tmp_path: Path) -> None:
    code = (
        "import covary, covary_plugins, json;"
        "print(json.dumps([covary.__file__, covary_plugins.__file__,"
        "[p.what for p in covary.problems()]]))"
    )
    first, second, problems = json.loads(house.run("python", "-c", code, cwd=tmp_path))
    assert Path(first).is_relative_to(house.environment.folder)
    assert Path(second).is_relative_to(house.environment.folder)
    assert problems == []


@pytest.mark.parametrize("kind", KINDS)
def test_its_own_tests_pass(house: House, kind: str) -> None:
    command = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    output = house.run(*command, cwd=house.folders[kind])
    assert re.search(r"\d\d passed", output)
    assert "failed" not in output


def test_type_checkers_find_nothing(house: House) -> None:
    cache = house.environment.folder / "mypy"
    for folder in house.folders.values():
        output = house.run("python", "-m", "mypy", "--cache-dir", cache, cwd=folder)
        assert output.startswith("Success"), output


def test_type_checkers_find_nothing_in_the_tutorials_plugin(house: House, tmp_path: Path) -> None:
    page = (ROOT / "docs/tutorial/write-a-clusterer.md").read_text(encoding="utf-8")
    plugin = write(skeleton("acme-covary", "clusterer", "sketch"), tmp_path)
    blocks = re.findall(r"```python\n# file: (\S+)\n(.*?)```", page, flags=re.DOTALL)
    assert {name for name, _ in blocks} == {
        f"acme-covary/{name}"
        for name in ("src/acme_covary/sketch.py", "src/acme_covary/__init__.py",
                     "tests/test_sketch.py")
    }  # fmt: skip
    cache = house.environment.folder / "mypy"
    for name, text in blocks:
        (tmp_path / name).write_text(text)
        house.run("python", "-m", "mypy", "--cache-dir", cache, cwd=plugin)


def test_type_checkers_see_what_covary_returns(house: House, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(
        "import covary\n"
        "from covary.testing import ClustererContract\n"
        "covary.RunContext(seed='one')\n"
        "covary.StyleSummary.from_matrix([1.0], (1, 1)).pixls\n"
        "covary.Clusterer()\n"
        "ClustererContract.name + 1\n"
    )
    checker = ("python", "-m", "mypy", "--strict", "--cache-dir", house.environment.folder / "mypy")
    output = house.environment.run(*checker, "wrong.py", cwd=tmp_path, code=1)
    wrong = {int(line.split(":")[1]) for line in output.splitlines() if ": error:" in line}
    assert wrong == {3, 4, 5, 6}, output


OUTSIDE_PIPELINES = ("segmenter", "writer")

DRIVER = """
import json, shlex, sys
from click.testing import CliRunner
from covary.cli import cli

code, *commands = json.load(sys.stdin)
exec(code)
for command in commands:
    result = CliRunner().invoke(cli, shlex.split(command)[1:])
    assert result.exit_code == 0, (command, result.output, result.exception)
"""


@pytest.mark.parametrize("kind", OUTSIDE_PIPELINES)
def test_what_the_readme_of_a_tool_says_is_so(house: House, kind: str, tmp_path: Path) -> None:
    """Its code and its commands, all in one process, where it is no part of a pipeline."""
    name, folder = f"my-{kind}/my-{kind}", house.folders[kind]
    (code,) = readme_blocks(folder, "python")
    commands = readme_commands(folder, "covary eval", "covary generate", "covary show")
    assert len(commands) == 2
    assert all(name in text for text in (code, *commands))
    told = [smaller(code), *map(smaller, commands)]
    house.environment.run("python", "-c", DRIVER, cwd=tmp_path, stdin=json.dumps(told))
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) >= 3


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in OUTSIDE_PIPELINES])
def test_what_its_readme_says_is_so(house: House, kind: str, tmp_path: Path) -> None:
    """Its code, its pipeline file and its commands, all in one process; pip and bench apart."""
    name, folder = f"my-{kind}/my-{kind}", house.folders[kind]
    (code,) = readme_blocks(folder, "python")
    (pipeline,) = readme_blocks(folder, "toml")
    commands = readme_commands(folder, "covary run", "covary segment", "covary show")
    assert len(commands) == 3
    assert all(name in text for text in (code, pipeline))
    (tmp_path / "pipeline.toml").write_text(smaller(pipeline))
    photo = worlds.get("avatars").scene(5, (256, 256)).images(5, n=1)[0]
    covary.write_png(photo, tmp_path / "photo.png")
    told = [smaller(code), *map(smaller, commands)]
    house.environment.run("python", "-c", DRIVER, cwd=tmp_path, stdin=json.dumps(told))
    for run in ("out/file", "out/preset"):
        (result, *_) = sorted(tmp_path.glob(f"{run}/*/provenance.json"))
        used = json.loads(result.read_text())
        assert name in json.dumps(used["recipe"])
        if kind in used["components"]:
            assert used["components"][kind]["distribution"] == f"my-{kind}-covary"


def test_its_commands_work_as_they_are(house: House, tmp_path: Path) -> None:
    name, folder = "my-clusterer/my-clusterer", house.folders["clusterer"]
    (show,) = readme_commands(folder, "covary show")
    assert "my-clusterer-covary 0.1.0" in house.run(*show.split(), cwd=tmp_path)
    (check,) = readme_commands(folder, "covary check")
    only = ("--only", "finds_distant_groups", "--json")
    (row,) = json.loads(house.run(*check.split(), *only, cwd=tmp_path))["checks"]
    assert (row["check"], row["outcome"]) == ("finds_distant_groups", "passed")
    (bench,) = readme_commands(folder, "covary bench")
    few = ("--variants", "4", "--repeats", "1", "--json")
    command = bench.replace("--backend lloyd", "").split()
    results = json.loads(house.run(*command, *few, cwd=tmp_path))
    assert [row["id"] for row in results["rows"]] == [name, name]
    assert {row["track"]: row["status"] for row in results["rows"]} == {
        "same start": "ok", "defaults": "ok"
    }  # fmt: skip


def test_the_installed_command_has_its_templates(house: House, tmp_path: Path) -> None:
    house.run("covary", "new-plugin", "covary-other", "--kind", "detector", cwd=tmp_path)
    same = write(skeleton("covary-other", "detector"), tmp_path / "here")
    for file in same.rglob("*"):
        if file.is_file():
            made = tmp_path / "covary-other" / file.relative_to(same)
            assert made.read_bytes() == file.read_bytes()


def test_the_metadata_are_those_of_a_plugin(house: House) -> None:
    for kind, folder in house.folders.items():
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        assert project["name"] == f"my-{kind}-covary"
        assert any(need.startswith("covary") for need in project["dependencies"])
        assert any("covary[testing]" in need for need in project["optional-dependencies"]["dev"])
