"""The charts of a report, as SVG made by Altair.

Static pictures, not a script: they show where scripts do not run (attachments on a phone,
artefact viewers of CI services, print), need no megabyte of Vega in the page, and each point still
tells its figures on hovering, by its ``<title>``. One drawing, 360 pixels wide, serves a phone at
its natural size and a desktop beside others. Colours are those of a light page; the page restyles
them for a dark one by ``DARK``.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from . import labels
from .merged import CLOSE, Entry
from .sweeps import Sweep
from .tables import milliseconds, why_not

if TYPE_CHECKING:
    import altair as alt

__all__ = [
    "DARK",
    "MOMENTS",
    "QUALITIES",
    "SERIES",
    "as_svg",
    "available",
    "inline",
    "is_drawn",
    "profile",
    "scaling",
    "tradeoff",
]

INK, FAINT, GRID = "#24292f", "#5b646e", "#dfe3e8"

SERIES = {
    "#0069a8": "#5cb8f0",
    "#a65f00": "#f0a83c",
    "#00785a": "#3cc49a",
    "#c0390b": "#ff8a62",
    "#8a3a86": "#de96da",
    "#52606e": "#a9b6c4",
    "#6d6a00": "#cfc84a",
    "#b0305f": "#ff8fb4",
}
"""Colours of lines, each with its like on a dark page."""

DARK = {INK: "#e6e9ed", FAINT: "#a3adb8", GRID: "#343b44", **SERIES, "#6a0f3f": "#e56aa8"}
"""The colour of a dark page for each colour that the charts use."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of point: its name, how Vega draws it, and the character that looks like it."""

    words: str
    colour: str
    shape: str
    sign: str


_CONVERGED = Kind("converged: inertia within 0.01 %", "#0069a8", "circle", "●")
_UNKNOWN = Kind("inertia not known", FAINT, "cross", "✚")
_BY_EXCESS = (
    (CLOSE, _CONVERGED),
    (1.01, Kind("up to 1 % more", "#a65f00", "triangle-up", "▲")),
    (1.1, Kind("up to 10 % more", "#c0390b", "square", "■")),
    (math.inf, Kind("over 10 % more", "#6a0f3f", "diamond", "◆")),
)

QUALITIES = (*(kind for _, kind in _BY_EXCESS), _UNKNOWN)
"""The points of :func:`tradeoff`, by inertia over that of the converged reference."""

MOMENTS = (
    Kind("load", FAINT, "square", "■"),
    Kind("first fit", "#a65f00", "diamond", "◆"),
    Kind("first fit, code cached", "#00785a", "triangle-up", "▲"),
    Kind("warm fit", "#0069a8", "circle", "●"),
)
"""The points of :func:`profile`."""

_WIDTH, _HEIGHT = 290, 260
_CARD = 360
_NAMES = 128
_SMALLEST_MEMORY = 1e5
"""Bytes; less is drawn there, as a logarithmic axis has no zero."""

_TIME_LABEL = (
    "datum.value < 1 ? format(datum.value * 1e3, '~g') + ' ms' : format(datum.value, ',~g') + ' s'"
)
_MEMORY_LABEL = (
    "datum.value < 1e9 ? format(datum.value / 1e6, '~g') + ' MB'"
    " : format(datum.value / 1e9, '~g') + ' GB'"
)


@dataclass(frozen=True, slots=True)
class _Axis:
    """A logarithmic axis of ``length`` pixels."""

    low: float
    high: float
    length: float

    @classmethod
    def over(cls, values: Sequence[float], length: float, room: float = 1.3) -> _Axis:
        return cls(min(values) / room, max(values) * room, length)

    def pixel(self, value: float) -> float:
        return self.length * math.log(value / self.low) / math.log(self.high / self.low)

    def value(self, pixel: float) -> float:
        return self.low * math.exp(math.log(self.high / self.low) * pixel / self.length)

    def scale(self) -> alt.Scale:
        import altair as alt

        return alt.Scale(type="log", domain=[self.low, self.high], nice=False)

    def ticks(self) -> list[float]:
        """Decades, or steps of 1, 2, 5 where there are few."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1,) if self.high / self.low > 200 else (1, 2, 5)
        ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
        return [tick for tick in ticks if self.low <= tick <= self.high]


def available() -> bool:
    """Whether the packages that draw are installed: those of the extra ``bench``."""
    try:
        import altair  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError:
        return False
    return True


def _quality(entry: Entry) -> Kind:
    excess = entry.excess
    if excess is None:
        return _UNKNOWN
    return next((kind for most, kind in _BY_EXCESS if excess <= most), _UNKNOWN)


def tradeoff(entries: Sequence[Entry], alt_text: str) -> str:
    """Time against extra memory, a point for each entry that has both; empty if none has."""
    import altair as alt

    drawn = [(entry, *_time_and_memory(entry)) for entry in entries if is_drawn(entry)]
    if not drawn:
        return ""
    y = _Axis.over([warm for _, warm, _ in drawn], _HEIGHT, 1.6)
    x = _Axis.over([memory for _, _, memory in drawn], _WIDTH, 1.6)
    points = [
        {
            "x": memory,
            "y": warm,
            "quality": _quality(entry).words,
            "what": _told(entry),
        }
        for entry, warm, memory in drawn
    ]
    base = alt.Chart(inline(points), width=_WIDTH, height=_HEIGHT).encode(
        x=alt.X("x:Q", scale=x.scale(), axis=_ticked(x, _MEMORY_LABEL), title="extra peak memory"),
        y=alt.Y("y:Q", scale=y.scale(), axis=_ticked(y, _TIME_LABEL), title="warm fit"),
    )
    words = [kind.words for kind in QUALITIES]
    marks = base.mark_point(filled=True, size=70, opacity=1).encode(
        color=alt.Color("quality:N", legend=None).scale(
            domain=words, range=[kind.colour for kind in QUALITIES]
        ),
        shape=alt.Shape("quality:N", legend=None).scale(
            domain=words, range=[kind.shape for kind in QUALITIES]
        ),
        description="what:N",
    )
    spots = [(x.pixel(memory), _HEIGHT - y.pixel(warm)) for _, warm, memory in drawn]
    names = _names([entry for entry, _, _ in drawn], spots, x, y)
    return as_svg(names[0] + marks + names[1], alt_text)


def is_drawn(entry: Entry) -> bool:
    """Whether an entry has the figures of a point of :func:`tradeoff`."""
    return entry.has_times and entry.memory is not None


def profile(entries: Sequence[Entry], alt_text: str) -> str:
    """Load, first fit, and warm fits with quartiles of each entry; how the others ended."""
    import altair as alt

    timed = [entry for entry in entries if entry.ok and entry.row.times is not None]
    seconds = [s for entry in timed for s in _all_times(entry) if s > 0]
    if not seconds:
        return ""
    rows = [f"{index:04d}" for index in range(len(entries))]
    names = {row: _shortened(entry.name) for row, entry in zip(rows, entries, strict=True)}
    x = _Axis.over(seconds, _CARD - _NAMES - 30, 1.3)
    y = alt.Y("row:N", sort=rows, title=None).scale(domain=rows).axis(
        labelExpr=f"{_literal(names)}[datum.value]", ticks=False, domain=False, grid=True,
        labelLimit=_NAMES, labelPadding=6, minExtent=_NAMES, maxExtent=_NAMES,
    )  # fmt: skip
    across = alt.X("x:Q", scale=x.scale(), axis=_ticked(x, _TIME_LABEL), title="time")
    spans, dots, words = [], [], []
    for row, entry in zip(rows, entries, strict=True):
        if not entry.ok:
            words.append({"row": row, "x": x.low * 1.05, "text": entry.row.status,
                          "what": f"{entry.name}: {why_not(entry)}"})  # fmt: skip
            continue
        if entry.has_times and entry.quartiles is not None:
            low, _, high = entry.quartiles
            spans.append({"row": row, "x": low, "x2": high})
        dots += [
            {"row": row, "x": value, "kind": kind, "what": f"{entry.name}, {text} ms"}
            for kind, value, text in _told_times(entry)
            if value > 0
        ]
    kinds = [moment.words for moment in MOMENTS]
    marks = _layer(dots, y, across).mark_point(filled=True, size=45, opacity=1).encode(
        color=alt.Color("kind:N", legend=None).scale(
            domain=kinds, range=[moment.colour for moment in MOMENTS]
        ),
        shape=alt.Shape("kind:N", legend=None).scale(
            domain=kinds, range=[moment.shape for moment in MOMENTS]
        ),
        description="what:N",
    )  # fmt: skip
    bars = _layer(spans, y, across).mark_rule(
        color="#0069a8", strokeWidth=5, opacity=0.45, aria=False
    ).encode(
        x2="x2:Q"
    )  # fmt: skip
    ended = _layer(words, y, across).mark_text(
        align="left", fontSize=labels.FONT_SIZE, fontStyle="italic", color=FAINT
    ).encode(text="text:N", description="what:N")  # fmt: skip
    chart = alt.layer(bars, marks, ended).properties(width=x.length, height=alt.Step(19))
    return as_svg(chart, alt_text)


def scaling(sweep: Sweep, colours: Mapping[str, int], alt_text: str) -> str:
    """Warm time of each backend over N, D or k, with bands between the quartiles.

    Args:
        sweep: what to draw.
        colours: a number for each name, the same in all charts.
        alt_text: what the chart shows.
    """
    import altair as alt

    points: list[dict[str, Any]] = [
        {"x": value, "y": quartiles[1], "low": quartiles[0], "high": quartiles[2], "name": name,
         "what": _told(entry), "default": entry.is_default}
        for name, line in sweep.lines.items() for value, entry in sorted(line.items())
        if (quartiles := entry.quartiles) is not None
    ]  # fmt: skip
    values = sorted({point["x"] for point in points})
    times = [point[key] for point in points for key in ("low", "high")]
    width = 192
    x, y = _Axis.over(values, width, 1.05), _Axis.over(times, _HEIGHT, 1.3)
    titles = {"N": "pixels N", "D": "features D = 3 × variants", "k": "clusters k"}
    shown = "round(sqrt(datum.value)) + '²'" if sweep.axis == "N" else "datum.value"
    across = alt.X("x:Q", scale=x.scale(), title=titles[sweep.axis]).axis(
        values=values, labelExpr=shown, grid=False
    )
    upwards = alt.Y("y:Q", scale=y.scale(), axis=_ticked(y, _TIME_LABEL), title="warm fit")
    base = _layer(points, upwards, across)
    names = list(sweep.lines)
    palette = list(SERIES)
    colour = alt.Color("name:N", legend=None).scale(
        domain=names, range=[palette[colours[name] % len(palette)] for name in names]
    )
    dash = alt.StrokeDash("name:N", legend=None).scale(
        domain=names, range=[[4, 3] if colours[name] >= len(palette) else [1, 0] for name in names]
    )
    thickness = alt.condition("datum.default", alt.value(3.5), alt.value(1.6))
    bands = base.mark_area(opacity=0.25, aria=False).encode(y="low:Q", y2="high:Q", color=colour)
    drawn = base.mark_line(aria=False).encode(color=colour, strokeDash=dash, strokeWidth=thickness)
    dots = base.mark_point(filled=True, size=28, opacity=1).encode(
        color=colour, description="what:N"
    )
    chart = alt.layer(bands, drawn, dots, *_ends(sweep.lines, colour, x, y)).properties(
        width=width, height=_HEIGHT
    )
    return as_svg(chart, alt_text)


def _ends(
    lines: Mapping[str, Mapping[int, Entry]], colour: Any, x: _Axis, y: _Axis
) -> list[alt.Chart]:
    """The names at the right of the lines, joined to their ends."""
    import altair as alt

    ends = [max(line.items(), key=lambda point: point[0]) for line in lines.values()]
    heights = [y.length - y.pixel(entry.warm or y.low) for _, entry in ends]
    moved = labels.spread_out(heights, labels.FONT_SIZE + 1.5, y.length)
    rows = [
        {"name": name, "text": _shortened(name, 19), "bold": entry.is_default,
         "x": value, "y": entry.warm, "x2": x.value(x.length + 12),
         "y2": y.value(y.length - height), "x3": x.value(x.length + 15)}
        for name, (value, entry), height in zip(lines, ends, moved, strict=True)
    ]  # fmt: skip
    base = alt.Chart(inline(rows))
    joins = base.mark_rule(opacity=0.8, strokeDash=[1, 2], aria=False).encode(
        x=alt.X("x:Q"), y=alt.Y("y:Q"), x2="x2:Q", y2="y2:Q", color=colour
    )
    names = base.mark_text(
        align="left", fontSize=labels.FONT_SIZE, fontWeight=_bold(), aria=False
    ).encode(x=alt.X("x3:Q"), y=alt.Y("y2:Q"), text="text:N", color=colour)
    return [joins, names]


def _names(
    entries: Sequence[Entry], spots: Sequence[tuple[float, float]], x: _Axis, y: _Axis
) -> tuple[alt.Chart, alt.Chart]:
    """Lines to the names that are far from their points, and the names."""
    import altair as alt

    texts = [_shortened(entry.name) for entry in entries]
    placed = labels.place(spots, texts, (x.length, y.length))
    rows = [
        {"text": text, "bold": entry.is_default, "far": label.far,
         "x": x.value(label.x), "y": y.value(y.length - label.y),
         "x1": x.value(label.touch[0]), "y1": y.value(y.length - label.touch[1]),
         "x2": x.value(spot[0]), "y2": y.value(y.length - spot[1])}
        for text, entry, label, spot in zip(texts, entries, placed, spots, strict=True)
    ]  # fmt: skip
    far = alt.Chart(inline([row for row in rows if row["far"]]))
    joins = far.mark_rule(color=FAINT, strokeWidth=0.7, aria=False).encode(
        x=alt.X("x1:Q"), y=alt.Y("y1:Q"), x2="x2:Q", y2="y2:Q"
    )
    names = alt.Chart(inline(rows)).mark_text(
        align="left", color=INK, fontSize=labels.FONT_SIZE, fontWeight=_bold(), aria=False
    ).encode(x=alt.X("x:Q"), y=alt.Y("y:Q"), text="text:N")  # fmt: skip
    return joins, names


def _bold() -> Any:
    import altair as alt

    return alt.expr("datum.bold ? 'bold' : 'normal'")


def _layer(rows: list[dict[str, Any]], y: alt.Y, x: alt.X) -> alt.Chart:
    import altair as alt

    return alt.Chart(inline(rows)).encode(x=x, y=y)


def inline(rows: list[dict[str, Any]]) -> alt.Data:
    """Rows as the data of a chart."""
    import altair as alt

    return alt.Data(values=rows)  # type: ignore[no-untyped-call]


def _ticked(axis: _Axis, label: str) -> alt.Axis:
    import altair as alt

    return alt.Axis(values=axis.ticks(), labelExpr=label, labelOverlap=True, labelSeparation=8)


def _time_and_memory(entry: Entry) -> tuple[float, float]:
    assert entry.warm is not None
    assert entry.memory is not None
    return entry.warm, max(entry.memory, _SMALLEST_MEMORY)


def _all_times(entry: Entry) -> list[float]:
    return [value for _, value, _ in _told_times(entry)] + list(entry.quartiles or ())


def _told_times(entry: Entry) -> list[tuple[str, float, str]]:
    times = entry.row.times
    if times is None:
        return []
    seconds = (times.load, times.cold, times.cached, entry.warm)
    return [
        (moment.words, value, f"{moment.words} {milliseconds(value)}")
        for moment, value in zip(MOMENTS, seconds, strict=True)
        if value is not None
    ]


def _told(entry: Entry) -> str:
    """The figures of a point in words."""
    parts = [entry.name]
    if entry.warm is not None:
        parts.append(f"{milliseconds(entry.warm)} ms")
    if entry.memory is not None:
        parts.append(f"{entry.memory / 1e6:,.1f} MB")
    if entry.excess is not None:
        parts.append(f"inertia / converged {entry.excess:.5f}")
    return ", ".join(parts)


def _shortened(name: str, most: int = 22) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _literal(names: Mapping[str, str]) -> str:
    """The mapping as an object of Vega's expression language, which is JSON's."""
    import json

    return json.dumps(names)


def as_svg(chart: alt.Chart | alt.LayerChart | alt.FacetChart, alt_text: str) -> str:
    """The chart as SVG that fits into a page, light or dark."""
    import altair as alt

    styled = chart.configure(
        background="transparent",
        font="Helvetica, Arial, sans-serif",
        padding=2,
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(
            labelColor=FAINT, titleColor=INK, gridColor=GRID, tickColor=GRID, domainColor=FAINT,
            labelFontSize=labels.FONT_SIZE, titleFontSize=labels.FONT_SIZE,
            titleFontWeight="normal", tickSize=4,
        ),
    )  # fmt: skip
    text = io.StringIO()
    styled.save(text, format="svg", engine="vl-convert")
    return _slimmed(text.getvalue(), alt_text)


_SVG = "http://www.w3.org/2000/svg"
_INHERITED = ("fill", "font-size", "font-weight", "stroke", "stroke-width", "text-anchor")
_NOISE = (
    *("aria-hidden", "aria-label", "aria-roledescription", "role"),
    *("class", "font-family", "pointer-events"),
)
_USUAL = {
    "font-weight": "normal",
    "opacity": "1",
    "stroke-width": "1",
    "transform": "translate(0,0)",
}


def _slimmed(svg: str, alt_text: str) -> str:
    """The drawing with a title for each point, without what a page does not need.

    Half of Vega's SVG are attributes that repeat defaults, and digits beyond a tenth of a pixel.
    """
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.get("display") == "none" or child.get("d") in ("", "M0,0h0v0h0Z"):
                parent.remove(child)
    for element in list(root.iter()):
        if element.get("aria-label") and element.get("role") == "graphics-symbol":
            _name(element)
        for noise in _NOISE:
            element.attrib.pop(noise, None)
        for key, value in _USUAL.items():
            if element.get(key) == value:
                del element.attrib[key]
        for key, value in element.attrib.items():
            if key in ("d", "transform", "x2", "y2"):
                element.set(key, re.sub(r"-?\d+\.\d+", _tenth, value))
    for element in root.iter():
        _share(element)
    _fix_width(root)
    root.set("role", "img")
    root.set("aria-label", alt_text)
    root.set("font-family", "Helvetica, Arial, sans-serif")
    return ElementTree.tostring(root, encoding="unicode")


def _share(group: ElementTree.Element) -> None:
    """Say once for a group what all its members say; they inherit it."""
    for key in _INHERITED:
        values = {child.get(key) for child in group}
        if len(group) > 1 and len(values) == 1 and None not in values:
            group.set(key, values.pop() or "")
            for child in group:
                del child.attrib[key]


def _fix_width(root: ElementTree.Element) -> None:
    """Give all drawings one scale: a width of 360, or more where a name needs it."""
    width, height = (float(root.attrib.pop(side)) for side in ("width", "height"))
    root.set("viewBox", f"0 0 {max(width, _CARD):g} {height:g}")


def _name(element: ElementTree.Element) -> None:
    """Give a point the text that browsers show on hovering; not an axis, which says nothing new."""
    if "axis" in (element.get("aria-roledescription") or ""):
        return
    title = ElementTree.SubElement(element, f"{{{_SVG}}}title")
    title.text = element.get("aria-label")


def _tenth(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")
