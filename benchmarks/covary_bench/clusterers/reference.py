"""Initial centres for all backends, and where Lloyd's algorithm in float64 goes from them.

Independent of covary's own k-means: numpy alone, chunk by chunk, until not one label changes.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from covary.files import output_folder, replacing

from .data import Dataset
from .quality import chunk_pixels, chunks, inertia_and_means
from .schema import Setting

__all__ = ["Reference", "kmeans_plus_plus", "lloyd", "random_pixels", "reference"]

Array = np.ndarray[Any, Any]

# Rounding of a float64 distance, relative to the largest squared norm: bounds are kept this far
# on the safe side.
_SLACK = 1e-10


@dataclass(frozen=True, slots=True)
class Reference:
    """Where all backends start, and the optimum that float64 reaches from there."""

    start: Array
    """Initial centres, float32 (K, D); pixels of the summary, hence exact."""
    labels: Array
    """int32 (N,)."""
    inertia: float
    """Sum of squared distances to the means of ``labels``."""
    iterations: int
    """Passes over the pixels, the last of which changed nothing."""


def reference(data: Dataset, setting: Setting, cache: Path) -> Reference:
    """The reference of a setting on its data, from ``cache`` where it is known.

    Raises:
        OutputError: the cache folder cannot be written.
    """
    k, how = setting.k, setting.start
    path = cache / f"reference-{data.sha256[:20]}-{k}-{how}-{setting.seed}.npz"
    if (known := _read(path)) is not None:
        return known
    planes = data.planes()
    draw = {"k-means++": kmeans_plus_plus, "random": random_pixels}[how]
    start = draw(planes, k, np.random.default_rng(setting.seed))
    labels, iterations = lloyd(planes, start)
    inertia, _ = inertia_and_means(planes, labels, k)
    found = Reference(start.astype(np.float32), labels, inertia, iterations)
    output_folder(cache)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            start=found.start,
            labels=found.labels,
            inertia=found.inertia,
            iterations=found.iterations,
        )
    return found


def kmeans_plus_plus(planes: Array, k: int, rng: np.random.Generator) -> Array:
    """Initial centres float64 (K, D) by greedy k-means++ over all pixels.

    As in scikit-learn each next centre is the best of 2 + log k pixels that are drawn with
    probability proportional to their squared distance to the nearest centre so far.

    Args:
        planes: (D, N).
        k: number of centres.
        rng: where the draws come from.
    """
    count = planes.shape[1]
    centers = _columns(planes, [int(rng.integers(count))])
    closest = _distances(planes, centers)[0]
    for _ in range(1, k):
        cumulative = np.cumsum(closest)
        draws = rng.random(2 + int(log(k))) * cumulative[-1]
        index = np.searchsorted(cumulative, draws, side="right").clip(max=count - 1)
        candidates = _columns(planes, index.tolist())
        nearer = np.minimum(closest, _distances(planes, candidates))
        best = int(nearer.sum(axis=1).argmin())
        centers = np.concatenate([centers, candidates[best : best + 1]])
        closest = nearer[best]
    return centers


def random_pixels(planes: Array, k: int, rng: np.random.Generator) -> Array:
    """Initial centres float64 (K, D): different pixels, of equal probability.

    Args: as for :func:`kmeans_plus_plus`.
    """
    return _columns(planes, rng.choice(planes.shape[1], k, replace=False).tolist())


def lloyd(planes: Array, start: Array) -> tuple[Array, int]:
    """Lloyd's algorithm from ``start`` until no label changes: labels int32 (N,), and passes.

    Exact, with one bound to save time: a pixel whose second-nearest centre is farther than its
    own by a margin cannot change hands before the centres have moved that margin together. An
    empty cluster takes over the pixel farthest from its centre.

    Args:
        planes: (D, N), any real dtype.
        start: (K, D).
    """
    features, count = planes.shape
    k = len(start)
    centers = np.array(start, dtype=np.float64)
    labels = np.full(count, -1, dtype=np.int32)
    margins = np.full(count, -np.inf)
    sums, counts = np.zeros((k, features)), np.zeros(k)
    iterations = 0
    while True:
        iterations += 1
        changed = 0
        for pixels, x in _doubtful(planes, margins):
            new, margins[pixels] = _nearest(x, centers)
            moved = np.flatnonzero(new != labels[pixels])
            if len(moved) == 0:
                continue
            changed += len(moved)
            sign = _one_hot(new[moved], k) - _one_hot(labels[pixels[moved]], k)
            sums += sign @ x[:, moved].T
            counts += sign.sum(axis=1)
            labels[pixels[moved]] = new[moved]
        refilled = _refill(planes, labels, sums, counts)
        if changed == 0 and not refilled:
            return labels, iterations
        filled = counts[:, None] > 0
        means = np.where(filled, sums / np.maximum(counts, 1)[:, None], centers)
        drift = np.sqrt(((means - centers) ** 2).sum(axis=1))
        # The own centre may recede by its drift, any other may approach by the largest.
        margins -= drift[labels] + drift.max()
        if refilled:
            margins[:] = -np.inf
        centers = means


def _doubtful(planes: Array, margins: Array) -> Iterator[tuple[Array, Array]]:
    """(indices, columns float64 (D, M)) of the pixels whose margin is used up."""
    features, count = planes.shape
    step = chunk_pixels(features)
    for start in range(0, count, step):
        inside = np.flatnonzero(margins[start : start + step] <= 0)
        if len(inside):
            columns = planes[:, start : start + step]
            chosen = columns if len(inside) == columns.shape[1] else columns[:, inside]
            yield start + inside, chosen.astype(np.float64)


def _nearest(x: Array, centers: Array) -> tuple[Array, Array]:
    """Labels of the columns of ``x``, and how much farther each one's second centre is."""
    norms = (x**2).sum(axis=0)
    squared = (centers**2).sum(axis=1)[:, None] - 2 * (centers @ x) + norms
    labels = squared.argmin(axis=0).astype(np.int32)
    if len(centers) == 1:
        return labels, np.full(len(labels), np.inf)
    two = np.sqrt(np.partition(squared, 1, axis=0)[:2].clip(min=0))
    scale = np.sqrt(max(norms.max(), (centers**2).sum(axis=1).max()))
    # The square root of a rounded zero: errors of small distances are of the order of the root.
    unsure = two[0] < np.sqrt(_SLACK) * scale
    margin = two[1] - two[0] - _SLACK * scale
    return labels, np.where(unsure, margin - np.sqrt(_SLACK) * scale, margin)


def _refill(planes: Array, labels: Array, sums: Array, counts: Array) -> bool:
    """Give every empty cluster the pixel farthest from its mean; whether any was empty."""
    refilled = False
    for cluster in np.flatnonzero(counts == 0):
        means = sums / np.maximum(counts, 1)[:, None]
        best, found = 0.0, -1
        for where, x in chunks(planes):
            distances = ((x - means[labels[where]].T) ** 2).sum(axis=0)
            farthest = int(distances.argmax())
            if distances[farthest] > best:
                best, found = float(distances[farthest]), where.start + farthest
        if found < 0:
            break
        pixel, owner = _columns(planes, [found])[0], labels[found]
        sums[owner] -= pixel
        counts[owner] -= 1
        sums[cluster], counts[cluster], labels[found] = pixel, 1, cluster
        refilled = True
    return refilled


def _distances(planes: Array, points: Array) -> Array:
    """Squared distances float64 (len(points), N)."""
    out = np.empty((len(points), planes.shape[1]))
    norms = (points**2).sum(axis=1)[:, None]
    for where, x in chunks(planes):
        out[:, where] = norms - 2 * (points @ x) + (x**2).sum(axis=0)
    return out.clip(min=0)


def _one_hot(labels: Array, k: int) -> Array:
    """float64 (K, M): 1 where a pixel has the label of the row; all 0 for labels below 0."""
    found: Array = (labels == np.arange(k)[:, None]).astype(np.float64)
    return found


def _columns(planes: Array, index: list[int]) -> Array:
    """Pixels float64 (len(index), D)."""
    found: Array = planes[:, index].T.astype(np.float64)
    return found


def _read(path: Path) -> Reference | None:
    """A reference that was kept; None where there is none, or a damaged one."""
    try:
        with np.load(path) as kept:
            return Reference(
                start=kept["start"],
                labels=kept["labels"],
                inertia=float(kept["inertia"]),
                iterations=int(kept["iterations"]),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
