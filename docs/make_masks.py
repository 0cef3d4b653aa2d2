"""Rewrites the tables of the how-tos on soft masks and composition: ``python docs/make_masks.py``.

The pages are prose by hand with tables between ``<!-- generated: NAME -->`` and ``<!-- end -->``,
all of them from ``benchmarks/results/refine.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from covary_bench.report import RESULTS, filled, markdown_table

PAGES = Path(__file__).parent / "how-to"


def soft_masks() -> str:
    """The page on soft masks, its tables made again."""
    data = _read()
    return filled(
        _text("soft-masks"),
        {"shares": partial(_shares, data), "refiners": partial(_refiners, data)},
    )


def compose() -> str:
    """The page on composition, its table made again."""
    return filled(_text("compose"), {"composition": partial(_composition, _read())})


MADE: Mapping[str, Callable[[], str]] = {"soft-masks": soft_masks, "compose": compose}
"""What makes each page, by its name."""


def _shares(data: dict[str, Any]) -> Iterator[str]:
    """The error of each way to a soft mask."""
    columns = ("scenes", "mask", "error, mixed pixels", "error, all pixels", "masks")
    rows = (
        (row["what"], row["how"], f"{row['error_mixed']:.3f}", f"{row['error']:.3f}", row["cases"])
        for row in data["shares"]
    )
    yield from markdown_table(columns, rows)


def _refiners(data: dict[str, Any]) -> Iterator[str]:
    """What refiners do to masks."""
    columns = ("scenes", "refiners", "mIoU", "error, mixed pixels", "better", "worse", "masks")
    rows = (
        (
            row["what"],
            row["how"],
            f"{row['miou']:.4f}",
            f"{row['error_mixed']:.3f}",
            row["better"],
            row["worse"],
            row["cases"],
        )
        for row in data["refiners"]
    )
    yield from markdown_table(columns, rows)


def _composition(data: dict[str, Any]) -> Iterator[str]:
    """The error of each way to compose."""
    by_way: dict[str, dict[str, float]] = {}
    for row in data["composition"]:
        by_way.setdefault(row["how"], {})[row["what"]] = row["error_mixed"]
    columns = ("how", "rendered: colours mixed as coded", "as a camera: light mixed")
    rows = ((how, f"{one['coded']:.1f}", f"{one['light']:.1f}") for how, one in by_way.items())
    yield from markdown_table(columns, rows)


def _text(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def _read() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((RESULTS / "refine.json").read_text(encoding="utf-8"))
    return data


if __name__ == "__main__":
    for name, make in MADE.items():
        page = make()
        (PAGES / f"{name}.md").write_text(page, encoding="utf-8")
        print(PAGES / f"{name}.md")
