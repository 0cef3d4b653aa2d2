"""Real builds and installations, none of which needs a package index."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fresh_environment import Environment, run_program

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def build() -> Callable[..., Path]:
    """Build a source folder with hatchling: ``build(source, kind, into)`` gives the archive."""

    def build_one(source: Path, kind: str, into: Path) -> Path:
        into.mkdir(parents=True, exist_ok=True)
        before = set(into.iterdir())
        run_program(
            [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(into)], cwd=source
        )
        (made,) = set(into.iterdir()) - before
        return made

    return build_one


@pytest.fixture(scope="session")
def wheel(build: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """covary's wheel, built from this checkout."""
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def install() -> Callable[[Path, Path], Path]:
    """Install a wheel into a folder: ``install(wheel, folder)`` gives the folder."""

    def install_one(archive: Path, folder: Path) -> Path:
        options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
        pip = [sys.executable, "-m", "pip", "install", *options]
        run_program([*pip, "--target", str(folder), str(archive)], cwd=folder.parent)
        return folder

    return install_one


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., str]:
    """Run Python with some folders first on its path, far from the checkout; gives stdout."""

    def run(arguments: Sequence[str], *path: Path) -> str:
        settings = {k: v for k, v in os.environ.items() if not k.startswith(("COVARY_", "PYTHON"))}
        settings["PYTHONPATH"] = os.pathsep.join(map(str, path))
        settings["XDG_CONFIG_HOME"] = settings["XDG_CACHE_HOME"] = str(tmp_path / "nothing")
        return run_program([sys.executable, *arguments], cwd=tmp_path, env=settings)

    return run


@pytest.fixture(scope="session")
def acme(
    build: Callable[..., Path],
    install: Callable[[Path, Path], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder into which the package beside this file was installed."""
    folder = tmp_path_factory.mktemp("acme")
    # Built from a copy, so that nothing is written into the checkout.
    source = shutil.copytree(Path(__file__).with_name("acme"), folder / "source")
    return install(build(source, "wheel", folder / "dist"), folder / "site")


@pytest.fixture(scope="session")
def environment(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Environment]:
    """A fresh environment with covary and the given wheels: ``environment(*wheels)``."""
    parent = tmp_path_factory.mktemp("environments")

    def make(*wheels: Path) -> Environment:
        made = Environment.make(parent / str(len(list(parent.iterdir()))))
        made.install(wheel, *wheels)
        return made

    return make
