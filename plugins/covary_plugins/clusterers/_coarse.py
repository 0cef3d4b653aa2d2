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


def grid(summary: StyleSummary, stride: int | None = None) -> StyleSummary:
    """Every ``stride``-th pixel of every ``stride``-th row, off the border, in float32.

    Unset, the stride is the default one. Stride 1 is the summary itself.
    """
    stride = stride or default_stride(summary.size)
    if stride == 1:
        return summary
    height, width = summary.size
    planes = summary.data.T.unflatten(1, summary.size)
    some = planes[:, min(stride // 2, height - 1) :: stride, min(stride // 2, width - 1) :: stride]
    size = (some.shape[1], some.shape[2])
    return StyleSummary(some.to(torch.float32).contiguous().flatten(1).T, size)


def moments(sample: StyleSummary) -> tuple[torch.Tensor, float]:
    """Mean of each feature, float32 (D,), and the mean of the features' variances.

    Holds ``sample`` in float32: for one of :func:`grid` at its default stride a few megabytes.
    """
    planes = sample.data.T.to(torch.float32)
    mean = planes.mean(dim=1)
    return mean, float((planes - mean[:, None]).square_().mean())
