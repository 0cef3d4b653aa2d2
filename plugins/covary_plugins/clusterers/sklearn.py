"""k-means by scikit-learn."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ._adapter import EstimatorAdapter

__all__ = ["Sklearn"]


class Sklearn(EstimatorAdapter):
    """``sklearn.cluster.KMeans`` or ``MiniBatchKMeans``, on the CPU.

    Holds the summary as a float32 matrix and scikit-learn copies it once more: 8*N*D bytes,
    1.2 GB at 1024x1024 with 50 variants.

    Where hardly more colours than clusters meet initial centres far from them, scikit-learn may
    leave a cluster empty; it warns of it, and the cluster's count is 0.

    With mini-batches, centres follow random samples and are not the means of their clusters to
    the last digit; labels and inertia are those of all pixels.
    """

    class Params(EstimatorAdapter.Params):
        algorithm: Literal["lloyd", "elkan", "minibatch"] = Field(
            "lloyd",
            description="elkan skips distances by the triangle inequality; minibatch updates the "
            "centres from random samples.",
        )
        batch_size: int = Field(4096, ge=1, description="Pixels of a mini-batch.")

    params: Params

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes beyond the summary: the float32 matrix twice, and maps of labels."""
        return size[0] * size[1] * (8 * features + 64)

    def _estimator(self, *, init: Any, n_init: int, random_state: int) -> Any:
        from sklearn.cluster import KMeans, MiniBatchKMeans

        params = self.params
        if params.algorithm == "minibatch":
            return MiniBatchKMeans(
                params.k,
                init=init,
                n_init=n_init,
                max_iter=params.max_iter,
                tol=params.tol,
                batch_size=params.batch_size,
                random_state=random_state,
            )
        return KMeans(
            params.k,
            init=init,
            n_init=n_init,
            max_iter=params.max_iter,
            tol=params.tol,
            # Elkan's bounds mean nothing for one cluster, and scikit-learn would warn.
            algorithm=params.algorithm if params.k > 1 else "lloyd",
            random_state=random_state,
            copy_x=False,
        )
