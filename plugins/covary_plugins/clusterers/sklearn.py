"""k-means by scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ._adapter import Adapter

if TYPE_CHECKING:
    import numpy as np

    from covary import ClusterMap, RunContext, StyleSummary

__all__ = ["Sklearn"]


class Sklearn(Adapter):
    """``sklearn.cluster.KMeans``, on the CPU.

    Holds the summary as a float32 matrix and scikit-learn copies it once more: 8*N*D bytes,
    1.2 GB at 1024x1024 with 50 variants.
    """

    class Params(Adapter.Params):
        algorithm: Literal["lloyd", "elkan"] = Field(
            "lloyd", description="elkan skips distances by the triangle inequality."
        )
        n_init: int = Field(4, ge=1, description="Starts from different seeds; the best is kept.")
        max_iter: int = Field(300, ge=1, description="Passes over the pixels at most.")
        tol: float = Field(
            1e-4,
            ge=0,
            description="Stop when the centres' squared shift is at most this times the mean "
            "variance of the features.",
        )

    params: Params

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes beyond the summary: the float32 matrix twice, and maps of labels."""
        return size[0] * size[1] * (8 * features + 36)

    def _run(
        self, summary: StyleSummary, centers: np.ndarray[Any, Any] | None, ctx: RunContext
    ) -> ClusterMap:
        import torch
        from sklearn.cluster import KMeans

        from ._pixels import cluster_map

        params = self.params
        kmeans = KMeans(
            params.k,
            init="k-means++" if centers is None else centers,
            n_init=params.n_init if centers is None else 1,
            max_iter=params.max_iter,
            tol=params.tol,
            # Elkan's bounds mean nothing for one cluster, and scikit-learn would warn.
            algorithm=params.algorithm if params.k > 1 else "lloyd",
            random_state=ctx.derived_seed() % 2**32,
            copy_x=False,
        )
        kmeans.fit(summary.matrix().cpu().numpy())
        return cluster_map(
            summary,
            torch.from_numpy(kmeans.labels_),
            torch.from_numpy(kmeans.cluster_centers_),
            device=ctx.device,
            iterations=int(kmeans.n_iter_),
            converged=int(kmeans.n_iter_) < params.max_iter,
        )
