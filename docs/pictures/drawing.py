"""What the pictures share: captioned tiles, rows of them, marks on images, label colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont

import covary
from covary.images import to_pil
from covary.segmentation import PALETTE

__all__ = [
    "FAILS",
    "INK",
    "MARKS",
    "WORKS",
    "Tile",
    "beside",
    "column",
    "font",
    "labelled",
    "mosaic",
    "row",
    "save",
    "stacked",
    "titled",
    "upright",
]

INK, FAINT, PAPER = (36, 41, 47), (91, 100, 110), (255, 255, 255)
FAILS, WORKS = (178, 60, 0), (0, 112, 82)
"""Dark enough on white, and apart for colour-blind readers; the words beside them say it too."""
MARKS = ((0, 114, 178), (213, 94, 0), (0, 128, 96), (150, 60, 130))
"""Okabe and Ito's colours, darkened for thin lines."""

_GAP, _MARGIN = 10, 14
_OUTSIDE = (232, 234, 237)


class Tile(NamedTuple):
    """One picture and the line below it."""

    picture: Image.Image | torch.Tensor
    caption: str = ""


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, the same on every machine."""
    return ImageFont.load_default(size=size)


def upright(picture: Image.Image | torch.Tensor, side: int) -> Image.Image:
    """The picture at a side of so many pixels; small ones enlarged smoothly."""
    image = to_pil(picture) if isinstance(picture, torch.Tensor) else picture
    return image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)


def labelled(labels: torch.Tensor, side: int) -> Image.Image:
    """Cluster ids int (H, W) in the palette of ``clusters.png``; -1 is outside, pale grey."""
    colours = torch.tensor([*PALETTE, _OUTSIDE], dtype=torch.uint8)
    shown = colours[torch.where(labels < 0, len(PALETTE), labels % len(PALETTE)).long()]
    image = to_pil(shown.permute(2, 0, 1))
    return image.resize((side, side), Image.Resampling.NEAREST)


def mosaic(images: Sequence[torch.Tensor], side: int, gap: int = 4) -> Image.Image:
    """Up to four images uint8 (3, H, W), two by two; two are in the middle."""
    half = (side - gap) // 2
    top = 0 if len(images) > 2 else (side - half) // 2
    shown = Image.new("RGB", (side, side), PAPER)
    for index, image in enumerate(images):
        down, right = divmod(index, 2)
        shown.paste(upright(image, half), (right * (half + gap), top + down * (half + gap)))
    return shown


def row(tiles: Sequence[Tile], side: int = 200, size: int = 17) -> Image.Image:
    """Captioned tiles beside each other."""
    line = size + 14 if any(tile.caption for tile in tiles) else 0
    width = len(tiles) * (side + _GAP) - _GAP
    shown = Image.new("RGB", (width, side + line), PAPER)
    draw = ImageDraw.Draw(shown)
    for index, tile in enumerate(tiles):
        left = index * (side + _GAP)
        shown.paste(upright(tile.picture, side), (left, 0))
        middle = (left + side / 2, side + line / 2)
        draw.text(middle, tile.caption, fill=INK, font=font(size), anchor="mm")
    return shown


def column(pictures: Iterable[Image.Image], gap: int = _GAP) -> Image.Image:
    """Pictures below each other, flush left."""
    return _joined(list(pictures), gap, down=True)


def beside(pictures: Iterable[Image.Image], gap: int = _GAP) -> Image.Image:
    """Pictures beside each other, flush with the top."""
    return _joined(list(pictures), gap, down=False)


def titled(
    picture: Image.Image, title: str, colour: tuple[int, int, int] = INK, size: int = 19
) -> Image.Image:
    """The picture below a line of text, which is left-aligned."""
    shown = Image.new("RGB", (picture.width, picture.height + size + 12), PAPER)
    shown.paste(picture, (0, size + 12))
    ImageDraw.Draw(shown).text((0, size / 2 + 1), title, fill=colour, font=font(size), anchor="lm")
    return shown


def stacked(rows: Iterable[tuple[str, Image.Image]], width: int, size: int = 17) -> Image.Image:
    """Rows below each other, each with its name on the left."""
    lines = []
    for name, picture in rows:
        line = Image.new("RGB", (width + picture.width, picture.height), PAPER)
        line.paste(picture, (width, 0))
        place = (0, picture.height / 2)
        draw = ImageDraw.Draw(line)
        draw.multiline_text(place, name, fill=INK, font=font(size), anchor="lm")
        lines.append(line)
    return column(lines)


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG with a white margin, which keeps it readable on a dark page."""
    size = (picture.width + 2 * _MARGIN, picture.height + 2 * _MARGIN)
    framed = Image.new("RGB", size, PAPER)
    framed.paste(picture, (_MARGIN, _MARGIN))
    covary.write_png(framed, path)


def _joined(pictures: Sequence[Image.Image], gap: int, down: bool) -> Image.Image:
    long = [picture.height if down else picture.width for picture in pictures]
    wide = max(picture.width if down else picture.height for picture in pictures)
    total = sum(long) + gap * (len(pictures) - 1)
    shown = Image.new("RGB", (wide, total) if down else (total, wide), PAPER)
    at = 0
    for picture, length in zip(pictures, long, strict=True):
        shown.paste(picture, (0, at) if down else (at, 0))
        at += length + gap
    return shown
