"""Rendered avatars for training: images and, for the check, their exact part labels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from covary.testing import worlds
from covary_bench.parts import label_table
from covary_bench.segmenters.data import scenes

__all__ = ["REGIONS", "load_or_render", "render", "render_with_regions"]

REGIONS: dict[str, tuple[str, ...]] = {
    "background": ("background", "stripes"),
    "hair": ("hair", "brows"),
    "skin": ("neck", "ears", "head", "eyes", "irises", "pupils", "mouth"),
    "clothes": ("clothes",),
}
"""The parts of the avatars world in four groups, which the check segments and compares."""

_CHUNK = 100


def render(count: int, seed: int, size: int) -> Tensor:
    """``count`` avatars, uint8 (count, 3, size, size), each of its own structure and appearance."""
    return torch.cat([images for images, _ in _chunks(count, seed, size)])


def render_with_regions(count: int, seed: int, size: int) -> tuple[Tensor, Tensor]:
    """`render`, and which of `REGIONS` each pixel shows: int64 (count, size, size)."""
    world = worlds.get("avatars")
    table = label_table(world, REGIONS)
    pairs = [
        (images, table[world.truth_of(layout).labels])
        for images, layout in _chunks(count, seed, size)
    ]
    images, labels = zip(*pairs, strict=True)
    return torch.cat(images), torch.cat(labels)


def _chunks(count: int, seed: int, size: int) -> Iterator[tuple[Tensor, worlds.Layout]]:
    return scenes(worlds.get("avatars"), count, seed, size, chunk=_CHUNK)


def load_or_render(folder: Path, count: int, seed: int, size: int) -> Tensor:
    """`render`, kept in ``folder`` so that a resumed run does not draw the same images again."""
    path = folder / f"data-{size}px-{count}-seed{seed}.npy"
    if not path.exists():
        images = render(count, seed, size)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.save(file, images.numpy())
        os.replace(part, path)
    return torch.from_numpy(np.load(path))
