"""The engine for processors: compiled passes, on as many threads as torch uses.

Numba's own parallel loops are not used: its thread pools end the process when two Python threads
meet in them, and do not survive a fork. Kernels that release the GIL need neither.
"""

from __future__ import annotations

import platform
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch

from covary import StyleSummary

from ._engine import Engine, Result
from ._lloyd import Runs, iterate
from ._seeding import kmeans_plus_plus

__all__ = ["NumbaEngine", "NumbaRuns", "available"]

# Chunks large enough to be worth a thread's while and small enough to keep many of them busy. They
# depend on nothing but N, and sums are added up chunk by chunk, so that results do not depend on
# the number of threads.
_CHUNKS, _SMALLEST, _LARGEST = 32, 2**12, 2**15
# Below this share of all squared norms, an inertia that is a difference of sums has lost digits.
_CANCELLED = 1e-2


@cache
def available() -> bool:
    """Whether numba works here, on a processor that widens float16, as all since 2013 do."""
    try:
        import numba  # noqa: F401  (it refuses versions of Python and numpy that it does not know)
        from llvmlite.binding import get_host_cpu_features
    except ImportError:
        return False
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return not x86 or bool(get_host_cpu_features().get("f16c"))


class NumbaEngine(Engine):
    """One fused, compiled pass over the pixels an iteration; the summary on the CPU."""

    def __init__(self, summary: StyleSummary, offset: torch.Tensor) -> None:
        from ._kernels import TILE

        super().__init__(summary, offset)
        self.count, self.features = summary.pixels, summary.features
        data = summary.data
        # numba knows no float16: its bits travel as int16.
        stored = (data.view(torch.int16) if data.dtype == torch.float16 else data).numpy()
        self.planar = stored.strides[0] <= stored.strides[1]
        self._where = (stored.T if self.planar else stored, self.planar)
        self._less = self.offset.numpy()
        wanted = min(max(self.count // _CHUNKS, _SMALLEST), _LARGEST)
        self._chunk = -(-wanted // TILE) * TILE
        self._helpers = min(torch.get_num_threads(), self.chunks) - 1
        # Its threads start when first used and end with the engine.
        self._pool = ThreadPoolExecutor(self._helpers) if self._helpers else None

    def seeds(self, k: int, restarts: int, generator: torch.Generator) -> torch.Tensor:
        """See :meth:`Engine.seeds`."""
        closest = torch.full((restarts, self.count), torch.inf)
        return kmeans_plus_plus(self, closest, k, generator).to(torch.float64)

    def lloyd(self, starts: torch.Tensor, *, tol: float, max_iter: int) -> Result:
        """See :meth:`Engine.lloyd`."""
        return iterate(NumbaRuns(starts, self), tol=tol, max_iter=max_iter)

    def nearest(self, centers: torch.Tensor) -> torch.Tensor:
        """See :meth:`Engine.nearest`."""
        from . import _kernels

        own, half_norms = weights(centers)
        labels = np.empty(self.count, np.int32)
        self.each(lambda _, at: _kernels.nearest(*at, own, half_norms, labels))
        return torch.from_numpy(labels)

    def inertia(self, labels: torch.Tensor, centers: torch.Tensor) -> float:
        """See :meth:`Engine.inertia`."""
        return float(sum(total for total, _, _ in self.residuals(labels, centers)))

    def residuals(
        self, labels: torch.Tensor, centers: torch.Tensor
    ) -> list[tuple[float, float, int]]:
        """Of each chunk: the sum of squared distances to own centres, the largest, and whose."""
        from . import _kernels

        ids = labels.to(torch.int32).contiguous().numpy()
        own = centers.to(torch.float32).contiguous().numpy()
        return self.each(lambda _, at: _kernels.residual(*at, own, ids))

    def closer(self, points: torch.Tensor, closest: torch.Tensor, *, keep: bool) -> torch.Tensor:
        """See :class:`._seeding.Distances`."""
        from . import _kernels

        candidates, known = points.contiguous().numpy(), closest.numpy()
        sums = np.zeros((self.chunks, *candidates.shape[:2]))
        self.each(lambda i, at: _kernels.closer(*at, candidates, known, keep, sums[i]))
        return torch.from_numpy(sums.sum(axis=0))

    @property
    def chunks(self) -> int:
        """How many chunks the pixels make."""
        return -(-self.count // self._chunk)

    def each(self, work: Callable[[int, tuple[Any, ...]], Any]) -> list[Any]:
        """``work(i, where)`` for each chunk i, on torch's threads; what they return, in order.

        ``where`` are the first arguments of every kernel: data, layout, first and last pixel,
        offset.
        """

        def one(i: int) -> Any:
            stop = min((i + 1) * self._chunk, self.count)
            return work(i, (*self._where, i * self._chunk, stop, self._less))

        if self._pool is None:
            return [one(i) for i in range(self.chunks)]
        found: list[Any] = [None] * self.chunks
        pending = deque(range(self.chunks))

        def help_out() -> None:
            while True:
                try:
                    i = pending.popleft()
                except IndexError:
                    return
                found[i] = one(i)

        # This thread works, too: to wake another takes as long as a pass over a coarse grid.
        helpers = [self._pool.submit(help_out) for _ in range(self._helpers)]
        help_out()
        for helper in helpers:
            helper.result()
        return found


class NumbaRuns(Runs):
    """Runs whose passes leave out the blocks in which no label can change."""

    engine: NumbaEngine

    def __init__(self, starts: torch.Tensor, engine: NumbaEngine) -> None:
        from ._kernels import BLOCK

        super().__init__(starts, engine)
        self.drift = np.zeros(len(starts))
        self.expiry = np.full((len(starts), -(-engine.count // BLOCK)), -np.inf)
        self.assigned = self.centers.clone()
        self.squares = 0.0
        self._sums = np.empty((engine.chunks, *self.centers.shape))

    def assign(self, active: list[int]) -> list[int]:
        from . import _kernels

        self._drift()
        own, half_norms = weights(self.centers)
        largest = 2 * half_norms.max(axis=1)
        runs, labels = np.array(active), self.labels.numpy()
        sums = self._sums
        sums[:] = 0
        counts = np.zeros((len(sums), len(own), self.k))
        moved = np.zeros((len(sums), len(own)), np.int64)
        squares = self.engine.each(
            lambda i, at: _kernels.assign(
                *at, own, half_norms, largest, runs, self.drift, self.expiry,
                labels, sums[i], counts[i], moved[i],
            )
        )  # fmt: skip
        self.squares = self.squares or sum(squares)
        self.sums += torch.from_numpy(sums.sum(axis=0))
        self.counts += torch.from_numpy(counts.sum(axis=0))
        found: list[int] = moved.sum(axis=0)[active].tolist()
        return found

    def _drift(self) -> None:
        """How far centres have moved since the last pass: what bounds on labels lose by it.

        A pixel's own centre may come no farther away than it moved, and any other no closer. That
        covers a pixel that fills an empty cluster, too: the cluster's centre moves by more than
        the pixel's bound, of which it was part.
        """
        shifts = (self.centers - self.assigned).norm(dim=2)
        largest = shifts.topk(min(2, self.k), dim=1).values.sum(dim=1)
        self.drift += largest.numpy()
        self.assigned.copy_(self.centers)

    def farthest(self, run: int, means: torch.Tensor) -> int | None:
        found = self.engine.residuals(self.labels[run], means)
        _, largest, index = max(found, key=lambda chunk: (chunk[1], -chunk[2]))
        return int(index) if largest > 0 else None

    def inertia(self, run: int) -> float:
        # |x - c|^2 over the pixels of a cluster needs only their count, sum and squares.
        centers = self.centers[run]
        cross = float((centers * self.sums[run]).sum())
        own = float((self.counts[run] * centers.square().sum(dim=1)).sum())
        total = self.squares - 2 * cross + own
        if total > _CANCELLED * self.squares:
            return total
        return self.engine.inertia(self.labels[run], centers)


def weights(centers: torch.Tensor) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Centres (..., K, D) in float32, and half their squared norms float32 (..., K)."""
    own = centers.to(torch.float32).contiguous().numpy()
    half_norms = np.square(own, dtype=np.float64).sum(axis=-1) / 2
    return own, half_norms.astype(np.float32)
