"""Components small enough to know by heart, for tests of what is around them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from pydantic import Field

import covary
from covary.provenance import file_sha256

__all__ = [
    "Boxed",
    "Colours",
    "Distinct",
    "Given",
    "Halved",
    "Photo",
    "Rest",
    "Stripes",
    "Widened",
    "stripe_map",
]


def stripe_map(seed: int, height: int = 12, width: int = 16, stripes: int = 3) -> np.ndarray:
    """Which stripe each pixel of ``Stripes`` belongs to, int (H, W)."""
    draw = np.random.RandomState(seed)
    edges = np.sort(draw.choice(np.arange(1, width), stripes - 1, replace=False))
    return np.repeat(np.searchsorted(edges, np.arange(width), side="right")[None], height, axis=0)


class Stripes(covary.VariantSource):
    """Upright stripes at places that the query's seed gives, each in a random colour.

    A file query is a text file with the seed in it.
    """

    class Params(covary.Params):
        n: int = Field(4, ge=1, description="number of variants")
        height: int = Field(12, description="pixels")
        width: int = Field(16, description="pixels")
        stripes: int = Field(3, description="how many")
        off_by: int = Field(0, description="how many variants too many to yield")
        last_width: int | None = Field(None, description="width of the last variant")

    params: Params
    accepts = frozenset({"seed", "files"})

    def size(self) -> tuple[int, int]:
        return self.params.height, self.params.width

    def memory(self, size: tuple[int, int], features: int) -> int:
        return 1000

    def open(self, query: covary.Query, ctx: covary.RunContext) -> covary.Variants:
        p = self.params
        inputs = {str(path): file_sha256(path) for path in query.paths}
        seed = int(query.paths[0].read_text()) if query.seed is None else query.seed
        stripes = torch.from_numpy(stripe_map(seed, p.height, p.width, p.stripes))
        colours = torch.randint(
            0, 256, (p.n + p.off_by + 1, p.stripes, 3), generator=ctx.generator()
        )
        images = colours.to(torch.uint8)[:, stripes].permute(0, 3, 1, 2).contiguous()
        return covary.Variants(
            image=images[0], count=p.n, batches=self._batches(images[1:]), inputs=inputs
        )

    def _batches(self, images: torch.Tensor) -> Iterator[covary.VariantBatch]:
        for one in images[:-1].split(2):
            yield covary.VariantBatch(one)
        yield covary.VariantBatch(images[-1:, :, :, : self.params.last_width])


class Photo(Stripes):
    """Stripes said to be the left half of a photo, badly inverted."""

    def open(self, query: covary.Query, ctx: covary.RunContext) -> covary.Variants:
        variants = super().open(query, ctx)
        photo = torch.cat([variants.image, variants.image.flip(2)], dim=2)
        return dataclasses.replace(
            variants,
            crop=covary.Crop(photo, torch.eye(2, 3)),
            reconstruction=255 - variants.image,
            metrics={"mse": 0.25},
            warnings=("the inversion is bad; use another photo",),
        )


class Colours(covary.FeatureSpace):
    """The colours as they are."""

    dtype = "uint8"

    def encode(self, batch: covary.VariantBatch) -> torch.Tensor:
        return batch.images


class Distinct(covary.Clusterer):
    """One cluster for every distinct row of the summary."""

    class Params(covary.Params):
        need: int = Field(0, description="bytes that it says it will need")

    params: Params

    def fit(
        self, summary: covary.StyleSummary, ctx: covary.RunContext | None = None
    ) -> covary.ClusterMap:
        centers, labels = summary.matrix().unique(dim=0, return_inverse=True)
        return covary.ClusterMap.from_labels(
            labels, centers, size=summary.size, inertia=0.0, iterations=1
        )

    def memory(self, size: tuple[int, int], features: int) -> int:
        return self.params.need


class Rest(covary.ForegroundRule):
    """Everything but the largest cluster, or nothing."""

    class Params(covary.Params):
        nothing: bool = Field(False, description="choose nothing")

    params: Params

    def select(
        self,
        clusters: covary.ClusterMap,
        image: torch.Tensor,
        ctx: covary.RunContext | None = None,
    ) -> covary.Foreground:
        scores = torch.arange(clusters.k).float()
        chosen = (scores > 0) & (not self.params.nothing)
        return covary.Foreground.from_clusters(clusters, chosen, scores, "all but the largest")


class Boxed(Rest):
    """As ``Rest``, inside given boxes."""

    class Params(Rest.Params):
        boxes: tuple[tuple[int, int, int, int], ...] = Field((), description="x0, y0, x1, y1")

    params: Params

    def regions(
        self, image: torch.Tensor, ctx: covary.RunContext | None = None
    ) -> Sequence[covary.Box]:
        return [covary.Box(*box) for box in self.params.boxes]


class Given(covary.Detector):
    """The boxes that it is told."""

    class Params(covary.Params):
        found: tuple[tuple[int, int, int, int, str, float], ...] = Field(
            (), description="x0, y0, x1, y1, label, score"
        )

    params: Params

    def detect(
        self, image: torch.Tensor, ctx: covary.RunContext | None = None
    ) -> Sequence[covary.Detection]:
        return [
            covary.Detection(covary.Box(*corners), label, score)
            for *corners, label, score in self.params.found
        ]


class Halved(covary.FeatureSpace):
    """The colours at half their brightness."""

    dtype = "uint8"

    def encode(self, batch: covary.VariantBatch) -> torch.Tensor:
        return batch.images // 2


class Widened(covary.Refiner):
    """The mask with every pixel's left neighbour in it, or nothing of it."""

    class Params(covary.Params):
        nothing: bool = Field(False, description="leave nothing")

    params: Params

    def refine(
        self, soft: torch.Tensor, image: torch.Tensor, ctx: covary.RunContext | None = None
    ) -> torch.Tensor:
        wider = soft.clone()
        wider[:, :-1] = torch.maximum(soft[:, :-1], soft[:, 1:])
        return wider * (not self.params.nothing)
