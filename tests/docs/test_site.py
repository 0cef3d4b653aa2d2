"""The site has every page and every public name; `make docs` proves the rest by building it."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
from annotated_types import Ge
from pydantic import BaseModel, Field

import covary
import covary.testing

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
API = DOCS / "reference" / "api"

_DIRECTIVE = re.compile(
    r"^\.\. (currentmodule|auto\w+|py:(?:data|decorator)):: ([\w.]+)", re.MULTILINE
)


def documented() -> Iterator[str]:
    """The full name of everything on the pages of the API."""
    for page in API.glob("*.md"):
        module = ""
        for directive, name in _DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            if directive == "currentmodule":
                module = name
            else:
                yield name if name.startswith("covary.") else f"{module}.{name}"


@pytest.fixture
def extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The site's own extensions, importable."""
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(DOCS / "_extensions"))


@pytest.fixture
def plain_pages(extensions: None) -> ModuleType:
    return importlib.import_module("plain_pages")


@pytest.fixture
def docstrings(extensions: None) -> ModuleType:
    return importlib.import_module("docstrings")


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


def test_a_model_is_shown_by_its_fields(docstrings: ModuleType) -> None:
    class Animal(BaseModel):
        name: str = Field(description="what it is called")
        legs: Annotated[int, Ge(0)] | None = Field(4, description="how many")
        friends: list[str] = Field(default_factory=list)

    assert docstrings.signature(Animal) == "(*, name, legs=4, friends=...)"
    assert list(docstrings.descriptions(Animal)) == [
        ":param name: what it is called",
        ":type name: str",
        ":param legs: how many",
        ":type legs: int | None",
        ":param friends: ",
        ":type friends: list[str]",
    ]


def test_a_dataclass_is_shown_by_its_fields(docstrings: ModuleType) -> None:
    @dataclass
    class Point:
        x: int
        y: int = 0
        tags: list[str] = field(default_factory=list)
        move: Callable[[], None] = print

    assert docstrings.signature(Point) == "(x, y=0, tags=..., move=...)"


@pytest.mark.parametrize("package", [covary, covary.testing])
def test_every_public_name_is_documented_once(package: ModuleType) -> None:
    names = [f"{package.__name__}.{name}" for name in package.__all__]
    found = Counter(documented())
    assert {name: found[name] for name in names} == dict.fromkeys(names, 1)
