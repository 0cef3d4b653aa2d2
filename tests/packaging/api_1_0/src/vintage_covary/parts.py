"""The components. Never change this package: it was written against plugin API 1.0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

import covary

if TYPE_CHECKING:
    import torch


class Stripes(covary.VariantSource):
    """Two stripes, each of one random colour."""

    accepts = frozenset({"seed"})

    class Params(covary.Params):
        n: int = Field(3, ge=1, description="variants")

    params: Params
    determinism = "bitwise"

    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return 16, 24

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes."""
        return size[0] * size[1] * features

    def inputs(self) -> Mapping[str, str]:
        """No files."""
        return {}

    def open(self, query: covary.Query, ctx: covary.RunContext) -> covary.Variants:
        """An image by the query's seed, variants by the run's."""
        import torch

        if query.kind != "seed" or query.seed is None or query.paths:
            raise covary.InputError("query", expected="a seed", got=query.kind, fix="give one")
        own = torch.Generator().manual_seed(query.seed)
        image = self._image(own).to(ctx.device)
        count = self.params.n
        ctx.progress(0, count, query.name)

        def batches(generator: torch.Generator) -> Iterator[covary.VariantBatch]:
            for _ in range(count):
                yield covary.VariantBatch(self._image(generator)[None].to(ctx.device))

        return covary.Variants(
            image=image,
            count=count,
            batches=batches(ctx.generator()),
            inputs={},
            metrics={"stripes": 2.0},
            warnings=(),
        )

    def _image(self, generator: torch.Generator) -> torch.Tensor:
        import torch

        colours = torch.randint(256, (3, 2), generator=generator, dtype=torch.uint8)
        return colours[:, [0] * 6 + [1] * 18][:, None].expand(3, 16, 24).contiguous()


class Grey(covary.FeatureSpace):
    """The mean of the three channels."""

    channels = 1
    dtype = "float32"

    def encode(self, batch: covary.VariantBatch) -> torch.Tensor:
        """Means, float32 (B, 1, H, W)."""
        return batch.images.float().mean(dim=1, keepdim=True)


class Levels(covary.Clusterer):
    """Equally wide levels of the mean feature."""

    class Params(covary.Params):
        k: int = Field(2, ge=1, description="levels")

    params: Params
    determinism = "numeric"

    def fit(
        self, summary: covary.StyleSummary, ctx: covary.RunContext | None = None
    ) -> covary.ClusterMap:
        """Levels as clusters."""
        import torch

        ctx = ctx or covary.RunContext(device=summary.device)
        assert ctx.derived_seed() >= 0
        assert ctx.available_memory() > 0
        x = summary.matrix()
        assert torch.equal(x, torch.cat([rows for _, rows in summary.chunks()]))
        assert torch.equal(x[:2], summary.rows(0, min(2, summary.pixels)))
        mean = x.mean(dim=1)
        width = (mean.max() - mean.min()).clamp_min(1e-6)
        labels = ((mean - mean.min()) / width * self.params.k).long().clamp_max(self.params.k - 1)
        return self._described(summary, x, labels)

    def fit_from(
        self,
        summary: covary.StyleSummary,
        centers: torch.Tensor,
        ctx: covary.RunContext | None = None,
    ) -> covary.ClusterMap:
        """The nearest of the centres."""
        import torch

        x = summary.matrix()
        return self._described(summary, x, torch.cdist(x, centers).argmin(dim=1))

    def predict(
        self,
        summary: covary.StyleSummary,
        centers: torch.Tensor,
        ctx: covary.RunContext | None = None,
    ) -> torch.Tensor:
        """The nearest of the centres, int32 (H, W)."""
        import torch

        return torch.cdist(summary.matrix(), centers).argmin(dim=1).int().reshape(summary.size)

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes."""
        return 8 * size[0] * size[1] * features

    def _described(
        self, summary: covary.StyleSummary, x: torch.Tensor, labels: torch.Tensor
    ) -> covary.ClusterMap:
        import torch

        k = self.params.k
        counts = labels.bincount(minlength=k).clamp_min(1)
        centers = torch.zeros(k, summary.features).index_add_(0, labels, x) / counts[:, None]
        return covary.ClusterMap.from_labels(
            labels,
            centers,
            size=summary.size,
            inertia=float((x - centers[labels]).square().sum()),
            iterations=1,
            converged=True,
        )


class Smallest(covary.ForegroundRule):
    """The smallest cluster."""

    def select(
        self,
        clusters: covary.ClusterMap,
        image: torch.Tensor,
        ctx: covary.RunContext | None = None,
    ) -> covary.Foreground:
        """The last id, as ids go by falling size."""
        import torch

        covary.check_image(image)
        chosen = torch.zeros(clusters.k, dtype=torch.bool)
        chosen[-1] = True
        scores = 1 - clusters.counts / clusters.labels.numel()
        return covary.Foreground.from_clusters(clusters, chosen, scores, "the smallest cluster")

    def regions(
        self, image: torch.Tensor, ctx: covary.RunContext | None = None
    ) -> Sequence[covary.Box]:
        """All of the image."""
        return [covary.Box(0, 0, int(image.shape[2]), int(image.shape[1]))]


class Middle(covary.Detector):
    """The middle of the image."""

    def detect(
        self, image: torch.Tensor, ctx: covary.RunContext | None = None
    ) -> Sequence[covary.Detection]:
        """One box of half the size, and at least a pixel."""
        height, width = int(image.shape[1]), int(image.shape[2])
        box = covary.Box(width // 4, height // 4, width - width // 4, height - height // 4)
        return [covary.Detection(box.inside((height, width)), label="middle", score=0.5)]


class Corners(covary.LandmarkDetector):
    """Five points of a face that fills the image."""

    def landmarks(
        self, image: torch.Tensor, ctx: covary.RunContext | None = None
    ) -> Sequence[torch.Tensor]:
        """One face, float32 (5, 2)."""
        import torch

        size = torch.tensor([float(image.shape[2] - 1), float(image.shape[1] - 1)])
        at = torch.tensor([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.75], [0.65, 0.75]])
        return [at * size]
