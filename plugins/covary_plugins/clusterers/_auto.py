"""How many clusters an image has: more than enough of them, merged while that costs little."""

from __future__ import annotations

import torch

__all__ = ["merge"]

_FEWEST = 2


def merge(centers: torch.Tensor, counts: torch.Tensor, dearest: float) -> torch.Tensor:
    """The centres that are left when clusters are merged while that costs little, float64 (k, D).

    Ward's method (1963) from k-means' clusters on: merge the two whose union adds least to the sum
    of squared distances, ``n_a n_b / (n_a + n_b) * |a - b|^2``, until the cheapest union adds more
    than ``dearest`` or two clusters are left. Equal costs: the earlier clusters first.

    Args:
        centers: float64 (K, D).
        counts: (K,), pixels in each cluster, none of them empty.
        dearest: squared distance that a union may add.
    """
    centers, counts = centers.clone(), counts.to(centers.dtype).clone()
    while len(centers) > _FEWEST:
        costs = _costs(centers, counts)
        cheapest = int(costs.argmin())
        if float(costs.flatten()[cheapest]) > dearest:
            break
        one, other = sorted(divmod(cheapest, len(centers)))
        both = counts[one] + counts[other]
        centers[one] = (counts[one] * centers[one] + counts[other] * centers[other]) / both
        counts[one] = both
        rest = torch.arange(len(centers), device=centers.device) != other
        centers, counts = centers[rest], counts[rest]
    return centers


def _costs(centers: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """What merging each two clusters adds to the sum of squared distances, (K, K)."""
    # By differences, not by torch.cdist, whose products lose digits between centres that are close.
    squared = (centers[:, None] - centers).square().sum(dim=2)
    costs = squared * (counts[:, None] * counts) / (counts[:, None] + counts)
    return costs.fill_diagonal_(torch.inf)
