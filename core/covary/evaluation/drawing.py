"""What is wrong where: an image, its two masks and their differences, in one row of pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import torch
from PIL import Image

from .. import _drawing
from ..images import to_pil
from .classes import IGNORED
from .pairs import Pair

__all__ = [
    "CONFUSED",
    "FALSE_NEGATIVE",
    "FALSE_POSITIVE",
    "Pictures",
    "class_colours",
    "hex_colour",
    "pictures",
]

# Okabe and Ito's orange, sky blue and reddish purple: told apart by colour-blind readers.
FALSE_POSITIVE, FALSE_NEGATIVE, CONFUSED = (230, 159, 0), (86, 180, 233), (204, 121, 167)

_SIDE = 256
_GREY = 160
_ERRORS = 0.85
"""Share of the colour in the map of errors, where what lies below matters little."""


class Pictures(NamedTuple):
    """The pictures of a pair as data URIs of PNG files."""

    image: str | None
    prediction: str
    truth: str
    errors: str
    width: int
    height: int


def class_colours(count: int) -> list[_drawing.Colour]:
    """A colour for each of so many classes, the background left out."""
    colours = [colour for colour in _drawing.PALETTE if len(set(colour)) > 1]
    return [colours[number % len(colours)] for number in range(count)]


def pictures(pair: Pair, classes: int) -> Pictures:
    """A pair drawn at most 256 pixels wide and high.

    Args:
        pair: with maps of indices, uint8 (H, W).
        classes: how many, the background among them.
    """
    prediction, truth = (_reduced(one.to(torch.uint8)) for one in (pair.prediction, pair.truth))
    height, width = (int(side) for side in truth.shape)
    image = _fitted(pair.image, width, height)
    ignored = truth == IGNORED
    colours = class_colours(classes - 1)
    maps = [
        _drawing.tinted(image, labels.masked_fill(ignored, 0).int(), colours, _drawing.PARTS)
        for labels in (prediction, truth)
    ]
    kinds = (FALSE_POSITIVE, FALSE_NEGATIVE, CONFUSED)
    errors = _drawing.tinted(image, _errors(prediction, truth), kinds, _ERRORS)
    shown = [_uri(one) for one in (*maps, errors)]
    photo = None if pair.image is None else _uri(image)
    return Pictures(photo, shown[0], shown[1], shown[2], width, height)


def _errors(prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """int32 (H, W): 1 where there should be background, 2 where there should be none, 3 where it
    should be another class, 0 where all is right."""
    errors = torch.zeros(truth.shape, dtype=torch.int32)
    wrong = (prediction != truth) & (truth != IGNORED)
    errors[wrong & (truth == 0)] = 1
    errors[wrong & (prediction == 0)] = 2
    errors[wrong & (truth > 0) & (prediction > 0)] = 3
    return errors


def _reduced(labels: torch.Tensor) -> torch.Tensor:
    """Labels no larger than a picture of the report."""
    longest = max(labels.shape)
    if longest <= _SIDE:
        return labels
    size = tuple(max(1, round(side * _SIDE / longest)) for side in labels.shape)
    scaled = torch.nn.functional.interpolate(labels[None, None], size=size, mode="nearest-exact")
    return scaled[0, 0]


def _fitted(image: torch.Tensor | None, width: int, height: int) -> torch.Tensor:
    """The image at that size; plain grey where there is none."""
    if image is None:
        return torch.full((3, height, width), _GREY, dtype=torch.uint8)
    picture = to_pil(image)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    flat = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return flat.reshape(height, width, 3).permute(2, 0, 1).contiguous()


def _uri(image: torch.Tensor) -> str:
    buffer = io.BytesIO()
    to_pil(image).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def hex_colour(colour: Sequence[int]) -> str:
    """``#e69f00``."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
