"""What says where the content of an image is: a trained network, or the renderer itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

import covary
from covary.recipe import Spec
from covary.testing import worlds

from .figures import compare, summarise

__all__ = ["Reference", "exact_mask"]

_SIDE = 64
"""Of an image that any segmenter takes, pixels."""


def exact_mask(world: str, seed: int, side: int) -> Tensor:
    """Where the content of a rendered scene is, bool (side, side)."""
    mask: Tensor = worlds.get(world).scene(seed, (side, side)).truth.foreground[0]
    return mask


class Reference:
    """A segmenter whose classes other than the background are the content.

    Args:
        name: of a component of kind segmenter.
        params: of it.
        device: where it runs.

    Raises:
        UnknownNameError, ParamsError, MissingPackageError: as ``covary.create``.
    """

    def __init__(self, name: str, params: dict[str, Any], device: str = "cpu") -> None:
        from covary.context import resolve_device

        self.spec = Spec(use=name, **params)
        self.segmenter = cast(covary.Segmenter, self.spec.create("segmenter"))
        self.classes: Sequence[str] = tuple(self.segmenter.classes)
        self._ctx = covary.RunContext(device=resolve_device(device))

    def labels(self, images: Tensor) -> Tensor:
        """The class of every pixel, int64 (B, H, W), of images uint8 (B, 3, H, W)."""
        return self.segmenter.segment(images.to(self._ctx.device), self._ctx).cpu()

    def masks(self, images: Tensor) -> Tensor:
        """Where the content is, bool (B, H, W)."""
        return self.labels(images) > 0

    def mask(self, image: Tensor) -> Tensor:
        """Where the content of one image is, bool (H, W)."""
        return self.masks(image[None])[0]

    def skill(self, world: str, seeds: Sequence[int], side: int) -> dict[str, Any]:
        """Its own masks of rendered scenes against the exact ones."""
        world_ = worlds.get(world)
        figures = []
        for seed in seeds:
            image = world_.scene(seed, (side, side)).images(seed)[0]
            figures.append(compare(self.mask(image), exact_mask(world, seed, side)))
        return summarise(figures)

    def about(self) -> dict[str, Any]:
        """What it is, as plain data: component, parameters, hashes of its weights.

        Loads the weights, so that missing ones are known before any work.

        Raises:
            CheckpointError, InputError: weights that are missing or damaged.
        """
        if isinstance(self.segmenter, covary.SupportsInputs) and not self.segmenter.inputs():
            self.masks(torch.zeros(1, 3, _SIDE, _SIDE, dtype=torch.uint8))
        inputs = (
            self.segmenter.inputs() if isinstance(self.segmenter, covary.SupportsInputs) else {}
        )
        return {**self.spec.model_dump(mode="json"), "inputs": dict(inputs)}
