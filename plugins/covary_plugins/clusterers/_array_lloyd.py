"""Lloyd's algorithm on the arrays of any namespace like numpy's: numpy itself, or CuPy.

What touches all pixels is a *pass*, :class:`ChunkedPass` here or a fused kernel elsewhere; the
rest is arithmetic on K x D numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

__all__ = ["Change", "ChunkedPass", "Matrix", "Pass", "Result", "lloyd"]

_CHUNK_BYTES = 32 * 2**20

# An array of the namespace in use.
Array = Any


class Matrix(NamedTuple):
    """The pixels, as they are stored."""

    xp: Any
    """The namespace of the arrays: the module numpy or cupy."""
    data: Array
    """uint8, float16 or float32 (N, D), any strides."""
    offset: Array
    """float32 (D,), to be subtracted from every pixel: rounding is finest near zero."""

    def chunks(self) -> Iterator[tuple[slice, Array]]:
        """(where, float32 (M, D) relative to the offset) over all pixels, in order."""
        count, features = self.data.shape
        step = max(1, _CHUNK_BYTES // (4 * features))
        for start in range(0, count, step):
            where = slice(start, min(start + step, count))
            yield where, self.data[where].astype(self.xp.float32) - self.offset


class Change(NamedTuple):
    """What a pass changed."""

    moved: int
    """Number of pixels that were relabelled."""
    sums: Array
    """float64 (K, D + 1), by how much the clusters' sums changed; last, their numbers of pixels."""


class Pass(Protocol):
    """One read of all pixels."""

    def __call__(self, centers: Array, labels: Array) -> Change:
        """Give every pixel the label of its nearest centre.

        Args:
            centers: float32 (K, D), relative to the offset.
            labels: int32 (N,), overwritten; -1 for pixels that belong to no cluster yet.
        """


class Result(NamedTuple):
    """Where Lloyd's algorithm ended; every label is that of the nearest of ``centers``."""

    labels: Array
    """int32 (N,)."""
    centers: Array
    """float64 (K, D), relative to the offset."""
    iterations: int
    """Passes over the pixels."""
    converged: bool
    """False where the iteration limit stopped it."""
    spread: float
    """Sum of squares between the clusters. With the inertia it makes up the whole variation of
    the pixels, so among runs the one with the largest has the smallest inertia."""


class ChunkedPass:
    """A pass in the namespace's own operations, over float32 chunks of the pixels."""

    def __init__(self, pixels: Matrix) -> None:
        self.pixels = pixels

    def __call__(self, centers: Array, labels: Array) -> Change:
        xp = self.pixels.xp
        half_norms = (centers**2).sum(axis=1) / 2
        ids = xp.arange(len(centers), dtype=xp.int32)[:, None]
        sums = xp.zeros((centers.shape[0], centers.shape[1] + 1), dtype=xp.float64)
        moved = 0
        for where, x in self.pixels.chunks():
            # |x|^2 is the same for all centres: the largest x.c - |c|^2/2 is the nearest.
            new = (x @ centers.T - half_norms).argmax(axis=1).astype(xp.int32)
            old = labels[where]
            changed = (new != old).nonzero()[0]
            if not len(changed):
                continue
            moved += len(changed)
            joined, left = ids == new[changed], ids == old[changed]
            sign = joined.astype(xp.float32) - left.astype(xp.float32)
            sums[:, :-1] += sign @ x[changed]
            sums[:, -1] += sign.sum(axis=1)
            labels[where] = new
        return Change(moved, sums)


def lloyd(pixels: Matrix, assign: Pass, centers: Array, *, tol: float, max_iter: int) -> Result:
    """Alternate assignment and update from ``centers`` until nothing moves.

    Stops when a pass relabels no pixel, or one pass after the centres moved by no more than
    ``tol`` (squared, summed over clusters). An empty cluster takes over the pixel farthest from
    its centre.

    Args:
        pixels: the data.
        assign: the pass over them.
        centers: (K, D) to start from, relative to the offset.
        tol: squared distance.
        max_iter: updates of the centres at most.
    """
    state = _State(pixels, assign, centers)
    settled = False
    for iteration in range(1, max_iter + 2):
        moved = state.assign()
        refilled = iteration <= max_iter and state.refill()
        if not refilled and (moved == 0 or settled):
            return state.result(iteration, True)
        if iteration <= max_iter:
            shift = state.update()
            settled = not refilled and shift <= tol
    return state.result(iteration, False)


class _State:
    """Labels and centres, and for each cluster the sum of its pixels and, last, their number."""

    def __init__(self, pixels: Matrix, assign: Pass, centers: Array) -> None:
        xp = pixels.xp
        self.pixels, self._pass = pixels, assign
        self.centers = centers.astype(xp.float64)
        self.labels = xp.full(len(pixels.data), -1, dtype=xp.int32)
        self.sums = xp.zeros((centers.shape[0], centers.shape[1] + 1), dtype=xp.float64)

    def assign(self) -> int:
        """Give every pixel to its nearest centre; the number of pixels that changed hands."""
        change = self._pass(self.centers.astype(self.pixels.xp.float32), self.labels)
        self.sums += change.sums
        return change.moved

    def update(self) -> float:
        """Move the centres to the means; their squared shift, summed over clusters."""
        means = self._means()
        shift = float(((means - self.centers) ** 2).sum())
        self.centers = means
        return shift

    def refill(self) -> bool:
        """Give every empty cluster the pixel farthest from its centre; whether any was."""
        refilled = False
        for cluster, count in enumerate(self.sums[:, -1].tolist()):
            index = self._farthest() if count == 0 else None
            if index is None:
                continue
            pixel = self.pixels.xp.ones(self.sums.shape[1])
            pixel[:-1] = self.pixels.data[index].astype(pixel.dtype) - self.pixels.offset
            self.sums[int(self.labels[index])] -= pixel
            self.sums[cluster] += pixel
            self.labels[index] = cluster
            refilled = True
        return refilled

    def result(self, iterations: int, converged: bool) -> Result:
        """What was found."""
        counts = self.pixels.xp.maximum(self.sums[:, -1], 1)
        spread = float(((self.sums[:, :-1] ** 2).sum(axis=1) / counts).sum())
        return Result(self.labels, self.centers, iterations, converged, spread)

    def _means(self) -> Array:
        """float64 (K, D); the centre of an empty cluster stays where it is."""
        xp, counts = self.pixels.xp, self.sums[:, -1:]
        means = self.sums[:, :-1] / xp.maximum(counts, 1)
        return xp.where(counts > 0, means, self.centers)

    def _farthest(self) -> int | None:
        """The pixel farthest from its cluster's mean, if any is away from it."""
        means = self._means().astype(self.pixels.xp.float32)
        best, found = 0.0, None
        for where, x in self.pixels.chunks():
            distances = ((x - means[self.labels[where]]) ** 2).sum(axis=1)
            index = int(distances.argmax())
            if float(distances[index]) > best:
                best, found = float(distances[index]), where.start + index
        return found
