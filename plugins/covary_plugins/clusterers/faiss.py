"""k-means by faiss, the CPU and the GPU package alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from covary import InputError

from ._adapter import Adapter

if TYPE_CHECKING:
    import numpy as np
    import torch

    from covary import ClusterMap, RunContext, StyleSummary

__all__ = ["Faiss"]


class Faiss(Adapter):
    """``faiss.Kmeans`` trained on all pixels.

    faiss itself trains on 256 random pixels a cluster unless told otherwise, as the paper did
    (Sec. 3.2); ``max_points_per_centroid=256`` brings that back, at a much worse optimum. Labels
    and inertia are always those of all pixels.

    Holds the pixels that it trains on as a float32 matrix: 4*N*D bytes for all of them, 629 MB at
    1024x1024 with 50 variants. With a GPU build of faiss and a summary on CUDA, faiss' search runs
    on the pixels where they are, chunk by chunk, and nothing crosses the bus; with a summary on
    the CPU, faiss sends the matrix to its GPUs on every pass.

    faiss has no tolerance: it makes ``niter`` passes, fewer where the objective no longer falls (as
    of 1.15). ``converged`` says that the last of them lowered it by no more than a millionth.

    faiss and torch each bring an OpenMP runtime; where loading both crashes (seen on macOS), set
    ``KMP_DUPLICATE_LIB_OK=TRUE`` or install both from conda.
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
        """Peak bytes beyond the summary: the float32 matrix, a chunk, labels and distances."""
        pixels = size[0] * size[1]
        trained = self._trained_on(pixels)
        sampled = 0 if trained == pixels else features * trained * 4
        return 4 * features * trained + sampled + 36 * pixels + 32 * 2**20

    def _run(
        self, summary: StyleSummary, centers: np.ndarray[Any, Any] | None, ctx: RunContext
    ) -> ClusterMap:
        import faiss

        from ._pixels import cluster_map

        gpus = self._gpus(faiss)
        # faiss keeps the seed in a C int.
        seed = ctx.derived_seed() % 2**31
        fit = self._fit_on_torch_gpu if self._on_torch_gpu(ctx, gpus) else self._fit
        labels, found, objective = fit(summary, centers, seed, gpus, ctx)
        return cluster_map(
            summary,
            labels,
            found,
            device=ctx.device,
            iterations=len(objective),
            converged=_settled(objective),
        )

    def _fit(
        self,
        summary: StyleSummary,
        centers: np.ndarray[Any, Any] | None,
        seed: int,
        gpus: int,
        ctx: RunContext,
    ) -> tuple[torch.Tensor, torch.Tensor, list[float]]:
        """Labels (N,), centres (K, D) and the objective of each pass, by ``faiss.Kmeans``."""
        import faiss
        import numpy as np
        import torch

        params, sample = self.params, self._sample(summary, seed)
        kmeans = faiss.Kmeans(
            summary.features,
            params.k,
            niter=params.niter,
            nredo=params.nredo,
            seed=seed,
            max_points_per_centroid=summary.pixels,
            # Above 1, faiss prints a warning to stderr for images of fewer pixels than it likes.
            min_points_per_centroid=1,
            gpu=gpus,
        )
        matrix = sample.matrix().cpu().numpy()
        kmeans.train(matrix, init_centroids=centers)
        if sample is summary:
            _, labels = kmeans.assign(matrix)
        else:
            chunks = (rows.cpu().numpy() for _, rows in summary.chunks())
            labels = np.concatenate([kmeans.assign(chunk)[1] for chunk in chunks])
        objective = np.asarray(kmeans.obj).tolist()
        return torch.from_numpy(labels), torch.from_numpy(kmeans.centroids), objective

    def _fit_on_torch_gpu(
        self,
        summary: StyleSummary,
        centers: np.ndarray[Any, Any] | None,
        seed: int,
        gpus: int,
        ctx: RunContext,
    ) -> tuple[torch.Tensor, torch.Tensor, list[float]]:
        """As :meth:`_fit`, on the pixels where torch has them."""
        import torch

        from ._coarse import grid, moments
        from ._faiss_gpu import assign, train

        params, summary = self.params, summary.to(ctx.device)
        offset, _ = moments(grid(summary))
        trained = train(
            self._sample(summary, seed),
            offset,
            None if centers is None else torch.from_numpy(centers).to(ctx.device) - offset,
            k=params.k,
            niter=params.niter,
            nredo=params.nredo,
            seed=seed,
        )
        labels = assign(summary, offset, trained.centers)
        return labels, trained.centers + offset, trained.objective

    def _trained_on(self, pixels: int) -> int:
        """How many pixels it trains on."""
        most = self.params.max_points_per_centroid
        return pixels if most is None else min(pixels, most * self.params.k)

    def _sample(self, summary: StyleSummary, seed: int) -> StyleSummary:
        """The pixels that faiss itself would train on; its own sampling needs all in float32."""
        import faiss
        import numpy as np
        import torch

        from covary import StyleSummary

        count = self._trained_on(summary.pixels)
        if count == summary.pixels:
            return summary
        order = np.empty(summary.pixels, dtype=np.int32)
        faiss.rand_perm(  # type: ignore[attr-defined]
            faiss.swig_ptr(order), len(order), seed
        )
        picks = torch.from_numpy(order[:count]).to(summary.device)
        return StyleSummary(summary.data[picks], (1, count))

    def _on_torch_gpu(self, ctx: RunContext, gpus: int) -> bool:
        """Whether the run's device is a GPU that faiss can use as well."""
        return ctx.device.type == "cuda" and gpus > 0

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
