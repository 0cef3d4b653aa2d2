"""k-means in a few lines of torch: the plain baseline."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ._adapter import Adapter, LloydParams, mean_variance

if TYPE_CHECKING:
    import numpy as np
    import torch

    from covary import ClusterMap, RunContext, StyleSummary

__all__ = ["Torch"]

# Pixels for which distances are computed at once: cdist copies them.
_CHUNK = 2**12


class Torch(Adapter):
    """Lloyd's k-means as one would write it: ``torch.cdist``, ``index_add_``, on CPU and CUDA.

    A baseline to measure others by, with nothing done for speed. Starts from random pixels; an
    empty cluster gets the pixel farthest from its centre. Holds the summary as a float32 matrix:
    4*N*D bytes, 629 MB at 1024x1024 with 50 variants. On CUDA ``index_add_`` adds in no fixed
    order, so two runs may differ by rounding.
    """

    class Params(LloydParams):
        """Those of Lloyd's algorithm."""

    params: Params
    determinism = "numeric"

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes beyond the summary: the float32 matrix, a chunk, and maps of labels."""
        chunk = 12 * _CHUNK * (features + self.params.k)
        return size[0] * size[1] * (4 * features + 48) + chunk

    def _run(
        self, summary: StyleSummary, centers: np.ndarray[Any, Any] | None, ctx: RunContext
    ) -> ClusterMap:
        import torch

        x = summary.to(ctx.device).matrix()
        allowed = self.params.tol * mean_variance(summary)
        if centers is not None:
            return self._lloyd(summary, x, torch.from_numpy(centers).to(x.device), allowed)
        generator = ctx.generator()
        picks = (torch.randperm(len(x), generator=generator) for _ in range(self.params.n_init))
        starts = (x[pick[: self.params.k].to(x.device)] for pick in picks)
        runs = (self._lloyd(summary, x, start, allowed) for start in starts)
        return min(runs, key=lambda run: run.inertia)

    def _lloyd(
        self, summary: StyleSummary, x: torch.Tensor, centers: torch.Tensor, allowed: float
    ) -> ClusterMap:
        from ._pixels import cluster_map

        iterations, shift = 0, math.inf
        while shift > allowed and iterations < self.params.max_iter:
            before = centers
            centers = _means(x, *_nearest(x, before), self.params.k)
            shift = float((centers - before).square().sum())
            iterations += 1
        return cluster_map(
            summary,
            _nearest(x, centers)[1],
            centers,
            device=x.device,
            iterations=iterations,
            converged=shift <= allowed,
        )


def _nearest(x: torch.Tensor, centers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance and label (N,) of the nearest centre of each row of ``x``."""
    import torch

    chunks = [torch.cdist(rows, centers).min(dim=1) for rows in x.split(_CHUNK)]
    return torch.cat([c.values for c in chunks]), torch.cat([c.indices for c in chunks])


def _means(x: torch.Tensor, distances: torch.Tensor, labels: torch.Tensor, k: int) -> torch.Tensor:
    """Means (K, D) of the clusters' rows; for an empty one, the row farthest from its centre."""
    counts = labels.bincount(minlength=k)
    sums = x.new_zeros((k, x.shape[1])).index_add_(0, labels, x)
    means = sums / counts[:, None]
    empty = (counts == 0).nonzero()[:, 0]
    means[empty] = x[distances.topk(len(empty)).indices]
    return means
