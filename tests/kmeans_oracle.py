"""Data with known clusters, and k-means in plain numpy, to judge clusterers by."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st

from covary import StyleSummary

__all__ = [
    "SEEDS",
    "Spy",
    "as_they_are",
    "blobs",
    "canonical",
    "correlated",
    "distances",
    "numpy_lloyd",
    "overlapping",
]

SEEDS = st.integers(0, 2**32 - 1)
"""Seeds of numpy's generators."""


def canonical(labels):
    """Ids by falling size, ties by first pixel, in plain Python."""
    flat = np.asarray(labels).reshape(-1).tolist()
    order = sorted(set(flat), key=lambda label: (-flat.count(label), flat.index(label)))
    return np.array([order.index(label) for label in flat]).reshape(np.shape(labels))


def blobs(seed, k, size=(12, 15), features=6, spread=0.3):
    """Clusters much farther apart than wide, in float32, and which pixel is of which."""
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(k), rng.integers(0, k, size[0] * size[1] - k)])
    rng.shuffle(truth)
    centers = 20.0 * np.stack([np.roll(np.eye(features)[i % features], 0) for i in range(k)])
    centers += 40.0 * (np.arange(k) // features)[:, None]
    data = centers[truth] + spread * rng.standard_normal((len(truth), features))
    return StyleSummary.from_matrix(data.astype(np.float32), size), truth.reshape(size)


def overlapping(seed, size=(20, 24), features=9, k=5):
    """A mixture that Lloyd's algorithm needs many passes for, and centres to start from."""
    rng = np.random.default_rng(seed)
    count = size[0] * size[1]
    data = rng.standard_normal((k, features))[rng.integers(0, k, count)] * 1.5
    data = (data + rng.standard_normal((count, features))).astype(np.float32)
    start = data[rng.choice(count, k, replace=False)]
    return StyleSummary.from_matrix(data, size), torch.from_numpy(start)


def numpy_lloyd(x, centers):
    """Lloyd's algorithm in float64 until no label changes: labels, centres, inertia."""
    x, centers = np.asarray(x, np.float64), np.asarray(centers, np.float64)
    labels = None
    while True:
        distances = ((x[:, None] - centers[None]) ** 2).sum(axis=2)
        new = distances.argmin(axis=1)
        if labels is not None and (new == labels).all():
            return labels, centers, distances.min(axis=1).sum()
        labels = new
        centers = np.stack([x[labels == i].mean(axis=0) for i in range(len(centers))])


def as_they_are(x):
    """Vectors as float64."""
    return np.asarray(x, np.float64)


def correlated(x):
    """Vectors whose products are Pearson's correlations; zero for constant ones."""
    x = np.asarray(x, np.float64)
    x = x - x.mean(axis=1, keepdims=True)
    length = np.sqrt((x**2).sum(axis=1, keepdims=True))
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)


def distances(summary, centers, space=as_they_are):
    """Squared distances (N, K), the pixels taken into ``space``."""
    x = space(summary.data)
    return ((x[:, None] - centers.double().numpy()[None]) ** 2).sum(axis=2)


class Spy(StyleSummary):
    """Notes how much of it is asked for at once."""

    def __init__(self, data, size):
        super().__init__(data, size)
        self.asked = []

    def rows(self, start, stop):
        self.asked.append(stop - start)
        return super().rows(start, stop)

    def matrix(self, dtype=torch.float32):
        raise AssertionError("the whole was asked for")
