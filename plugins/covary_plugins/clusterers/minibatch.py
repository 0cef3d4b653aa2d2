"""Mini-batch k-means (Sculley, "Web-scale k-means clustering", WWW 2010)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pydantic import Field

import covary

from ._adapter import Adapter, mean_variance
from .lloyd import Lloyd

if TYPE_CHECKING:
    import numpy as np
    import torch

    from covary import ClusterMap, RunContext, StyleSummary

__all__ = ["MiniBatch"]


class MiniBatch(Adapter):
    """Mini-batch k-means: centres that follow random samples of the pixels.

    Each batch moves a centre to the mean of all sampled pixels that it was ever the nearest to
    (Sculley 2010). Begins with the default clusterer's centres of a first batch; where given
    centres attract no pixel, they move to the pixel of the batch farthest from all centres. A
    centre that lost its pixels to others later stays, and its cluster may end up empty.

    Reads all pixels only to label them at the end. Centres are near the means of their clusters,
    not at them: the inertia is above that of ``lloyd`` from the same start. ``iterations`` counts
    batches. On CUDA sums are added in no fixed order, so two runs may differ by rounding.
    """

    class Params(Adapter.Params):
        batch_size: int = Field(4096, ge=1, description="Pixels of a batch.")
        max_iter: int = Field(200, ge=1, description="Batches at most.")
        tol: float = Field(
            1e-4,
            ge=0,
            description="Stop when a batch moves the centres by a squared shift of at most this "
            "times the mean variance of the features.",
        )

    params: Params
    determinism = "numeric"

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes beyond the summary: a few batches, and what labelling all pixels takes."""
        lloyd = Lloyd(k=self.params.k)
        return 20 * self.params.batch_size * features + lloyd.memory(size, features)

    def _run(
        self, summary: StyleSummary, centers: np.ndarray[Any, Any] | None, ctx: RunContext
    ) -> ClusterMap:
        import torch

        from ._pixels import cluster_map

        k, generator = self.params.k, ctx.generator()
        if centers is None:
            start = self._first(summary, ctx, generator)
            means, seen = start.centers.to(ctx.device), start.counts.to(ctx.device)
        else:
            means = torch.from_numpy(centers).to(ctx.device)
            seen = torch.zeros(k, dtype=torch.int64, device=ctx.device)
        allowed = self.params.tol * mean_variance(summary)
        iterations, shift = 0, math.inf
        while shift > allowed and iterations < self.params.max_iter:
            before = means
            means, seen = _update(means, seen, self._batch(summary, generator).to(ctx.device))
            shift = float((means - before).square().sum())
            iterations += 1
        labels = Lloyd().predict(summary, means, ctx)
        return cluster_map(
            summary,
            labels.reshape(-1),
            means,
            device=ctx.device,
            iterations=iterations,
            converged=shift <= allowed,
        )

    def _batch(self, summary: StyleSummary, generator: torch.Generator) -> torch.Tensor:
        import torch

        size = max(self.params.batch_size, self.params.k)
        return summary.gather(torch.randint(summary.pixels, (size,), generator=generator))

    def _first(
        self, summary: StyleSummary, ctx: RunContext, generator: torch.Generator
    ) -> ClusterMap:
        """The default clusterer's answer for a batch, or for all pixels where colours are rare."""
        from ._pixels import count_distinct

        rows = self._batch(summary, generator)
        sample = covary.StyleSummary(rows, (1, len(rows)))
        if len(rows) > summary.pixels or count_distinct(sample, self.params.k) < self.params.k:
            sample = summary
        return Lloyd(k=self.params.k).fit(sample, ctx)


def _update(
    means: torch.Tensor, seen: torch.Tensor, batch: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres (K, D) and the number of pixels behind each, with those of ``batch`` added."""
    import torch

    distances, labels = torch.cdist(batch, means).min(dim=1)
    counts = labels.bincount(minlength=len(means))
    sums = torch.zeros_like(means).index_add_(0, labels, batch)
    seen = seen + counts
    # Steps of 1/seen, one for each pixel in turn, end up at the mean of all that were seen.
    means = means + (sums - counts[:, None] * means) / seen.clamp(min=1)[:, None]
    unused = (seen == 0).nonzero()[:, 0]
    means[unused] = batch[distances.topk(len(unused)).indices]
    return means, seen
