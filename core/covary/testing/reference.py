"""k-means in plain numpy and float64, which shares no code with any clusterer.

Written to be obviously right, for images of some hundred pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["best_inertia", "canonical", "distances", "float64_lloyd"]

Array = np.ndarray[Any, Any]


def canonical(labels: ArrayLike) -> Array:
    """The same partition with ids by falling size, ties by first pixel; of the same shape."""
    flat = np.asarray(labels).reshape(-1).tolist()
    order = sorted(set(flat), key=lambda label: (-flat.count(label), flat.index(label)))
    return np.array([order.index(label) for label in flat]).reshape(np.shape(labels))


def distances(pixels: ArrayLike, centers: ArrayLike) -> Array:
    """Squared distances (N, K) of pixels (N, D) to centres (K, D)."""
    x, c = np.asarray(pixels, np.float64), np.asarray(centers, np.float64)
    squared: Array = ((x[:, None] - c[None]) ** 2).sum(axis=2)
    return squared


def float64_lloyd(pixels: ArrayLike, start: ArrayLike) -> tuple[Array, Array, float]:
    """Lloyd's algorithm until no label changes.

    Args:
        pixels: (N, D).
        start: (K, D), initial centres; one that attracts no pixel stays where it is.

    Returns:
        Labels (N,), centres (K, D), and the inertia.
    """
    x, centers = np.asarray(pixels, np.float64), np.asarray(start, np.float64).copy()
    labels = np.full(len(x), -1)
    while True:
        squared = distances(x, centers)
        new = squared.argmin(axis=1)
        if (new == labels).all():
            return labels, centers, float(squared.min(axis=1).sum())
        labels = new
        for label in np.unique(labels):
            centers[label] = x[labels == label].mean(axis=0)


def best_inertia(pixels: ArrayLike, k: int, *, starts: int = 20, seed: int = 0) -> float:
    """The lowest inertia that Lloyd's algorithm reaches from some random starts.

    Args:
        pixels: (N, D), N >= k.
        k: clusters.
        starts: how many times k random pixels are the initial centres.
        seed: of numpy's generator.
    """
    x, rng = np.asarray(pixels, np.float64), np.random.default_rng(seed)
    picks = (rng.choice(len(x), k, replace=False) for _ in range(starts))
    return min(float64_lloyd(x, x[pick])[2] for pick in picks)
