"""Where the names of points go, so that they cover neither points nor each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

__all__ = ["FONT_SIZE", "Label", "place", "spread_out", "text_width"]

FONT_SIZE = 11
_POINT = 6.0  # half the side of the square that a point keeps free
_NEAR = 8.0

# Directions in the order of preference: right, left, and so on; y grows downwards.
_DIRECTIONS = ((1, 0), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1), (0, -1), (0, 1))
_DISTANCES = (_NEAR, 14.0, 22.0, 32.0, 44.0)

_Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Label:
    """A name and where it stands, pixels from the upper left corner.

    Attributes:
        x: its left end.
        y: its middle.
        far: whether it is so far from its point that a line should join them.
        touch: where that line meets the name.
    """

    x: float
    y: float
    far: bool
    touch: tuple[float, float]


def text_width(text: str) -> float:
    """About how many pixels a text takes."""
    return 0.56 * FONT_SIZE * len(text)


def place(
    points: Sequence[tuple[float, float]], names: Sequence[str], size: tuple[float, float]
) -> list[Label]:
    """A place for each name beside its point, the first ones served first.

    Args:
        points: x and y in pixels.
        names: one for each point.
        size: width and height of the picture, which names do not leave unless they are wider.
    """
    taken = [(x - _POINT, y - _POINT, x + _POINT, y + _POINT) for x, y in points]
    labels = []
    for point, name in zip(points, names, strict=True):
        options = [
            _box(point, direction, distance, text_width(name))
            for distance, direction in product(_DISTANCES, _DIRECTIONS)
        ]
        costs = [_cost(box, taken, size, rank) for rank, box in enumerate(options)]
        rank = costs.index(min(costs))
        box = options[rank]
        taken.append(box)
        far = rank >= len(_DIRECTIONS)
        labels.append(Label(box[0], (box[1] + box[3]) / 2, far, _nearest(point, box)))
    return labels


def spread_out(positions: Sequence[float], gap: float, length: float) -> list[float]:
    """The positions, moved apart to ``gap`` or more in their order and kept within 0..length."""
    order = sorted(range(len(positions)), key=positions.__getitem__)
    moved = list(positions)
    lowest = 0.0
    for index in order:
        moved[index] = lowest = max(positions[index], lowest)
        lowest += gap
    highest = length
    for index in reversed(order):
        moved[index] = highest = min(moved[index], highest)
        highest -= gap
    return moved


def _box(
    point: tuple[float, float], direction: tuple[int, int], distance: float, width: float
) -> _Box:
    (x, y), (right, down) = point, direction
    left = x + right * distance - (1 - right) / 2 * width
    middle = y + down * (distance + (0 if right else 2))
    return left, middle - FONT_SIZE / 2, left + width, middle + FONT_SIZE / 2


def _cost(box: _Box, taken: Sequence[_Box], size: tuple[float, float], rank: int) -> float:
    """Square pixels that are covered or outside; what is preferred breaks the tie."""
    width, height = size
    area = (box[2] - box[0]) * (box[3] - box[1])
    outside = area - _overlap(box, (0.0, 0.0, width, height))
    return sum(_overlap(box, other) for other in taken) + 4 * outside + rank / 10


def _overlap(a: _Box, b: _Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def _nearest(point: tuple[float, float], box: _Box) -> tuple[float, float]:
    x, y = point
    return min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])
