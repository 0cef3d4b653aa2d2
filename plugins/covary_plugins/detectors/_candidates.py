"""From candidates to detections: thresholds, non-maximum suppression, order.

What is compared is what comes out: boxes on pixel edges. Overlaps are then ratios of integers, and
no rounding decides which box stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from covary import Box, Detection, InputError

from ._selection import Selection

__all__ = ["clipped", "expanded", "keep", "overlaps", "pick"]


def clipped(boxes: Tensor, size: tuple[int, int], what: str) -> Tensor:
    """Boxes on pixel edges, cut at the borders of an image (H, W).

    Args:
        boxes: floating (N, 4), x0, y0, x1, y1 in pixels; may reach outside.
        size: (H, W).
        what: name for errors.

    Returns:
        int64 (N, 4) on the CPU; fractions go to the nearest edge. A box may be without pixels.

    Raises:
        InputError: a coordinate that is not finite.
    """
    boxes = boxes.detach().to("cpu", torch.float64)
    _check_finite(boxes, "coordinates", what)
    height, width = size
    ends = torch.tensor([width, height, width, height], dtype=torch.float64)
    return torch.minimum((boxes + 0.5).floor().clamp_min(0), ends).long()


def pick(
    boxes: Tensor,
    scores: Tensor,
    names: Sequence[str],
    selection: Selection,
    size: tuple[int, int],
    what: str,
) -> list[Detection]:
    """The candidates that a selection keeps, by falling score; equal scores in the given order.

    Args:
        boxes: int64 (N, 4), inside the image; those without pixels are left out.
        scores: (N,), in 0..1.
        names: N classes.
        selection: thresholds.
        size: (H, W) of the image.
        what: name for errors.

    Raises:
        InputError: a score that is not finite or not in 0..1.
    """
    scores = scores.detach().to("cpu", torch.float64)
    _check_finite(scores, "scores", what)
    if bool(((scores < 0) | (scores > 1)).any()):
        got = f"{float(scores.min()):g}..{float(scores.max()):g}"
        raise InputError(what, expected="scores in 0..1", got=got)
    chosen = keep(boxes, scores, names, selection, size)
    return [
        Detection(Box(*corners), names[i], float(scores[i]))
        for i, corners in zip(
            chosen, expanded(boxes[chosen], selection.expand, size).tolist(), strict=True
        )
    ]


def expanded(boxes: Tensor, share: float, size: tuple[int, int]) -> Tensor:
    """Boxes int64 (N, 4) with a share of their width and height added on each side.

    Rounded to whole pixels, and cut at the borders of an image (H, W).
    """
    margins = ((boxes[:, 2:] - boxes[:, :2]) * share + 0.5).floor().long()
    low = (boxes[:, :2] - margins).clamp_min(0)
    high = torch.minimum(boxes[:, 2:] + margins, torch.tensor([size[1], size[0]]))
    return torch.cat([low, high], dim=1)


def keep(
    boxes: Tensor,
    scores: Tensor,
    names: Sequence[str],
    selection: Selection,
    size: tuple[int, int],
) -> list[int]:
    """Indices of the candidates that :func:`pick` keeps, in its order."""
    sides = boxes[:, 2:] - boxes[:, :2]
    least = selection.min_size if selection.min_size >= 1 else selection.min_size * min(size)
    shortest = sides.amin(dim=1)
    possible = (shortest > 0) & (shortest >= least) & (scores >= selection.threshold)
    candidates = possible.nonzero().flatten()
    order = candidates[scores[candidates].argsort(descending=True, stable=True)]
    by_class: dict[str, list[int]] = {}
    for rank, i in enumerate(order.tolist()):
        by_class.setdefault(names[i], []).append(rank)
    ranks = [
        ranks[i]
        for ranks in by_class.values()
        for i in _distinct(boxes[order[ranks]], selection.nms, selection.most)
    ]
    kept: list[int] = order[sorted(ranks)].tolist()
    return kept


def overlaps(box: Tensor, boxes: Tensor) -> Tensor:
    """Intersection over union of int64 (4,) with each of int64 (N, 4): float64 (N,)."""
    low, high = torch.maximum(box[:2], boxes[:, :2]), torch.minimum(box[2:], boxes[:, 2:])
    shared = (high - low).clamp_min(0).prod(dim=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    union = (box[2:] - box[:2]).prod() + areas - shared
    return shared.double() / union.double()


def _distinct(boxes: Tensor, limit: float, most: int | None) -> list[int]:
    """Greedy choice among boxes (N, 4), the surest first: indices, rising."""
    if limit >= 1:
        return list(range(len(boxes)))[:most]
    kept: list[int] = []
    left = torch.arange(len(boxes))
    while len(left) and (most is None or len(kept) < most):
        kept.append(int(left[0]))
        left = left[1:][overlaps(boxes[left[0]], boxes[left[1:]]) <= limit]
    return kept


def _check_finite(values: Tensor, name: str, what: str) -> None:
    if bad := int((~values.isfinite()).sum()):
        raise InputError(
            what, expected=f"finite {name}", got=f"{bad} of {values.numel()} that are not"
        )
