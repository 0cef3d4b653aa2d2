"""Foreground by boundary connectivity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

import covary
from covary import ForegroundRule

if TYPE_CHECKING:
    import torch

    from covary import ClusterMap, Foreground, RunContext

__all__ = ["Border"]

SideName = Literal["top", "left", "right", "bottom"]
_GROUPS: dict[str, tuple[SideName, ...]] = {
    "all": ("top", "left", "right", "bottom"),
    "upper": ("top", "left", "right"),
}


class Border(ForegroundRule):
    """Boundary connectivity: what runs along the border for its size is background.

    The measure of Zhu et al. 2014 (Saliency optimization from robust background detection): the
    length of a cluster on the border of the image over the square root of its area, the same at
    every size. An object that the border cuts off touches it a little, background a lot, in
    however many clusters it comes. Of portraits, whose shoulders stand on the lower side, leave
    that out: ``sides="upper"``. Clusters are judged as a whole, not by connected pieces, so that
    background seen through an arm or a handle goes with the rest of it.

    A cluster's score is its probability of being foreground, theta / (theta + connectivity); a
    cluster without pixels is never chosen and scores 0.
    """

    class Params(covary.Params):
        theta_border: float = Field(
            0.7, gt=0, description="Boundary connectivity from which a cluster is background."
        )
        sides: Literal["all", "upper"] | Annotated[tuple[SideName, ...], Field(min_length=1)] = (
            Field(
                "all",
                description="Which sides count: all, upper (all but the bottom), or a list of top, "
                "left, right, bottom.",
            )
        )

    params: Params

    def select(
        self, clusters: ClusterMap, image: torch.Tensor, ctx: RunContext | None = None
    ) -> Foreground:
        """Choose the clusters that hold little of the border for their size.

        Raises:
            InputError: the image is not that of ``clusters``.
        """
        import torch

        from covary import Foreground

        from ._confidence import confidence, probability
        from ._sizes import check_same_size

        check_same_size(clusters, image)
        theta, sides = self.params.theta_border, self._sides()
        counts = clusters.counts
        length = torch.stack([_held(clusters, side) for side in sides]).sum(dim=0)
        connectivity = length / counts.clamp(min=1).to(torch.float64).sqrt()
        present = counts > 0
        chosen = present & (connectivity < theta)
        scores = (1 - probability(connectivity, theta)) * present
        listed = ", ".join(f"{value:.2f}" for value in connectivity.tolist())
        reason = (
            f"boundary connectivity of the clusters is {listed} ({', '.join(sides)}); "
            f"background is from {theta:g}"
        )
        sure = confidence(clusters, chosen, scores)
        return Foreground.from_clusters(clusters, chosen, scores, reason, sure)

    def _sides(self) -> tuple[SideName, ...]:
        sides = self.params.sides
        return _GROUPS[sides] if isinstance(sides, str) else tuple(dict.fromkeys(sides))


def _held(clusters: ClusterMap, side: SideName) -> torch.Tensor:
    """Pixels on that side of the image that each cluster holds, int64 (K,)."""
    labels = clusters.labels.T if side in ("left", "right") else clusters.labels
    line = labels[0 if side in ("top", "left") else -1]
    return line.long().bincount(minlength=clusters.k)
