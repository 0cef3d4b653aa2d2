"""The picture of what metrics look at: the trimap, and the boundary of boundary IoU."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from PIL import Image

from covary import metrics
from covary.testing import worlds
from covary_bench.metrics import square_near

from .drawing import Tile, row

__all__ = ["PICTURES"]

_SHOWN, _MORE = (86, 180, 233), (230, 159, 0)
"""Pixels in a straight line, and those that squares add to them."""
_SIDE = 96
_WIDTH = 3
_DISTANCE = 4
_CORNER = (slice(0, 60), slice(18, 78))
"""The head."""


def bands(seed: int = 1) -> Image.Image:
    """The mask of a rendered avatar, and the pixels that each metric looks at."""
    mask = worlds.get("avatars").scene(seed, (_SIDE, _SIDE)).truth.foreground[0]
    framed = torch.nn.functional.pad(mask, (1, 1, 1, 1))
    trimap = metrics.trimap_band(mask, _WIDTH), square_near(mask, _WIDTH)
    inner = square_near(framed, _DISTANCE)[1:-1, 1:-1] & mask
    boundary = metrics.boundary(mask, _DISTANCE), inner
    tiles = [
        Tile(_enlarged(_shown(mask)), "mask"),
        Tile(_enlarged(_shown(mask, *trimap)), f"trimap, width {_WIDTH}"),
        Tile(_enlarged(_shown(mask, *boundary)), f"boundary, {_DISTANCE} pixels"),
    ]
    return row(tiles, side=300)


def _shown(mask: torch.Tensor, *bands: torch.Tensor) -> torch.Tensor:
    """The mask in grey, the first band in blue, what else the second has in orange; (3, H, W)."""
    picture = torch.where(mask, 205, 70).to(torch.uint8).repeat(3, 1, 1)
    for band, colour in zip(reversed(bands), (_MORE, _SHOWN), strict=False):
        picture[:, band] = torch.tensor(colour, dtype=torch.uint8)[:, None]
    return picture[(slice(None), *_CORNER)]


def _enlarged(picture: torch.Tensor) -> torch.Tensor:
    """Every pixel as a square."""
    return picture.repeat_interleave(5, 1).repeat_interleave(5, 2)


PICTURES: Mapping[str, Callable[[], Image.Image]] = {"metrics": bands}
"""What draws each picture, by the name of its file."""
