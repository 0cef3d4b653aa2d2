"""How good a clustering is: recomputed in float64 from its labels alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import covary
from covary.errors import InputError
from covary.provenance import adjusted_rand_index, iou

from .data import Dataset
from .schema import Quality, Setting

if TYPE_CHECKING:
    from .reference import Reference

__all__ = ["FOREGROUND", "check_labels", "chunk_pixels", "chunks", "inertia_and_means", "judge"]

Array = np.ndarray[Any, Any]

FOREGROUND: dict[str, dict[str, Any]] = {
    "avatars": {"corners": "upper"},
    "rooms": {"corners": "all"},
}
"""Parameters of the rule ``corner`` for each world, as in the presets worlds and deeprooms."""

# float64 columns at a time: a few temporaries of this size stay in the cache.
_CHUNK_BYTES = 8 * 2**20


def chunk_pixels(features: int) -> int:
    """How many pixels to take in float64 at a time."""
    return max(1, _CHUNK_BYTES // (8 * features))


def chunks(planes: Array) -> Iterator[tuple[slice, Array]]:
    """(where, columns float64 (D, M)) over all pixels of ``planes`` (D, N), in order."""
    features, count = planes.shape
    step = chunk_pixels(features)
    for start in range(0, count, step):
        where = slice(start, min(start + step, count))
        yield where, planes[:, where].astype(np.float64)


def inertia_and_means(planes: Array, labels: Array, k: int) -> tuple[float, Array]:
    """Sum of squared distances to the labels' own means, and the means float64 (K, D).

    Args:
        planes: (D, N).
        labels: integer (N,) in 0..K-1; some clusters may be empty.
        k: K.
    """
    sums, counts = np.zeros((k, len(planes))), np.bincount(labels, minlength=k)
    ids = np.arange(k)[:, None]
    for where, x in chunks(planes):
        sums += (labels[where] == ids).astype(np.float64) @ x.T
    means = sums / np.maximum(counts, 1)[:, None]
    total = 0.0
    for where, x in chunks(planes):
        x -= means[labels[where]].T
        total += float(np.einsum("ij,ij->", x, x))
    return total, means


def check_labels(labels: Array, size: tuple[int, int], k: int) -> None:
    """Refuse labels that are no partition of the image into at most K clusters.

    Raises:
        InputError: another shape, no integers, or values outside 0..K-1.
    """
    if labels.shape != size or labels.dtype.kind not in "iu":
        got = f"{labels.dtype} {labels.shape}"
        raise InputError("labels", expected=f"integers of shape {size}", got=got)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= k:
        raise InputError("labels", expected=f"values in 0..{k - 1}", got=f"{low}..{high}")


def judge(
    data: Dataset,
    setting: Setting,
    labels: Array,
    reference: Reference,
    *,
    iterations: int,
    converged: bool,
) -> Quality:
    """The figures of one clustering; ``inertia_ratio`` is left open until all are known.

    Args:
        data: what was clustered.
        setting: as whose result.
        labels: (H, W).
        reference: the optimum to compare with.
        iterations: as the backend reports it.
        converged: as the backend reports it.

    Raises:
        InputError: labels that do not fit the setting.
    """
    check_labels(labels, data.size, setting.k)
    flat = labels.reshape(-1).astype(np.int64)
    inertia, means = inertia_and_means(data.planes(), flat, setting.k)
    tensor = torch.from_numpy(flat)
    clusters = covary.ClusterMap.from_labels(
        tensor, torch.from_numpy(means), size=data.size, inertia=inertia, iterations=iterations
    )
    rule = covary.create("corner", kind="foreground", **FOREGROUND[setting.world])
    # The rule looks at the clusters alone.
    found = rule.select(clusters, torch.zeros(3, *data.size, dtype=torch.uint8))
    return Quality(
        inertia=inertia,
        ari_reference=adjusted_rand_index(tensor, torch.from_numpy(reference.labels).long()),
        reference_ratio=inertia / reference.inertia if reference.inertia else None,
        ari_truth=adjusted_rand_index(tensor, torch.from_numpy(data.regions()).long().reshape(-1)),
        iou=iou(found.mask, torch.from_numpy(data.foreground())) if found.found else 0.0,
        iterations=iterations,
        converged=converged,
    )
