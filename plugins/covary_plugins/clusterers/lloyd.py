"""The default clusterer: exact k-means, compiled for the processor or the GPU at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

import covary
from covary import Clusterer

if TYPE_CHECKING:
    import torch

    from covary import ClusterMap, RunContext, StyleSummary

    from ._engine import Engine, Result

__all__ = ["Lloyd"]


class Lloyd(Clusterer):
    """Lloyd's k-means over all pixels, with k-means++ and a coarse start (paper Sec. 3.2).

    Reads the summary as it is stored, tile by tile, and never holds it in float32. Large images are
    clustered on a subsampled grid first, with several restarts, and then on all pixels until
    converged: labels, centres and inertia are those of the full data. Every label is that of the
    nearest centre.

    ``k="auto"`` chooses the number of clusters for each image: ``k_max`` of them on the grid,
    merged two by two while a union costs little (Ward's method), and k-means from what is left. A
    cluster stays where it explains ``k_gain`` of the variance: a thing that differs from its
    surroundings, and not one more shade of the background. What is smaller than that, such as eyes
    and mouths, takes a number of your own.

    k-means finds a local optimum. A coarse grid can miss something a few pixels wide, which the
    full passes may then not separate either: set ``coarse=1`` where that matters.

    Products are float32, sums float64. The engines give the same result up to rounding: ``numba``
    (processors; compiled on the very first fit, then kept on disk, on as many threads as torch
    uses), ``triton`` (CUDA) and ``torch`` (anywhere).
    """

    class Params(covary.Params):
        k: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
            4, description="Number of clusters; auto: chosen for each image, from 2 to k_max."
        )
        k_max: int = Field(8, ge=2, description="With k = auto, the most clusters to choose.")
        k_gain: float = Field(
            0.05,
            gt=0,
            lt=1,
            description="With k = auto, the share of the image's variance that a cluster must "
            "explain, or it is merged with its nearest.",
        )
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
        engine: Literal["auto", "numba", "torch", "triton"] = Field(
            "auto", description="What does the arithmetic. auto: the fastest that can run here."
        )

    params: Params

    def fit(self, summary: StyleSummary, ctx: RunContext | None = None) -> ClusterMap:
        """Cluster from k-means++ centres; see :class:`covary.Clusterer`.

        ``iterations`` counts passes over all pixels, not those over the coarse grid.
        """
        from ._engines import choose
        from ._pixels import check_distinct, count_distinct

        ctx = _context(summary, ctx)
        summary, params = summary.to(ctx.device), self.params
        engine = choose(params.engine, ctx.device)
        sample, offset, variance = self._sample(summary)
        coarse = engine(sample, offset)
        k = params.k if params.k != "auto" else count_distinct(summary, at_most=params.k_max)
        starts = coarse.seeds(k, params.n_init, ctx.generator())
        if not _distinct(starts):
            # The grid has fewer colours than there are clusters; the whole may have enough.
            check_distinct(summary, k)
            coarse = engine(summary, offset)
            starts = coarse.seeds(k, params.n_init, ctx.generator())
        if params.k == "auto":
            starts = self._merged(coarse, starts, variance)[None]
        return self._refined(coarse, summary, starts, variance)

    def fit_from(
        self, summary: StyleSummary, centers: torch.Tensor, ctx: RunContext | None = None
    ) -> ClusterMap:
        """As :meth:`fit`, from ``centers`` (K, D): first on the coarse grid, then on all pixels.

        With ``k="auto"`` there are as many clusters as centres.

        Raises:
            InputError: centres of another shape or not finite, or as for ``fit``.
        """
        from ._engines import choose
        from ._pixels import check_centers, check_distinct, count_distinct

        ctx = _context(summary, ctx)
        summary, k = summary.to(ctx.device), self.params.k
        wanted = None if k == "auto" else k
        centers = check_centers(centers, summary.features, wanted).to(ctx.device)
        k = len(centers)
        sample, offset, variance = self._sample(summary)
        if count_distinct(sample, at_most=k) < k:
            check_distinct(summary, k)
        coarse = choose(self.params.engine, ctx.device)(sample, offset)
        return self._refined(coarse, summary, (centers - offset)[None], variance)

    def predict(
        self, summary: StyleSummary, centers: torch.Tensor, ctx: RunContext | None = None
    ) -> torch.Tensor:
        """Labels int32 (H, W) of the nearest of ``centers`` (K, D), numbered as given.

        Raises:
            InputError: centres of another shape or not finite.
        """
        from ._engines import choose
        from ._pixels import check_centers

        device = _context(summary, ctx).device
        centers = check_centers(centers, summary.features).to(device)
        offset = centers.mean(dim=0)
        engine = choose(self.params.engine, device)(summary.to(device), offset)
        return engine.nearest(centers - offset).reshape(summary.size)

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes beyond the summary: the coarse grid, blocks in flight, and maps of labels."""
        from ._coarse import default_stride
        from ._pixels import working_bytes

        pixels = size[0] * size[1]
        stride = self.params.coarse or default_stride(size)
        sampled = -(-size[0] // stride) * -(-size[1] // stride)
        copied = 0 if stride == 1 else 4 * sampled * features
        # Every restart keeps a label and a distance for each pixel of the grid.
        seeding = (32 + 12 * self.params.n_init) * sampled
        return working_bytes(sampled, features) + copied + seeding + 36 * pixels

    def _sample(self, summary: StyleSummary) -> tuple[StyleSummary, torch.Tensor, float]:
        """The coarse grid, the mean of the features, and the mean of their variances."""
        from ._coarse import default_stride, grid, moments

        sample = grid(summary)
        mean, variance = moments(sample)
        if self.params.coarse not in (None, default_stride(summary.size)):
            sample = grid(summary, self.params.coarse)
        return sample, mean, variance

    def _merged(self, coarse: Engine, starts: torch.Tensor, variance: float) -> torch.Tensor:
        """The centres of as many clusters as the grid has, float64 (k, D)."""
        from ._auto import merge

        params, grid = self.params, coarse.summary
        found = coarse.lloyd(starts, tol=params.tol * variance, max_iter=params.max_iter)
        counts = found.labels.long().bincount(minlength=len(found.centers))
        kept = counts > 0  # the iteration limit may leave some empty
        total = variance * grid.pixels * grid.features
        return merge(found.centers[kept], counts[kept], params.k_gain * total)

    def _refined(
        self, coarse: Engine, summary: StyleSummary, starts: torch.Tensor, variance: float
    ) -> ClusterMap:
        """The best of ``starts`` on the coarse grid, converged there and then on all pixels."""
        tol, max_iter = self.params.tol * variance, self.params.max_iter
        result = coarse.lloyd(starts, tol=tol, max_iter=max_iter)
        if coarse.summary is not summary:
            whole = type(coarse)(summary, coarse.offset)
            result = whole.lloyd(result.centers[None], tol=tol, max_iter=max_iter)
        return _cluster_map(summary, result, coarse.offset)


def _context(summary: StyleSummary, ctx: RunContext | None) -> RunContext:
    from covary import RunContext

    return ctx or RunContext(device=summary.device)


def _distinct(starts: torch.Tensor) -> bool:
    """Whether the centres (R, K, D) of each start differ from each other."""
    return all(len(start.unique(dim=0)) == len(start) for start in starts.cpu())


def _cluster_map(summary: StyleSummary, result: Result, offset: torch.Tensor) -> ClusterMap:
    from covary import ClusterMap

    from ._pixels import check_inertia

    return ClusterMap.from_labels(
        result.labels,
        result.centers + offset,
        size=summary.size,
        inertia=check_inertia(result.inertia),
        iterations=result.iterations,
        converged=result.converged,
    )
