"""Foreground by named parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

import covary
from covary import ForegroundRule

from ._gaussians import Covariance, Deviation, Position

if TYPE_CHECKING:
    import torch

    from covary import ClusterMap, Foreground, RunContext

__all__ = ["Part", "Parts"]


class Part(covary.Params):
    """A Gaussian of a part's map: where pixels of that name are likely to be."""

    name: str = Field(min_length=1, description="What it is, e.g. hair.")
    mean: Position = Field(description="Centre (x, y), in 0..1 of width and height.")
    sigma: Deviation | tuple[Deviation, Deviation] = Field(
        0.1, description="Standard deviation relative to the sides, or one for x and one for y."
    )
    covariance: Covariance | None = Field(
        None, description="Relative covariance ((xx, xy), (xy, yy)), instead of sigma."
    )
    weight: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Height of the Gaussian: how often the part is at its centre.",
    )

    def moments(self) -> tuple[Position, Covariance]:
        """Mean and covariance."""
        x, y = self.sigma if isinstance(self.sigma, tuple) else (self.sigma, self.sigma)
        return self.mean, self.covariance or ((x * x, 0.0), (0.0, y * y))


class Parts(ForegroundRule):
    """Names for clusters, the same from image to image: hair, skin, clothes.

    For aligned images of one kind, such as portraits. Every name has a map of where its pixels are
    likely to be, one Gaussian or the largest of several (two eyes). A cluster takes the name whose
    map it overlaps best by the Dice coefficient, 2 sum(c m) / (sum(c) + sum(m^2)), of its pixels c
    and the map m: place and size both count, so that a mouth is not taken for the skin around it.
    Several clusters may take one name, as more clusters than parts have to; a name that fits none
    is not given. Foreground are the clusters whose name is not one of ``background``.

    A cluster's score is the probability that it is foreground, by the best overlap with a part of
    the foreground against the best with the background; a cluster without pixels has no name.
    """

    class Params(covary.Params):
        parts: Annotated[tuple[Part, ...], Field(min_length=1)] = Field(
            description="Gaussians, relative to the image or box, each a table of name, mean "
            "(x, y), sigma or covariance, and weight; several of one name make one map."
        )
        background: tuple[str, ...] = Field(
            ("background",), description="Names of parts that are background."
        )

        @model_validator(mode="after")
        def _some_of_each(self) -> Self:
            names = {part.name for part in self.parts}
            unknown = [name for name in self.background if name not in names]
            if unknown or not names - set(self.background):
                raise ValueError(
                    f"background to be names of parts, and not of all ({', '.join(sorted(names))})"
                )
            return self

    params: Params

    def part_names(self) -> tuple[str, ...]:
        """Every name that it may give, those of the foreground first."""
        names = dict.fromkeys(part.name for part in self.params.parts)
        return tuple(sorted(names, key=self.params.background.__contains__))

    def select(
        self, clusters: ClusterMap, image: torch.Tensor, ctx: RunContext | None = None
    ) -> Foreground:
        """Choose the clusters whose names are not background.

        Raises:
            InputError: the image is not that of ``clusters``.
        """
        import torch

        from covary import Foreground

        from ._confidence import confidence, probability
        from ._sizes import check_same_size

        check_same_size(clusters, image)
        names, background = self.part_names(), self.params.background
        overlap = self.overlaps(clusters)
        present = clusters.counts > 0
        behind = torch.tensor([name in background for name in names], device=overlap.device)
        nothing = torch.zeros_like(overlap[:, 0])
        content = overlap[:, ~behind].amax(dim=1)
        rest = overlap[:, behind].amax(dim=1) if bool(behind.any()) else nothing
        chosen = present & (content > rest)
        scores = probability(content, rest) * present
        best = torch.where(chosen[:, None] != behind, overlap, 0.0).max(dim=1)
        given = [
            names[i] if value > 0 else ""
            for i, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
        listed = ", ".join(
            f"{name} {value:.2f}"
            for name, value in zip(given, best.values.tolist(), strict=True)
            if name
        )
        reason = f"the parts that the clusters overlap best, by the Dice coefficient: {listed}"
        sure = confidence(clusters, chosen, scores)
        return Foreground.from_clusters(clusters, chosen, scores, reason, sure, given)

    def overlaps(self, clusters: ClusterMap) -> torch.Tensor:
        """The Dice coefficient of each cluster and each of :meth:`part_names`, float64 (K, P)."""
        import torch

        labels, counts = clusters.labels, clusters.counts.to(torch.float64)
        columns = []
        for name in self.part_names():
            part_map = self.part_map(name, clusters.size).to(labels.device, torch.float64)
            # Cluster by cluster: a weighted bincount is not deterministic on CUDA.
            shared = torch.stack([part_map[labels == one].sum() for one in range(clusters.k)])
            columns.append(2 * shared / (counts + part_map.square().sum()))
        return torch.stack(columns, dim=1)

    def part_map(self, name: str, size: tuple[int, int]) -> torch.Tensor:
        """Where pixels of a name are likely to be, float32 (H, W) in 0..1."""
        import torch

        from ._maps import gaussian

        ones = [part for part in self.params.parts if part.name == name]
        return torch.stack([part.weight * gaussian(size, *part.moments()) for part in ones]).amax(
            dim=0
        )
