"""Foreground by corner minority."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

import covary
from covary import ForegroundRule, InputError

if TYPE_CHECKING:
    import torch

    from covary import ClusterMap, Foreground, RunContext

__all__ = ["Corner"]

CornerName = Literal["top-left", "top-right", "bottom-left", "bottom-right"]
_GROUPS: dict[str, tuple[CornerName, ...]] = {
    "all": ("top-left", "top-right", "bottom-left", "bottom-right"),
    "upper": ("top-left", "top-right"),
}


class Corner(ForegroundRule):
    """Corner minority: what fills a corner is background (paper Sec. 3.2).

    A cluster that holds at least round(theta_corner * b^2) pixels of a b x b corner is
    background; all others are foreground. It suits one object that stays clear of the corners
    which are looked at: where shoulders fill the lower two, use ``corners="upper"``.

    A cluster's score is 1 minus its largest share of a corner; a cluster without pixels is never
    chosen and scores 0.
    """

    class Params(covary.Params):
        b: int | None = Field(
            None,
            ge=1,
            description="Side of the corner areas in pixels. Unset: an eighth of the shorter side "
            "of the image, so that one value serves all sizes.",
        )
        theta_corner: float = Field(
            0.25, gt=0, le=1, description="Share of a corner that makes a cluster background."
        )
        corners: (
            Literal["all", "upper"] | Annotated[tuple[CornerName, ...], Field(min_length=1)]
        ) = Field(
            "all",
            description="Which corners count: all, upper, or a list of top-left, top-right, "
            "bottom-left, bottom-right.",
        )

    params: Params

    def select(
        self, clusters: ClusterMap, image: torch.Tensor, ctx: RunContext | None = None
    ) -> Foreground:
        """Choose the clusters that are a minority in every corner.

        Raises:
            InputError: b is larger than the image, or the image is not that of ``clusters``.
        """
        import torch

        from covary import Foreground

        from ._confidence import confidence, probability
        from ._sizes import check_same_size

        check_same_size(clusters, image)
        b = self._side(clusters.size)
        names = self._names()
        # At least one pixel: a threshold of none would make every cluster background.
        threshold = max(1, floor(self.params.theta_corner * b * b + 0.5))
        held = torch.stack([_held(clusters, name, b) for name in names]).amax(dim=0)
        present = clusters.counts > 0
        chosen = present & (held < threshold)
        scores = (1 - held / (b * b)) * present
        reason = (
            f"{int(chosen.sum())} of {int(present.sum())} clusters hold fewer than {threshold} of "
            f"the {b * b} pixels of each corner ({', '.join(names)})"
        )
        # Between the largest share that is foreground and the smallest that is background.
        turning = (threshold - 0.5) / (b * b)
        foreground = 1 - probability(held / (b * b), turning, limit=1)
        sure = confidence(clusters, chosen, foreground)
        return Foreground.from_clusters(clusters, chosen, scores, reason, sure)

    def _side(self, size: tuple[int, int]) -> int:
        shorter = min(size)
        b = self.params.b or max(1, floor(shorter / 8 + 0.5))
        if b > shorter:
            raise InputError(
                "parameter 'b' of Corner",
                expected=f"at most {shorter}, the shorter side of the image or box",
                got=str(b),
                fix="lower b, or leave it unset for an eighth of the shorter side",
            )
        return b

    def _names(self) -> tuple[CornerName, ...]:
        corners = self.params.corners
        return _GROUPS[corners] if isinstance(corners, str) else corners


def _held(clusters: ClusterMap, corner: CornerName, b: int) -> torch.Tensor:
    """Pixels of the corner that each cluster holds, int64 (K,)."""
    rows = slice(None, b) if corner.startswith("top") else slice(-b, None)
    columns = slice(None, b) if corner.endswith("left") else slice(-b, None)
    return clusters.labels[rows, columns].reshape(-1).long().bincount(minlength=clusters.k)
