"""faiss' k-means on the GPU where torch's tensors are: no pixel crosses the bus.

``faiss.Kmeans`` takes numpy arrays only, sends all of them to the GPU on each pass, and adds up on
the CPU; faiss' loop for tensors takes no initial centres. Search and the splitting of clusters
are faiss' own here, too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import faiss
import faiss.contrib.torch_utils
import numpy as np
import torch
from faiss.contrib.clustering import reassign_centroids

from covary import StyleSummary

from ._pixels import one_hot

__all__ = ["Trained", "assign", "train"]

_CHUNK_BYTES = 64 * 2**20
# Instead of the 1.5 GB that faiss takes otherwise.
_TEMPORARY_BYTES = 256 * 2**20


class Trained(NamedTuple):
    """What faiss.Kmeans knows after training."""

    centers: torch.Tensor
    """float32 (K, D), relative to the offset."""
    objective: list[float]
    """Sum of squared distances before each update."""


def train(
    summary: StyleSummary,
    offset: torch.Tensor,
    start: torch.Tensor | None,
    *,
    k: int,
    niter: int,
    nredo: int,
    seed: int,
) -> Trained:
    """The best of ``nredo`` runs from random pixels, or one from ``start``.

    Args:
        summary: on the GPU.
        offset: float32 (D,), subtracted from every pixel; the mean is a good one.
        start: float32 (K, D), relative to the offset.
        k: clusters.
        niter: passes.
        nredo: runs, where there is no ``start``.
        seed: for numpy's RandomState, which faiss uses as well.
    """
    random = np.random.RandomState(seed)
    with torch.cuda.device_of(summary.data):
        resources = _resources()
        runs = [
            _run(resources, summary, offset, start, k, niter, random)
            for _ in range(nredo if start is None else 1)
        ]
    return min(runs, key=lambda run: run.objective[-1])


def assign(summary: StyleSummary, offset: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """Labels int64 (N,) of the nearest of ``centers``, relative to the offset."""
    with torch.cuda.device_of(summary.data):
        resources = _resources()
        found = [
            faiss.knn_gpu(resources, rows - offset, centers, 1)[1][:, 0]
            for _, rows in summary.chunks(_CHUNK_BYTES)
        ]
    return torch.cat(found)


def _resources() -> Any:
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(_TEMPORARY_BYTES)
    return resources


def _run(
    resources: Any,
    summary: StyleSummary,
    offset: torch.Tensor,
    start: torch.Tensor | None,
    k: int,
    niter: int,
    random: np.random.RandomState,
) -> Trained:
    centers, objective = start, []
    if centers is None:
        picks = torch.from_numpy(random.choice(summary.pixels, k, replace=False))
        centers = summary.data[picks.to(summary.device)].to(torch.float32) - offset
    for _ in range(niter):
        sums, counts, total = _pass(resources, summary, offset, centers)
        objective.append(total)
        centers = (sums / counts.clamp(min=1)[:, None]).to(torch.float32)
        reassign_centroids(  # type: ignore[no-untyped-call]
            counts.long().cpu().numpy(), centers, random
        )
    return Trained(centers, objective)


def _pass(
    resources: Any, summary: StyleSummary, offset: torch.Tensor, centers: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Sums float64 (K, D) and numbers float64 (K,) of the clusters' pixels, and the objective."""
    sums = torch.zeros_like(centers, dtype=torch.float64)
    counts = torch.zeros(len(centers), dtype=torch.float64, device=centers.device)
    total = torch.zeros((), dtype=torch.float64, device=centers.device)
    for _, rows in summary.chunks(_CHUNK_BYTES):
        x = rows - offset
        distances, labels = faiss.knn_gpu(resources, x, centers, 1)
        own = one_hot(labels[:, 0], len(centers))
        # As a product, because index_add_ is not deterministic on CUDA.
        sums += own @ x
        counts += own.sum(dim=1)
        total += distances.sum(dtype=torch.float64)
    return sums, counts, float(total)
