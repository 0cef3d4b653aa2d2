"""Many results on one picture: the contact sheet that ``covary segment`` writes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont

from .errors import InputError
from .images import read_image, to_pil
from .provenance import read_provenance, saved_query
from .segmentation import Segmentation

__all__ = ["Tile", "contact_sheet", "saved_tile"]

_MOST = 1024
_GUTTER = 6
_BACKGROUND = (255, 255, 255)
_LABEL, _ON_LABEL = (16, 16, 16, 190), (255, 255, 255)
# Okabe and Ito's orange: it keeps its contrast to grey for colour-blind readers and in print.
_WARNING, _ON_WARNING = (230, 159, 0), (0, 0, 0)


class Tile(NamedTuple):
    """One picture of the sheet."""

    name: str
    """Written in its corner: a seed or a file's name."""
    overlay: torch.Tensor | Image.Image | str | os.PathLike[str]
    """uint8 (3, H, W), a PIL image, or the path of an image file, read when it is drawn."""
    found: bool
    """False marks it as having no confident foreground."""


def contact_sheet(
    results: Iterable[Segmentation | tuple[str, torch.Tensor, bool] | Tile],
    columns: int | None = None,
) -> Image.Image:
    """A grid of overlays with their names, as in Figs. S4-S6 of the paper.

    Overlays alone, not pairs of image and overlay: the background of an overlay stays visible in
    grey, so that both kinds of error, object left grey and background left in colour, show in one
    picture, and twice as many results fit. A query without confident foreground is all grey and
    carries a coloured band that says so.

    Small images are enlarged by whole factors to at least 160 pixels and large ones reduced to
    256, or 160 where there are more than a hundred. More than 1024 are not drawn; a line below
    the grid then says how many are missing.

    Args:
        results: segmentations, or (name, overlay, found) for each.
        columns: tiles in a row; None chooses, a little wider than high.

    Returns:
        An RGB image.

    Raises:
        InputError: there is nothing to show, or ``columns`` is not positive.
    """
    tiles = [_tile(result) for result in results]
    if not tiles:
        raise InputError("contact sheet", expected="at least one result", got="none")
    if columns is not None and columns < 1:
        raise InputError("columns of the sheet", expected="at least 1", got=str(columns))
    shown = tiles[:_MOST]
    side = 256 if len(shown) <= 100 else 160
    pictures = [_picture(tile, side) for tile in shown]
    sheet = _grid(pictures, columns or _columns(len(shown)))
    return sheet if len(shown) == len(tiles) else _with_footer(sheet, len(shown), len(tiles))


def saved_tile(folder: str | os.PathLike[str]) -> Tile:
    """The tile of a saved result.

    Raises:
        InputError: no whole result there.
    """
    saved = read_provenance(folder)
    return Tile(saved_query(saved).name, Path(folder) / "overlay.png", saved["result"]["found"])


def _tile(result: Segmentation | tuple[str, torch.Tensor, bool] | Tile) -> Tile:
    if isinstance(result, Segmentation):
        name = saved_query(result.provenance).name if result.provenance else ""
        return Tile(name, result.overlay(), result.found)
    return Tile(*result)


def _picture(tile: Tile, side: int) -> Image.Image:
    """The overlay at the size of the sheet, labelled."""
    overlay = tile.overlay
    if not isinstance(overlay, (torch.Tensor, Image.Image)):
        overlay = read_image(overlay)
    picture = to_pil(overlay) if isinstance(overlay, torch.Tensor) else overlay.convert("RGB")
    picture = _scaled(picture, side)
    draw = ImageDraw.Draw(picture, "RGBA")
    size = 16 if side >= 256 else 12
    _write_name(draw, tile.name, picture.width, size)
    if not tile.found:
        _write_warning(draw, picture, size)
    return picture


def _scaled(picture: Image.Image, side: int) -> Image.Image:
    longest = max(picture.size)
    if longest > side:
        # A long thin picture keeps at least one pixel of width.
        width, height = (max(1, round(length * side / longest)) for length in picture.size)
        return picture.resize((width, height), Image.Resampling.LANCZOS)
    factor = max(side // longest, math.ceil(160 / longest))
    return picture.resize(
        (picture.width * factor, picture.height * factor), Image.Resampling.LANCZOS
    )


def _write_name(draw: ImageDraw.ImageDraw, name: str, width: int, size: int) -> None:
    if not name:
        return
    font = ImageFont.load_default(size)
    text = _shortened(draw, name, font, width - size)
    box = draw.textbbox((0, 0), text, font=font, anchor="lt")
    pad = size // 3
    draw.rectangle((0, 0, box[2] + 2 * pad, size + pad), fill=_LABEL)
    draw.text((pad, (size + pad) / 2 + 1), text, font=font, anchor="lm", fill=_ON_LABEL)


def _write_warning(draw: ImageDraw.ImageDraw, picture: Image.Image, size: int) -> None:
    font = ImageFont.load_default(size)
    width, height = picture.size
    text = "no confident foreground"
    if draw.textlength(text, font=font) > width - 4:
        text = "none found"
    draw.rectangle((0, height - size - 8, width, height), fill=_WARNING)
    middle = (width / 2, height - size / 2 - 4)
    draw.text(middle, text, font=font, anchor="mm", fill=_ON_WARNING)


def _shortened(
    draw: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
) -> str:
    """``text``, or as much of its beginning as fits."""
    shown = text
    while len(shown) > 1 and draw.textlength(shown, font=font) > width:
        shown = shown.removesuffix("...")[:-1] + "..."
    return shown


def _columns(count: int) -> int:
    """A little wider than high, and with few empty places in the last row."""
    wanted = 1.2 * math.sqrt(count)
    choices = range(math.ceil(math.sqrt(count)), math.ceil(1.7 * math.sqrt(count)) + 1)
    return min(choices, key=lambda columns: -count % columns + abs(columns - wanted))


def _grid(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    width = max(picture.width for picture in pictures)
    height = max(picture.height for picture in pictures)
    size = (columns * (width + _GUTTER) + _GUTTER, rows * (height + _GUTTER) + _GUTTER)
    sheet = Image.new("RGB", size, _BACKGROUND)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        left = _GUTTER + column * (width + _GUTTER) + (width - picture.width) // 2
        top = _GUTTER + row * (height + _GUTTER) + (height - picture.height) // 2
        sheet.paste(picture, (left, top))
    return sheet


def _with_footer(sheet: Image.Image, shown: int, total: int) -> Image.Image:
    footed = Image.new("RGB", (sheet.width, sheet.height + 32), _BACKGROUND)
    footed.paste(sheet)
    draw = ImageDraw.Draw(footed)
    text = f"the first {shown:,} of {total:,}"
    font = ImageFont.load_default(18)
    draw.text((_GUTTER, sheet.height + 12), text, font=font, anchor="lm", fill=(0, 0, 0))
    return footed
