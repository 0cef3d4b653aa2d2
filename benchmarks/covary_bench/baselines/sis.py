"""Clusters of a generator's feature maps, consistent across images.

After Pakhomov et al., "Segmentation in Style: Unsupervised Semantic Image Segmentation with
StyleGAN and CLIP", 2021: k-means over the pixels' activations of many images together, so that a
cluster means the same in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

import covary
from covary_plugins.clusterers.lloyd import Lloyd

from .activations import Activations, FrozenGenerator, stretched
from .base import Baseline, Label, Needs, Report

__all__ = ["SiS", "SiSOracle"]


class SiS(Baseline):
    """k-means over activations; the foreground is chosen without labels, once for all images.

    Each feature map is brought to mean 0 and variance 1 over the pixels seen in the fit. A cluster
    is foreground if covary's border rule gives it a score above 0.5 on average over the fit's
    images, weighted by its area in each.

    Args:
        layers: convolutions whose maps are joined, from the coarsest on.
        k: clusters.
        images: how many are clustered together.
        sides: of the image where background is expected, for the border rule.
    """

    name: ClassVar[str] = "sis"

    def __init__(
        self,
        layers: Sequence[int] = (4, 5),
        k: int = 3,
        images: int = 64,
        sides: str = "upper",
    ) -> None:
        self.layers, self.k, self.images, self.sides = tuple(layers), k, images, sides

    @property
    def settings(self) -> Mapping[str, Any]:
        """Layers, clusters, images and sides."""
        return {
            "layers": list(self.layers),
            "k": self.k,
            "images": self.images,
            "sides": self.sides,
        }

    @property
    def needs(self) -> Needs:
        """No labels; some images of seeds below 1000."""
        return Needs(labelled=0, images=self.images, trained="centres")

    def _fit(
        self,
        generator: FrozenGenerator,
        label: Label | None,
        seed: int,
        folder: Path | None,
        report: Report,
    ) -> None:
        found = list(generator.batches(range(self.images), self.layers))
        self._size = max(one.shape[-1] for one in found[0].layers)
        # At the maps' own size: pixels between them say nothing new of the clusters.
        maps = torch.cat([stretched(some.layers, self._size) for some in found])
        self._mean = maps.mean(dim=(0, 2, 3), keepdim=True)
        self._deviation = maps.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
        clusterer = covary.create("lloyd", kind="clusterer", k=self.k)
        self._clusterer = cast(Lloyd, clusterer)
        report("k-means", 0, 1)
        summary = self._summary(maps)
        self._centers = self._clusterer.fit(summary, covary.RunContext(seed=seed)).centers
        labels = torch.cat([self._labels(some) for some in found])
        images = torch.cat([some.images for some in found])
        self._chosen = self._choose(labels, images, label)

    def _layers(self) -> Sequence[int]:
        return self.layers

    def _masks(self, some: Activations) -> Tensor:
        return self._chosen[self._labels(some)]

    def _labels(self, some: Activations) -> Tensor:
        """The cluster of every pixel of the images, int64 (B, H, W)."""
        size = some.images.shape[-1]
        summary = self._summary(stretched(some.layers, size))
        labels = self._clusterer.predict(summary, self._centers).long()
        return labels.reshape(len(some.images), size, size)

    def _summary(self, maps: Tensor) -> covary.StyleSummary:
        """All pixels of all images one below the other, standardised."""
        rows = ((maps - self._mean) / self._deviation).permute(0, 2, 3, 1).flatten(0, 2)
        return covary.StyleSummary.from_matrix(rows, (maps.shape[0] * maps.shape[2], maps.shape[3]))

    def _choose(self, labels: Tensor, images: Tensor, label: Label | None) -> Tensor:
        """Which clusters are foreground, bool (k,)."""
        rule = covary.create("border", kind="foreground", sides=self.sides)
        scores = torch.zeros(self.k, dtype=torch.float64)
        for one, image in zip(labels, images, strict=True):
            # Ids as they are: the same cluster has the same number in every image.
            clusters = covary.ClusterMap(one.int(), self._centers, inertia=0.0, iterations=0)
            scores += rule.select(clusters, image).scores * clusters.counts
        return scores > 0.5 * labels.flatten().bincount(minlength=self.k)


class SiSOracle(SiS):
    """As `SiS`, the foreground chosen by labels: what the clusters could give at best.

    A cluster is foreground if more than half of its pixels in the fit's images are.
    """

    name: ClassVar[str] = "sis-oracle"

    @property
    def needs(self) -> Needs:
        """Masks of all images of the fit."""
        return Needs(labelled=self.images, images=self.images, trained="centres")

    def _choose(self, labels: Tensor, images: Tensor, label: Label | None) -> Tensor:
        assert label is not None  # fit() has seen to it
        inside = labels[label(images)].bincount(minlength=self.k)
        return inside * 2 > labels.flatten().bincount(minlength=self.k)
