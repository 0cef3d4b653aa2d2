"""The site has every page and every public name; `make docs` proves the rest by building it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

import covary

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
API = DOCS / "reference" / "api"

_DOCUMENTED = re.compile(
    r"^\.\. (?:auto|py:)(?:class|exception|function|data|decorator)::\s+(\S+)", re.M
)


@pytest.fixture
def plain_pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The extension that builds the site from plain Markdown."""
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(DOCS / "_extensions"))
    return importlib.import_module("plain_pages")


def test_every_page_is_linked_from_an_index_page(plain_pages: ModuleType) -> None:
    reached = set()
    waiting = [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        if page.stem == "index":
            entries = plain_pages.contents(page.read_text(encoding="utf-8"), page)
            waiting += [page.parent / f"{entry}.md" for entry in entries]
    assert reached == set(DOCS.rglob("*.md"))


def test_a_table_of_contents_is_the_links_to_the_folder_in_order(plain_pages: ModuleType) -> None:
    text = (
        "[b](speed.md) [up](../index.md) [a](method.md) [b](speed.md#figures) [web](https://x.org)"
    )
    page = DOCS / "explanation" / "index.md"
    assert plain_pages.contents(text, page) == ["speed", "method"]


def test_links_of_a_file_shown_elsewhere_lead_to_the_same_places(plain_pages: ModuleType) -> None:
    shown = plain_pages.relinked(
        "[a](../docs/how-to/boxes.md#top) [b](../CHANGELOG.md) [c](results/costs.json) [d](no.md)",
        ROOT / "benchmarks",
        DOCS / "project" / "benchmarks.md",
    )
    assert shown == (
        "[a](../how-to/boxes.md#top) [b](changelog.md) [c](../../benchmarks/results/costs.json) "
        "[d](no.md)"
    )


def test_every_public_name_is_on_one_page_of_the_api() -> None:
    found = []
    for page in API.glob("*.md"):
        found += _DOCUMENTED.findall(page.read_text(encoding="utf-8"))
    assert sorted(name for name in found if "." not in name) == sorted(covary.__all__)
    assert len(found) == len(set(found))


def test_names_of_submodules_on_the_pages_of_the_api_are_public() -> None:
    for page in API.glob("*.md"):
        for name in _DOCUMENTED.findall(page.read_text(encoding="utf-8")):
            module, _, attribute = name.rpartition(".")
            if module and "._" not in module:
                assert attribute in importlib.import_module(module).__all__, name
