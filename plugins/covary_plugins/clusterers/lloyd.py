"""The default clusterer: exact k-means in torch, on the CPU and on CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

import covary
from covary import Clusterer

if TYPE_CHECKING:
    import torch

    from covary import ClusterMap, RunContext, StyleSummary

    from ._lloyd import Result
    from ._pixels import Pixels

__all__ = ["Lloyd"]


class Lloyd(Clusterer):
    """Lloyd's k-means over all pixels, with k-means++ and a coarse start (paper Sec. 3.2).

    Reads the summary in blocks and never holds it in float32. Large images are clustered on a
    subsampled grid first, with several restarts, and then on all pixels until converged: labels,
    centres and inertia are those of the full data. Every label is that of the nearest centre.

    k-means finds a local optimum. A coarse grid can miss something a few pixels wide, which the
    full passes may then not separate either: set ``coarse=1`` where that matters.

    Products are float32 (with whatever precision ``torch.set_float32_matmul_precision`` allows),
    sums float64.
    """

    class Params(covary.Params):
        k: int = Field(4, ge=1, description="Number of clusters.")
        n_init: int = Field(
            4,
            ge=1,
            description="Starts from different seeds, on the coarse grid; the best goes on.",
        )
        max_iter: int = Field(300, ge=1, description="Updates of the centres at most, per grid.")
        tol: float = Field(
            1e-4,
            ge=0,
            description="Stop when the centres' squared shift is at most this times the mean "
            "variance of the features (scikit-learn's rule); 0 goes on until no pixel moves.",
        )
        coarse: int | None = Field(
            None,
            ge=1,
            description="Stride of the grid that is clustered first; 1 uses all pixels throughout. "
            "Unset: the smallest stride that leaves at most about 16384 pixels.",
        )

    params: Params

    def fit(self, summary: StyleSummary, ctx: RunContext | None = None) -> ClusterMap:
        """Cluster from k-means++ centres; see :class:`covary.Clusterer`.

        ``iterations`` counts passes over all pixels, not those over the coarse grid.
        """
        from ._coarse import default_stride, grid, moments
        from ._pixels import Pixels, check_distinct, count_distinct

        ctx = _context(summary, ctx)
        sample = grid(summary, default_stride(summary.size))
        mean, variance = moments(sample)
        if self.params.coarse is not None:
            sample = grid(summary, self.params.coarse)
        if count_distinct(sample, self.params.k) < self.params.k:
            check_distinct(summary, self.params.k)
            sample = summary
        result = self._best_start(Pixels(sample, ctx.device, mean), variance, ctx)
        if sample is not summary:
            result = self._run(Pixels(summary, ctx.device, mean), result.centers, variance)
        return _cluster_map(summary, result, mean, ctx)

    def fit_from(
        self, summary: StyleSummary, centers: torch.Tensor, ctx: RunContext | None = None
    ) -> ClusterMap:
        """As :meth:`fit`, on all pixels from ``centers`` (K, D), without a coarse start.

        Raises:
            InputError: centres of another shape or not finite, or as for ``fit``.
        """
        from ._coarse import default_stride, grid, moments
        from ._pixels import Pixels, check_centers, check_distinct

        ctx = _context(summary, ctx)
        centers = check_centers(centers, summary.features, self.params.k)
        check_distinct(summary, self.params.k)
        mean, variance = moments(grid(summary, default_stride(summary.size)))
        pixels = Pixels(summary, ctx.device, mean)
        result = self._run(pixels, centers.to(ctx.device) - pixels.offset, variance)
        return _cluster_map(summary, result, pixels.offset, ctx)

    def predict(
        self, summary: StyleSummary, centers: torch.Tensor, ctx: RunContext | None = None
    ) -> torch.Tensor:
        """Labels int32 (H, W) of the nearest of ``centers`` (K, D), numbered as given.

        Raises:
            InputError: centres of another shape or not finite.
        """
        import torch

        from ._lloyd import nearest
        from ._pixels import Pixels, check_centers

        device = _context(summary, ctx).device
        centers = check_centers(centers, summary.features).to(device)
        pixels = Pixels(summary, device, centers.mean(dim=0))
        labels = [nearest(x, centers - pixels.offset) for _, x in pixels.blocks()]
        return torch.cat(labels).reshape(summary.size)

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes beyond the summary: blocks, the coarse grid, and four maps of labels."""
        from ._coarse import default_stride
        from ._pixels import working_bytes

        pixels = size[0] * size[1]
        stride = self.params.coarse or default_stride(size)
        sampled = -(-size[0] // stride) * -(-size[1] // stride)
        copied = 0 if stride == 1 else 4 * sampled * features
        # Seeding keeps a few distances a pixel of the grid, as float32 and float64.
        return working_bytes(sampled, features) + copied + 48 * sampled + 36 * pixels

    def _best_start(self, pixels: Pixels, variance: float, ctx: RunContext) -> Result:
        """The best of ``n_init`` runs from k-means++ centres."""
        import torch

        from ._seeding import kmeans_plus_plus

        generator = ctx.generator()
        runs = (
            self._run(pixels, kmeans_plus_plus(pixels, self.params.k, generator), variance)
            for _ in range(self.params.n_init)
        )
        return min(runs, key=lambda run: pixels.inertia(run.labels, run.centers.to(torch.float32)))

    def _run(self, pixels: Pixels, centers: torch.Tensor, variance: float) -> Result:
        from ._lloyd import lloyd

        tol = self.params.tol * variance
        return lloyd(pixels, centers, tol=tol, max_iter=self.params.max_iter)


def _context(summary: StyleSummary, ctx: RunContext | None) -> RunContext:
    from covary import RunContext

    return ctx or RunContext(device=summary.device)


def _cluster_map(
    summary: StyleSummary, result: Result, offset: torch.Tensor, ctx: RunContext
) -> ClusterMap:
    from ._pixels import cluster_map

    return cluster_map(
        summary,
        result.labels,
        result.centers + offset.to(ctx.device),
        device=ctx.device,
        iterations=result.iterations,
        converged=result.converged,
    )
