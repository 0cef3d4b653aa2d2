"""What clusterers share whose library runs on CUDA GPUs only."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from covary import InputError

from ._adapter import Adapter, LloydParams

if TYPE_CHECKING:
    import numpy as np
    import torch

    from covary import ClusterMap, RunContext, StyleSummary

__all__ = ["CudaAdapter", "Fitted", "MatrixAdapter"]

# Pixels whose distances are computed at once.
_CHUNK = 2**16
# What sums in float32, in changing order, move centres by where nothing moves; with the variance.
_ROUNDING = 1e-9


class CudaAdapter(Adapter):
    """An adapter that refuses to fit anywhere but on a CUDA device."""

    def _checked(
        self, summary: StyleSummary, centers: np.ndarray[Any, Any] | None, ctx: RunContext | None
    ) -> ClusterMap:
        with self._on(summary.device if ctx is None else ctx.device):
            return super()._checked(summary, centers, ctx)

    @contextmanager
    def _on(self, device: torch.device) -> Iterator[None]:
        """Makes ``device`` the current one, of torch and of the library alike.

        Raises:
            InputError: not a CUDA device.
        """
        import torch

        if device.type != "cuda":
            raise InputError(
                f"device of clusterer {self.id or type(self).__name__}",
                expected="a CUDA device",
                got=str(device),
                fix="run it with device='cuda' where there is a GPU, or use lloyd, "
                "which runs on the CPU too",
            )
        with torch.cuda.device(device):
            yield


class Fitted(NamedTuple):
    """What a library found; every label is that of the nearest of ``centers``."""

    labels: torch.Tensor
    """Integer (N,)."""
    centers: torch.Tensor
    """float32 (K, D), relative to the mean."""
    iterations: int
    converged: bool


class MatrixAdapter(CudaAdapter):
    """An adapter for libraries that take the pixels as a float32 matrix on the GPU.

    They get it less its mean: they compute |x|^2 - 2xc + |c|^2, which loses the digits of values
    far from zero. Where they leave a cluster empty, its centre moves to the pixel farthest from its
    own, and they are run again from there.
    """

    class Params(LloydParams):
        """Those of Lloyd's algorithm."""

    params: Params

    @abstractmethod
    def _starts(self, matrix: torch.Tensor, ctx: RunContext) -> Sequence[torch.Tensor | None]:
        """Centres (K, D) for each of the runs; None for one with centres of the library's own."""

    @abstractmethod
    def _fit(
        self, matrix: torch.Tensor, start: torch.Tensor | None, shift: float, ctx: RunContext
    ) -> Fitted:
        """Run the library.

        Args:
            matrix: pixels less their mean, float32 (N, D).
            start: centres (K, D), which are the library's to keep, or None for its own.
            shift: squared, summed over clusters; stop *below* it. It is above rounding even where
                ``tol`` is 0, so that a run does stop when nothing moves.
            ctx: where and with which seed.
        """

    def _run(
        self, summary: StyleSummary, centers: np.ndarray[Any, Any] | None, ctx: RunContext
    ) -> ClusterMap:
        import torch

        from ._coarse import grid, moments
        from ._pixels import cluster_map

        summary = summary.to(ctx.device)
        mean, variance = moments(grid(summary))
        matrix = summary.matrix().sub_(mean)
        # A constant image has no variance.
        shift = max(max(self.params.tol, _ROUNDING) * variance, torch.finfo(torch.float32).tiny)
        if centers is None:
            starts = self._starts(matrix, ctx)
        else:
            starts = [torch.from_numpy(centers).to(ctx.device) - mean]
        runs = []
        for start in starts:
            found = self._fit_without_empty(matrix, start, shift, ctx)
            run = cluster_map(
                summary,
                found.labels,
                found.centers + mean,
                device=ctx.device,
                iterations=found.iterations,
                converged=found.converged,
            )
            runs.append(run)
        return min(runs, key=lambda run: run.inertia)

    def _fit_without_empty(
        self, matrix: torch.Tensor, start: torch.Tensor | None, shift: float, ctx: RunContext
    ) -> Fitted:
        found, iterations = self._fit(matrix, start, shift, ctx), 0
        for _ in range(self.params.k):
            moved = _moved_from_empty(matrix, found)
            if moved is None:
                break
            iterations += found.iterations
            found = self._fit(matrix, moved, shift, ctx)
        return found._replace(iterations=iterations + found.iterations)


def _moved_from_empty(matrix: torch.Tensor, found: Fitted) -> torch.Tensor | None:
    """The centres, those of empty clusters elsewhere; None if no cluster is empty."""
    import torch

    labels, centers = found.labels.long(), found.centers
    empty = (labels.bincount(minlength=len(centers)) == 0).nonzero()[:, 0]
    if not len(empty):
        return None
    chunks = zip(matrix.split(_CHUNK), labels.split(_CHUNK), strict=True)
    distances = torch.cat([(x - centers[own]).square_().sum(dim=1) for x, own in chunks])
    return centers.index_copy(0, empty, matrix[distances.topk(len(empty)).indices])
