"""k-means on CuPy arrays, each iteration one fused kernel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ._adapter import LloydParams
from ._cuda import CudaAdapter

if TYPE_CHECKING:
    import numpy as np
    import torch

    from covary import ClusterMap, RunContext, StyleSummary

    from ._array_lloyd import Result

__all__ = ["CuPy"]


class CuPy(CudaAdapter):
    """Exact k-means on a CUDA GPU, by a kernel of covary's own that CuPy compiles.

    Reads the summary as it is stored, uint8, float16 or float32, planar or pixel-major, and
    shares it with torch by DLPack, on torch's stream: beyond it there are a few MB. A pass assigns
    and accumulates in one read, without a matrix of distances and without atomic operations, so
    that a run can be repeated to the bit. More than 32 clusters, or more features than a block's
    shared memory holds, are done in CuPy's own operations, chunk by chunk.

    CuPy comes as one package for each CUDA: install the one whose number ``covary doctor`` gives
    for torch, cupy-cuda12x or cupy-cuda13x.

    As with lloyd, k-means++ and ``n_init`` restarts run on a coarse grid of the image, and the
    best goes on over all pixels until converged.
    """

    class Params(LloydParams):
        """Those of Lloyd's algorithm."""

    params: Params

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes beyond the summary: labels, the coarse grid, and blocks of float32 pixels."""
        from ._coarse import default_stride

        pixels, stride = size[0] * size[1], default_stride(size)
        sampled = -(-size[0] // stride) * -(-size[1] // stride)
        blocks = min(4 * pixels * features, 32 * 2**20)
        return 36 * pixels + 8 * sampled * features + 4 * blocks

    def _run(
        self, summary: StyleSummary, centers: np.ndarray[Any, Any] | None, ctx: RunContext
    ) -> ClusterMap:
        import torch
        from torch.utils.dlpack import from_dlpack

        from ._coarse import grid, moments
        from ._pixels import cluster_map

        summary = summary.to(ctx.device)
        sample = grid(summary)
        mean, variance = moments(sample)
        if centers is None:
            best = self._best_start(summary, sample, mean, variance, ctx)
            start = from_dlpack(best.centers)
        else:
            start = torch.from_numpy(centers).to(ctx.device) - mean
        result = self._lloyd(summary, start, mean, variance)
        return cluster_map(
            summary,
            from_dlpack(result.labels),
            from_dlpack(result.centers) + mean,
            device=ctx.device,
            iterations=result.iterations,
            converged=result.converged,
        )

    def _best_start(
        self,
        summary: StyleSummary,
        sample: StyleSummary,
        mean: torch.Tensor,
        variance: float,
        ctx: RunContext,
    ) -> Result:
        """The best of ``n_init`` runs on the coarse grid, or on all pixels if it lacks colours."""
        from ._pixels import count_distinct
        from ._torch_engine import TorchEngine

        if count_distinct(sample, self.params.k) < self.params.k:
            sample = summary
        seeds = TorchEngine(sample, mean).seeds(self.params.k, self.params.n_init, ctx.generator())
        runs = [self._lloyd(sample, start, mean, variance) for start in seeds]
        return max(runs, key=lambda run: run.spread)

    def _lloyd(
        self, summary: StyleSummary, start: torch.Tensor, mean: torch.Tensor, variance: float
    ) -> Result:
        """Lloyd's algorithm on CuPy's view of the tensors, which stay where they are."""
        import cupy

        from ._array_lloyd import Matrix, lloyd
        from ._fused_pass import best_pass

        pixels = Matrix(cupy, cupy.from_dlpack(summary.data), cupy.from_dlpack(mean))
        return lloyd(
            pixels,
            best_pass(pixels, self.params.k),
            cupy.from_dlpack(start),
            tol=self.params.tol * variance,
            max_iter=self.params.max_iter,
        )

    @contextmanager
    def _on(self, device: torch.device) -> Iterator[None]:
        with super()._on(device):
            import cupy
            import torch

            # CuPy's work then waits for torch's, and torch's for CuPy's.
            stream = torch.cuda.current_stream(device).cuda_stream
            with cupy.cuda.ExternalStream(stream):
                yield
