"""Rewrites the tables of ``docs/explanation/clustering.md`` from ``benchmarks/results/``.

The page is prose by hand with tables between ``<!-- generated: NAME -->`` and ``<!-- end -->``;
``PARTS`` says what the names stand for. Everything comes from the files ``clusterers*.json``, and
from ``lloyd.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from covary_bench.clusterers import tables
from covary_bench.clusterers.merged import Entry, Group, Run, groups, letters, title
from covary_bench.clusterers.store import load_results, results_files
from covary_bench.report import RESULTS, filled, markdown_table

PAGE = Path(__file__).parent / "explanation" / "clustering.md"


def page(text: str, files: Sequence[Path]) -> str:
    """The page's text with its generated parts made again from the results files."""
    runs = letters([load_results(file) for file in files])
    found = groups(runs)
    return filled(text, {name: partial(part, runs, found) for name, part in PARTS.items()})


def _machines(runs: Sequence[Run], _: Sequence[Group]) -> Iterator[str]:
    """The machines by their letters, with the remark of each."""
    for run in runs:
        remark = f" {tables.escaped(run.results.remark)}" if run.results.remark else ""
        yield f"- {run.letter}: {tables.escaped(tables.machine_name(run))}.{remark}"


def _overview(_: Sequence[Run], found: Sequence[Group]) -> Iterator[str]:
    """The default against the fastest others, a row for each setting, track and place."""
    columns, rows = tables.overview(found)
    yield from markdown_table(
        ("setting", *columns),
        (
            (title(setting), *map(tables.escaped, row))
            for setting, several in rows.items()
            for row in several
        ),
    )


def _main(runs: Sequence[Run], found: Sequence[Group]) -> Iterator[str]:
    """Every row of the first setting, a table for each track."""
    for group in found:
        if group.setting == found[0].setting:
            yield from (f"**{tables.escaped(title(group.setting))}, {group.track}**", "")
            yield from (*tables.markdown_group(group, len(runs) > 1), "")


def _ratios(_: Sequence[Run], found: Sequence[Group]) -> Iterator[str]:
    """Warm time over the default's with the same start, by backend and k, at the first setting."""
    main = found[0].setting.model_copy(update={"k": 0})
    swept = [
        group
        for group in found
        if group.track == "same start" and group.setting.model_copy(update={"k": 0}) == main
    ]
    swept.sort(key=lambda group: group.setting.k)
    ratios = [
        {(entry.name, entry.place): _ratio(entry) for entry in group.entries} for group in swept
    ]
    names = dict.fromkeys(name for column in ratios for name in column)
    yield from markdown_table(
        ("× lloyd", "on", *(f"k = {group.setting.k}" for group in swept)),
        (
            (*map(tables.escaped, name), *(column.get(name, tables.NONE) for column in ratios))
            for name in names
        ),
    )


def _ratio(entry: Entry) -> str:
    if not entry.ok or entry.ratio is None:
        return entry.row.status if not entry.ok else tables.NONE
    return tables.times_the_default(entry.ratio) + (" ▲" if entry.poor else "")


def _ideas(_: Sequence[Run], __: Sequence[Group]) -> Iterator[str]:
    """Seconds without each of lloyd's ideas over those with all, a column for each k."""
    data = json.loads((RESULTS / "lloyd.json").read_text(encoding="utf-8"))
    ks = sorted({row["k"] for row in data["rows"]})
    ratios = {(row["what"], row["k"]): row["ratio"] for row in data["rows"]}
    names = list(dict.fromkeys(row["what"] for row in data["rows"]))
    yield from markdown_table(
        ("changed", *(f"k = {k}" for k in ks)),
        ((name, *(f"{ratios[name, k]:.2f}" for k in ks)) for name in names),
    )
    alone = [data["passes"][str(k)] for k in ks]
    milliseconds = (
        (
            f"k = {k}: {1e3 * one['first']['median']:.0f} ms for a first pass over all pixels, "
            f"{1e3 * one['later']['median']:.1f} ms for a later one"
        )
        for k, one in zip(ks, alone, strict=True)
    )
    yield from ("", f"{'; '.join(milliseconds)}.")
    page = "[lloyd.json](../../benchmarks/results/lloyd.json)"
    read = f"{1e3 * alone[0]['read']:.0f} ms"
    yield f"At the rate of a copy, as many bytes as the summary has are moved in {read} ({page})."


PARTS: Mapping[str, Callable[[Sequence[Run], Sequence[Group]], Iterator[str]]] = {
    "ideas": _ideas,
    "machines": _machines,
    "overview": _overview,
    "main": _main,
    "ratios": _ratios,
}
"""What can stand between the markers."""


if __name__ == "__main__":
    PAGE.write_text(
        page(PAGE.read_text(encoding="utf-8"), results_files(RESULTS)), encoding="utf-8"
    )
    print(PAGE)
