"""Many results on one picture: the contact sheet that ``covary segment`` writes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont

from . import _drawing
from ._drawing import Colour, Marked
from .errors import InputError
from .images import read_image, to_pil
from .provenance import read_provenance, saved_query
from .segmentation import Segmentation, read_instances

__all__ = ["Drawing", "Tile", "contact_sheet", "saved_tile"]

_MOST = 1024
_GUTTER = 6
_BACKGROUND = (255, 255, 255)
_LABEL, _ON_LABEL = (16, 16, 16, 190), (255, 255, 255)
# Okabe and Ito's orange: it keeps its contrast to grey for colour-blind readers and in print.
_WARNING, _ON_WARNING = (230, 159, 0), (0, 0, 0)


class Drawing(NamedTuple):
    """The objects or parts of one picture, drawn in colours that the whole sheet shares."""

    image: torch.Tensor | Path
    """uint8 (3, H, W), or a file, read when it is drawn."""
    numbers: torch.Tensor | Path
    """int32 (H, W), 0 or which object, or which part where there are names of parts; or a file."""
    objects: tuple[Marked, ...] = ()
    """Their labels, scores and boxes, by number."""
    parts: tuple[str, ...] = ()
    """The names of the parts, by number."""


class Tile(NamedTuple):
    """One picture of the sheet."""

    name: str
    """Written in its corner: a seed or a file's name."""
    overlay: torch.Tensor | Image.Image | str | os.PathLike[str]
    """uint8 (3, H, W), a PIL image, or the path of an image file, read when it is drawn."""
    found: bool
    """False marks it as having no confident foreground."""
    scene: Drawing | None = None
    """Objects or parts to draw instead of the overlay."""


class _Colours(NamedTuple):
    """The colours of one sheet, by name."""

    labels: Mapping[str, Colour]
    parts: Mapping[str, Colour]

    @classmethod
    def of(cls, tiles: Sequence[Tile]) -> _Colours:
        scenes = [tile.scene for tile in tiles if tile.scene is not None]
        return cls(
            _drawing.name_colours(one.label for scene in scenes for one in scene.objects),
            _drawing.name_colours(name for scene in scenes for name in scene.parts),
        )


def contact_sheet(
    results: Iterable[Segmentation | tuple[str, torch.Tensor, bool] | Tile],
    columns: int | None = None,
) -> Image.Image:
    """A grid of overlays with their names, as in Figs. S4-S6 of the paper.

    Overlays alone, not pairs of image and overlay: the background of an overlay stays visible in
    grey, so that both kinds of error, object left grey and background left in colour, show in one
    picture, and twice as many results fit. A query without confident foreground is all grey and
    carries a coloured band that says so.

    Detected objects are shown with their boxes, names and scores, their masks in the colour of
    the name; named parts have their colours in a legend below. A name has one colour all over the
    sheet; several objects of one name in a picture differ in brightness.

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
    colours = _Colours.of(shown)
    pictures = [_picture(tile, side, colours) for tile in shown]
    sheet = _grid(pictures, columns or _columns(len(shown)))
    if colours.parts:
        sheet = _with_legend(sheet, colours.parts)
    return sheet if len(shown) == len(tiles) else _with_footer(sheet, len(shown), len(tiles))


def saved_tile(folder: str | os.PathLike[str]) -> Tile:
    """The tile of a saved result.

    Raises:
        InputError: no whole result there.
    """
    folder = Path(folder)
    saved = read_provenance(folder)
    name, found = saved_query(saved).name, saved["result"]["found"]
    return Tile(name, folder / "overlay.png", found, _saved_scene(folder, saved["result"]))


def _tile(result: Segmentation | tuple[str, torch.Tensor, bool] | Tile) -> Tile:
    if isinstance(result, Segmentation):
        name = saved_query(result.provenance).name if result.provenance else ""
        return Tile(name, result.overlay(), result.found, _scene(result))
    return Tile(*result)


def _scene(result: Segmentation) -> Drawing | None:
    if not (result.detected or result.part_names):
        return None
    marks = [Marked(one.label, one.score, one.box.corners) for one in result.regions]
    return Drawing(
        result.image,
        result.parts if result.part_names else result.instances,
        tuple(marks) if result.detected else (),
        result.part_names,
    )


def _saved_scene(folder: Path, result: Mapping[str, Any]) -> Drawing | None:
    parts, objects = tuple(result.get("parts", ())), result.get("objects")
    if objects is None and not parts:
        return None
    marks = [Marked(one["label"], one["score"], tuple(one["box"])) for one in objects or ()]
    numbers = folder / ("parts.png" if parts else "instances.png")
    return Drawing(folder / "image.png", numbers, tuple(marks), parts)


def _picture(tile: Tile, side: int, colours: _Colours) -> Image.Image:
    """The overlay or scene at the size of the sheet, labelled."""
    size = 16 if side >= 256 else 12
    if tile.scene is not None:
        picture = _scene_picture(tile, tile.scene, side, colours)
    else:
        overlay = tile.overlay
        if not isinstance(overlay, (torch.Tensor, Image.Image)):
            overlay = read_image(overlay)
        picture = to_pil(overlay) if isinstance(overlay, torch.Tensor) else overlay.convert("RGB")
        picture = _scaled(picture, side)
    draw = ImageDraw.Draw(picture, "RGBA")
    _write_name(draw, tile.name, picture.width, size)
    if not tile.found:
        _write_warning(draw, picture, size)
    return picture


def _scene_picture(tile: Tile, scene: Drawing, side: int, colours: _Colours) -> Image.Image:
    """Tinted masks, boxes and names; the names stay clear of the tile's own."""
    image = scene.image if isinstance(scene.image, torch.Tensor) else read_image(scene.image)
    numbers = scene.numbers
    if not isinstance(numbers, torch.Tensor):
        numbers = read_instances(numbers)
    marked = _drawing.object_colours([one.label for one in scene.objects], colours.labels)
    inks = [colours.parts[name] for name in scene.parts] if scene.parts else marked
    share = _drawing.PARTS if scene.parts else _drawing.OBJECTS
    picture = _scaled(to_pil(_drawing.tinted(image, numbers, inks, share)), side)
    size = 16 if side >= 256 else 12
    corner = _name_extent(ImageDraw.Draw(picture), tile.name, picture.width, size)
    scale = picture.width / image.shape[2]
    _drawing.draw_objects(picture, scene.objects, marked, scale, [(0, 0, *corner)])
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
    pad = size // 3
    draw.rectangle((0, 0, *_name_extent(draw, name, width, size)), fill=_LABEL)
    draw.text((pad, (size + pad) / 2 + 1), text, font=font, anchor="lm", fill=_ON_LABEL)


def _name_extent(
    draw: ImageDraw.ImageDraw, name: str, width: int, size: int
) -> tuple[float, float]:
    """Width and height of the corner that a name takes."""
    font = ImageFont.load_default(size)
    text = _shortened(draw, name, font, width - size)
    pad = size // 3
    return draw.textbbox((0, 0), text, font=font, anchor="lt")[2] + 2 * pad, size + pad


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


def _with_legend(sheet: Image.Image, colours: Mapping[str, Colour]) -> Image.Image:
    """The sheet above the names of the parts, each beside its colour, in as many rows as needed."""
    font, height = ImageFont.load_default(16), 28
    measure = ImageDraw.Draw(sheet)
    places, x, y = [], _GUTTER, sheet.height
    for name in colours:
        width = 16 + 6 + math.ceil(measure.textlength(name, font=font)) + 18
        if x > _GUTTER and x + width > sheet.width:
            x, y = _GUTTER, y + height
        places.append((name, x, y))
        x += width
    legend = Image.new("RGB", (sheet.width, y + height), _BACKGROUND)
    legend.paste(sheet)
    draw = ImageDraw.Draw(legend)
    for name, x, y in places:
        draw.rectangle((x, y + 4, x + 16, y + 20), fill=colours[name])
        draw.text((x + 22, y + 12), name, font=font, anchor="lm", fill=(0, 0, 0))
    return legend


def _with_footer(sheet: Image.Image, shown: int, total: int) -> Image.Image:
    footed = Image.new("RGB", (sheet.width, sheet.height + 32), _BACKGROUND)
    footed.paste(sheet)
    draw = ImageDraw.Draw(footed)
    text = f"the first {shown:,} of {total:,}"
    font = ImageFont.load_default(18)
    draw.text((_GUTTER, sheet.height + 12), text, font=font, anchor="lm", fill=(0, 0, 0))
    return footed
