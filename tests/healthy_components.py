"""One sound component of each kind but clusterers, in small parts that a test can spoil."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from pydantic import Field

import covary
from covary import Box, ClusterMap, Detection, Foreground, Query, RunContext, VariantBatch, Variants
from covary.files import file_sha256

__all__ = ["Bright", "Centre", "Face", "Mosaic", "Opponent", "PhotoMosaic"]

_COLOURS = 5


class Mosaic(covary.VariantSource):
    """Cells in five colours: of the query's seed, or of a photo's levels of grey."""

    class Params(covary.Params):
        n: int = Field(6, ge=1, description="number of variants")

    params: Params
    accepts = frozenset({"seed", "files"})

    def size(self) -> tuple[int, int]:
        return 24, 32

    def memory(self, size: tuple[int, int], features: int) -> int:
        return 40 * size[0] * size[1]

    def open(self, query: Query, ctx: RunContext) -> Any:
        self.check(query)
        image = self.image(query, ctx)
        cells = self.cells(query, image, ctx)
        return Variants(
            image=image.to(ctx.device),
            count=self.params.n,
            batches=self.batches(cells, self.colours(ctx), ctx),
            inputs={str(path): file_sha256(path) for path in query.paths},
        )

    def check(self, query: Query) -> None:
        if query.kind not in self.accepts:
            raise covary.InputError("query of a mosaic", expected="photos", got=query.kind)

    def image(self, query: Query, ctx: RunContext) -> torch.Tensor:
        if query.paths:
            return covary.read_image(query.paths[0])
        draw = torch.Generator().manual_seed(query.seed or 0)
        return paint(self.drawn(draw), palettes(1, draw)[0])

    def cells(self, query: Query, image: torch.Tensor, ctx: RunContext) -> torch.Tensor:
        if query.paths:
            return image.float().mean(dim=0).div(256 / _COLOURS).long()
        return self.drawn(torch.Generator().manual_seed(query.seed or 0))

    def drawn(self, draw: torch.Generator) -> torch.Tensor:
        """Which of the colours each pixel has, in cells of 4x4."""
        height, width = self.size()
        cells = torch.randint(0, _COLOURS, (height // 4, width // 4), generator=draw)
        return cells.repeat_interleave(4, dim=0).repeat_interleave(4, dim=1)

    def colours(self, ctx: RunContext) -> torch.Tensor:
        return palettes(self.params.n, ctx.generator())

    def batches(self, cells: torch.Tensor, colours: torch.Tensor, ctx: RunContext) -> Iterator[Any]:
        for i, some in enumerate(colours.split(2)):
            ctx.progress(2 * i, len(colours), "mosaics")
            images = torch.stack([paint(cells, palette) for palette in some])
            yield VariantBatch(images.to(ctx.device))


class PhotoMosaic(Mosaic):
    """As ``Mosaic``, of photos alone."""

    accepts = frozenset({"files"})

    def size(self) -> tuple[int, int]:
        return 64, 64


def palettes(count: int, draw: torch.Generator) -> torch.Tensor:
    """Colours uint8 (count, 5, 3)."""
    return torch.randint(0, 256, (count, _COLOURS, 3), generator=draw, dtype=torch.uint8)


def paint(cells: torch.Tensor, palette: torch.Tensor) -> torch.Tensor:
    return palette[cells].permute(2, 0, 1).contiguous()


class Opponent(covary.FeatureSpace):
    """Brightness and the difference of red and green, each in -1..1."""

    channels = 2
    dtype = "float16"

    def encode(self, batch: VariantBatch) -> Any:
        return self.store(self.convert(self.read(batch)))

    def read(self, batch: VariantBatch) -> torch.Tensor:
        return batch.images.float() / 255

    def convert(self, values: torch.Tensor) -> torch.Tensor:
        red, green = values[:, 0], values[:, 1]
        return torch.stack([2 * values.mean(dim=1) - 1, red - green], dim=1)

    def store(self, features: torch.Tensor) -> torch.Tensor:
        return features.to(torch.float16)


class Centre(covary.ForegroundRule):
    """Clusters most of whose pixels lie in the middle of the image; works in its left half."""

    def select(
        self, clusters: ClusterMap, image: torch.Tensor, ctx: RunContext | None = None
    ) -> Any:
        if tuple(covary.check_image(image).shape[1:]) != clusters.size:
            raise covary.InputError("image", expected=str(clusters.size), got=str(image.shape))
        return self.answer(clusters, self.shares(clusters))

    def shares(self, clusters: ClusterMap) -> torch.Tensor:
        """How much of each cluster lies in the middle."""
        height, width = clusters.size
        middle = clusters.labels[height // 4 : -(height // 4) or None,
                                 width // 4 : -(width // 4) or None]  # fmt: skip
        inside = torch.bincount(middle.reshape(-1).long(), minlength=clusters.k)
        return inside / self.pixels(clusters)

    def pixels(self, clusters: ClusterMap) -> torch.Tensor:
        return clusters.counts.clamp(min=1)

    def answer(self, clusters: ClusterMap, shares: torch.Tensor) -> Any:
        reason = "clusters that lie in the middle"
        return Foreground.from_clusters(clusters, shares > 0.5, shares, reason)

    def regions(self, image: torch.Tensor, ctx: RunContext | None = None) -> Sequence[Any]:
        height, width = image.shape[1:]
        return [Box(0, 0, max(1, width // 2), height)]


class Bright(covary.Detector):
    """The box around the pixels that are brighter than the rest."""

    def detect(self, image: torch.Tensor, ctx: RunContext | None = None) -> Any:
        grey = self.grey(image)
        bright = grey > grey.mean()
        if not bool(bright.any()):
            return self.nothing()
        ys, xs = (bright.any(dim=dim).nonzero().flatten() for dim in (1, 0))
        ends = int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1
        return self.answer(ends, float(bright.double().mean()))

    def grey(self, image: torch.Tensor) -> torch.Tensor:
        return covary.check_image(image).double().mean(dim=0)

    def nothing(self) -> Any:
        return []

    def answer(self, ends: tuple[int, int, int, int], share: float) -> Any:
        return [Detection(Box(*ends), "bright", share)]


class Face(covary.LandmarkDetector):
    """Five points around the centre of brightness, unless the image is of one colour."""

    def landmarks(self, image: torch.Tensor, ctx: RunContext | None = None) -> Any:
        grey = covary.check_image(image).double().mean(dim=0)
        if not bool((grey - grey[0, 0]).any()):
            return self.nothing()
        return [self.points(grey)]

    def nothing(self) -> Any:
        return []

    def points(self, grey: torch.Tensor) -> torch.Tensor:
        height, width = grey.shape
        weight = grey / grey.sum()
        x = (weight.sum(dim=0) * torch.arange(width, device=grey.device)).sum()
        y = (weight.sum(dim=1) * torch.arange(height, device=grey.device)).sum()
        face = torch.tensor([[-1, -1], [1, -1], [0, 0], [-0.7, 1], [0.7, 1]], dtype=torch.float64)
        sides = torch.tensor([width, height], dtype=torch.float64)
        return (torch.stack([x, y]).cpu() + face * sides / 8).float()
