"""Writes the pages of ``docs/reference/`` that are made from the code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from generate import catalogue, components, contracts, hooks

FOLDER = Path(__file__).parent / "reference"

PAGES: dict[str, Callable[[], str]] = {
    "catalogue.md": catalogue.page,
    "components.md": components.page,
    "contracts.md": contracts.page,
    "hooks.md": hooks.page,
}
"""File in ``docs/reference/`` -> what makes its text."""


if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
        print(FOLDER / name)
