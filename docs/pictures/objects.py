"""The pictures of ``explanation/objects.md``: what happens inside boxes, and the worst of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from PIL import Image, ImageDraw

import covary
from covary.images import to_pil
from covary.segmentation import Region
from covary_bench import rooms
from covary_bench.report import RESULTS

from .drawing import FAILS, INK, Tile, beside, labelled, row, stacked, titled

__all__ = ["PICTURES"]

_SIDE = 256
_TILE = (196, 150)
_NAMES = 118
"""Width of the names of rows."""


def overview(seed: int = 1003) -> Image.Image:
    """One room: its boxes, the clusters in each, the objects."""
    seg = _room(seed)
    boxes = to_pil(seg.image).resize((2 * _SIDE, 2 * _SIDE), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(boxes)
    for region in seg.regions:
        corners = [2 * edge for edge in region.box.corners]
        draw.rectangle(corners, outline=(255, 255, 255), width=6)
        draw.rectangle(corners, outline=(0, 0, 0), width=3)
    tiles = [
        Tile(boxes, "X0 and its boxes"),
        Tile(labelled(seg.labels, 2 * _SIDE), "clusters, of the later box on top"),
        Tile(seg.overlay(), "objects"),
    ]
    return row(tiles, side=300)


def expanded(seed: int = 1003, label: str = "coffee table") -> Image.Image:
    """One object in its exact box and in an expanded one: what its clusters hold of the border."""
    rows = []
    for share in (0.0, 0.1):
        seg = _room(seed, share)
        region = next(one for one in seg.regions if one.label == label)
        name = f"expand = {share:g}"
        rows.append((name, _inside(seg, region, "mask" if region.found else "mask: none found")))
    return stacked(rows, width=_NAMES)


def worst() -> Image.Image:
    """The worst seed of each class, as the committed results name them."""
    return stacked([_worst(label, seed) for label, seed in _worst_seeds().items()], width=_NAMES)


def _worst_seeds() -> dict[str, int]:
    data: dict[str, Any] = json.loads((RESULTS / "rooms.json").read_text(encoding="utf-8"))
    preset = [one for one in data["settings"] if one["setting"] == rooms.PRESET]
    return {one["object"]: int(next(iter(one["worst"]))) for one in preset}


def _worst(label: str, seed: int) -> tuple[str, Image.Image]:
    seg = _room(seed)
    index = next(i for i, one in enumerate(seg.regions) if one.label == label)
    region = seg.regions[index]
    masks, boxes = rooms.exact(seed, _SIDE)
    tight = boxes[label].slices
    alone = torch.zeros(seg.size, dtype=torch.bool)
    alone[region.box.slices] = region.mask
    miou = rooms.score(alone[tight], masks[label][tight], region.found).miou
    picture = beside(
        [
            _inside(seg, region, f"mask, mIoU {miou:.2f}"),
            _shown(_on_grey(seg.image, seg.objects[index].mask), region.box, "overlaps resolved"),
            _shown(_on_grey(seg.image, masks[label]), region.box, "exact"),
        ]
    )
    return f"{label},\nseed {seed}", picture


def _room(seed: int, expand: float | None = None) -> covary.Segmentation:
    pipe = covary.Pipeline.preset("rooms", device="cpu")
    if expand is not None:
        pipe = pipe.replace(detector=("worlds", {"world": "rooms", "expand": expand}))
    return pipe(seed=seed)


def _inside(seg: covary.Segmentation, region: Region, verdict: str) -> Image.Image:
    """A box of the image, its clusters and its mask."""
    alone = torch.zeros(seg.size, dtype=torch.bool)
    alone[region.box.slices] = region.mask
    labels = torch.full(seg.size, -1, dtype=torch.int32)
    labels[region.box.slices] = region.clusters.labels
    k = int((region.clusters.counts > 0).sum())
    failed = not region.found
    return beside(
        [
            _shown(seg.image, region.box, "X0 in the box"),
            _shown(labelled(labels, _SIDE), region.box, f"clusters, k = {k}"),
            _shown(_on_grey(seg.image, alone), region.box, verdict, failed),
        ]
    )


def _shown(
    picture: torch.Tensor | Image.Image, box: covary.Box, caption: str, failed: bool = False
) -> Image.Image:
    """The part of a picture inside a box, as large as fits a tile."""
    image = to_pil(picture) if isinstance(picture, torch.Tensor) else picture
    part = image.convert("RGB").crop(box.corners)
    scale = min(_TILE[0] / part.width, _TILE[1] / part.height)
    size = round(part.width * scale), round(part.height * scale)
    canvas = Image.new("RGB", (_TILE[0], size[1]), (255, 255, 255))
    canvas.paste(part.resize(size, Image.Resampling.NEAREST), (0, 0))
    return titled(canvas, caption, FAILS if failed else INK, size=15)


def _on_grey(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The image uint8 (3, H, W), pale and grey outside the mask."""
    grey = image.float().mean(dim=0, keepdim=True).expand_as(image) * 0.25 + 180
    return torch.where(mask, image, grey.to(torch.uint8))


PICTURES: Mapping[str, Callable[[], Image.Image]] = {
    "objects": overview,
    "objects-expanded": expanded,
    "objects-worst": worst,
}
"""What draws each picture, by name."""
