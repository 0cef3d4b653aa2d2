"""What one mask is worth against the truth, and what many are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from covary.metrics import boundary_iou, confusion_matrix, iou, mean_iou, trimap_band

from ..report import spread

__all__ = ["COLUMNS", "Difference", "Figures", "compare", "difference", "summarise"]

COLUMNS = ("iou_foreground", "iou_background", "miou", "trimap_miou", "boundary_iou")
"""The figures of a mask, in the order of the tables."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One mask against the true one; "none found" counts as an empty mask.

    A figure is NaN where it is undefined, as the trimap's is without an outline.
    """

    found: bool
    iou_foreground: float
    iou_background: float
    miou: float
    """Mean of the two."""
    trimap_miou: float
    """The same inside the band around the true outline, 3 pixels on either side."""
    boundary_iou: float
    """IoU of the pixels along the outlines, as wide as 2 % of the diagonal."""

    def data(self) -> dict[str, Any]:
        """As plain data, of which ``Figures(**data)`` makes the same again."""
        return asdict(self)


def compare(mask: Tensor, truth: Tensor, found: bool = True) -> Figures:
    """How a mask compares, both bool (H, W)."""
    matrix = confusion_matrix(mask, truth, 2)
    background, foreground = iou(matrix).tolist()
    band = trimap_band(truth)
    return Figures(
        found=found,
        iou_foreground=foreground,
        iou_background=background,
        miou=mean_iou(matrix),
        trimap_miou=mean_iou(confusion_matrix(mask[band], truth[band], 2)),
        boundary_iou=boundary_iou(mask, truth),
    )


def summarise(figures: Sequence[Figures]) -> dict[str, Any]:
    """Means over all, over those with a confident foreground as the paper counts, the spread."""
    confident = [one for one in figures if one.found]
    return {
        "seeds": len(figures),
        "found": len(confident),
        **_means(figures),
        "found_only": _means(confident) if confident else None,
        "miou_spread": spread([one.miou for one in figures]),
    }


def _means(figures: Sequence[Figures]) -> dict[str, float | None]:
    """The mean of each figure where it is defined."""
    found = {}
    for name in COLUMNS:
        values = [value for one in figures if not math.isnan(value := getattr(one, name))]
        found[name] = sum(values) / len(values) if values else None
    return found


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of paired differences, and how sure it is."""

    mean: float
    low: float | None
    """The lower end of its 95 % interval, by the normal approximation; None of a single pair."""
    high: float | None
    """The upper end."""


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """How much larger the first is than the second, pair by pair."""
    pairs = [a - b for a, b in zip(first, second, strict=True)]
    mean = sum(pairs) / len(pairs)
    if len(pairs) < 2:
        return Difference(mean, None, None)
    variance = sum((pair - mean) ** 2 for pair in pairs) / (len(pairs) - 1)
    half = 1.96 * math.sqrt(variance / len(pairs))
    return Difference(mean, mean - half, mean + half)
