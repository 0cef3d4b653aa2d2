"""The tables of a report: what stands in each column, what is best in it, and Markdown of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ..report import markdown_table
from .merged import DEFAULT, Entry, Group, Run, plain, title
from .schema import Memory, Quality, Setting, Times

__all__ = [
    "COLUMNS",
    "NONE",
    "SHORT",
    "Cell",
    "Column",
    "Verdict",
    "cells",
    "escaped",
    "machine_name",
    "machine_rows",
    "markdown",
    "markdown_group",
    "milliseconds",
    "notes",
    "overview",
    "prose",
    "shown_columns",
    "times_the_default",
    "verdict",
    "why_not",
]

NONE = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """A figure of a row.

    Attributes:
        head: its name and unit.
        value: the figure; None where the row has none.
        text: how the figure is written.
        better: which of two is better, if any.
        explanation: what it means.
    """

    head: str
    value: Callable[[Entry], float | None]
    text: Callable[[float], str]
    better: Literal["less", "more", ""] = ""
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure as it is printed; ``best`` of its column, or ``poor``: not converged."""

    text: str
    best: bool = False
    poor: bool = False


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds, to three digits at least."""
    return _digits(seconds * 1e3)


def times_the_default(ratio: float) -> str:
    """A ratio as ``2.10×``."""
    return f"{_digits(ratio)}×"


def _digits(value: float) -> str:
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{decimals}f}"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.1f}" if value < 1e8 else f"{value / 1e6:,.0f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _inertia(value: float) -> str:
    return f"{value:.5f}"


def _score(value: float) -> str:
    return f"{value:.4f}"


def _of_times(get: Callable[[Times], float | None]) -> Callable[[Entry], float | None]:
    return lambda entry: None if entry.row.times is None else get(entry.row.times)


def _of_memory(get: Callable[[Memory], float | None]) -> Callable[[Entry], float | None]:
    return lambda entry: None if entry.row.memory is None else get(entry.row.memory)


def _of_quality(get: Callable[[Quality], float | None]) -> Callable[[Entry], float | None]:
    return lambda entry: None if entry.row.quality is None else get(entry.row.quality)


WARM = Column(
    "warm fit, ms (quartiles)", lambda entry: entry.warm, milliseconds, "less",
    "median of all fits but the first; conversions that the backend needs included",
)  # fmt: skip
RATIO = Column(
    "× lloyd", lambda entry: entry.ratio, times_the_default, "",
    "warm fit over that of the default clusterer, same machine, device, setting and track",
)  # fmt: skip
COLD = Column(
    "first fit, ms", _of_times(lambda times: times.cold), milliseconds, "less",
    "the first fit of a fresh process, compilation included",
)  # fmt: skip
CACHED = Column(
    "first fit, cached, ms", _of_times(lambda times: times.cached), milliseconds, "less",
    "the first fit of the second process, which finds compiled code on disk",
)  # fmt: skip
LOAD = Column(
    "load, ms", _of_times(lambda times: times.load), milliseconds, "less",
    "importing the backend's packages and making the component",
)  # fmt: skip
HOST = Column(
    "extra memory, MB", lambda entry: entry.host, _megabytes, "less",
    "peak main memory of a warm fit above what the process held just before it, of the first "
    "where only that is known; 1 MB is 10⁶ bytes",
)  # fmt: skip
FIRST_HOST = Column(
    "first fit, extra memory, MB",
    _of_memory(lambda memory: None if memory.host_warm is None else memory.host),
    _megabytes, "less",
    "the same of the first fit, which also loads and compiles code",
)  # fmt: skip
DEVICE = Column(
    "extra GPU memory, MB", _of_memory(lambda memory: memory.device), _megabytes, "less",
    "peak of the GPU's memory in the first fit",
)  # fmt: skip
EXCESS = Column(
    "inertia / converged", lambda entry: entry.excess, _inertia, "less",
    "sum of squared distances over that of a converged float64 Lloyd; "
    "▲ marks more than 1.0001",
)  # fmt: skip
BEST_RATIO = Column(
    "inertia / lowest", _of_quality(lambda quality: quality.inertia_ratio), _inertia, "less",
    "sum of squared distances over the lowest of the setting and track",
)  # fmt: skip
ARI = Column(
    "ARI", _of_quality(lambda quality: quality.ari_reference), _score, "more",
    "adjusted Rand index to the labels of the converged reference; 1 is equal",
)  # fmt: skip
TRUTH = Column(
    "ARI to truth", _of_quality(lambda quality: quality.ari_truth), _score, "more",
    "adjusted Rand index to the scene's true regions",
)  # fmt: skip
IOU = Column(
    "IoU", _of_quality(lambda quality: quality.iou), _score, "more",
    "of the final mask with the true foreground; 0 if none was found",
)  # fmt: skip
ITERATIONS = Column(
    "iterations", _of_quality(lambda quality: quality.iterations), _whole, "",
    "as the backend reports them",
)  # fmt: skip
BUSY = Column(
    "others, cores", lambda entry: entry.row.busy, lambda value: f"{value:.2f}", "",
    "cores that other processes kept busy meanwhile",
)  # fmt: skip

COLUMNS = (
    WARM, RATIO, COLD, CACHED, LOAD, HOST, FIRST_HOST, DEVICE, EXCESS, BEST_RATIO, ARI, TRUTH, IOU,
    ITERATIONS, BUSY,
)  # fmt: skip
"""All figures of a row, in the order of a wide table."""

SHORT = (WARM, RATIO, COLD, HOST, DEVICE, EXCESS, ARI, IOU)
"""Those that fit a narrow table."""

_NEED_A_FIGURE = (CACHED, FIRST_HOST, DEVICE, BUSY)


def shown_columns(
    entries: Sequence[Entry], columns: Sequence[Column] = COLUMNS
) -> tuple[Column, ...]:
    """The columns, without those that only some machines have, where no row has a figure."""
    return tuple(
        column
        for column in columns
        if column not in _NEED_A_FIGURE or any(column.value(entry) is not None for entry in entries)
    )


def cells(group: Group, columns: Sequence[Column]) -> list[list[Cell]]:
    """The figures of the group's rows, the best of each column and place marked.

    Fits that are known not to have converged are no competition: doing less is fast. Where more
    than half are equally good nothing is best.
    """
    best = {
        (place, column.head): _best(group.at(place), column)
        for place in group.places
        for column in columns
    }
    return [
        [_cell(entry, column, best[entry.place, column.head]) for column in columns]
        for entry in group.entries
    ]


def _cell(entry: Entry, column: Column, best: str) -> Cell:
    value = column.value(entry)
    if value is None:
        return Cell(NONE)
    text = column.text(value)
    rival = entry.ok and not entry.poor
    spread = ""
    if column is WARM and entry.quartiles is not None:
        low, _, high = entry.quartiles
        spread = f" ({milliseconds(low)}–{milliseconds(high)})"
    return Cell(text + spread, rival and text == best, column is EXCESS and entry.poor)


def _best(entries: Sequence[Entry], column: Column) -> str:
    """The best figure of a column as it is printed; empty where there is none."""
    if not column.better:
        return ""
    rivals = [entry for entry in entries if entry.ok and not entry.poor]
    values = [value for entry in rivals if (value := column.value(entry)) is not None]
    if not values:
        return ""
    best = column.text(min(values) if column.better == "less" else max(values))
    equal = sum(column.text(value) == best for value in values)
    return best if 2 * equal <= len(values) else ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the default does against the fastest others of a group at one place.

    Attributes:
        default: its row, if there is one.
        rival: the fastest other row that converged.
        hasty: the fastest row of all, if it is faster than both and not known to have converged.
    """

    place: str
    default: Entry | None
    rival: Entry | None
    hasty: Entry | None


def verdict(group: Group, place: str) -> Verdict:
    """The default, the fastest other that converged, and what is faster without."""
    timed = [entry for entry in group.at(place) if entry.ok and entry.warm is not None]
    default = next((entry for entry in timed if entry.is_default), None)
    rival = next((entry for entry in timed if entry.close and entry.row.id != DEFAULT), None)
    first = timed[0] if timed else None
    hasty = None if first is None or first.close or first in (default, rival) else first
    return Verdict(place, default, rival, hasty)


def overview(
    found: Sequence[Group],
) -> tuple[tuple[str, ...], dict[Setting, list[tuple[str, ...]]]]:
    """Columns of the table that sums up all groups, and its rows for each setting."""
    columns = ("track", "on", "lloyd, ms", "fastest other that converged",
               "faster, not known to converge", "not run")  # fmt: skip
    rows: dict[Setting, list[tuple[str, ...]]] = {}
    for group in found:
        rows.setdefault(group.setting, []).extend(
            (group.track, place, *_summed_up(group, place)) for place in group.places
        )
    return columns, rows


def _summed_up(group: Group, place: str) -> tuple[str, ...]:
    found = verdict(group, place)
    absent = sum(not entry.ok for entry in group.at(place))
    default = NONE
    if found.default is not None and found.default.warm is not None:
        default = milliseconds(found.default.warm)
    return default, _against(found.rival), _against(found.hasty), str(absent)


def _against(entry: Entry | None) -> str:
    if entry is None or entry.warm is None:
        return NONE
    shown = f"{entry.name} {milliseconds(entry.warm)} ms"
    return shown if entry.ratio is None else f"{shown} ({times_the_default(entry.ratio)})"


def machine_name(run: Run) -> str:
    """The processor, its cores, and the GPU."""
    known = {"cores": "{} cores"}
    machine = run.results.machine
    parts = [
        known.get(key, "{}").format(plain(machine[key]))
        for key in ("processor", "cores", "gpu")
        if machine.get(key)
    ]
    return ", ".join(parts) or "machine not named"


def machine_rows(run: Run) -> list[tuple[str, str]]:
    """What is known of a run: machine, versions, how memory was measured, command, remark."""
    results = run.results
    rows = [(plain(key), _fact(value)) for key, value in results.machine.items()]
    known = {key for key, _ in rows}
    for name, versions in sorted(_versions(run).items()):
        if name not in known:
            rows.append((name, ", ".join(sorted(versions))))
    rows += [("memory by", method) for method in _memory_methods(run)]
    rows += [("measured", plain(results.created)), ("command", plain(results.command))]
    return rows if not results.remark else [*rows, ("remark", plain(results.remark))]


def _fact(value: object) -> str:
    return "not installed" if value is None else plain(value)


def _versions(run: Run) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in run.results.rows:
        for name, version in row.versions.items():
            found.setdefault(plain(name), set()).add(plain(version))
    return found


def _memory_methods(run: Run) -> list[str]:
    measured = [row.memory for row in run.results.rows if row.memory is not None]
    methods = Counter(plain(memory.host_method) for memory in measured)
    methods += Counter(plain(memory.device_method) for memory in measured if memory.device_method)
    return [f"{method} ({count} rows)" for method, count in methods.most_common()]


def why_not(entry: Entry) -> str:
    """How a row ended that is not ok, why, and what would help."""
    reason, fix = plain(entry.row.reason), plain(entry.row.fix)
    text = f"{entry.row.status}: {reason}" if reason else str(entry.row.status)
    return f"{text}; {fix}" if fix else text


def notes(group: Group) -> list[tuple[str, str]]:
    """What to know of some rows: whose, and what."""
    names: dict[str, list[str]] = {}
    for entry in group.entries:
        if entry.row.note:
            names.setdefault(plain(entry.row.note), []).append(entry.name)
    return [(", ".join(dict.fromkeys(those)), note) for note, those in names.items()]


def markdown(runs: Sequence[Run], found: Sequence[Group], method: Sequence[str]) -> str:
    """The whole report as Markdown."""
    lines = ["# Clusterers: time, memory and quality", ""]
    for run in runs:
        lines += [f"## {run.letter}: {escaped(machine_name(run))}", ""]
        lines += [f"- {escaped(key)}: {escaped(value)}" for key, value in machine_rows(run)]
        lines += [""]
    lines += ["## Method", "", *(f"{prose(paragraph)}\n" for paragraph in method)]
    lines += [*_legend(), ""]
    if not found:
        lines += ["No rows.", ""]
    for group in found:
        lines += [f"## {escaped(title(group.setting))}: {group.track}", ""]
        lines += [*markdown_group(group, len(runs) > 1), ""]
    return "\n".join(lines)


def _legend() -> Iterator[str]:
    for column in SHORT:
        yield f"- *{column.head}*: {column.explanation}."
    yield "- Bold: the best of its column on its machine, among rows not marked ▲."


def markdown_group(group: Group, several: bool) -> Iterator[str]:
    """A table of the rows with figures, one of the others with their reasons, and notes.

    Args:
        group: the rows.
        several: whether to name the place of each row.
    """
    where = several or len(group.places) > 1
    columns = shown_columns(group.entries, SHORT)
    rows = list(zip(group.entries, cells(group, columns), strict=True))
    ran = [(*_names(entry, where), *map(_marked, figures)) for entry, figures in rows if entry.ok]
    others = [(*_names(entry, where), escaped(why_not(entry))) for entry, _ in rows if not entry.ok]
    heads = ("backend", "on") if where else ("backend",)
    if ran:
        yield from markdown_table((*heads, *(column.head for column in columns)), ran)
    if ran and others:
        yield ""
    if others:
        yield from markdown_table((*heads, "not run"), others)
    for names, note in notes(group):
        yield from ("", f"{escaped(names)}: {escaped(note.rstrip('.'))}.")


def _names(entry: Entry, where: bool) -> tuple[str, ...]:
    name = escaped(entry.name)
    return (name, escaped(entry.place)) if where else (name,)


def _marked(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.best else cell.text
    return f"{text} ▲" if cell.poor else text


def prose(text: str) -> str:
    """Markdown of text whose `code` stands between backticks."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escaped(text)
    return "".join(f"`{part}`" if odd % 2 else escaped(part) for odd, part in enumerate(parts))


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, in a table too."""
    return re.sub(r"([\\`*_{}\[\]<>|&~])", r"\\\1", text)
