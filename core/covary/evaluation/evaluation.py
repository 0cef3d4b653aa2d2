"""Predictions judged by truths: figures of each image and of all, the worst cases kept."""

from __future__ import annotations

import csv
import heapq
import io
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from ..errors import InputError
from ..files import output_folder, replacing
from ._ledger import UNFINISHED
from .classes import MASK, with_background
from .pairs import Pair
from .scores import FIGURES, Counts, Figures, Rules, count

__all__ = ["CSV", "REPORT", "SUMMARY", "WORST", "Evaluation", "Row", "Worst", "evaluate"]

CSV, SUMMARY, REPORT = "per-image.csv", "summary.json", "report.html"

PairLike = Pair | tuple[torch.Tensor, torch.Tensor]
"""A pair, or (prediction, truth)."""

_Item = TypeVar("_Item")

WORST = 12
"""How many pairs a report shows unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one image."""

    name: str
    found: bool
    """Whether there is a prediction at all; where not, an empty one was judged."""
    figures: Figures


@dataclass(slots=True)
class Evaluation:
    """The figures of a set of images; :func:`evaluate` makes one.

    Two sets are told apart: ``all`` images, where one without confident foreground counts as an
    empty prediction, and the ``found`` ones alone, as the paper counts. Of each set there are two
    kinds of figure: ``per_image_mean``, the mean of the images' own, each image weighing the
    same; and ``whole_set``, from the pixels of all images together, each pixel weighing the same.
    """

    classes: tuple[str, ...]
    """Names by the values of maps; the first is ``background``."""
    rules: Rules = field(default_factory=Rules)
    """The parameters of the metrics."""
    images: list[Row] = field(default_factory=list)
    """A row an image, in the order in which they came."""
    worst: list[Pair] = field(default_factory=list)
    """The pairs of lowest mIoU, the worst first."""
    inputs: dict[str, Any] = field(default_factory=dict)
    """What was judged and by what, for the summary."""
    problems: dict[str, Any] = field(default_factory=dict)
    """What was left out: names without a partner, files that could not be read."""
    _counts: dict[bool, Counts] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """A row an image: name, found, its figures, the IoU of every class; None if undefined."""
        return [
            {
                "name": row.name,
                "found": row.found,
                **{figure: _number(getattr(row.figures, figure)) for figure in FIGURES},
                **{
                    f"iou {name}": _number(value)
                    for name, value in zip(self.classes, row.figures.class_iou, strict=True)
                },
            }
            for row in self.images
        ]

    def summary(self) -> dict[str, Any]:
        """Everything but the images' rows, as plain data; None stands for undefined.

        ``figures`` has ``all`` and ``found``, each with ``images``, ``per_image_mean`` and
        ``whole_set``; ``classes`` has each class's IoU in all images.
        """
        from .. import __version__

        return {
            "format": 1,
            "covary": __version__,
            "inputs": self.inputs,
            "method": _method(self.rules),
            "counts": {
                "images": len(self.images),
                "found": sum(row.found for row in self.images),
                "not_found": sum(not row.found for row in self.images),
            },
            "problems": self.problems,
            "figures": {"all": self._figures(True, False), "found": self._figures(True)},
            "classes": self._class_rows(),
            "worst": [pair.name for pair in self.worst],
        }

    def save(self, folder: str | os.PathLike[str], *, report: bool = True) -> Path:
        """Write ``per-image.csv``, ``summary.json`` and ``report.html`` to a folder.

        Images that failed follow the others in the CSV file, which then has a column ``error``.
        What :func:`covary.evaluation.compare` kept there to go on with is removed.

        Args:
            folder: made if need be.
            report: whether to write the report, which needs jinja2.

        Raises:
            OutputError: the folder cannot be written.
            MissingPackageError: jinja2 is not installed.
        """
        target = output_folder(folder)
        texts = {
            CSV: self._csv(),
            SUMMARY: json.dumps(self.summary(), indent=2, ensure_ascii=False) + "\n",
        }
        if report:
            from .report import html

            texts[REPORT] = html(self)
        for name, text in texts.items():
            with replacing(target / name) as temporary:
                # Names of files need not be text.
                data = text.encode("utf-8", errors="backslashreplace")
                temporary.write_bytes(data)
        shutil.rmtree(target / UNFINISHED, ignore_errors=True)
        return target

    def add(self, pair: Pair) -> Figures:
        """Judge one more pair; gives its figures.

        Raises:
            InputError: its maps do not fit the classes.
        """
        return self.add_counts(pair.name, pair.found, self.count(pair))

    def count(self, pair: Pair) -> Counts:
        """The counts of a pair, from which its figures follow.

        Raises:
            InputError: its maps do not fit the classes.
        """
        return count(pair.prediction, pair.truth, len(self.classes), self.rules)

    def add_counts(self, name: str, found: bool, counts: Counts) -> Figures:
        """Take in one more image, of which these are the counts; gives its figures."""
        figures = counts.figures()
        self.images.append(Row(name, found, figures))
        self._counts.setdefault(found, Counts.none(len(self.classes))).add(counts)
        return figures

    def _figures(self, *found: bool) -> dict[str, Any]:
        """The figures of the images that were found, or not, or either."""
        rows = [row for row in self.images if row.found in found]
        total = self._total(*found)
        return {
            "images": len(rows),
            "per_image_mean": {
                name: _mean([getattr(row.figures, name) for row in rows]) for name in FIGURES
            },
            "whole_set": {name: _number(getattr(total.figures(), name)) for name in FIGURES},
        }

    def _class_rows(self) -> list[dict[str, Any]]:
        total = self._total(True, False)
        figures = total.figures()
        pixels = total.matrix.sum(1).tolist()
        return [
            {
                "name": name,
                "share_of_truth": _number(pixels[number] / max(1, sum(pixels))),
                "images": sum(not math.isnan(row.figures.class_iou[number]) for row in self.images),
                "per_image_mean_iou": _mean([row.figures.class_iou[number] for row in self.images]),
                "whole_set_iou": _number(figures.class_iou[number]),
                "whole_set_boundary_iou": (
                    _number(figures.class_boundary_iou[number - 1]) if number else None
                ),
            }
            for number, name in enumerate(self.classes)
        ]

    def _total(self, *found: bool) -> Counts:
        total = Counts.none(len(self.classes))
        for one in found:
            if one in self._counts:
                total.add(self._counts[one])
        return total

    def _csv(self) -> str:
        rows = [{**row, "found": str(row["found"]).lower()} for row in self.rows()]
        failed = [{"name": name, "error": why} for name, why in self._failed().items()]
        text = io.StringIO()
        columns = dict.fromkeys([*rows[0], *(failed[0] if failed else ())])
        writer = csv.DictWriter(text, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows([*rows, *failed])
        return text.getvalue()

    def _failed(self) -> dict[str, str]:
        """Why each image failed that did, by name."""
        return dict(self.problems.get("failed", {}))


def evaluate(
    pairs: Iterable[PairLike],
    classes: Sequence[str] = MASK,
    *,
    rules: Rules | None = None,
    worst: int = WORST,
    inputs: Mapping[str, Any] | None = None,
) -> Evaluation:
    """How well predictions agree with the truth, image by image and in all.

    Images are judged one at a time; of all but the worst only figures are kept.

    Args:
        pairs: each a :class:`Pair`, or (prediction, truth), which are numbered from 0.
        classes: names by value; ``background`` first, which may be left out.
        rules: parameters of the metrics; None takes the published ones.
        worst: how many of the pairs with the lowest mIoU to keep for the report.
        inputs: what to say of the origin of predictions and truths in the summary.

    Raises:
        InputError: no pairs, two of one name, maps that do not fit each other or the classes.
    """
    names = with_background(classes)
    if len(names) < 2:
        raise InputError("classes", expected="at least one beside background", got="none")
    evaluation = Evaluation(names, rules or Rules(), inputs=dict(inputs or {}))
    kept = Worst[Pair](worst)
    for number, pair in enumerate(_named(pairs)):
        kept.offer(evaluation.add(pair).miou, number, pair)
    if not evaluation.images:
        raise InputError("pairs", expected="at least one", got="none")
    evaluation.worst = kept.items()
    return evaluation


class Worst(Generic[_Item]):
    """The items of lowest mIoU, of those that were offered; of equal ones the first.

    Args:
        most: how many to keep.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[tuple[float, int, _Item]] = []

    def offer(self, miou: float, number: int, item: _Item) -> _Item | None:
        """Keep an item, if it is among the worst; gives the one that is not kept, if any.

        Args:
            miou: its mIoU; NaN for one with nothing to see, as all of the truth is left out.
            number: its place among all.
            item: the item.
        """
        heapq.heappush(self._kept, (-math.inf if math.isnan(miou) else -miou, -number, item))
        return heapq.heappop(self._kept)[2] if len(self._kept) > self._most else None

    def items(self) -> list[_Item]:
        """What is kept, the worst first."""
        ordered = sorted(self._kept, key=lambda one: one[:2], reverse=True)
        return [item for _, _, item in ordered]


def _named(pairs: Iterable[PairLike]) -> Iterator[Pair]:
    """Pairs, each of a name of its own."""
    seen: set[str] = set()
    for number, given in enumerate(pairs):
        pair = given if isinstance(given, Pair) else Pair(str(number), *given)
        if pair.name in seen:
            raise InputError("pairs", expected="names of their own", got=f"{pair.name!r} twice")
        seen.add(pair.name)
        yield pair


def _method(rules: Rules) -> dict[str, str]:
    """What each figure means, in words."""
    return {
        "all": "every image; one without confident foreground counts as an empty prediction",
        "found": "the images with a confident foreground alone, as the paper counts",
        "per_image_mean": "mean of the images' own figures; an image where one is undefined, such "
        "as the IoU of a class that neither map has, is left out of that mean",
        "whole_set": "from the pixels of all images together",
        "miou": "mean over classes of intersection over union, the background among them; over "
        "the classes that the truth or the prediction has: one that only one of them has counts "
        "as 0, one that neither has is left out",
        "iou_foreground": "of everything but the background, whatever its class",
        "iou_background": "of the background",
        "pixel_accuracy": "share of pixels of the right class",
        "trimap_miou": "miou of the pixels whose centre is at most "
        f"{rules.trimap_width:g} pixels, in a straight line, from that of a pixel of another "
        "class of the truth (Kohli, Ladicky and Torr 2009); the image's border is no boundary",
        "boundary_iou": "IoU of the foreground's pixels whose centre is at most "
        f"{rules.boundary_ratio:g} of the image's diagonal, in a straight line, from that of a "
        "pixel outside it or beyond the image's border (Cheng et al. 2021, who erode by squares)",
    }


def _mean(values: Sequence[float]) -> float | None:
    """The mean of those that are defined."""
    defined = [value for value in values if not math.isnan(value)]
    return _number(math.fsum(defined) / len(defined)) if defined else None


def _number(value: float) -> float | None:
    """A value for JSON and CSV, which know no NaN."""
    return None if math.isnan(value) else value
