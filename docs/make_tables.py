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

DOCS = Path(__file__).parent
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


def cluster() -> str:
    """The page on clusters, its tables made again."""
    data = _read("generation")
    parts = {
        "how": _rate_how,
        "runs": _runs,
        "together": _together,
        "stages": _milliseconds,
        "ten-million": _ten_million,
    }
    return filled(_text("cluster"), {name: partial(make, data) for name, make in parts.items()})


def metrics() -> str:
    """The page on metrics, its tables made again."""
    data = _read("metrics")
    parts = {"definitions": partial(_definitions, data), "times": partial(_metric_times, data)}
    return filled(_text("metrics"), parts)


MADE: Mapping[str, Callable[[], str]] = {
    "cluster": cluster,
    "limits": limits,
    "memory": memory,
    "metrics": metrics,
    "objects": objects,
    "paper": paper,
}
"""What makes each page, by its name."""


def _definitions(data: dict[str, Any]) -> Iterator[str]:
    """Pixels of rendered avatars that each definition looks at."""
    columns = ("rendered avatars", "size", "images", "pixels, straight lines over squares")
    rows = (
        (one["what"], f"{one['size']}x{one['size']}", one["seeds"], f"{one['ratio']:.2f}")
        for one in data["definitions"]
    )
    yield from markdown_table(columns, rows)


def _metric_times(data: dict[str, Any]) -> Iterator[str]:
    """Processor time of each way, by the number of classes."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for row in data["times"]:
        by_classes = found.setdefault((row["what"], row["how"]), {})
        by_classes[row["classes"]] = row["seconds"]["median"]
    size = data["times"][0]["size"]
    classes = list(next(iter(found.values())))
    columns = (f"{size}x{size}, one thread", "by", *(f"{count} classes" for count in classes))
    rows = (
        (what, how, *(f"{1000 * by_classes[count]:.0f} ms" for count in classes))
        for (what, how), by_classes in found.items()
    )
    yield from markdown_table(columns, rows)


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


def _rate_how(data: dict[str, Any]) -> Iterator[str]:
    """The machine and the job, in words."""
    machine, (height, width) = data["machine"], data["size"]
    seeds = max(row["seeds"] for row in data["runs"])
    yield (
        f"{machine['cores']} cores of {machine.get('gpu') or machine['processor']}, device "
        f"{data['device']}; preset `{data['preset']}`, {height}x{width} pixels, "
        f"{data['variants']} variants; runs of {seeds} seeds. Costs are at a price of "
        f"{data['price_per_worker_hour']:g} for an hour of one worker. {data['remark']}".rstrip()
    )


def _runs(data: dict[str, Any]) -> Iterator[str]:
    """Whole runs, by who makes the shards."""
    columns = ("workers", "on", "pairs/s", "images/s", "efficiency", "start-up", "10,000 pairs")
    yield from markdown_table(
        columns,
        (
            (
                row["workers"],
                row["on"],
                f"{row['pairs_per_second']:.2f}",
                f"{row['images_per_second']:.0f}",
                f"{row['efficiency']:.2f}",
                f"{row['start_up_seconds']:.1f} s",
                f"{row['cost_per_10000']:.3f}",
            )
            for row in data["runs"]
        ),
    )


def _together(data: dict[str, Any]) -> Iterator[str]:
    """Shared batches, by how many queries share them."""
    columns = ("queries together", "pairs/s", "half of the rounds", "images/s", "planned memory")
    yield from markdown_table(
        columns,
        (
            (
                row["together"],
                f"{row['pairs_per_second']['median']:.2f}",
                "{q1:.2f} to {q3:.2f}".format(**row["pairs_per_second"]),
                f"{row['images_per_second']:.0f}",
                f"{row['planned_bytes'] / _MIB:.0f} MiB",
            )
            for row in data["together"]
        ),
    )


def _milliseconds(data: dict[str, Any]) -> Iterator[str]:
    """The stages of a pair, the slowest first."""
    found = sorted(data["milliseconds_per_pair"].items(), key=lambda one: -one[1])
    yield from markdown_table(("", "ms"), ((name, f"{taken:.1f}") for name, taken in found))


def _ten_million(data: dict[str, Any]) -> Iterator[str]:
    """Hours and cost, by the number of workers."""
    row = max(data["runs"], key=lambda row: (row["on"] == "ray", row["workers"]))
    each = row["pairs_per_second"] / row["workers"]
    hours = 1e7 / each / 3600
    yield from markdown_table(
        ("workers", "hours", "cost", "minutes for a shard of 5,000"),
        (
            (
                f"{workers:,}",
                f"{hours / workers:,.1f}",
                f"{hours * data['price_per_worker_hour']:,.0f}",
                f"{5000 / each / 60:.0f}",
            )
            for workers in (2, 16, 64, 256, 1024)
        ),
    )
    yield ""
    yield (
        f"At the rate of one of {row['workers']} workers on {row['on']}, {each:.2f} pairs a "
        f"second, and {row['bytes_per_pair'] / 1e3:.1f} kB a pair: "
        f"{row['bytes_per_pair'] * 1e7 / 1e9:,.0f} GB in all."
    )


def _slug(name: str) -> str:
    return name.replace(" ", "-")


def _paper(kind: str) -> Iterator[str]:
    """A table of the paper: its seeds, its figures, and what they say to what was expected."""
    if not (RESULTS / f"{kind}.json").exists():
        yield f"Not measured yet: `covary bench paper {kind.removeprefix('paper-')}`."
        return
    data = _read(kind)
    first, count = data["first_seed"], data["seeds"]
    remark = f" ({data['remark']})" if data["remark"] else ""
    yield f"Seeds {first} to {first + count - 1}: `{data['command']}`{remark}."
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
    return _page(name).read_text(encoding="utf-8")


def _page(name: str) -> Path:
    return DOCS / ("how-to" if name == "cluster" else "explanation") / f"{name}.md"


def _read(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return data


if __name__ == "__main__":
    for name, make in MADE.items():
        page = make()
        _page(name).write_text(page, encoding="utf-8")
        print(_page(name))
