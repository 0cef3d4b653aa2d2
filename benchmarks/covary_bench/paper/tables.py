"""The tables of results files: the same rows for the terminal, for Markdown and for a page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..report import markdown_table, print_table
from .claims import claims
from .figures import COLUMNS

__all__ = ["NAMES", "TITLES", "Cell", "Shown", "kind_of", "markdown", "print_tables", "tables"]

TITLES: Mapping[str, str] = {
    "paper-table1": "Table 1: masks of whole images",
    "paper-table2": "Table 2: objects in boxes",
    "paper-table3": "Table 3: networks trained on the masks",
    "paper-table4": "Table 4: cutoff, colour space, k, rule",
    "paper-s2": "Table S2: what each method needs",
    "paper-s3": "Table S3: variants and truncation",
}
"""The tables in their order, by the names of their results files."""

_HEADS = ("IoU fg", "IoU bg", "mIoU", "trimap mIoU", "boundary IoU")
NAMES: Mapping[str, str] = {
    "preset": "ours, the preset",
    "k = auto": "ours, k = auto",
    "rule border": "ours, rule border",
    "rule corner": "ours, rule corner",
    "rule saliency": "ours, rule saliency",
    "sis": "SiS-style",
    "sis-oracle": "SiS-style, clusters chosen by labels",
    "datasetgan": "DatasetGAN-style, 16 labels",
    "labels4free": "Labels4Free-style",
    "worlds-unet": "worlds-unet, supervised",
}
"""What rows are called."""

_TRAINED_ON: Mapping[str, str] = {
    "worlds": "rendered avatars, our masks",
    "ours": "generated images, our masks",
    "mixed": "half of each, our masks",
    "data": "a data set of covary generate",
    **{
        name: f"generated images, {NAMES[name]}"
        for name in ("sis", "sis-oracle", "datasetgan", "labels4free")
    },
}
"""What rows of networks are called; those that depend on the test or the judge are not here."""

_TESTS = "rendered avatars with exact masks"
"""What the networks are tested on, where results do not say."""
_PARTS: Mapping[str, str] = {
    "generated": "Generated images, judged by {judge}",
    "rendered": "Rendered avatars, exact masks",
    "photos": "Photos of rendered avatars, inverted, exact masks",
    "own photos": "Your photos, inverted, judged by {judge}",
    "labelled photos": "Labelled photos, inverted",
}
_RULES = ("saliency", "corner", "border", "oracle")


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure as it is shown."""

    text: str
    best: bool = False
    """The best of its column among those that may be compared."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One table to be shown."""

    title: str
    columns: Sequence[str]
    """The first is the rows' name."""
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    detail: bool = False
    """Whether a page shows it only when asked."""


def tables(name: str, data: Mapping[str, Any]) -> list[Shown]:
    """The tables of a results file.

    Args:
        name: of the file, e.g. ``paper-table1`` or ``paper-table1-ffhq``.
        data: what it holds.
    """
    return list(_MAKERS[kind_of(name)](data))


def kind_of(name: str) -> str:
    """The table that a results file is of: ``paper-table1`` for ``paper-table1-ffhq``."""
    return next(kind for kind in TITLES if name == kind or name.startswith(f"{kind}-"))


def markdown(shown: Shown) -> Iterator[str]:
    """The lines of a table in Markdown, the best of each column in bold."""
    rows = [[f"**{c.text}**" if c.best else c.text for c in row] for row in shown.rows]
    yield from markdown_table(shown.columns, rows)
    if shown.note:
        yield from ("", shown.note)


def print_tables(name: str, data: Mapping[str, Any]) -> None:
    """Print the tables of a results file, and the claims that it tests."""
    import click

    for shown in tables(name, data):
        rows = [
            dict(zip(shown.columns, (cell.text for cell in row), strict=True)) for row in shown.rows
        ]
        if rows:
            print_table(shown.title, rows)
        if shown.note:
            click.echo(shown.note)
    for claim in claims(kind_of(name), data):
        click.echo(f"{claim.verdict}: {claim.text}")


def _table1(data: Mapping[str, Any]) -> Iterator[Shown]:
    for part, found in data["parts"].items():
        judge = found.get("judge", {}).get("use", "")
        skill = data.get("skill") if part == "generated" else None
        yield _masks(
            _PARTS[part].format(judge=judge.removeprefix("covary/")),
            [(NAMES.get(row["what"], row["what"]), row) for row in found["rows"]],
            f"The judge's own mIoU on rendered avatars with exact masks is {skill['miou']:.3f} "
            f"(trimap {skill['trimap_miou']:.3f}, boundary IoU {skill['boundary_iou']:.3f})."
            if skill
            else "",
        )


def _masks(
    title: str,
    rows: Sequence[tuple[str, Mapping[str, Any]]],
    note: str = "",
    *,
    detail: bool = False,
) -> Shown:
    """Rows of the figures of masks."""
    best = _best([row for _, row in rows if row["kind"] not in ("supervised", "blind")], COLUMNS)
    columns = ("", *_HEADS, "mIoU, found only", "half of the images", "found")
    return Shown(
        title,
        columns,
        [
            [
                Cell(name),
                *(
                    Cell(
                        _figure(row[column]),
                        row["kind"] not in ("supervised", "blind")
                        and _same(row[column], best[column]),
                    )
                    for column in COLUMNS
                ),
                Cell(_figure((row["found_only"] or {}).get("miou"))),
                Cell(f"{row['miou_spread']['q1']:.3f} to {row['miou_spread']['q3']:.3f}"),
                Cell(f"{row['found']}/{row['seeds']}"),
            ]
            for name, row in rows
        ],
        note,
        detail,
    )


def _table2(data: Mapping[str, Any]) -> Iterator[Shown]:
    rows = data["rows"]
    labels = list(dict.fromkeys(row["object"] for row in rows))
    whats = list(dict.fromkeys(row["what"] for row in rows))
    by = {(row["object"], row["what"]): row for row in rows}
    fair = [what for what in whats if by[labels[0], what]["kind"] == "ours"]
    best = {label: max(by[label, what]["miou"] for what in fair) for label in labels}
    yield Shown(
        "mIoU in the box, by class",
        ("", *labels),
        [
            [
                Cell(NAMES.get(what, what)),
                *(
                    Cell(
                        _figure(by[label, what]["miou"]),
                        what in fair and _same(by[label, what]["miou"], best[label]),
                    )
                    for label in labels
                ),
            ]
            for what in whats
        ],
    )
    for label in labels:
        if label != "mean":
            some = [(NAMES.get(what, what), by[label, what]) for what in whats]
            yield _masks(label, some, detail=True)


def _table3(data: Mapping[str, Any]) -> Iterator[Shown]:
    rows = data["rows"]
    best = _best(
        [{name: row[name]["mean"] for name in COLUMNS} for row in rows if row["kind"] != "exact"],
        COLUMNS,
    )
    called = {**_TRAINED_ON, **_of_the_run(data)}
    networks, tests = data["training"]["networks"], data.get("tests", _TESTS)
    yield Shown(
        f"U-Nets trained from scratch, tested on {tests}: means over {networks} of each row"
        if networks > 1
        else f"U-Nets trained from scratch, tested on {tests}: one of each row",
        ("trained on", *_HEADS, "mIoU, sd", "its masks, mIoU", "mIoU from exact"),
        [
            [
                Cell(called.get(row["name"], row["name"])),
                *(
                    Cell(
                        _figure(row[name]["mean"]),
                        row["kind"] != "exact" and _same(row[name]["mean"], best[name]),
                    )
                    for name in COLUMNS
                ),
                Cell(_figure(row["miou"]["sd"])),
                Cell(_figure(row["masks"]["miou"])),
                Cell("" if row["from_exact"] is None else f"{row['from_exact']:+.3f}"),
            ]
            for row in rows
        ],
    )


def _of_the_run(data: Mapping[str, Any]) -> dict[str, str]:
    """What the rows are called that depend on the test or the judge."""
    rendered = data.get("tests", _TESTS) == _TESTS
    judge = data.get("judge", {}).get("use", "the judge").removeprefix("covary/")
    return {
        "exact": "rendered avatars, exact masks" if rendered else "other photos, their masks",
        "judge": f"generated images, masks by {judge}",
    }


def _table4(data: Mapping[str, Any]) -> Iterator[Shown]:
    rows = data["rows"]
    ks, cutoffs, spaces = (sorted({row[key] for row in rows}) for key in ("k", "c", "space"))
    by = {(row["c"], row["space"], row["k"], row["rule"]): row["miou"] for row in rows}
    for space in spaces:
        for rule in _RULES:
            best = max(by[c, space, k, rule] for c in cutoffs for k in ks)
            yield Shown(
                f"{space.upper()}, rule {rule}" if rule != "oracle" else f"{space.upper()}, oracle",
                ("mIoU", *(f"c = {c}" for c in cutoffs)),
                [
                    [
                        Cell(f"k = {k}"),
                        *(
                            Cell(_figure(by[c, space, k, rule]), _same(by[c, space, k, rule], best))
                            for c in cutoffs
                        ),
                    ]
                    for k in ks
                ],
                detail=space != spaces[0],
            )
    yield Shown(
        "Highlights: rendered scenes, light and shade strong or usual, k = 4",
        ("what is sought", "light", *(f"IoU, {space.upper()}" for space in spaces)),
        list(_highlight_rows(data["highlights"], spaces)),
    )


def _highlight_rows(
    rows: Sequence[Mapping[str, Any]], spaces: Sequence[str]
) -> Iterator[list[Cell]]:
    for what, light in dict.fromkeys((row["what"], row["light"]) for row in rows):
        own = {
            row["space"]: row["iou"] for row in rows if (row["what"], row["light"]) == (what, light)
        }
        best = max(own.values())
        cells = [Cell(_figure(own[space]), _same(own[space], best)) for space in spaces]
        yield [Cell(what), Cell(light), *cells]


def _s2(data: Mapping[str, Any]) -> Iterator[Shown]:
    rows = [row for row in data["rows"] if row["status"] == "ok"]
    ours = next((row for row in rows if row["what"] == "ours"), None)
    yield Shown(
        "One thread, processor seconds",
        (
            "",
            "labelled images",
            "other images",
            "trained",
            "training, s",
            "training, MiB",
            "an image, s",
            "an image, MiB",
            "less time than ours from",
        ),
        [
            [
                Cell(NAMES.get(row["what"], row["what"])),
                Cell(f"{row['labelled']:,}"),
                Cell(f"{row['images']:,}"),
                Cell(row["trained"]),
                Cell(_seconds(row["training"]["seconds"])),
                Cell(f"{row['training']['peak_mib']:,.0f}"),
                Cell(_seconds(row["seconds"]["median"])),
                Cell(f"{row['peak_mib']:,.0f}"),
                Cell(_pays_from(row, ours)),
            ]
            for row in rows
        ],
        " ".join(_remarks(data["rows"])),
    )


def _pays_from(row: Mapping[str, Any], ours: Mapping[str, Any] | None) -> str:
    """From how many images on it takes less time than ours, its training counted in."""
    if ours is None or row is ours or row.get("steps") != row.get("usual_steps"):
        return "-"
    saved = ours["seconds"]["median"] - row["seconds"]["median"]
    return f"{math.ceil(row['training']['seconds'] / saved):,} images" if saved > 0 else "never"


def _remarks(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What did not run, and what was not run to its end."""
    for row in rows:
        if row["status"] != "ok":
            yield f"{row['what']} did not run: {row['reason']}."
        elif row.get("steps") != row.get("usual_steps", row.get("steps")):
            yield (
                f"{row['what']} was trained for {row['steps']:,} steps; the bundled one was for "
                f"{row['usual_steps']:,}, which takes in proportion."
            )
        if "data_seconds" in row:
            seconds = _seconds(row["data_seconds"])
            yield f"To draw its scenes with their masks took {seconds} s more."


def _s3(data: Mapping[str, Any]) -> Iterator[Shown]:
    by = {(row["n"], row["psi"]): row for row in data["rows"]}
    variants, psis = (sorted({row[key] for row in data["rows"]}) for key in ("n", "psi"))
    best = {psi: max(by[n, psi]["miou"] for n in variants) for psi in psis}
    yield Shown(
        "mIoU by the number of variants and psi",
        ("", *(f"psi = {psi:g}" for psi in psis), "seconds a query"),
        [
            [
                Cell(f"n = {n}"),
                *(
                    Cell(_figure(by[n, psi]["miou"]), _same(by[n, psi]["miou"], best[psi]))
                    for psi in psis
                ),
                Cell(_seconds(by[n, psis[0]]["seconds"]["median"])),
            ]
            for n in variants
        ],
    )


_MAKERS = {
    "paper-table1": _table1,
    "paper-table2": _table2,
    "paper-table3": _table3,
    "paper-table4": _table4,
    "paper-s2": _s2,
    "paper-s3": _s3,
}


def _best(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dict[str, float | None]:
    """The highest of each column where there are several rows."""
    found: dict[str, float | None] = {}
    for column in columns:
        values = [row[column] for row in rows if row[column] is not None]
        found[column] = max(values) if len(values) > 1 else None
    return found


def _same(value: float | None, best: float | None) -> bool:
    """Whether two figures are the same as they are shown."""
    return value is not None and best is not None and _figure(value) == _figure(best)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value else "0"
