"""Hypothesis strategies for what travels through a pipeline, small enough to shrink well."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from covary.summary import StyleSummary
from covary.testing.data import layouts
from covary.types import Box, ClusterMap, VariantBatch

__all__ = [
    "batches", "boxes", "cluster_maps", "images", "label_maps", "seeds", "sizes", "soft_masks",
    "stacks", "summaries",
]  # fmt: skip

_STORED = (np.uint8, np.float16, np.float32)


def seeds() -> st.SearchStrategy[int]:
    """Seeds of a run: integers in 0..2^32-1."""
    return st.integers(0, 2**32 - 1)


def sizes(most: int = 7) -> st.SearchStrategy[tuple[int, int]]:
    """(H, W), each in 1..most."""
    return st.tuples(st.integers(1, most), st.integers(1, most))


@st.composite
def images(draw: st.DrawFn, most: int = 7) -> torch.Tensor:
    """An image, uint8 (3, H, W), sides in 1..most."""
    return torch.from_numpy(draw(hnp.arrays(np.uint8, (3, *draw(sizes(most))))))


@st.composite
def soft_masks(draw: st.DrawFn, most: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    """A soft mask, float32 (H, W) in 0..1, and an image of its size; sides in 1..most."""
    image = draw(images(most))
    values = st.floats(0, 1, width=32)
    soft = draw(hnp.arrays(np.float32, tuple(image.shape[1:]), elements=values))
    return torch.from_numpy(soft), image


@st.composite
def stacks(draw: st.DrawFn, most: int = 4) -> torch.Tensor:
    """Aligned images, uint8 (n, 3, H, W), n in 1..most."""
    shape = (draw(st.integers(1, most)), 3, *draw(sizes()))
    return torch.from_numpy(draw(hnp.arrays(np.uint8, shape)))


def batches(most: int = 4) -> st.SearchStrategy[VariantBatch]:
    """A batch of up to ``most`` variants."""
    return stacks(most).map(VariantBatch)


@st.composite
def summaries(draw: st.DrawFn, features: int = 6) -> StyleSummary:
    """A style summary of up to ``features`` features in any dtype and layout it may be stored in.

    Values are whole numbers in 0..255, so that every dtype holds the same.
    """
    size = draw(sizes())
    shape = (size[0] * size[1], draw(st.integers(1, features)))
    values = draw(hnp.arrays(np.int16, shape, elements=st.integers(0, 255)))
    stored = layouts(torch.from_numpy(values.astype(draw(st.sampled_from(_STORED)))))
    return StyleSummary(stored[draw(st.sampled_from(sorted(stored)))], size)


@st.composite
def label_maps(draw: st.DrawFn, most: int = 5) -> tuple[torch.Tensor, int]:
    """Labels int64 (H, W) in 0..k-1, some of which may be unused, and k in 1..most."""
    k = draw(st.integers(1, most))
    labels = draw(hnp.arrays(np.int64, draw(sizes()), elements=st.integers(0, k - 1)))
    return torch.from_numpy(labels), k


@st.composite
def cluster_maps(draw: st.DrawFn, most: int = 5, features: int = 3) -> ClusterMap:
    """A cluster map with canonical ids and up to ``most`` clusters, some of them empty."""
    labels, k = draw(label_maps(most))
    centers = draw(hnp.arrays(np.float32, (k, features), elements=st.integers(0, 255)))
    size = (int(labels.shape[0]), int(labels.shape[1]))
    return ClusterMap.from_labels(
        labels, torch.from_numpy(centers), size=size, inertia=0.0, iterations=1
    )


@st.composite
def boxes(draw: st.DrawFn, size: tuple[int, int]) -> Box:
    """A box inside an image of ``size`` (H, W)."""
    y0, x0 = (draw(st.integers(0, side - 1)) for side in size)
    y1, x1 = draw(st.integers(y0 + 1, size[0])), draw(st.integers(x0 + 1, size[1]))
    return Box(x0, y0, x1, y1)
