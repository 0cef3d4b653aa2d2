"""The report of one or several results files: Markdown, and one HTML page that needs nothing else.

The page is made of text, tables and SVG: no script, no font, no address is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from covary.files import output_folder, replacing
from covary.pages import templates

from . import charts, tables
from .merged import Entry, Group, Run, groups, letters, plain, title
from .schema import Results, Setting
from .sweeps import sweeps

__all__ = ["HTML", "MARKDOWN", "html", "markdown", "write_report"]

MARKDOWN, HTML = "clusterers.md", "clusterers.html"


def write_report(results: Sequence[Results], folder: Path) -> tuple[Path, Path]:
    """Write ``clusterers.md`` and ``clusterers.html`` into the folder; their paths.

    Args:
        results: those of one machine or of several; they are lettered in this order.
        folder: made if need be.

    Raises:
        OutputError: the place cannot be written.
    """
    folder = output_folder(folder)
    paths = folder / MARKDOWN, folder / HTML
    for path, text in zip(paths, (markdown(results), html(results)), strict=True):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths


def markdown(results: Sequence[Results]) -> str:
    """The report as Markdown: a table for each setting and track."""
    runs = letters(results)
    return tables.markdown(runs, groups(runs), _methods(runs))


def html(results: Sequence[Results]) -> str:
    """The report as one page.

    Without the packages that draw (the extra ``bench``) it has its tables and says what is missing.
    """
    runs = letters(results)
    found = groups(runs)
    drawn = charts.available()
    return (
        templates(__package__ or "")
        .get_template("report.html")
        .render(
            runs=[(run.letter, tables.machine_name(run), tables.machine_rows(run)) for run in runs],
            methods=[_prose(paragraph) for paragraph in _methods(runs)],
            overview=tables.overview(found),
            anchor=_anchor,
            title=title,
            columns=tables.COLUMNS,
            sections=list(_sections(found, drawn)),
            scaling=_scaling(found) if drawn else {},
            drawn=drawn,
            qualities=charts.QUALITIES,
            moments=charts.MOMENTS,
            dark=charts.DARK,
            params=list(_params(found)),
        )
    )


@dataclass(frozen=True, slots=True)
class _Chart:
    """A drawing, what it shows, and which rows it could not show."""

    svg: str
    caption: str
    absent: str = ""


def _methods(runs: Sequence[Run]) -> list[str]:
    """The paragraphs of what the figures mean; those of each run where runs differ."""
    texts = list(dict.fromkeys(run.results.method for run in runs))
    return [plain(part) for text in texts for part in text.split("\n\n") if plain(part)]


def _prose(text: str) -> Markup:
    """HTML of text whose `code` stands between backticks."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _sections(found: Sequence[Group], drawn: bool) -> Iterator[dict[str, Any]]:
    """What the template needs of each setting."""
    settings = list(dict.fromkeys(group.setting for group in found))
    for setting in settings:
        tracks = [group for group in found if group.setting == setting]
        yield {
            "title": title(setting),
            "anchor": _anchor(setting),
            "size": f"N = {setting.size**2:,} pixels, D = {3 * setting.variants} features",
            "tracks": [_track(group, drawn) for group in tracks],
        }


def _track(group: Group, drawn: bool) -> dict[str, Any]:
    columns = tables.shown_columns(group.entries)
    fits = {len(entry.row.times.warm) for entry in group.entries if entry.row.times}
    return {
        "name": group.track,
        "columns": columns,
        "several": len(group.places) > 1,
        "rows": list(zip(group.entries, tables.cells(group, columns), strict=True)),
        "why_not": tables.why_not,
        "notes": tables.notes(group),
        "fits": "–".join(str(count) for count in sorted({min(fits), max(fits)})) if fits else "",
        "charts": [chart for place in group.places for chart in _charts(group, place)]
        if drawn
        else [],
    }


def _charts(group: Group, place: str) -> Iterator[_Chart]:
    entries = group.at(place)
    where = f"{title(group.setting)}, {group.track}, {place}"
    hidden = [entry for entry in entries if not charts.is_drawn(entry)]
    svg = charts.tradeoff(entries, f"Time against extra memory of each backend: {where}")
    if svg:
        yield _Chart(svg, f"{place}: time against memory", _absent(hidden))
    svg = charts.profile(entries, f"Load, first and warm fit of each backend: {where}")
    if svg:
        yield _Chart(svg, f"{place}: load, first fit, and warm fits with quartiles")


def _absent(entries: Sequence[Entry]) -> str:
    """The rows that a chart cannot show, in words."""
    return ", ".join(
        f"{entry.name} ({'no figure of memory' if entry.ok else entry.row.status})"
        for entry in entries
    )


def _scaling(found: Sequence[Group]) -> dict[str, list[_Chart]]:
    """How time grows along each axis, with one colour for a backend in all charts."""
    entries = [entry for group in found for entry in group.entries if entry.ok]
    default = {entry.name for entry in entries if entry.is_default}
    others = {entry.name for entry in entries} - default
    colours = {name: number for number, name in enumerate([*sorted(default), *sorted(others)])}
    drawn: dict[str, list[_Chart]] = {}
    for sweep in sweeps(found):
        where = f"{plain(sweep.setting.world)}, {sweep.track}, {sweep.place}"
        what = f"Time against {sweep.axis}: {sweep.fixed}"
        svg = charts.scaling(sweep, colours, f"{what}, {where}")
        drawn.setdefault(where, []).append(_Chart(svg, what))
    return drawn


def _params(found: Sequence[Group]) -> list[tuple[str, str, str]]:
    """What each backend was made with, once for each track: name, track, parameters."""
    rows: dict[tuple[str, str, str], None] = {}
    for group in found:
        for entry in group.entries:
            given = {key: value for key, value in entry.row.params.items() if key != "k"}
            if given:
                text = ", ".join(f"{key} = {value}" for key, value in given.items())
                rows[entry.name, group.track, plain(text)] = None
    return sorted(rows)


def _anchor(setting: Setting) -> str:
    parts = (setting.world, setting.size, setting.variants, setting.k, setting.space, setting.seed)
    return re.sub(r"[^A-Za-z0-9-]+", "_", "-".join(map(str, parts)))
