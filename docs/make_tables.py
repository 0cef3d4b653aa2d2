"""Rewrites the tables of pages on what was measured: ``python docs/make_tables.py``.

The pages are prose by hand with tables between ``<!-- generated: NAME -->`` and ``<!-- end -->``,
all of them from the files in ``benchmarks/results/``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from covary_bench.paper.claims import claims
from covary_bench.paper.tables import TITLES, markdown, tables
from covary_bench.report import RESULTS, filled, markdown_table

PAGES = Path(__file__).parent / "explanation"
_MIB = 2**20


def limits() -> str:
    """The page on limits, its tables made again."""
    data = _read("limits")
    cases = dict.fromkeys(row["case"] for row in data["rows"])
    parts = {case: partial(_case, data, case) for case in cases}
    return filled(_text("limits"), {"how": partial(_how, data), **parts})


def memory() -> str:
    """The page on memory, its tables made again."""
    return filled(
        _text("memory"),
        {"summary": _summary, "stages": _stages, "clusterers": _clusterers},
    )


def objects() -> str:
    """The page on objects, its tables made again."""
    data = _read("rooms")
    classes = dict.fromkeys(row["object"] for row in data["settings"])
    parts = {_slug(name): partial(_object, data, name) for name in classes}
    common = {"preset": partial(_preset, data), "overlaps": partial(_overlaps, data)}
    return filled(_text("objects"), {**common, **parts})


def paper() -> str:
    """The page on the paper's tables, its tables made again."""
    parts = {kind: partial(_paper, kind) for kind in TITLES}
    return filled(_text("paper"), parts)


MADE: Mapping[str, Callable[[], str]] = {
    "limits": limits,
    "memory": memory,
    "objects": objects,
    "paper": paper,
}
"""What makes each page, by its name."""


def _how(data: dict[str, Any]) -> Iterator[str]:
    """How the figures were made, in words."""
    judge, first = data["judge"], data["rows"][0]
    yield (
        f"{first['seeds']} images for each setting, {data['side']}x{data['side']} pixels, "
        f"{data['variants']} variants of each, LAB, `lloyd` with k = 4 and `corner` with the upper "
        "corners unless a line says otherwise. Rendered scenes and photos of them have exact "
        "masks. Images of the bundled generator are judged by a small segmentation network, whose "
        f"own IoU of the person on renders is {judge['person_iou']:.3f}."
    )


def _case(data: dict[str, Any], case: str) -> Iterator[str]:
    """The settings of a case, those that fail first."""
    yield from markdown_table(
        ("", "setting", "mIoU", "half of the images", "IoU of what is sought", "found"),
        (
            (
                "works" if row["works"] else "**fails**",
                row["what"],
                f"{row['miou']:.3f}",
                f"{row['miou_spread']['q1']:.3f} to {row['miou_spread']['q3']:.3f}",
                f"{row['iou_foreground']:.3f}",
                f"{row['found']}/{row['seeds']}",
            )
            for row in data["rows"]
            if row["case"] == case
        ),
    )


def _summary() -> Iterator[str]:
    """What the summary takes, and what the work on it takes beyond."""
    names = {"clustering_memory": "`lloyd` on it", "pipeline_memory": "a whole pipeline with it"}
    rows = _read("costs")["memory"]
    yield from markdown_table(
        ("", "summary as stored", "the same in float32", "beyond the summary, at the peak"),
        (
            (
                names[row["what"]],
                f"{row['compact_mib']:.0f} MiB",
                f"{row['float32_mib']:.0f} MiB",
                f"{row['extra_mib']:.0f} MiB",
            )
            for row in rows
        ),
    )


def _stages() -> Iterator[str]:
    """The highest memory while each stage runs."""
    rows = [row for row in _read("pipeline")["rows"] if row["status"] == "ok"]
    stages = list(rows[0]["stages"])
    yield from markdown_table(
        ("pixels", "summary", *stages),
        (
            (
                f"{row['size']}x{row['size']}",
                f"{row['summary_bytes'] / _MIB:.0f} MiB",
                *(f"{row['stages'][stage]['host_bytes'] / _MIB:.0f} MiB" for stage in stages),
            )
            for row in rows
        ),
    )


def _clusterers() -> Iterator[str]:
    """What each clusterer takes beyond the summary, the least first."""
    rows = [
        row
        for row in _read("clusterers")["rows"]
        if row["status"] == "ok"
        and row["track"] == "defaults"
        and row["device"] == "cpu"
        and (row["setting"]["size"], row["setting"]["k"]) == (1024, 3)
    ]
    rows.sort(key=lambda row: row["memory"]["host_warm"])
    yield from markdown_table(
        ("clusterer", "a fit", "the first fit of a process"),
        (
            (
                ", ".join(filter(None, (f"`{_short(row['id'])}`", row["variation"]))),
                f"{row['memory']['host_warm'] / _MIB:.0f} MiB",
                f"{row['memory']['host'] / _MIB:.0f} MiB",
            )
            for row in rows
        ),
    )


def _preset(data: dict[str, Any]) -> Iterator[str]:
    """Every class of the preset, alone in its box."""
    rows = [row for row in data["settings"] if row["setting"] == "as preset"]
    yield (
        f"{rows[0]['seeds']} seeds, {data['resolution']}x{data['resolution']} pixels, "
        f"{data['variants']} variants."
    )
    yield ""
    yield from markdown_table(
        (
            "object",
            "clusters",
            "rule",
            "mIoU",
            "half of the seeds",
            "below 0.9",
            "the oracle too",
        ),
        (
            (
                row["object"],
                f"`{row['clusterer']}`, k = {row['k']}",
                f"`{row['foreground']}`",
                f"**{row['miou']:.3f}**",
                f"{row['miou_spread']['q1']:.3f} to {row['miou_spread']['q3']:.3f}",
                row["low"],
                row["low_by_clusters"],
            )
            for row in rows
        ),
    )


def _object(data: dict[str, Any], name: str) -> Iterator[str]:
    """One class: the preset, and with one thing changed."""
    yield from markdown_table(
        ("setting", "k", "mIoU", "half of the seeds", "IoU of the object", "found", "oracle"),
        (
            (
                row["setting"],
                row["k"],
                f"{row['miou']:.3f}",
                f"{row['miou_spread']['q1']:.3f} to {row['miou_spread']['q3']:.3f}",
                f"{row['iou_foreground']:.3f}",
                f"{row['found']}/{row['seeds']}",
                f"{row['oracle']:.3f}",
            )
            for row in data["settings"]
            if row["object"] == name
        ),
    )


def _overlaps(data: dict[str, Any]) -> Iterator[str]:
    """Whole instances before and after overlaps are resolved."""
    columns = ("object", "stages", "IoU, its own mask", "overlaps resolved", "mIoU in its box then")
    yield from markdown_table(
        columns,
        (
            (
                row["object"],
                row["setting"],
                f"{row['alone']:.3f}",
                f"{row['resolved']:.3f}",
                f"{row['miou']:.3f}",
            )
            for row in sorted(data["instances"], key=lambda row: str(row["setting"]))
        ),
    )


def _slug(name: str) -> str:
    return name.replace(" ", "-")


def _paper(kind: str) -> Iterator[str]:
    """A table of the paper: its seeds, its figures, and what they say to what was expected."""
    data = _read(kind)
    first, count = data["first_seed"], data["seeds"]
    yield f"Seeds {first} to {first + count - 1}: `{data['command']}`."
    for shown in tables(kind, data):
        if not shown.detail:
            yield from ("", f"{shown.title}:", "", *markdown(shown))
    told = claims(kind, data)
    if told:
        yield ""
    yield from (f"- **{claim.verdict}**: {claim.text}." for claim in told)


def _short(component: str) -> str:
    return component.removeprefix("covary/")


def _text(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def _read(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return data


if __name__ == "__main__":
    for name, make in MADE.items():
        page = make()
        (PAGES / f"{name}.md").write_text(page, encoding="utf-8")
        print(PAGES / f"{name}.md")
