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

__all__ = ["Adapter"]


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
