"""Summary data beside the same values in plain numpy; the rest is in covary.testing.strategies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from covary.testing.strategies import summaries

__all__ = ["Stored", "stored"]


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
    summary = draw(summaries())
    plain = np.array(summary.data.tolist(), np.float32)
    return Stored(summary.data, plain, summary.size)
