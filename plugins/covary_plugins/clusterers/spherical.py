"""k-means by correlation: pixels that co-vary belong together, however strongly they vary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import covary

from ._adapter import LloydParams
from .lloyd import Lloyd

if TYPE_CHECKING:
    import torch

    from covary import ClusterMap, RunContext, StyleSummary

__all__ = ["Spherical"]

# Rows that stay in the cache through the few steps on them.
_CHUNK_BYTES = 2**20


class Spherical(covary.Clusterer):
    """The default clusterer on pixels' correlations instead of their colours.

    Each pixel's D features are centred on their own mean and scaled to unit length; the squared
    distance of two pixels is then 2*(1 - r), r being Pearson's correlation. Lightness and contrast
    no longer count, only how a pixel changes from variant to variant.

    A pixel whose features are all equal correlates with nothing: it becomes the zero vector, at
    squared distance 1 from every other pixel, as if r were 0.5.

    Centres and inertia are those of the centred, scaled pixels. A centre is the mean of its pixels,
    shorter than 1 the less they agree (the spherical k-means of Dhillon and Modha would scale it
    to unit length), so the inertia is the sum over clusters of size * (mean of 1 - r over all
    pairs of its pixels).

    Keeps a second summary, in float16 unless the first is in float32.
    """

    class Params(LloydParams):
        """Those of the default clusterer that have a meaning here."""

    params: Params
    determinism = Lloyd.determinism

    def fit(self, summary: StyleSummary, ctx: RunContext | None = None) -> ClusterMap:
        """Cluster from k-means++ centres; see :class:`covary.Clusterer`.

        Raises:
            InputError: fewer distinct pixels than clusters once they are centred and scaled.
        """
        return self._lloyd().fit(_scaled(summary), ctx)

    def fit_from(
        self, summary: StyleSummary, centers: torch.Tensor, ctx: RunContext | None = None
    ) -> ClusterMap:
        """As :meth:`fit`, from ``centers`` (K, D), which are centred and scaled like pixels.

        Raises:
            InputError: centres of another shape or not finite, or as for ``fit``.
        """
        from ._pixels import check_centers

        checked = check_centers(centers, summary.features, self.params.k)
        return self._lloyd().fit_from(_scaled(summary), _unit(checked), ctx)

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes beyond the summary: a second one in float32, and what the default needs."""
        return 4 * size[0] * size[1] * features + self._lloyd().memory(size, features)

    def _lloyd(self) -> Lloyd:
        return Lloyd(**self.params.model_dump())


def _scaled(summary: StyleSummary) -> StyleSummary:
    """The same pixels, each centred and of unit length, or zero where it is constant."""
    import torch

    dtype = torch.float32 if summary.dtype == torch.float32 else torch.float16
    planes = torch.empty((summary.features, summary.pixels), dtype=dtype, device=summary.device)
    for start, rows in summary.chunks(_CHUNK_BYTES):
        planes[:, start : start + len(rows)] = _unit(rows).T
    return covary.StyleSummary(planes.T, summary.size)


def _unit(rows: torch.Tensor) -> torch.Tensor:
    # In float64 the mean of equal float32 values is exactly that value.
    rows = rows.double()
    rows = rows - rows.mean(dim=1, keepdim=True)
    length = rows.norm(dim=1, keepdim=True)
    unit: torch.Tensor = rows / length.where(length > 0, 1.0)
    return unit.float()
