"""The pictures of the how-tos on soft masks, composition and exports."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache

import torch
from PIL import Image, ImageDraw

import covary
from covary import exports
from covary.images import to_pil
from covary.saved import SavedResult

from .drawing import Tile, row, stacked

__all__ = ["PICTURES"]

_CLUSTERS = ("lloyd", {"k": 4})
_UPPER = ("corner", {"corners": "upper"})
_CORNER = (slice(None), slice(74, 106), slice(26, 58))
"""Hair, clothes and wall."""


@cache
def _avatar(seed: int = 5, side: int = 128) -> covary.Segmentation:
    source = ("worlds", {"resolution": side, "n": 20})
    return covary.Pipeline(source, "lab", _CLUSTERS, _UPPER, soft=True)(seed=seed)


@cache
def _room(seed: int = 7) -> SavedResult:
    return SavedResult.of(covary.Pipeline.preset("rooms").replace(soft=True)(seed=seed))


def soft(seed: int = 5) -> Image.Image:
    """The masks of a rendered avatar, and a corner of each enlarged."""
    seg = _avatar(seed)
    summary = covary.Pipeline(("worlds", {"resolution": 128, "n": 20}), "lab", "lloyd", "corner")
    confidence = covary.pixel_confidence(summary.summarise(seed=seed), seg.regions[0].clusters)
    share = _soft(seg)
    guided = covary.create("guided").refine(share, seg.image)
    shown = {
        "X0": seg.image,
        "mask": _grey(seg.mask.float()),
        "soft": _grey(share),
        "soft, guided": _grey(guided),
        "confidence": _grey(confidence),
    }
    whole = row([Tile(one) for one in shown.values()], side=190)
    part = _CORNER
    zoom = [Tile(_enlarged(one[part]), name) for name, one in shown.items()]
    return stacked([("all", whole), ("a corner", row(zoom, side=190))], width=90)


def composition(seeds: tuple[int, ...] = (10, 7), shown: int = 5) -> Image.Image:
    """Images of the bundled generator on their own variants."""
    rows = []
    for seed in seeds:
        pipe = covary.Pipeline.preset("avatars").replace(soft=True)
        seg = pipe(seed=seed)
        ctx = covary.RunContext(seed=seed).at("source", pipe.source.id)
        opened = pipe.source.open(covary.Query(seed=seed), ctx)
        variants = torch.cat([batch.images for batch in opened.batches])[:shown]
        tiles = [Tile(seg.image), *(Tile(one) for one in variants)]
        rows.append(("variants", row(tiles, side=118)))
        made = [covary.compose(seg.image, _soft(seg), one) for one in variants]
        cut = Tile(_on_checks(covary.cut_out(seg.image, _soft(seg))))
        rows.append(("composed", row([cut, *map(Tile, made)], side=118)))
    return stacked(rows, width=90)


def borders(seed: int = 5) -> Image.Image:
    """A corner of a composition with each kind of border."""
    seg = _avatar(seed)
    share, mask = _soft(seg), seg.mask
    onto = torch.tensor([245, 245, 235], dtype=torch.uint8)[:, None, None].expand_as(seg.image)
    part = _CORNER
    pictures = {
        "X0": seg.image,
        "hard": covary.compose(seg.image, mask, onto),
        "hard, feather 1": covary.compose(seg.image, mask, onto, feather=1),
        "soft": covary.compose(seg.image, share, onto),
    }
    return row([Tile(_enlarged(one[part]), name) for name, one in pictures.items()], side=230)


def exported(seed: int = 7) -> Image.Image:
    """A rendered room in each format that is a picture."""
    result = _room(seed)
    cut = torch.zeros(4, *result.size, dtype=torch.uint8)
    for name, picture in exports.cut_outs(result, each=True):
        if name.endswith("-sofa"):
            cut = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
            cut = cut.reshape(*result.size, 4).permute(2, 0, 1)
    tiles = [
        Tile(result.image, "X0"),
        Tile(exports.palette(result), "palette, instances"),
        Tile(_on_checks(cut), "cut-out of the sofa"),
        Tile(_drawn(exports.svg(result), result.size), "outlines"),
    ]
    return row(tiles, side=230)


def _soft(seg: covary.Segmentation) -> torch.Tensor:
    if seg.soft is None:
        raise SystemExit("the pictures need results with soft masks")
    return seg.soft


def _grey(share: torch.Tensor) -> torch.Tensor:
    """A map in 0..1 as a grey picture, uint8 (3, H, W)."""
    return (share * 255).round().to(torch.uint8).expand(3, -1, -1)


def _enlarged(part: torch.Tensor) -> Image.Image:
    """Pixels as squares."""
    picture = to_pil(part.contiguous())
    return picture.resize((256, 256), Image.Resampling.NEAREST)


def _on_checks(rgba: torch.Tensor) -> torch.Tensor:
    """A cut-out (4, H, W) on the usual checkerboard."""
    _, height, width = rgba.shape
    side = max(4, height // 16)
    down, right = torch.arange(height)[:, None] // side, torch.arange(width)[None] // side
    checks = ((down + right) % 2) * 40 + 200
    opacity = rgba[3].float() / 255
    return (opacity * rgba[:3] + (1 - opacity) * checks).round().to(torch.uint8)


def _drawn(svg: str, size: tuple[int, int], scale: int = 4) -> Image.Image:
    """The lines of a drawing that covary wrote."""
    picture = Image.new("RGB", (size[1] * scale, size[0] * scale), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    for colour, path in re.findall(r'fill="(#\w+)" d="([^"]+)"', svg):
        for line in path.split("Z"):
            numbers = [float(number) * scale for number in re.findall(r"-?[\d.]+", line)]
            if numbers:
                draw.line([*numbers, *numbers[:2]], fill=colour, width=5, joint="curve")
    return picture


PICTURES: Mapping[str, Callable[[], Image.Image]] = {
    "soft-masks": soft,
    "compose": composition,
    "compose-borders": borders,
    "exports": exported,
}
"""Name of the file -> what draws it."""
