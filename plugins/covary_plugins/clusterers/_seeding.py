"""Greedy k-means++: initial centres drawn among the pixels, far from each other."""

from __future__ import annotations

from math import log

import torch

from ._pixels import Pixels

__all__ = ["kmeans_plus_plus"]


def kmeans_plus_plus(pixels: Pixels, k: int, generator: torch.Generator) -> torch.Tensor:
    """Initial centres float32 (K, D), relative to the offset of ``pixels``.

    Greedy k-means++ (Arthur and Vassilvitskii 2007, with 2 + log k candidates a step as
    scikit-learn does): each next centre is the best of a few pixels drawn with probability
    proportional to their squared distance to the nearest centre so far. Exact over all pixels;
    two passes over them for every centre but the first.

    Args:
        pixels: where to draw from.
        k: number of centres.
        generator: on the CPU.
    """
    first = int(torch.randint(pixels.count, (1,), generator=generator))
    centers = pixels.row(first)[None]
    closest = _distances(pixels, centers)[0]
    trials = 2 + int(log(k))
    for _ in range(1, k):
        candidates = _draw(closest, trials, generator)
        rows = torch.stack([pixels.row(index) for index in candidates])
        distances = torch.minimum(closest, _distances(pixels, rows))
        best = int(distances.sum(dim=1, dtype=torch.float64).argmin())
        centers = torch.cat([centers, rows[best : best + 1]])
        closest = distances[best]
    return centers


def _draw(weights: torch.Tensor, count: int, generator: torch.Generator) -> list[int]:
    """``count`` indices with probability proportional to ``weights``."""
    sums = weights.to(torch.float64).cumsum(dim=0)
    where = torch.rand(count, dtype=torch.float64, generator=generator).to(sums.device)
    # right=True never lands on a weight of zero; the clamp is for rounding at the very end.
    index = torch.searchsorted(sums, where * sums[-1], right=True)
    return index.clamp_(max=len(weights) - 1).tolist()


def _distances(pixels: Pixels, points: torch.Tensor) -> torch.Tensor:
    """Squared distances float32 (len(points), N); exactly zero between equal pixels."""
    out = torch.empty((len(points), pixels.count), device=pixels.device)
    for where, x in pixels.blocks():
        # |x|^2 - 2xy + |y|^2, torch's default for many points, is not zero for equal ones.
        mode = "donot_use_mm_for_euclid_dist"
        out[:, where] = torch.cdist(x, points, compute_mode=mode).square_().T
    return out
