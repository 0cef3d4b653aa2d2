"""What a setting makes of a seed: clusters and a mask beside the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

import covary
from covary.testing import worlds
from covary_bench.quality import Score, oracle, score

from .scenes import Stack

__all__ = ["UPPER", "Outcome", "from_photo", "from_stack"]

Rule = tuple[str, Mapping[str, Any]]

UPPER: Rule = ("corner", {"corners": "upper"})
"""The rule of the preset for portraits."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One image, what was found in it and what is there."""

    image: Tensor
    """X_0, uint8 (3, H, W)."""
    variants: Tensor
    """uint8 (n, 3, H, W)."""
    labels: Tensor
    """Cluster of each pixel, int32 (H, W); -1 outside the box that was clustered."""
    mask: Tensor
    """bool (H, W)."""
    truth: Tensor
    """bool (H, W)."""
    found: bool

    @property
    def score(self) -> Score:
        """The mask against the truth."""
        return score(self.mask, self.truth, self.found)


def from_stack(
    stack: Stack,
    seed: int,
    *,
    k: int = 4,
    space: str = "lab",
    clusterer: str = "lloyd",
    rule: Rule | None = UPPER,
    boxed: bool = False,
) -> Outcome:
    """Cluster a stack and choose its foreground.

    Args:
        stack: variants and truth.
        seed: of the clusterer.
        k: number of clusters.
        space: of the colours.
        clusterer: its name.
        rule: a foreground rule; None chooses by the truth, which judges the clusters alone.
        boxed: work in the stack's box alone.
    """
    height, width = stack.truth.shape
    box = stack.box if boxed and stack.box else covary.Box(0, 0, width, height)
    rows, columns = box.slices
    summary = covary.StyleSummary.from_images(
        stack.variants[:, :, rows, columns].contiguous(), space
    )
    clusters = covary.create(clusterer, k=k).fit(summary, covary.RunContext(seed=seed))
    if rule is None:
        inner, found = oracle(clusters, stack.truth[rows, columns]), True
    else:
        name, params = rule
        chooser = covary.create(name, kind="foreground", **params)
        chosen = chooser.select(clusters, stack.image[:, rows, columns])
        inner, found = chosen.mask, chosen.found
    labels = torch.full((height, width), -1, dtype=torch.int32)
    mask = torch.zeros(height, width, dtype=torch.bool)
    labels[rows, columns], mask[rows, columns] = clusters.labels, inner
    return Outcome(stack.image, stack.variants, labels, mask, stack.truth, found)


def from_photo(seed: int, side: int, *, aside: float = 0.0) -> Outcome:
    """A picture of an avatar, inverted into the bundled generator by the preset `avatars-photo`.

    Args:
        seed: of the avatar.
        side: of the picture in pixels.
        aside: how far from the middle the avatar stands, as a share of the side.
    """
    scene = worlds.get("avatars").scene(seed, (side, 2 * side))
    left = round(side * (0.5 - aside))
    columns = slice(left, left + side)
    photo = scene.images(seed)[0][:, :, columns].contiguous()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "photo.png"
        covary.write_png(photo, path)
        result = covary.Pipeline.preset("avatars-photo", device="cpu")(path, seed=seed)
    mask, reconstruction = result.photo_mask, result.reconstruction
    assert mask is not None
    assert reconstruction is not None
    truth = scene.truth.foreground[0][:, columns]
    return Outcome(photo, reconstruction[None], result.labels, mask, truth, result.found)
