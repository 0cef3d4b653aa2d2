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

pytestmark = pytest.mark.xdist_group("new-plugin")


@dataclass(frozen=True)
class House:
    """Six plugins, one of each kind, and the environment in which all of them are installed."""

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


def smaller(block: str) -> str:
    """A block of a README with little to do."""
    for large, small in (("0-3", "0-1"), ('{"n": 20}', '{"n": 4}'), ("n = 20", "n = 4"),
                         ('source="worlds"', 'source=("worlds", {"n": 4})')):  # fmt: skip
        block = block.replace(large, small)
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


@pytest.mark.parametrize("kind", KINDS)
def test_what_its_readme_says_is_so(house: House, kind: str, tmp_path: Path) -> None:
    """Code, pipeline file and command line as a reader would copy them; pip and bench apart."""
    covary.write_png(
        worlds.get("avatars").scene(5, (256, 256)).images(5, n=1)[0], tmp_path / "photo.png"
    )
    folder = house.folders[kind]
    (code,) = readme_blocks(folder, "python")
    assert f"my-{kind}/my-{kind}" in code
    house.run("python", "-c", smaller(code), cwd=tmp_path)
    (pipeline,) = readme_blocks(folder, "toml")
    (tmp_path / "pipeline.toml").write_text(smaller(pipeline))
    lines = [line.removeprefix("$ ") for block in readme_blocks(folder, "console")
             for line in block.splitlines()]  # fmt: skip
    commands = [
        line for line in lines if line.startswith(("covary run", "covary segment", "covary show"))
    ]
    assert len(commands) == 3
    for command in commands:
        more = ["--set", "source.n=4"] if "segment" in command else []
        house.run(*smaller(command).split(), *more, cwd=tmp_path)
    shown = house.run("covary", "show", f"my-{kind}/my-{kind}", cwd=tmp_path)
    assert f"my-{kind}-covary 0.1.0" in shown
    for run in ("out/file", "out/preset"):
        (result, *_) = sorted(tmp_path.glob(f"{run}/*/provenance.json"))
        used = json.loads(result.read_text())
        assert f"my-{kind}/my-{kind}" in json.dumps(used["recipe"])
        if kind in used["components"]:
            assert used["components"][kind]["distribution"] == f"my-{kind}-covary"


def test_a_clusterer_passes_check_and_takes_part_in_the_benchmark(
    house: House, tmp_path: Path
) -> None:
    name = "my-clusterer/my-clusterer"
    checks = ("finds_distant_groups", "says_how_much_memory_it_takes")
    only = [word for check in checks for word in ("--only", check)]
    output = house.run("covary", "check", name, *only, "--json", cwd=tmp_path)
    told = json.loads(output)
    assert [(row["check"], row["outcome"]) for row in told["checks"]] == [
        (check, "passed") for check in checks
    ]
    (command,) = [
        line.removeprefix("$ ")
        for block in readme_blocks(house.folders["clusterer"], "console")
        for line in block.splitlines()
        if "covary bench" in line
    ]
    more = ["--variants", "4", "--repeats", "1", "--json"]
    results = json.loads(house.run(*command.split(), *more, cwd=tmp_path))
    rows = [row for row in results["rows"] if row["backend"] == name]
    assert {row["track"] for row in rows} == {"defaults", "same start"}
    assert all(row["status"] == "ok" for row in rows)


def test_an_editable_install_works_too(
    house: House, environment: Callable[..., Environment], tmp_path: Path
) -> None:
    fresh = environment()
    folder = write(skeleton("covary-sketch", "foreground"), tmp_path)
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
    fresh.run("python", "-m", "pip", "install", *options, "-e", folder, cwd=tmp_path)
    assert "sketch/sketch" in fresh.run("covary", "list", "foreground", cwd=tmp_path)
    again = fresh.run("covary", "new-plugin", "covary-other", "--kind", "detector", cwd=tmp_path)
    assert "src/" in again


def test_the_metadata_are_those_of_a_plugin(house: House) -> None:
    for kind, folder in house.folders.items():
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        assert project["name"] == f"my-{kind}-covary"
        assert any(need.startswith("covary") for need in project["dependencies"])
        assert any("covary[testing]" in need for need in project["optional-dependencies"]["dev"])
