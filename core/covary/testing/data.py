"""Style summaries whose clusters are known, to judge clusterers by."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from covary.summary import StyleSummary

__all__ = ["blobs", "layouts", "overlapping"]


def blobs(
    seed: int,
    k: int,
    *,
    size: tuple[int, int] = (12, 15),
    features: int = 6,
    spread: float = 0.3,
) -> tuple[StyleSummary, np.ndarray[Any, Any]]:
    """A summary of k groups much farther apart than wide, and which pixel is of which.

    Args:
        seed: of numpy's generator.
        k: groups, each with at least one pixel.
        size: (H, W), at least k pixels.
        features: D.
        spread: standard deviation inside a group; centres are at least 28 apart.

    Returns:
        The summary, float32, and int (H, W) with values 0..k-1, not canonical.
    """
    rng = np.random.default_rng(seed)
    count = size[0] * size[1]
    truth = np.concatenate([np.arange(k), rng.integers(0, k, count - k)])
    rng.shuffle(truth)
    # One axis a group, and farther out again once the axes are used up.
    centers = 20.0 * np.eye(features)[np.arange(k) % features]
    centers += 40.0 * (np.arange(k) // features)[:, None]
    data = centers[truth] + spread * rng.standard_normal((count, features))
    return StyleSummary.from_matrix(data.astype(np.float32), size), truth.reshape(size)


def overlapping(
    seed: int, *, size: tuple[int, int] = (20, 24), features: int = 9, k: int = 5
) -> tuple[StyleSummary, torch.Tensor]:
    """A mixture that Lloyd's algorithm needs many passes for, and centres to start from.

    Args:
        seed: of numpy's generator.
        size: (H, W), at least k pixels.
        features: D.
        k: components of the mixture.

    Returns:
        The summary, float32, and k different pixels of it, float32 (k, D).
    """
    rng = np.random.default_rng(seed)
    count = size[0] * size[1]
    data = rng.standard_normal((k, features))[rng.integers(0, k, count)] * 1.5
    data = (data + rng.standard_normal((count, features))).astype(np.float32)
    start = data[rng.choice(count, k, replace=False)]
    return StyleSummary.from_matrix(data, size), torch.from_numpy(start)


def layouts(pixel_major: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same values (N, D) as a summary may store them: by name, in different memory orders."""
    features = pixel_major.shape[1]
    return {
        "pixel-major": pixel_major,
        "planar": pixel_major.T.contiguous().T,
        "columns of a wider matrix": torch.cat((pixel_major, pixel_major), dim=1)[:, features:],
        "every other value": torch.stack((pixel_major, pixel_major * 0), dim=2)[..., 0],
        "every other row": pixel_major.repeat_interleave(2, dim=0)[::2],
    }
