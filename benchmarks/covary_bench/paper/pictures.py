"""Sample pictures of a table: rows of masks drawn over their images, one small file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from covary.files import output_folder, replacing
from covary.images import PALETTE, tinted, to_pil

__all__ = ["Row", "save_rows", "scaled", "shown"]

_ORANGE = (230, 159, 0)


@dataclass(frozen=True, slots=True)
class Row:
    """Pictures side by side."""

    caption: str
    tiles: Sequence[Tensor]
    """uint8 (3, H, W), all of one size."""
    group: str = ""
    """The part of the table that it belongs to."""


def shown(image: Tensor, mask: Tensor, side: int) -> Tensor:
    """The image with its mask in colour and all else in grey, uint8 (3, side, side).

    Args:
        image: uint8 (3, H, W).
        mask: bool, or integers for several objects and 0 for none; of any size.
        side: of the picture in pixels.
    """
    image, numbers = resized(image, side), scaled(mask, (side, side)).long()
    most = int(numbers.max())
    if most <= 1:
        return tinted(image, numbers, [_ORANGE], share=0.2)
    return tinted(image, numbers, [PALETTE[i % len(PALETTE)] for i in range(most)])


def resized(image: Tensor, side: int) -> Tensor:
    """The image at another size, uint8 (3, side, side); pixels of small ones stay pixels."""
    if tuple(image.shape[1:]) == (side, side):
        return image
    how = "area" if max(image.shape[1:]) > side else "nearest"
    made = F.interpolate(image[None].float(), size=(side, side), mode=how)[0]
    return made.round().to(torch.uint8)


def scaled(mask: Tensor, size: Sequence[int]) -> Tensor:
    """A mask or numbers (H, W) at another size, each pixel's value being the nearest one's."""
    if tuple(mask.shape) == tuple(size):
        return mask
    made = F.interpolate(mask[None, None].float(), size=tuple(size), mode="nearest-exact")
    return made[0, 0].round().to(mask.dtype)


def save_rows(rows: Sequence[Row], path: Path) -> dict[str, Any]:
    """Write the rows one below the other as WebP, and say what they are, as plain data.

    Args:
        rows: with tiles of one size; where one has fewer than others it ends in white.
        path: ends in ``.webp``; its folder is made if need be.

    Raises:
        OutputError: it cannot be written.
    """
    output_folder(path.parent)
    blank = torch.full_like(rows[0].tiles[0], 255)
    most = max(len(row.tiles) for row in rows)
    filled = [[*row.tiles, *[blank] * (most - len(row.tiles))] for row in rows]
    whole = torch.cat([torch.cat(tiles, dim=2) for tiles in filled], dim=1)
    with replacing(path) as temporary:
        to_pil(whole).save(temporary, format="WEBP", quality=70, method=6)
    return {
        "file": path.name,
        "tile": list(rows[0].tiles[0].shape[1:]),
        "rows": [{"caption": row.caption, "group": row.group} for row in rows],
    }
