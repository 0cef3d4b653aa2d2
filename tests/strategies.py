"""Hypothesis strategies that several test modules share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

__all__ = ["Stored", "boxes", "label_maps", "sizes", "stacks", "stored"]

sizes = st.tuples(st.integers(1, 7), st.integers(1, 7))
"""(H, W), small."""


@st.composite
def stacks(draw: st.DrawFn, most: int = 4) -> torch.Tensor:
    """Aligned images, uint8 (n, 3, H, W)."""
    shape = (draw(st.integers(1, most)), 3, *draw(sizes))
    return torch.from_numpy(draw(hnp.arrays(np.uint8, shape)))


@st.composite
def label_maps(draw: st.DrawFn, most: int = 5) -> tuple[torch.Tensor, int]:
    """Labels int64 (H, W) in 0..k-1, some of which may be unused, and k."""
    k = draw(st.integers(1, most))
    labels = draw(hnp.arrays(np.int64, draw(sizes), elements=st.integers(0, k - 1)))
    return torch.from_numpy(labels), k


@st.composite
def boxes(draw: st.DrawFn, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) inside an image (H, W)."""
    y0, x0 = (draw(st.integers(0, side - 1)) for side in size)
    y1, x1 = draw(st.integers(y0 + 1, size[0])), draw(st.integers(x0 + 1, size[1]))
    return x0, y0, x1, y1


@dataclass
class Stored:
    """Data as a summary may store them, beside the same values in plain numpy."""

    data: torch.Tensor
    """(N, D), any of the dtypes and layouts."""
    plain: np.ndarray[Any, Any]
    """float32 (N, D)."""
    size: tuple[int, int]


@st.composite
def stored(draw: st.DrawFn) -> Stored:
    """Summary data in every dtype, planar, pixel-major, and as a view with gaps."""
    size = draw(sizes)
    shape = (size[0] * size[1], draw(st.integers(1, 6)))
    dtype = draw(st.sampled_from([np.uint8, np.float16, np.float32]))
    values = draw(hnp.arrays(np.int16, shape, elements=st.integers(0, 255))).astype(dtype)
    pixel_major = torch.from_numpy(values.copy())
    layouts = {
        "pixel-major": pixel_major,
        "planar": pixel_major.T.contiguous().T,
        "gaps": torch.stack((pixel_major, pixel_major * 0), dim=2)[..., 0],
    }
    layout = draw(st.sampled_from(sorted(layouts)))
    return Stored(layouts[layout], values.astype(np.float32), size)
