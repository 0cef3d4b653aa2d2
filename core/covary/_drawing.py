"""Objects and parts in colour: tinted masks, boxes, names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

__all__ = [
    "OBJECTS",
    "PALETTE",
    "PARTS",
    "Marked",
    "Rectangle",
    "dimmed",
    "draw_objects",
    "indexed",
    "name_colours",
    "object_colours",
    "outline",
    "overlay",
    "palette_bytes",
    "tinted",
]

Colour = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]

PALETTE: tuple[Colour, ...] = (
    (68, 119, 170), (238, 102, 119), (34, 136, 51), (204, 187, 68), (102, 204, 238),
    (170, 51, 119), (187, 187, 187), (51, 34, 136), (136, 204, 238), (68, 170, 153),
    (17, 119, 51), (153, 153, 51), (221, 204, 119), (204, 102, 119), (136, 34, 85),
)  # fmt: skip
"""Paul Tol's "bright" and "muted" sets, RGB: told apart by colour-blind readers and in print."""
# Without grey, which is what the background is shown in.
_COLOURS = tuple(colour for colour in PALETTE if len(set(colour)) > 1)
OBJECTS, PARTS = 0.6, 0.8
"""Shares of the colour: objects still look like themselves; parts, which touch, are told apart."""
_ROWS = 512
_MOST_NAMES = 40
"""Names written on one picture; beyond that they would hide it."""


class Marked(NamedTuple):
    """What is written at a box."""

    label: str
    score: float
    box: tuple[int, int, int, int]
    """x0, y0, x1, y1."""

    @property
    def text(self) -> str:
        """Its name and, where the detector was not certain, its score."""
        return self.label if self.score == 1 else f"{self.label} {self.score:.2f}".strip()


def name_colours(names: Iterable[str]) -> dict[str, Colour]:
    """A colour for each name, by alphabetical order; there are fourteen, then they repeat."""
    ordered = enumerate(sorted(set(names)))
    return {name: _COLOURS[index % len(_COLOURS)] for index, name in ordered}


def object_colours(labels: Sequence[str], colours: Mapping[str, Colour]) -> list[Colour]:
    """A colour for each object: its label's, lighter or darker for the second, third, ..."""
    seen: dict[str, int] = {}
    chosen = []
    for label in labels:
        chosen.append(_shade(colours[label], seen.get(label, 0)))
        seen[label] = seen.get(label, 0) + 1
    return chosen


def tinted(
    image: torch.Tensor, numbers: torch.Tensor, colours: Sequence[Colour], share: float = OBJECTS
) -> torch.Tensor:
    """The image in grey, with the pixels of each number in its colour and outlined.

    Args:
        image: uint8 (3, H, W).
        numbers: integers (H, W), 0 for the background and i + 1 for ``colours[i]``.
        colours: RGB.
        share: how much of the colour to mix in.

    Returns:
        uint8 (3, H, W).
    """
    table = torch.tensor([(0, 0, 0), *colours], dtype=torch.float32)
    shown = torch.empty_like(image)
    for first in range(0, numbers.shape[0], _ROWS):
        rows = slice(first, first + _ROWS)
        part, number = image[:, rows].float(), numbers[rows].long()
        colour = table[number].permute(2, 0, 1)
        mixed = torch.where(number > 0, torch.lerp(part, colour, share), dimmed(part))
        shown[:, rows] = mixed.round().to(torch.uint8)
    edge = outline(numbers > 0, numbers)
    shown[:, edge] = table[numbers[edge].long()].T.to(torch.uint8)
    return shown


def overlay(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The image with its background greyed and the mask outlined, uint8 (3, H, W).

    Args:
        image: uint8 (3, H, W).
        mask: bool (H, W).
    """
    shown = torch.empty_like(image)
    for first in range(0, len(mask), _ROWS):
        rows = slice(first, first + _ROWS)
        part = image[:, rows].float()
        shown[:, rows] = torch.where(mask[rows], part, dimmed(part)).round().to(torch.uint8)
    shown[:, outline(mask)] = 255
    return shown


def dimmed(image: torch.Tensor) -> torch.Tensor:
    """An image, float32 (3, h, W), in dark grey."""
    return image.mean(dim=0, keepdim=True) * 0.35 + 20


def outline(mask: torch.Tensor, numbers: torch.Tensor | None = None) -> torch.Tensor:
    """The outermost pixels of ``mask`` (4-neighbours), one pixel for every 256 of its side.

    Not along the image's own border. With ``numbers`` also where two of them meet.
    """
    inner = mask
    for step in range(max(1, round(min(mask.shape) / 256))):
        smaller = inner.clone()
        smaller[1:] &= inner[:-1]
        smaller[:-1] &= inner[1:]
        smaller[:, 1:] &= inner[:, :-1]
        smaller[:, :-1] &= inner[:, 1:]
        if step == 0 and numbers is not None:
            smaller[1:] &= numbers[1:] == numbers[:-1]
            smaller[:, 1:] &= numbers[:, 1:] == numbers[:, :-1]
        inner = smaller
    return mask & ~inner


def draw_objects(
    picture: Image.Image,
    objects: Sequence[Marked],
    colours: Sequence[Colour],
    scale: float = 1,
    taken: Sequence[Rectangle] = (),
) -> None:
    """Draw the boxes of objects and write their names at them.

    Args:
        picture: RGB, drawn on.
        objects: boxes in pixels of the image that the picture shows ``scale`` times as large.
        colours: one for each object.
        scale: see ``objects``.
        taken: places to keep free of names.
    """
    draw = ImageDraw.Draw(picture)
    line = max(1, round(min(picture.size) / 256))
    edges = [tuple(scale * end for end in one.box) for one in objects]
    # The largest first, so that those inside stay visible.
    order = sorted(range(len(objects)), key=lambda index: -_area(edges[index]))
    for index in order:
        x0, y0, x1, y1 = edges[index]
        # Pillow's rectangles include their ends.
        frame = (x0, y0, max(x0, x1 - 1), max(y0, y1 - 1))
        draw.rectangle(frame, outline=colours[index], width=line)
    size = 11 if min(picture.size) <= 256 else max(11, round(min(picture.size) / 24))
    font = ImageFont.load_default(size)
    written = list(taken)
    for index in [index for index in order if objects[index].text][:_MOST_NAMES]:
        text = objects[index].text
        extent = (draw.textlength(text, font=font) + 6, size + 4)
        place = _free_place(edges[index], extent, picture.size, written)
        draw.rectangle(place, fill=colours[index])
        middle = (place[0] + 3, (place[1] + place[3]) / 2)
        draw.text(middle, text, font=font, anchor="lm", fill=_on(colours[index]))
        written.append(place)


def indexed(numbers: torch.Tensor, colours: Sequence[Colour]) -> Image.Image:
    """A palette image of numbers (H, W): black for 0, ``colours[i]`` for i + 1.

    16-bit grey for more colours than a palette holds.
    """
    if len(colours) > 255:
        return Image.fromarray(numbers.numpy().astype(np.uint16))
    picture = Image.fromarray(numbers.numpy().astype(np.uint8))
    picture.putpalette(palette_bytes([(0, 0, 0), *colours]))
    return picture


def palette_bytes(colours: Sequence[Colour]) -> bytes:
    """The palette of a palette image: these colours, at most 256, the others black."""
    return bytes(channel for colour in colours for channel in colour).ljust(3 * 256, b"\0")


def _free_place(
    box: Sequence[float],
    extent: tuple[float, float],
    size: tuple[int, int],
    written: Sequence[Rectangle],
) -> Rectangle:
    """A rectangle of that extent at the box, inside the picture and clear of what is written."""
    candidates = [_kept_inside(place, size) for place in _places(box, extent)]
    return min(candidates, key=lambda place: sum(_overlap(place, other) for other in written))


def _places(box: Sequence[float], extent: tuple[float, float]) -> Iterator[Rectangle]:
    """Places for a name, the best first: above the box, inside it, below it; left, then right."""
    (x0, y0, x1, y1), (width, height) = box, extent
    for top, left in product((y0 - height, y0, y1 - height, y1), (x0, x1 - width)):
        yield left, top, left + width, top + height


def _kept_inside(place: Rectangle, size: tuple[int, int]) -> Rectangle:
    left = max(0.0, min(place[0], size[0] - (place[2] - place[0])))
    top = max(0.0, min(place[1], size[1] - (place[3] - place[1])))
    return left, top, left + place[2] - place[0], top + place[3] - place[1]


def _overlap(a: Rectangle, b: Rectangle) -> float:
    across = min(a[2], b[2]) - max(a[0], b[0])
    down = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, across) * max(0.0, down)


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _shade(colour: Colour, turn: int) -> Colour:
    """The colour itself, then lighter, darker, and so on in turn."""
    towards, share = ((0, 0.0), (255, 0.4), (0, 0.35))[turn % 3]
    red, green, blue = (round(channel + share * (towards - channel)) for channel in colour)
    return red, green, blue


def _on(colour: Colour) -> Colour:
    """Black or white, whichever reads better on the colour (relative luminance, roughly)."""
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)
