"""Every code block of the README and the documentation runs.

Python blocks of a page share their names, console blocks run their ``$`` lines in a shell; a page's
blocks run in order, in a folder of their own that holds what the pages speak of. YAML and bash
blocks are for other machines, and only parsed. ``make`` lines are not run here, continuous
integration runs them itself; ``pip install`` goes to a folder on the path instead of the
environment that runs the tests, where the dependencies are. A command that is meant to fail ends in
``|| true``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from sybil import Document, Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

import covary
from covary._registry import registry
from covary.testing import worlds

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
INSTALL = (
    f"{sys.executable} -m pip install --quiet --disable-pip-version-check "
    "--no-deps --no-build-isolation --target site"
)


def run_console(example: Example) -> None:
    """Run the ``$`` lines; each must succeed."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for line in example.parsed.splitlines():
        command = line.removeprefix("$ ").split("  #")[0]
        if not line.startswith("$ ") or command.startswith("make "):
            continue
        command = command.replace("pip install", INSTALL).replace(" -e ", " ")
        done = subprocess.run(
            command, shell=True, capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        if editable := re.search(r"pip install .*-e '?([\w./-]+)", line):
            link_sources(Path(editable[1]))
    registry.cache_clear()  # a plugin may have been installed


def link_sources(folder: Path) -> None:
    """Let the installed packages follow their sources, as an editable installation does."""
    for module in folder.glob("src/*/__init__.py"):
        installed = Path("site") / module.parent.name
        shutil.rmtree(installed)
        installed.symlink_to(module.parent.resolve())


def write_file(example: Example) -> None:
    """A block whose first line is ``# file: NAME`` becomes that file, for the blocks after it."""
    first, _, _ = example.parsed.partition("\n")
    if first.startswith("# file: "):
        path = Path(first.removeprefix("# file: "))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(example.parsed, encoding="utf-8")


def run_python(example: Example) -> None:
    """Run the block, or write it to the file that it names."""
    if example.parsed.startswith("# file: "):
        write_file(example)
    else:
        PythonEvaluator()(example)


def check_yaml(example: Example) -> None:
    """What is for another tool is at least well formed."""
    documents = list(yaml.safe_load_all(example.parsed))
    assert all(isinstance(document, dict) for document in documents)


def check_bash(example: Example) -> None:
    """A script for another machine is at least well formed."""
    subprocess.run(["bash", "-n"], input=example.parsed, text=True, check=True)


SYBIL = Sybil(
    parsers=[
        CodeBlockParser(language="bash", evaluator=check_bash),
        CodeBlockParser(language="yaml", evaluator=check_yaml),
        CodeBlockParser(language="python", evaluator=run_python),
        CodeBlockParser(language="toml", evaluator=write_file),
        CodeBlockParser(language="console", evaluator=run_console),
    ]
)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder as the pages assume it: ``exported/`` with aligned variants of one image."""
    scene = worlds.get("avatars").scene(3, (64, 64))
    (tmp_path / "exported").mkdir()
    for index, image in enumerate(scene.images(seed=0, n=12)):
        covary.write_png(image, tmp_path / "exported" / f"variant-{index:02d}.png")
    (tmp_path / "site").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.syspath_prepend(str(tmp_path))  # as for a script in that folder
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    yield
    registry.cache_clear()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_of(page: Path, workspace: None) -> None:
    document: Document = SYBIL.parse(page)
    for example in document.examples():
        example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
