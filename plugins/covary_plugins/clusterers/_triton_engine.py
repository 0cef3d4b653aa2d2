"""The engine for CUDA: Triton kernels that go from iteration to iteration without the host."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from shutil import which
from sysconfig import get_path
from typing import Any, NamedTuple

import torch

from covary import StyleSummary

from ._engine import Engine, Result
from ._lloyd import Runs
from ._seeding import kmeans_plus_plus
from ._torch_engine import TorchEngine

__all__ = ["Tiling", "TritonEngine", "available"]

_MOST_CLUSTERS = 64
# The host looks at the outcome once in so many iterations. After the last one that was needed
# kernels return at once, a few microseconds each; a look costs about twenty.
_ITERATIONS = 4
# The compiler of 3.2 crashes on `assign_and_sum`, and takes the process with it.
_OLDEST = (3, 3)
# Programs a multiprocessor: what the registers of `assign_and_sum` allow.
_PROGRAMS = 2


@cache
def available(device: torch.device) -> bool:
    """Whether Triton can run here and ``device`` is an NVIDIA GPU of 2020 (Ampere) or later."""
    if device.type != "cuda" or torch.version.hip:
        return False
    if torch.cuda.get_device_capability(device) < (8, 0):
        return False
    return _triton_version() >= _OLDEST and _has_compiler()


def _triton_version() -> tuple[int, ...]:
    """Major and minor, (0,) where there is none."""
    try:
        import triton
    except ImportError:
        return (0,)
    return tuple(int(part) for part in triton.__version__.split(".")[:2])


def _has_compiler() -> bool:
    """Whether what Triton builds on its first use, an extension of Python, can be built."""
    compiler = os.environ.get("CC") or which("gcc") or which("clang")
    return compiler is not None and Path(get_path("include"), "Python.h").exists()


class Tiling(NamedTuple):
    """How the kernels divide the work; chosen by what they compile to, see the documentation."""

    split: bool
    """Stored values are exact in float16."""
    fused: bool
    """A tile with all its features stays on chip between scores and sums."""
    head: int
    tail: int
    """Features of a tile if fused; else ``head`` at a time."""
    padded: int
    """Features, with padding."""
    clusters: int
    """Clusters, with padding."""
    pixels: int
    """Pixels a tile."""
    warps: int
    stages: int
    """Tiles in flight or in use, in shared memory."""

    @classmethod
    def choose(cls, features: int, k: int, dtype: torch.dtype) -> Tiling:
        """For K clusters of N x D stored values."""
        split, clusters = dtype != torch.float32, max(16, _power(k))
        head = max(16, _power(features + 1) // 2)
        tail = max(16, _power(features - head)) if features > head else 0
        # What registers hold; bytes take more of them, as they are widened there.
        most = {torch.uint8: 2560, torch.float16: 5120}.get(dtype, 0)
        if (head + tail) * clusters <= most:
            pixels, stages = (128 if head < 64 else 64), (3 if head + tail <= 160 else 2)
            return cls(True, True, head, tail, head + tail, clusters, pixels, 4, stages)
        # TF32's three products take more registers.
        head, pixels, warps = (64, 128, 8) if split else (32, 64, 4)
        padded = -(-features // head) * head
        return cls(split, False, head, 0, padded, clusters, pixels, warps, 2)


class TritonEngine(Engine):
    """Fused kernels on the summary as it is stored, wherever it lies on a CUDA device.

    Up to 64 clusters; more are left to torch. In Triton's interpreter it runs on the CPU.
    """

    def __init__(self, summary: StyleSummary, offset: torch.Tensor) -> None:
        super().__init__(summary, offset)
        data = summary.data
        self.where = (data, *data.stride(), *data.shape, self.offset)
        """The first arguments of every kernel over the pixels."""

    def seeds(self, k: int, restarts: int, generator: torch.Generator) -> torch.Tensor:
        """See :meth:`Engine.seeds`."""
        closest = self._anywhere(restarts)
        return kmeans_plus_plus(self, closest, k, generator).to(torch.float64)

    def lloyd(self, starts: torch.Tensor, *, tol: float, max_iter: int) -> Result:
        """See :meth:`Engine.lloyd`."""
        if starts.shape[1] > _MOST_CLUSTERS:
            return TorchEngine(self.summary, self.offset).lloyd(starts, tol=tol, max_iter=max_iter)
        with self.current():
            return _TritonRuns(starts, self).iterate(tol=tol, max_iter=max_iter)

    def nearest(self, centers: torch.Tensor) -> torch.Tensor:
        """See :meth:`Engine.nearest`."""
        if len(centers) > _MOST_CLUSTERS:
            return TorchEngine(self.summary, self.offset).nearest(centers)
        with self.current():
            runs = _TritonRuns(centers[None], self)
            runs.assign([0])
            return runs.labels[0]

    def inertia(self, labels: torch.Tensor, centers: torch.Tensor) -> float:
        """See :meth:`Engine.inertia`."""
        return float(self.residuals(labels[None], centers[None], self._anywhere(1)))

    def closer(self, points: torch.Tensor, closest: torch.Tensor, *, keep: bool) -> torch.Tensor:
        """See :class:`._seeding.Distances`."""
        restarts, trials, _ = points.shape
        sums = self._closer(points, None, closest, rows=restarts * trials, keep=keep)
        return sums.reshape(restarts, trials)

    def residuals(
        self, labels: torch.Tensor, centers: torch.Tensor, closest: torch.Tensor
    ) -> torch.Tensor:
        """Inertia float64 (R,) of labels int32 (R, N) and centres (R, K, D).

        ``closest``, infinities float32 (R, N), becomes the squared distances.
        """
        return self._closer(centers, labels, closest, rows=len(centers), keep=True)

    def current(self) -> AbstractContextManager[object]:
        """Makes this device the one that kernels are started on."""
        device = self.summary.device
        return torch.cuda.device(device) if device.type == "cuda" else nullcontext()

    def _anywhere(self, restarts: int) -> torch.Tensor:
        shape = (restarts, self.summary.pixels)
        return torch.full(shape, torch.inf, device=self.summary.device)

    def _closer(
        self,
        points: torch.Tensor,
        labels: torch.Tensor | None,
        closest: torch.Tensor,
        *,
        rows: int,
        keep: bool,
    ) -> torch.Tensor:
        from . import _triton

        device, pixels = self.summary.device, 256
        tiles = -(-self.summary.pixels // pixels)
        sums = torch.empty((rows, tiles), dtype=torch.float64, device=device)
        points = points.to(device=device, dtype=torch.float32).contiguous()
        if labels is not None:
            labels = labels.to(device=device, dtype=torch.int32).contiguous()
        with self.current():
            _launch(
                _triton.closer, (rows * tiles,),
                *self.where, points, labels, closest, sums, rows // len(closest), points.shape[1],
                BLOCK=16, PIXELS=pixels, OWN=labels is not None, KEEP=keep, warps=8,
            )  # fmt: skip
        return sums.sum(dim=1)


class _TritonRuns(Runs):
    """Runs whose state lives on the device, where kernels also decide which of them go on."""

    engine: TritonEngine

    def __init__(self, starts: torch.Tensor, engine: TritonEngine) -> None:
        summary = engine.summary
        super().__init__(starts.to(summary.device), engine)
        self.tiling = Tiling.choose(summary.features, self.k, summary.dtype)
        tiles = -(-summary.pixels // self.tiling.pixels)
        count = len(starts)
        self.lanes = max(1, min(tiles, _PROGRAMS * _processors(summary.device) // count))
        make, device = torch.zeros, summary.device
        self.passes = make(count, dtype=torch.int32, device=device)
        self.settled, self.status = torch.zeros_like(self.passes), torch.zeros_like(self.passes)
        self.partial_sums = make((count, self.lanes, self.k, summary.features), device=device)
        shape = (count, self.lanes, self.k)
        self.partial_counts = make(shape, dtype=torch.int32, device=device)
        self.partial_moved = make(shape[:2], dtype=torch.int32, device=device)
        half = torch.float16 if self.tiling.split else torch.float32
        shape = (count, self.tiling.clusters, self.tiling.padded)
        self.high = make(shape, dtype=half, device=device)
        self.low = torch.zeros_like(self.high)
        self.bias = torch.full(shape[:2], torch.inf, device=device)

    def iterate(self, *, tol: float, max_iter: int) -> Result:
        """As :func:`._lloyd.iterate`, most iterations out of sight."""
        from . import _triton

        tolerance = torch.tensor([tol], dtype=torch.float64, device=self.status.device)
        several = _Repeated(lambda: self._iteration(tolerance, max_iter), self.status.device)
        self._split()
        while True:
            several()
            status = self.status.tolist()
            empty = [run for run, one in enumerate(status) if one == _triton.EMPTY.value]
            if not empty and _triton.RUNNING.value not in status:
                break
            for run in empty:
                self._refill(run, tol)
        inertias = self._residuals().tolist()
        best = min(range(len(inertias)), key=inertias.__getitem__)
        return Result(
            self.labels[best],
            self.centers[best],
            inertias[best],
            int(self.passes[best]),
            status[best] == _triton.CONVERGED.value,
        )

    def assign(self, active: list[int]) -> list[int]:
        from . import _triton

        self.status.fill_(_triton.LIMIT.value)
        self.status[active] = _triton.RUNNING.value
        self._split()
        self._pass()
        found: list[int] = self.partial_moved.sum(dim=1)[active].tolist()
        return found

    def farthest(self, run: int, means: torch.Tensor) -> int | None:
        distances = torch.full_like(self.labels[:1], torch.inf, dtype=torch.float32)
        self.engine.residuals(self.labels[run : run + 1], means[None], distances)
        index = int(distances.argmax())
        return index if float(distances[0, index]) > 0 else None

    def inertia(self, run: int) -> float:
        return float(self._residuals()[run])

    def _residuals(self) -> torch.Tensor:
        distances = torch.full_like(self.labels, torch.inf, dtype=torch.float32)
        return self.engine.residuals(self.labels, self.centers, distances)

    def _refill(self, run: int, tol: float) -> None:
        """What :func:`._lloyd.iterate` does after a pass that left a cluster empty."""
        from . import _triton

        refilled = self.refill(run)
        moved = int(self.partial_moved[run].sum())
        if not refilled and (moved == 0 or bool(self.settled[run])):
            self.status[run] = _triton.CONVERGED.value
            return
        (shift,) = self.update([run])
        self.settled[run] = not refilled and shift <= tol
        self.status[run] = _triton.RUNNING.value
        self._split()

    # --- launches ------------------------------------------------------------------------------

    def _iteration(self, tolerance: torch.Tensor, max_iter: int) -> None:
        from . import _triton

        tiling, features = self.tiling, self.engine.summary.features
        self._pass()
        _launch(
            _triton.update, (len(self.centers),),
            self.sums, self.counts, self.partial_moved, self.centers, self.passes, self.settled,
            self.status, tolerance, self.engine.offset, self.high, self.low, self.bias, self.lanes,
            max_iter, self.k, features,
            PARTS=512, KP=tiling.clusters, PADDED=tiling.padded, BLOCK=self._block(),
            SPLIT=tiling.split, warps=8,
        )  # fmt: skip

    def _pass(self) -> None:
        """Labels, sums and counts of all runs that go on."""
        from . import _triton

        tiling, where = self.tiling, self.engine.where
        count, features = len(self.centers), self.engine.summary.features
        grid = (count * self.lanes,)
        halves = (self.high, self.low, self.bias)
        partials = (self.partial_sums, self.partial_counts)
        shape = {"KP": tiling.clusters, "PIXELS": tiling.pixels, "SPLIT": tiling.split}
        how = {"warps": tiling.warps, "stages": tiling.stages}
        if tiling.fused:
            _launch(
                _triton.assign_and_sum, grid,
                *where, *halves, self.labels, *partials, self.partial_moved, self.status, count,
                self.k, HEAD=tiling.head, TAIL=tiling.tail, STAGES=tiling.stages, **shape, **how,
            )  # fmt: skip
        else:
            _launch(
                _triton.assign, grid,
                *where, *halves, self.labels, self.partial_moved, self.status, count,
                PADDED=tiling.padded, BLOCK=tiling.head, **shape, **how,
            )  # fmt: skip
            _launch(
                _triton.sum_up, (*grid, tiling.padded // tiling.head),
                *where, self.labels, *partials, self.status, count, self.k,
                BLOCK=tiling.head, **shape, **how,
            )  # fmt: skip
        _launch(
            _triton.reduce_sums, (count * self.k, -(-features // 16)),
            *partials, self.engine.offset, self.sums, self.counts, self.status, self.lanes, self.k,
            features, PARTS=256, BLOCK=16, SPLIT=tiling.split,
        )  # fmt: skip

    def _split(self) -> None:
        """The centres as the kernels want them, from ``centers``."""
        from . import _triton

        tiling = self.tiling
        _launch(
            _triton.split_centers, (len(self.centers),),
            self.centers, self.engine.offset, self.high, self.low, self.bias, self.k,
            self.engine.summary.features, KP=tiling.clusters, PADDED=tiling.padded,
            BLOCK=self._block(), SPLIT=tiling.split, warps=8,
        )  # fmt: skip

    def _block(self) -> int:
        """Features at a time in kernels over the centres: one step of one program where it fits."""
        return min(_power(self.engine.summary.features), 4096 // self.tiling.clusters)


def _launch(
    kernel: Any,
    grid: tuple[int, ...],
    *args: Any,
    warps: int = 4,
    stages: int = 2,
    **constants: Any,
) -> None:
    """Start a kernel, its products and sums fused whatever Triton's default is by now."""
    kernel[grid](*args, num_warps=warps, num_stages=stages, enable_fp_fusion=True, **constants)


class _Repeated:
    """Does some work several times a call; from the second call on as one CUDA graph.

    Starting a Triton kernel takes Python tens of microseconds, longer than a pass over a coarse
    grid. The first call compiles what there is to compile, and short runs never pay for a graph.
    """

    def __init__(self, work: Callable[[], None], device: torch.device) -> None:
        self.work, self.device = work, device
        self.calls = 0
        self.graph: Any = None

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == 2 and self.device.type == "cuda":
            self.graph = _recorded(self._plainly)
        if self.graph is None:
            self._plainly()
        else:
            self.graph.replay()

    def _plainly(self) -> None:
        for _ in range(_ITERATIONS):
            self.work()


def _recorded(work: Callable[[], None]) -> Any:
    """``work`` as a CUDA graph, or None where it cannot be recorded."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    try:
        # torch.cuda.graph would also collect garbage and empty the cache of memory first.
        with torch.cuda.stream(stream):
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                work()
            finally:
                graph.capture_end()
    except RuntimeError:
        return None
    torch.cuda.current_stream().wait_stream(stream)
    return graph


def _processors(device: torch.device) -> int:
    """Multiprocessors of a GPU; in the interpreter enough for more than one program."""
    if device.type != "cuda":
        return 3
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def _power(number: int) -> int:
    """The smallest power of two that is at least ``number``."""
    return 1 << (number - 1).bit_length()
