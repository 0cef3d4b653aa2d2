"""The evaluation as one HTML page that loads nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..pages import templates
from . import drawing
from .scores import FIGURES

if TYPE_CHECKING:
    from .evaluation import Evaluation

__all__ = ["HEADS", "figure_rows", "html"]

HEADS = {
    "miou": "mIoU",
    "iou_foreground": "IoU foreground",
    "iou_background": "IoU background",
    "pixel_accuracy": "pixel accuracy",
    "trimap_miou": "trimap mIoU",
    "boundary_iou": "boundary IoU",
}
"""Figures by the names that readers know."""
_BINS = 20
_NAMED = 12
"""Names listed of those that were left out."""


@dataclass(frozen=True, slots=True)
class _Bar:
    """A bar of the histogram, in the units of its drawing."""

    x: float
    y: float
    width: float
    height: float
    title: str


def html(evaluation: Evaluation) -> str:
    """The report of an evaluation: tables, the spread of mIoU, the worst images, the method.

    Raises:
        MissingPackageError: jinja2 is not installed.
    """
    summary = evaluation.summary()
    values = [row.figures.miou for row in evaluation.images]
    return (
        templates(__package__ or "")
        .get_template("report.html")
        .render(
            summary=summary,
            heads=HEADS,
            subject=_subject(summary["inputs"]),
            headline=_headline(summary),
            figures=list(figure_rows(summary)),
            classes=summary["classes"] if len(evaluation.classes) > 2 else [],
            bars=_bars(_histogram(values)),
            highest=max(_histogram(values)),
            median=_median(values),
            worst=list(_worst(evaluation)),
            worst_title=_worst_title(len(evaluation.worst), len(evaluation.images)),
            legend=_legend(evaluation.classes),
            errors=_error_legend(len(evaluation.classes)),
            problems=_problems(evaluation.problems),
            sides=[(side, _facts(summary["inputs"].get(side))) for side in ("prediction", "truth")],
            number=_number,
        )
    )


def _subject(inputs: dict[str, Any]) -> str:
    """What was judged by what, in a line; empty where nobody said."""
    sides = [inputs.get(side) for side in ("prediction", "truth")]
    words = [_title(side) for side in sides if side]
    return " judged by ".join(words) if len(words) == len(sides) else ""


def _title(data: dict[str, Any]) -> str:
    """An input in a few words."""
    detail = data.get("folder") or data.get("world") or data.get("use") or ""
    if data.get("kind") == "pipeline":
        source = data["recipe"]["source"]
        detail = f"of source {source['use']}, seeds {data['seeds']}"
    return f"{data.get('kind', 'maps')} {detail}".rstrip()


def _headline(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(figure, value, what it is) of the tiles at the top."""
    counts, figures = summary["counts"], summary["figures"]
    mean, whole = (figures["all"][kind] for kind in ("per_image_mean", "whole_set"))
    about = ["judged"]
    if counts["not_found"]:
        found = figures["found"]["per_image_mean"]["miou"]
        text = f"{counts['not_found']:,} without confident foreground; mIoU {_number(found)} of the"
        about = [f"{text} {counts['found']:,} others"]
    if failed := len(summary["problems"].get("failed", {})):
        about.append(f"{failed:,} could not be judged")
    return [
        ("mIoU", _number(mean["miou"]), "mean over all images"),
        ("mIoU", _number(whole["miou"]), "whole set, all images"),
        ("IoU foreground", _number(mean["iou_foreground"]), "mean over all images"),
        ("images", f"{counts['images']:,}", "; ".join(about)),
    ]


def figure_rows(summary: dict[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """(images, kind of figure, values) of each row of the table of figures."""
    sets = [("all", "all images")]
    if summary["counts"]["not_found"]:
        sets.append(("found", "found only"))
    for key, words in sets:
        figures = summary["figures"][key]
        for kind, how in (("per_image_mean", "mean over images"), ("whole_set", "whole set")):
            values = [_number(figures[kind][name]) for name in FIGURES]
            yield f"{words} ({figures['images']:,})", how, values


def _histogram(values: Sequence[float]) -> list[int]:
    """How many values are in each twentieth of 0..1."""
    counts = [0] * _BINS
    for value in values:
        if not math.isnan(value):
            counts[min(_BINS - 1, int(value * _BINS))] += 1
    return counts


def _bars(counts: Sequence[int]) -> list[_Bar]:
    """The bars of a histogram, in a drawing of 400 x 120."""
    highest, wide = max(counts) or 1, 400 / _BINS
    return [
        _Bar(
            x=round(index * wide + 1, 2),
            y=round(120 - 112 * found / highest, 2),
            width=round(wide - 2, 2),
            height=round(112 * found / highest, 2),
            title=f"{index / _BINS:.2f} to {(index + 1) / _BINS:.2f}: {found:,} images",
        )
        for index, found in enumerate(counts)
    ]


def _median(values: Sequence[float]) -> float | None:
    defined = sorted(value for value in values if not math.isnan(value))
    if not defined:
        return None
    middle = len(defined) // 2
    return defined[middle] if len(defined) % 2 else (defined[middle - 1] + defined[middle]) / 2


def _worst(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """The worst images, each with its pictures and figures."""
    wanted = {pair.name for pair in evaluation.worst}
    rows = {row.name: row for row in evaluation.images if row.name in wanted}
    for pair in evaluation.worst:
        row = rows[pair.name]
        yield {
            "name": pair.name,
            "found": row.found,
            "pictures": drawing.pictures(pair, len(evaluation.classes)),
            "figures": [
                (HEADS[name], _number(getattr(row.figures, name)))
                for name in ("miou", "iou_foreground", "trimap_miou", "boundary_iou")
            ],
        }


def _worst_title(shown: int, total: int) -> str:
    if shown == total:
        return "All images, the worst first"
    return "The worst image" if shown == 1 else f"The {shown} worst images"


def _legend(classes: Sequence[str]) -> list[tuple[str, str]]:
    """(colour, name) of every class but the background."""
    colours = drawing.class_colours(len(classes) - 1)
    return [(drawing.hex_colour(one), name) for one, name in zip(colours, classes[1:], strict=True)]


def _error_legend(classes: int) -> list[tuple[str, str]]:
    kinds = [
        (drawing.FALSE_POSITIVE, "predicted, not there (false positive)"),
        (drawing.FALSE_NEGATIVE, "there, not predicted (false negative)"),
        (drawing.CONFUSED, "another class than the truth's"),
    ]
    shown = kinds if classes > 2 else kinds[:2]
    return [(drawing.hex_colour(colour), words) for colour, words in shown]


def _problems(problems: dict[str, Any]) -> list[str]:
    """What was left out, in sentences."""
    said = []
    for key, words in (("missing", "have no prediction"), ("extra", "have no truth")):
        if names := problems.get(key):
            said.append(f"{len(names):,} {words}: {_listed(names)}")
    for name, why in list(problems.get("failed", {}).items())[:_NAMED]:
        said.append(f"{name}: {why}")
    if (rest := len(problems.get("failed", {})) - _NAMED) > 0:
        said.append(f"{rest:,} more could not be judged; summary.json has them")
    return said


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _facts(data: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What an input says of itself, as text."""
    return [(key, _words(value)) for key, value in (data or {}).items() if value is not None]


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_words(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return str(value)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
