"""k-means by faiss, the CPU and the GPU package alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from covary import InputError

from ._adapter import Adapter

if TYPE_CHECKING:
    import numpy as np

    from covary import ClusterMap, RunContext, StyleSummary

__all__ = ["Faiss"]


class Faiss(Adapter):
    """``faiss.Kmeans`` trained on all pixels.

    faiss itself trains on 256 random pixels a cluster unless told otherwise, as the paper did
    (Sec. 3.2); ``max_points_per_centroid=256`` brings that back, at a much worse optimum. Labels
    and inertia are always those of all pixels.

    Holds the summary as a float32 matrix: 4*N*D bytes, 629 MB at 1024x1024 with 50 variants.
    faiss makes ``niter`` passes whatever happens, so ``converged`` says whether the last of them
    still lowered the objective by more than a millionth. faiss and torch each bring an OpenMP
    runtime; where loading both crashes (seen on macOS), set ``KMP_DUPLICATE_LIB_OK=TRUE`` or
    install both from conda.
    """

    class Params(Adapter.Params):
        niter: int = Field(25, ge=1, description="Passes over the training pixels.")
        nredo: int = Field(
            1,
            ge=1,
            description="Starts from different random pixels; the best is kept. faiss' own default "
            "of 1 often ends in a poor optimum.",
        )
        max_points_per_centroid: int | None = Field(
            None,
            ge=1,
            description="Train on a random subset of k times this many pixels (faiss' own default "
            "is 256). Unset: on all pixels.",
        )
        gpu: bool | None = Field(
            None, description="Train on all GPUs. Unset: where the faiss package sees any."
        )

    params: Params

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes beyond the summary: the float32 matrix, labels and distances."""
        return size[0] * size[1] * (4 * features + 36)

    def _run(
        self, summary: StyleSummary, centers: np.ndarray[Any, Any] | None, ctx: RunContext
    ) -> ClusterMap:
        import faiss
        import numpy as np
        import torch

        from ._pixels import cluster_map

        params = self.params
        matrix = summary.matrix().cpu().numpy()
        kmeans = faiss.Kmeans(
            summary.features,
            params.k,
            niter=params.niter,
            nredo=params.nredo,
            # faiss keeps the seed in a C int.
            seed=ctx.derived_seed() % 2**31,
            max_points_per_centroid=params.max_points_per_centroid or summary.pixels,
            # Above 1, faiss prints a warning to stderr for images of fewer pixels than it likes.
            min_points_per_centroid=1,
            gpu=self._gpus(faiss),
        )
        kmeans.train(matrix, init_centroids=centers)
        _, labels = kmeans.assign(matrix)
        objective = np.asarray(kmeans.obj).tolist()
        return cluster_map(
            summary,
            torch.from_numpy(labels),
            torch.from_numpy(kmeans.centroids),
            device=ctx.device,
            iterations=len(objective),
            converged=_settled(objective),
        )

    def _gpus(self, faiss: Any) -> int:
        # The CPU package has answered 0 since 1.7.3 and lacked the function before.
        seen = int(getattr(faiss, "get_num_gpus", lambda: 0)())
        if self.params.gpu and not seen:
            raise InputError(
                "parameter 'gpu' of faiss",
                expected="a GPU that the faiss package can use",
                got="none",
                fix="install a GPU build of faiss, or leave gpu unset",
            )
        return 0 if self.params.gpu is False else seen


def _settled(objective: list[float]) -> bool:
    """Whether the last pass made no difference; faiss makes none for as many pixels as clusters."""
    if len(objective) < 2:
        return not objective
    return objective[-2] <= objective[-1] * (1 + 1e-6)
