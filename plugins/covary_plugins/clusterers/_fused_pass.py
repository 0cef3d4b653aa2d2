"""A pass of Lloyd's algorithm as one CUDA kernel that reads each pixel once, through CuPy."""

from __future__ import annotations

from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

from ._array_lloyd import Array, Change, ChunkedPass, Matrix, Pass

__all__ = ["best_pass"]

# As in the kernel.
_THREADS = 128
_WARPS = _THREADS // 32
# Scores stay in registers up to here.
_MOST_CLUSTERS = 32
# What a block may add up in float32 before it goes to float64.
_PIXELS_A_BLOCK = 4096
# The hardware's limit of blocks that share a multiprocessor, and what each takes for itself.
_BLOCKS_A_MULTIPROCESSOR = 16
_RESERVED_BYTES = 1024


def best_pass(pixels: Matrix, k: int) -> Pass:
    """The fused pass where K centres and a tile of pixels fit on the device, else the chunked."""
    limit = pixels.xp.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"]
    fits = k <= _MOST_CLUSTERS and _shared_bytes(pixels, k) <= limit
    return _FusedPass(pixels, k) if fits else ChunkedPass(pixels)


class _FusedPass:
    """A pass over ``pixels``, whose namespace is cupy, for ``k`` clusters."""

    def __init__(self, pixels: Matrix, k: int) -> None:
        xp, (count, features) = pixels.xp, pixels.data.shape
        self.pixels, self.k = pixels, k
        self._shared = _shared_bytes(pixels, k)
        self._kernel = _kernel(xp, k, pixels.data.dtype.itemsize)
        self._kernel.max_dynamic_shared_size_bytes = self._shared
        self._blocks = min(ceil(count / _THREADS), max(self._resident(), count // _PIXELS_A_BLOCK))
        self._rows = xp.zeros((features, _row(k)), dtype=xp.float32)
        self._rows[:, 0] = pixels.offset
        self._changes = xp.empty((self._blocks, k, features + 1), dtype=xp.float32)
        self._moved = xp.empty(self._blocks, dtype=xp.int32)

    def __call__(self, centers: Array, labels: Array) -> Change:
        xp, data = self.pixels.xp, self.pixels.data
        self._rows[:, 1 : self.k + 1] = centers.T
        half_norms = (centers**2).sum(axis=1) / 2
        arguments = (
            data,
            xp.int64(data.shape[0]),
            xp.int32(data.shape[1]),
            *(xp.int64(stride // data.dtype.itemsize) for stride in data.strides),
            self._rows,
            half_norms,
            labels,
            self._changes,
            self._moved,
        )
        self._kernel((self._blocks,), (_THREADS,), arguments, shared_mem=self._shared)
        return Change(int(self._moved.sum()), self._changes.sum(axis=0, dtype=xp.float64))

    def _resident(self) -> int:
        """Blocks that the device runs at once."""
        attributes = self.pixels.xp.cuda.Device().attributes
        room = attributes["MaxSharedMemoryPerMultiprocessor"] // (self._shared + _RESERVED_BYTES)
        each = min(max(1, room), _BLOCKS_A_MULTIPROCESSOR)
        return int(each * attributes["MultiProcessorCount"])


@cache
def _source() -> str:
    return Path(__file__).with_name("_lloyd_pass.cu").read_text(encoding="utf-8")


def _kernel(xp: Any, k: int, itemsize: int) -> Any:
    """The kernel for ``k`` clusters; CuPy keeps what it compiled in a folder of its own."""
    options = (f"-DCLUSTERS={k}", f"-DSTORED={itemsize}")
    return xp.RawKernel(_source(), "lloyd_pass", options=options)


def _row(k: int) -> int:
    """Floats a feature: the offset, the centres, and padding to whole reads of 16 bytes."""
    return ceil((k + 1) / 4) * 4


def _shared_bytes(pixels: Matrix, k: int) -> int:
    """Shared memory of a block: what the kernel lays out there, in its order."""
    features, itemsize = pixels.data.shape[1], pixels.data.dtype.itemsize
    words = features * _row(k) + k * (features + 1) + 2 * _THREADS + _WARPS
    return int(4 * words + features * (_THREADS * itemsize + 4))
