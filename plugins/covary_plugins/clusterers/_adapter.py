"""What clusterers share that hand the whole matrix to another library."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from pydantic import Field

import covary
from covary import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from covary import ClusterMap, RunContext, StyleSummary

__all__ = ["Adapter", "EstimatorAdapter", "LloydParams", "mean_variance"]


class Adapter(covary.Clusterer):
    """``fit`` and ``fit_from`` with their checks; a subclass runs the library."""

    class Params(covary.Params):
        k: int = Field(4, ge=1, description="Number of clusters.")

    params: Params

    def fit(self, summary: StyleSummary, ctx: RunContext | None = None) -> ClusterMap:
        """Cluster from the library's own initial centres; see :class:`covary.Clusterer`."""
        return self._checked(summary, None, ctx)

    def fit_from(
        self, summary: StyleSummary, centers: torch.Tensor, ctx: RunContext | None = None
    ) -> ClusterMap:
        """As :meth:`fit`, once from ``centers`` (K, D).

        Raises:
            InputError: centres of another shape or not finite, or as for ``fit``.
        """
        from ._pixels import check_centers

        checked = check_centers(centers, summary.features, self.params.k)
        return self._checked(summary, checked.contiguous().cpu().numpy(), ctx)

    @abstractmethod
    def _run(
        self, summary: StyleSummary, centers: np.ndarray[Any, Any] | None, ctx: RunContext
    ) -> ClusterMap:
        """Cluster from ``centers`` float32 (K, D), or from the library's own; k is feasible."""

    def _checked(
        self, summary: StyleSummary, centers: np.ndarray[Any, Any] | None, ctx: RunContext | None
    ) -> ClusterMap:
        from covary import RunContext

        from ._pixels import check_distinct

        check_distinct(summary, self.params.k)
        _check_magnitude(summary)
        return self._run(summary, centers, ctx or RunContext(device=summary.device))


class LloydParams(Adapter.Params):
    """The parameters of Lloyd's algorithm, by scikit-learn's names and meanings."""

    n_init: int = Field(4, ge=1, description="Starts from different seeds; the best is kept.")
    max_iter: int = Field(300, ge=1, description="Passes over the pixels at most.")
    tol: float = Field(
        1e-4,
        ge=0,
        description="Stop when the centres' squared shift is at most this times the mean "
        "variance of the features.",
    )


class EstimatorAdapter(Adapter):
    """A clusterer that is an estimator of scikit-learn's kind; a subclass makes the estimator."""

    class Params(LloydParams):
        """Those of Lloyd's algorithm."""

    params: Params

    @abstractmethod
    def _estimator(self, *, init: Any, n_init: int, random_state: int) -> Any:
        """The estimator, not yet fitted."""

    def _run(
        self, summary: StyleSummary, centers: np.ndarray[Any, Any] | None, ctx: RunContext
    ) -> ClusterMap:
        import torch

        from ._pixels import cluster_map

        kmeans = self._estimator(
            init="k-means++" if centers is None else centers,
            n_init=self.params.n_init if centers is None else 1,
            random_state=ctx.derived_seed() % 2**32,
        )
        kmeans.fit(summary.matrix().cpu().numpy())
        return cluster_map(
            summary,
            torch.from_numpy(kmeans.labels_),
            torch.from_numpy(kmeans.cluster_centers_),
            device=ctx.device,
            iterations=int(kmeans.n_iter_),
            converged=int(kmeans.n_iter_) < self.params.max_iter,
        )


def mean_variance(summary: StyleSummary) -> float:
    """Mean over the features of their variance, of the grid that `lloyd` starts with."""
    from ._coarse import grid, moments

    return moments(grid(summary))[1]


def _check_magnitude(summary: StyleSummary) -> None:
    """Refuse pixels whose distances overflow; some libraries would end the process over it.

    Raises:
        InputError: squared distances that float32 may not hold.
    """
    import torch

    if summary.dtype != torch.float32:
        return
    limit = (torch.finfo(torch.float32).max / summary.features) ** 0.5 / 2
    found = max(float(rows.abs().max()) for _, rows in summary.chunks())
    if found > limit:
        raise InputError(
            "style summary",
            expected=f"values up to {limit:.1e}, whose squared distances fit float32",
            got=f"{found:.1e}",
            fix="scale the data down first",
        )
