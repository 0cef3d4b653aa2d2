"""k-means by cuML, of the RAPIDS libraries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._cuda import Fitted, MatrixAdapter

if TYPE_CHECKING:
    import torch

    from covary import RunContext

__all__ = ["CuML"]


class CuML(MatrixAdapter):
    """``cuml.cluster.KMeans``, on a CUDA GPU.

    Holds the summary as a float32 matrix, 4*N*D bytes, which cuML shares without a copy, relative
    to its mean: cuML's distances lose the digits of values far from zero. Where cuML leaves a
    cluster empty, it is run again with that centre moved. It adds up in no fixed order, so two
    runs may differ by rounding.
    """

    determinism = "numeric"

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes beyond the summary: the float32 matrix, norms, weights, labels, distances."""
        return size[0] * size[1] * (4 * features + 64)

    def _starts(self, matrix: torch.Tensor, ctx: RunContext) -> Sequence[torch.Tensor | None]:
        return [None]

    def _fit(
        self, matrix: torch.Tensor, start: torch.Tensor | None, shift: float, ctx: RunContext
    ) -> Fitted:
        import cupy
        from cuml.cluster import KMeans
        from torch.utils.dlpack import from_dlpack

        kmeans = KMeans(
            n_clusters=self.params.k,
            init="scalable-k-means++" if start is None else cupy.from_dlpack(start),
            # For given centres cuML's own choice is 10 runs, all of them the same.
            n_init=self.params.n_init if start is None else 1,
            max_iter=self.params.max_iter,
            # Not relative to the variance, as scikit-learn's is.
            tol=shift,
            random_state=ctx.derived_seed() % 2**31,
            output_type="cupy",
        )
        _wait(ctx.device)
        kmeans.fit(cupy.from_dlpack(matrix))
        return Fitted(
            from_dlpack(kmeans.labels_),
            from_dlpack(kmeans.cluster_centers_),
            iterations=int(kmeans.n_iter_),
            converged=int(kmeans.n_iter_) < self.params.max_iter,
        )


def _wait(device: torch.device) -> None:
    """Let torch finish what it was asked to do; cuML works on a stream of its own."""
    import torch

    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
