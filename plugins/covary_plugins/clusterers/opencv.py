"""k-means by OpenCV."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ._adapter import Adapter, LloydParams, mean_variance
from .lloyd import Lloyd

if TYPE_CHECKING:
    import numpy as np

    from covary import ClusterMap, RunContext, StyleSummary

__all__ = ["OpenCV"]


class OpenCV(Adapter):
    """``cv2.kmeans``, on the CPU, on as many threads as torch may use.

    OpenCV stops when no centre moves farther than an epsilon, and makes 2 to 100 passes. The
    epsilon here is the one at which covary's rule holds for certain: each centre's squared shift
    is at most 1/k of what all of them may sum up to. So it stops with that rule or later.

    OpenCV takes initial labels, not centres: ``fit_from`` gives each pixel the label of the
    nearest of ``centers``, which costs one pass, and OpenCV begins with the means of those labels.

    OpenCV leaves the labels one update behind the centres and does not say how many passes it
    made: labels here are those of the nearest centre, ``iterations`` is 0, and ``converged`` says
    whether one more update would move the centres by no more than the rule allows.

    Holds the summary as a float32 matrix: 4*N*D bytes, 629 MB at 1024x1024 with 50 variants.
    OpenCV also adds up a cluster's pixels in float32, which leaves centres of a million pixels
    about a thousandth off. Its random generator belongs to the thread: the fit runs in one of its
    own, so that the seed of the caller's stays as it is.
    """

    class Params(LloydParams):
        max_iter: int = Field(
            100, ge=2, le=100, description="Passes over the pixels at most; OpenCV allows 2 to 100."
        )

    params: Params

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes beyond the summary: the float32 matrix, distances, seeding and labelling."""
        labelling = Lloyd(k=self.params.k).memory(size, features)
        return size[0] * size[1] * (4 * features + 36) + labelling

    def _run(
        self, summary: StyleSummary, centers: np.ndarray[Any, Any] | None, ctx: RunContext
    ) -> ClusterMap:
        import torch

        from ._pixels import cluster_map

        nearest = Lloyd().predict
        labels = None
        if centers is not None:
            # OpenCV 5 leaves labels of any other shape than (N, 1) as they were.
            labels = nearest(summary, torch.from_numpy(centers), ctx).cpu().reshape(-1, 1).numpy()
        matrix = summary.matrix().cpu().numpy()
        allowed = self.params.tol * mean_variance(summary)
        with ThreadPoolExecutor(1) as thread, _threads(torch.get_num_threads()):
            fit = thread.submit(self._kmeans, matrix, labels, allowed, ctx.derived_seed() % 2**31)
            old, centers = fit.result()
        new = nearest(summary, torch.from_numpy(centers), ctx)
        shift = _next_shift(matrix, old, new.cpu().reshape(-1).numpy(), centers)
        return cluster_map(
            summary,
            new.reshape(-1),
            torch.from_numpy(centers),
            device=ctx.device,
            iterations=0,
            converged=shift <= allowed,
        )

    def _kmeans(
        self, matrix: np.ndarray[Any, Any], labels: Any, allowed: float, seed: int
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Labels int32 (N,) and centres float32 (K, D), from ``labels`` where they are given."""
        import cv2
        import numpy as np

        k = self.params.k
        epsilon = math.sqrt(allowed / k)
        kind = cv2.TERM_CRITERIA_MAX_ITER | cv2.TERM_CRITERIA_EPS
        if one_pixel := len(matrix) == 1:
            # OpenCV would take a single row of D numbers for D points.
            matrix, labels = np.repeat(matrix, 2, axis=0), None
        cv2.setRNGSeed(seed)
        _, labels, centers = cv2.kmeans(
            matrix,
            k,
            labels,
            (kind, self.params.max_iter, epsilon),
            self.params.n_init if labels is None else 1,
            cv2.KMEANS_PP_CENTERS if labels is None else cv2.KMEANS_USE_INITIAL_LABELS,
        )
        return labels.reshape(-1)[: 1 if one_pixel else None], centers


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let OpenCV use ``count`` threads meanwhile; the setting is the whole process's."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(count)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _next_shift(
    matrix: np.ndarray[Any, Any],
    old: np.ndarray[Any, Any],
    new: np.ndarray[Any, Any],
    centers: np.ndarray[Any, Any],
) -> float:
    """Squared shift, summed over clusters, of ``centers`` from the means of the labels ``old``
    to those of ``new``; reads only the pixels that differ.
    """
    import numpy as np

    change = np.zeros(centers.shape)
    moved = np.flatnonzero(old != new)
    for some in np.array_split(moved, len(moved) // 4096 + 1):
        np.add.at(change, new[some], matrix[some] - centers[new[some]])
        np.subtract.at(change, old[some], matrix[some] - centers[old[some]])
    # A cluster that lost all of its pixels has no mean to move to.
    counts = np.bincount(new, minlength=len(centers)).clip(min=1)
    return float(((change / counts[:, None]) ** 2).sum())
