"""Lines of the page: how a figure follows what is changed, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..clusterers.charts import SERIES, as_svg, available, inline
from .claims import own_space

__all__ = ["Chart", "charts"]

_WIDTH, _HEIGHT = 290, 220
_RULES = ("border", "corner", "saliency", "oracle")


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with what its colours mean."""

    caption: str
    svg: str
    lines: Sequence[tuple[str, str]]
    """(name, colour) of each line."""


def charts(kind: str, data: Mapping[str, Any]) -> list[Chart]:
    """The charts of a table; none where nothing is swept, or the extra ``bench`` is missing."""
    makers = {"paper-table4": _table4, "paper-s3": _s3}
    return list(makers[kind](data)) if kind in makers and available() else []


def _table4(data: Mapping[str, Any]) -> Iterator[Chart]:
    """mIoU over k at the preset's c, and over c at k = 4, by rule."""
    space = own_space(data)
    own = [row for row in data["rows"] if row["space"] == space]
    for axis, fixed, value in (("k", "c", data["c"]), ("c", "k", 4)):
        lines = {
            rule: {
                row[axis]: row["miou"] for row in own if row["rule"] == rule and row[fixed] == value
            }
            for rule in _RULES
        }
        yield from _lines(lines, axis, f"mIoU by {axis}: {space.upper()}, {fixed} = {value}")


def _s3(data: Mapping[str, Any]) -> Iterator[Chart]:
    """mIoU over the number of variants, by psi."""
    lines = {
        f"psi = {psi:g}": {row["n"]: row["miou"] for row in data["rows"] if row["psi"] == psi}
        for psi in sorted({row["psi"] for row in data["rows"]})
    }
    yield from _lines(lines, "n", "mIoU by the number of variants n")


def _lines(lines: Mapping[str, Mapping[int, float]], axis: str, caption: str) -> Iterator[Chart]:
    """A chart of lines with a point at each figure; none if there is nothing to join."""
    import altair as alt

    values = sorted({x for line in lines.values() for x in line})
    if len(values) < 2:
        return
    colours = dict(zip(lines, SERIES, strict=False))
    points = [
        {"x": x, "y": y, "name": name, "what": f"{name}, {axis} = {x}: {y:.3f}"}
        for name, line in lines.items()
        for x, y in sorted(line.items())
    ]
    colour = alt.Color("name:N", legend=None).scale(
        domain=list(colours), range=list(colours.values())
    )
    base = alt.Chart(inline(points)).encode(
        x=alt.X("x:Q", title=axis).scale(zero=False).axis(values=values, grid=False),
        y=alt.Y("y:Q", title="mIoU").scale(zero=False, nice=True),
        color=colour,
    )
    chart = alt.layer(
        base.mark_line(aria=False, strokeWidth=2),
        base.mark_point(filled=True, size=40, opacity=1).encode(description="what:N"),
    ).properties(width=_WIDTH, height=_HEIGHT)
    yield Chart(caption, as_svg(chart, caption), list(colours.items()))
