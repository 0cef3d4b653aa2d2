"""Figures of one image and of many, from counts that can be added up."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from ..metrics import (
    BOUNDARY_RATIO,
    TRIMAP_WIDTH,
    boundary_distance,
    class_boundaries,
    confusion_matrix,
    iou,
    mean_iou,
    pixel_accuracy,
    trimap_band,
)
from .classes import IGNORED

__all__ = ["FIGURES", "Counts", "Figures", "Rules", "count"]


@dataclass(frozen=True, slots=True)
class Rules:
    """The parameters of the metrics."""

    trimap_width: float = TRIMAP_WIDTH
    """How far the trimap reaches to either side of a boundary, in pixels."""
    boundary_ratio: float = BOUNDARY_RATIO
    """Width of the boundaries of boundary IoU, as a share of the image's diagonal."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known of one image, or of all pixels of a set; NaN where undefined."""

    miou: float
    """Mean IoU of the classes that the truth or the prediction has."""
    iou_foreground: float
    """IoU of everything but the background, whatever its class."""
    iou_background: float
    pixel_accuracy: float
    trimap_miou: float
    """Mean IoU of classes within the trimap."""
    boundary_iou: float
    """Of everything but the background."""
    class_iou: tuple[float, ...]
    """Of every class, the background first."""
    class_boundary_iou: tuple[float, ...]
    """Of every class but the background."""


FIGURES = (
    "miou",
    "iou_foreground",
    "iou_background",
    "pixel_accuracy",
    "trimap_miou",
    "boundary_iou",
)
"""The names of those that are one number."""


@dataclass(slots=True)
class Counts:
    """Pixels of one image, or of many, from which figures follow."""

    matrix: torch.Tensor
    """int64 (C, C), [truth, prediction]."""
    band: torch.Tensor
    """int64 (C, C), the same within the trimap."""
    boundary: torch.Tensor
    """int64 (C, 2), pixels in both boundaries and in either: of the whole foreground, then of
    every class but the background."""
    images: int = field(default=1)

    @classmethod
    def none(cls, classes: int) -> Counts:
        """Of no image."""
        square = torch.zeros(classes, classes, dtype=torch.int64)
        return cls(square, square.clone(), torch.zeros(classes, 2, dtype=torch.int64), 0)

    def add(self, other: Counts) -> None:
        """Add those of other images of the same classes."""
        self.matrix += other.matrix
        self.band += other.band
        self.boundary += other.boundary
        self.images += other.images

    def figures(self) -> Figures:
        """The figures of all these pixels together."""
        each = iou(self.matrix)
        foreground = iou(_two_classes(self.matrix))[1]
        edges = [both / either if either else math.nan for both, either in self.boundary.tolist()]
        return Figures(
            miou=mean_iou(self.matrix),
            iou_foreground=float(foreground),
            iou_background=float(each[0]),
            pixel_accuracy=pixel_accuracy(self.matrix),
            trimap_miou=mean_iou(self.band),
            boundary_iou=edges[0],
            class_iou=tuple(each.tolist()),
            class_boundary_iou=tuple(edges[1:]),
        )


def count(prediction: torch.Tensor, truth: torch.Tensor, classes: int, rules: Rules) -> Counts:
    """The counts of one image.

    Args:
        prediction: uint8 (H, W) in 0..C-1.
        truth: uint8 (H, W) in 0..C-1, or ``IGNORED``.
        classes: C.
        rules: parameters of the metrics.

    Raises:
        InputError: maps that do not fit each other.
    """
    matrix = confusion_matrix(prediction, truth, classes, ignore=IGNORED)
    band = trimap_band(truth, rules.trimap_width, ignore=IGNORED)
    inside = confusion_matrix(prediction[band], truth[band], classes, ignore=IGNORED)
    edges = _boundaries(prediction, truth, classes, rules.boundary_ratio)
    return Counts(matrix, inside, edges)


def _boundaries(
    prediction: torch.Tensor, truth: torch.Tensor, classes: int, ratio: float
) -> torch.Tensor:
    """Pixels in both boundaries and in either: of the whole foreground, then of every class but
    the background; int64 (C, 2)."""
    distance = boundary_distance((truth.shape[0], truth.shape[1]), ratio)
    ignored = truth == IGNORED
    if bool(ignored.any()):  # they are outside in both
        prediction, truth = prediction.masked_fill(ignored, 0), truth.masked_fill(ignored, 0)
    each = _overlaps(prediction, truth, classes, distance)
    if classes == 2:
        return torch.cat([each, each])
    whole = _overlaps((prediction > 0).int(), (truth > 0).int(), 2, distance)
    return torch.cat([whole, each])


def _overlaps(
    prediction: torch.Tensor, truth: torch.Tensor, classes: int, distance: float
) -> torch.Tensor:
    """Pixels in both boundaries and in either, of every class but the first: int64 (C-1, 2)."""
    ours, theirs = (class_boundaries(one, distance) for one in (prediction, truth))
    shared = ours & theirs & (prediction == truth)
    both, one, other = (
        torch.bincount(labels[edge].int(), minlength=classes)
        for labels, edge in ((truth, shared), (prediction, ours), (truth, theirs))
    )
    return torch.stack([both, one + other - both], dim=1)[1:]


def _two_classes(matrix: torch.Tensor) -> torch.Tensor:
    """The confusion matrix with all classes but the background as one, (2, 2)."""
    rows = torch.stack([matrix[0], matrix[1:].sum(0)])
    return torch.stack([rows[:, 0], rows[:, 1:].sum(1)], dim=1)
