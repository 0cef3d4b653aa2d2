"""What is built and installed is whole."""

from __future__ import annotations

import importlib.metadata
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import covary

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "covary": ROOT / "core" / "covary",
    "covary_plugins": ROOT / "plugins" / "covary_plugins",
    "covary_bench": ROOT / "benchmarks" / "covary_bench",
}


def names(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        return set(opened.namelist())


def contents(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_every_module(wheel: Path) -> None:
    inside = names(wheel)
    for package, folder in PACKAGES.items():
        for module in folder.rglob("*.py"):
            assert f"{package}/{module.relative_to(folder)}" in inside


def test_the_wheel_holds_the_data_that_code_reads(wheel: Path) -> None:
    inside = contents(wheel)
    assert inside["covary/registry.toml"] == (ROOT / "registry.toml").read_bytes()
    assert "covary/py.typed" in inside
    for checkpoint in covary.read_catalogue().checkpoint:
        if checkpoint.file:
            package, _, inner = checkpoint.file.partition(":")
            assert f"{package}/{inner}" in inside


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    top = {name.split("/")[0] for name in names(wheel)}
    (info,) = [name for name in top if name.endswith(".dist-info")]
    assert top == {*PACKAGES, info}
    assert f"{info}/licenses/LICENSE" in names(wheel)
    for name in names(wheel):
        assert not name.endswith((".pyc", ".pkl"))


def test_the_wheel_can_be_built_from_the_sdist(
    wheel: Path, build: Callable[..., Path], tmp_path: Path
) -> None:
    archive = build(ROOT, "sdist", tmp_path / "sdist")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    for name in ("registry.toml", "README.md", "LICENSE", "tests/packaging/test_distribution.py"):
        assert (source / name).is_file()
    assert contents(build(source, "wheel", tmp_path / "again")) == contents(wheel)


INSTALLED = """
import importlib.metadata, json, pathlib
import covary
from covary.catalogue import builtin_registry

for entry in covary.components():
    entry.load()
print(json.dumps({
    "where": str(pathlib.Path(covary.__file__).parent),
    "registry": str(builtin_registry()),
    "components": sorted(entry.id for entry in covary.components()),
    "presets": list(covary.preset_names()),
    "problems": [problem.what for problem in covary.problems()],
    "version": covary.__version__,
    "metadata": importlib.metadata.version("covary"),
    "bundled": str(covary.checkpoint_path("avatars-64")),
}))
"""


def test_the_installed_wheel_finds_its_parts(
    wheel: Path,
    install: Callable[[Path, Path], Path],
    python: Callable[..., str],
    tmp_path: Path,
) -> None:
    site = install(wheel, tmp_path / "site")
    told = json.loads(python(["-c", INSTALLED], site))
    assert told["where"] == str(site / "covary")
    assert told["registry"] == str(site / "covary" / "registry.toml")
    assert told["problems"] == []
    catalogue = covary.read_catalogue()
    assert told["components"] == sorted(f"covary/{c.name}" for c in catalogue.component)
    assert told["presets"] == [preset.name for preset in catalogue.preset]
    assert told["version"] == told["metadata"]
    assert told["bundled"].startswith(str(site / "covary_plugins"))
    version = python(["-m", "covary", "--version"], site).split()
    assert version == ["covary", told["version"]]


def test_a_checkout_reads_the_registry_of_its_root() -> None:
    from covary.catalogue import builtin_registry

    assert builtin_registry().samefile(ROOT / "registry.toml")


def test_the_version_is_said_once() -> None:
    assert covary.__version__ == importlib.metadata.version("covary")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_checkout_is_what_these_tests_run(package: str) -> None:
    module = __import__(package)
    assert Path(str(module.__file__)).parent.samefile(PACKAGES[package])
