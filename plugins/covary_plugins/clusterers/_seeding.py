"""Greedy k-means++: initial centres drawn among the pixels, far from each other."""

from __future__ import annotations

from math import log
from typing import Protocol

import torch

__all__ = ["Distances", "kmeans_plus_plus"]


class Distances(Protocol):
    """What seeding asks of the pixels."""

    def at(self, index: torch.Tensor) -> torch.Tensor:
        """The pixels of that index, int64 (M,), float32 (M, D)."""

    def closer(self, points: torch.Tensor, closest: torch.Tensor, *, keep: bool) -> torch.Tensor:
        """Sums over pixels of the smaller of ``closest`` and the distance to each point.

        Args:
            points: float32 (R, T, D).
            closest: float32 (R, N), squared distances.
            keep: write the smaller ones back to ``closest``; T is 1 then.

        Returns:
            float64 (R, T). A distance is exactly zero between equal pixels.
        """


def kmeans_plus_plus(
    pixels: Distances, closest: torch.Tensor, k: int, generator: torch.Generator
) -> torch.Tensor:
    """Initial centres float32 (R, K, D) of R restarts.

    Greedy k-means++ (Arthur and Vassilvitskii 2007, with 2 + log k candidates a step as
    scikit-learn does): each next centre is the best of a few pixels drawn with probability
    proportional to their squared distance to the nearest centre so far. Exact over all pixels;
    two reads of them for every centre but the first, which all restarts share.

    Args:
        pixels: where to draw from.
        closest: float32 (R, N) of infinities, overwritten.
        k: number of centres. Where there are fewer distinct pixels, centres are equal.
        generator: on the CPU.
    """
    restarts, count = closest.shape
    trials = 2 + int(log(k))
    drawn = torch.randint(count, (restarts, 1), generator=generator)
    centers = _pixels_at(pixels, drawn)
    pixels.closer(centers, closest, keep=True)
    for _ in range(1, k):
        candidates = _pixels_at(pixels, _draw(closest, trials, generator))
        best = pixels.closer(candidates, closest, keep=False).argmin(dim=1)
        chosen = candidates.take_along_dim(best[:, None, None], dim=1)
        pixels.closer(chosen, closest, keep=True)
        centers = torch.cat([centers, chosen], dim=1)
    return centers


def _pixels_at(pixels: Distances, index: torch.Tensor) -> torch.Tensor:
    """The pixels of that index (R, T), float32 (R, T, D)."""
    return pixels.at(index.reshape(-1)).reshape(*index.shape, -1)


def _draw(weights: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """``count`` indices for each row of ``weights``, with probability proportional to them."""
    sums = weights.to(torch.float64).cumsum(dim=1)
    where = torch.rand((len(weights), count), dtype=torch.float64, generator=generator)
    # right=True never lands on a weight of zero; the clamp is for rounding at the very end.
    index = torch.searchsorted(sums, where.to(sums.device) * sums[:, -1:], right=True)
    return index.clamp_(max=weights.shape[1] - 1)
