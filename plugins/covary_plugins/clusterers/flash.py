"""k-means by flash-kmeans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import covary
from covary import MissingPackageError

from ._cuda import Fitted, MatrixAdapter

if TYPE_CHECKING:
    import torch

    from covary import RunContext

__all__ = ["Flash"]


class Flash(MatrixAdapter):
    """``flash_kmeans.batch_kmeans_Euclid``, Triton kernels on a CUDA GPU.

    Starts from random pixels, as the library does, drawn from the run's own generator. Holds the
    summary as a float32 matrix, 4*N*D bytes, relative to its mean: in float16 the squared norms
    that the library keeps would overflow. Labels are computed once more in the end, because the
    library's may be those of the centres before the last update. Where it leaves a cluster empty,
    it is run again with that centre moved. It rounds products to TF32 and adds up in no fixed
    order, so two runs may differ by rounding.
    """

    determinism = "numeric"

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes beyond the summary: the float32 matrix, norms, labels, and their sorting."""
        return size[0] * size[1] * (4 * features + 64)

    def _starts(self, matrix: torch.Tensor, ctx: RunContext) -> Sequence[torch.Tensor | None]:
        import torch

        generator, k = ctx.generator(), self.params.k
        picks = (
            torch.randperm(len(matrix), generator=generator) for _ in range(self.params.n_init)
        )
        return [matrix[pick[:k].to(matrix.device)] for pick in picks]

    def _fit(
        self, matrix: torch.Tensor, start: torch.Tensor | None, shift: float, ctx: RunContext
    ) -> Fitted:
        assert start is not None  # noqa: S101  (for the type checker)
        _, found, iterations = _kernels()(
            matrix[None],
            self.params.k,
            max_iters=self.params.max_iter,
            # It compares the largest distance that a centre moved.
            tol=(shift / self.params.k) ** 0.5,
            init_centroids=start[None],
        )
        pixels = covary.StyleSummary(matrix, (1, len(matrix)))
        return Fitted(
            covary.create("lloyd").predict(pixels, found[0], ctx).reshape(-1),
            found[0],
            iterations=iterations,
            converged=iterations < self.params.max_iter,
        )


def _kernels() -> Any:
    """The library's function, in its version of Triton kernels.

    Raises:
        MissingPackageError: the kernels do not import; the package would silently offer another
            function of the same name, of plain torch.
    """
    try:
        from flash_kmeans.kmeans_triton_impl import batch_kmeans_Euclid
    except ImportError as error:
        raise MissingPackageError(
            "the Triton kernels of flash-kmeans",
            expected="to import",
            got=str(error),
            fix="run: pip install 'covary[flash]'",
        ) from error
    return batch_kmeans_Euclid
