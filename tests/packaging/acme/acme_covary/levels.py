"""Clustering by brightness alone."""

from __future__ import annotations

from pydantic import Field

import covary


class Levels(covary.Clusterer):
    """Splits the range of the pixels' mean features into k equally wide levels."""

    class Params(covary.Params):
        k: int = Field(4, ge=1, le=64, description="Number of levels.")

    params: Params

    def fit(
        self, summary: covary.StyleSummary, ctx: covary.RunContext | None = None
    ) -> covary.ClusterMap:
        """Label every pixel with its level; empty levels keep a centre of zeros."""
        import torch

        k = self.params.k
        matrix = summary.matrix()
        mean = matrix.mean(dim=1)
        width = (mean.max() - mean.min()).clamp_min(1e-12)
        labels = ((mean - mean.min()) / width * k).long().clamp_max(k - 1)
        counts = torch.bincount(labels, minlength=k)
        sums = torch.zeros(k, summary.features, device=matrix.device).index_add_(0, labels, matrix)
        centers = sums / counts.clamp_min(1)[:, None]
        inertia = float((matrix - centers[labels]).double().square().sum())
        return covary.ClusterMap.from_labels(
            labels, centers, size=summary.size, inertia=inertia, iterations=1
        )
