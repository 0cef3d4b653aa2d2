"""A loss that needs no trained network: colours and edges over an image pyramid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["pyramid_loss"]

# Levels are halved until their shorter side has fewer pixels than this.
_SMALLEST = 8


def pyramid_loss(images: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference in colours and in their steps to the next pixel, over all scales.

    Coarse levels draw shapes into place from far away, where fine ones have no gradient to offer;
    steps weigh outlines, which the mask depends on, as much as areas.

    Args:
        images, target: float32 (B, 3, H, W), of one scale of values.

    Returns:
        float32 scalar.
    """
    difference = images - target
    losses = []
    while True:
        terms = [difference, difference.diff(dim=3), difference.diff(dim=2)]
        losses.append(torch.stack([term.abs().mean() for term in terms]).sum())
        if min(difference.shape[2:]) // 2 < _SMALLEST:
            return torch.stack(losses).mean()
        # Pooling is linear: the pyramid of a difference is the difference of the pyramids.
        difference = F.avg_pool2d(difference, 2)
