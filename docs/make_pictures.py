"""Makes the pictures of the README and the documentation: ``python docs/make_pictures.py``."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

import covary
from covary.images import to_pil
from covary.segmentation import PALETTE
from covary.sheet import contact_sheet
from covary.testing import worlds

PICTURES = Path(__file__).parent / "images"
_INK, _PAPER = (40, 44, 52), (255, 255, 255)


def avatars(columns: int = 8, seeds: int = 16) -> Image.Image:
    """The contact sheet that ``make demo`` writes."""
    pipe = covary.Pipeline.preset("avatars")
    return contact_sheet([pipe(seed=seed) for seed in range(seeds)], columns=columns)


def method(seed: int = 1003, side: int = 256, shown: int = 5) -> Image.Image:
    """One structure in several appearances, its clusters, its mask, its overlay."""
    scene = worlds.get("avatars").scene(seed, (side, side))
    source = ("worlds", {"world": "avatars", "resolution": side})
    rule = ("corner", {"corners": "upper"})
    pipe = covary.Pipeline(source, "lab", ("lloyd", {"k": 4}), rule)
    seg = pipe(seed=seed)
    colours = torch.tensor(PALETTE, dtype=torch.uint8)[seg.labels.long()].permute(2, 0, 1)
    tiles = [(seg.image, "X0")]
    tiles += [(image, f"variant {i}") for i, image in enumerate(scene.images(1, shown - 1), 1)]
    tiles += [(colours, "clusters, k = 4"), (seg.overlay(), "foreground")]
    return _strip([(to_pil(image), caption) for image, caption in tiles])


def _strip(tiles: list[tuple[Image.Image, str]], side: int = 220, gap: int = 10) -> Image.Image:
    """Captioned tiles in one row."""
    font = ImageFont.load_default(size=20)
    strip = Image.new("RGB", (len(tiles) * (side + gap) - gap, side + 34), _PAPER)
    draw = ImageDraw.Draw(strip)
    for index, (tile, caption) in enumerate(tiles):
        left = index * (side + gap)
        strip.paste(tile.resize((side, side), Image.Resampling.LANCZOS), (left, 0))
        draw.text((left + side / 2, side + 18), caption, fill=_INK, font=font, anchor="mm")
    return strip


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for name, picture in (("method", method()), ("avatars", avatars())):
        covary.write_png(picture, PICTURES / f"{name}.png")
        print(PICTURES / f"{name}.png")
