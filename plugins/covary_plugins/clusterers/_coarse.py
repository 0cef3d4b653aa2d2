"""A subsampled grid of a summary, to start from, and the moments of its features."""

from __future__ import annotations

from math import ceil, sqrt

import torch

from covary import StyleSummary

__all__ = ["default_stride", "grid", "moments"]

# Places the centres of an image well enough to start from, in a few milliseconds a pass.
_GRID_PIXELS = 2**14


def default_stride(size: tuple[int, int]) -> int:
    """The smallest stride whose grid has about 16384 pixels or fewer; 1 up to 128x128."""
    return ceil(sqrt(size[0] * size[1] / _GRID_PIXELS))


def grid(summary: StyleSummary, stride: int) -> StyleSummary:
    """Every ``stride``-th pixel of every ``stride``-th row, off the border; stride 1 is all."""
    if stride == 1:
        return summary
    height, width = summary.size
    rows = torch.arange(min(stride // 2, height - 1), height, stride)
    columns = torch.arange(min(stride // 2, width - 1), width, stride)
    index = (rows[:, None] * width + columns).reshape(-1)
    data = summary.data[index.to(summary.device)]
    return StyleSummary(data, (len(rows), len(columns)))


def moments(summary: StyleSummary) -> tuple[torch.Tensor, float]:
    """Mean of each feature, float32 (D,), and the mean of the features' variances."""
    mean = torch.zeros(summary.features, dtype=torch.float64, device=summary.device)
    for _, rows in summary.chunks(max_bytes=2**21):
        mean += rows.sum(dim=0, dtype=torch.float64)
    mean /= summary.pixels
    total = 0.0
    for _, rows in summary.chunks(max_bytes=2**21):
        total += float((rows.to(torch.float64) - mean).square_().sum())
    return mean.to(torch.float32), total / (summary.pixels * summary.features)
