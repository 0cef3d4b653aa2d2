"""k-means by Intel's extension for scikit-learn (oneDAL)."""

from __future__ import annotations

from typing import Any

from ._adapter import EstimatorAdapter

__all__ = ["Intelex"]


class Intelex(EstimatorAdapter):
    """``sklearnex.cluster.KMeans``, on the CPU, on as many threads as torch may use.

    scikit-learn itself stays as it is: nothing is patched. oneDAL has no code for one cluster, nor
    for as many clusters as pixels; sklearnex then runs scikit-learn's. What ran is logged to
    ``sklearnex`` at level INFO. Outside the main thread sklearnex uses all threads, and warns.

    Holds the summary as a float32 matrix: 4*N*D bytes, 629 MB at 1024x1024 with 50 variants.
    oneDAL adds up in the order in which threads finish, so two runs may differ by rounding.
    """

    determinism = "numeric"

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes beyond the summary: the float32 matrix, and maps of labels."""
        return size[0] * size[1] * (4 * features + 64)

    def _estimator(self, *, init: Any, n_init: int, random_state: int) -> Any:
        import torch
        from sklearnex.cluster import KMeans

        return KMeans(
            self.params.k,
            init=init,
            n_init=n_init,
            max_iter=self.params.max_iter,
            tol=self.params.tol,
            random_state=random_state,
            copy_x=False,
            n_jobs=torch.get_num_threads(),
        )
