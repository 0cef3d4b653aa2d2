"""A whole pipeline, query to mask, stage by stage: ``covary bench pipeline``.

Every size runs in a fresh process on a rendered scene: once cold, a few times for the seconds of
each stage, as the provenance of a result tells them, and once more for the memory. A stage's memory
is the highest resident size while one of its calls runs, above that of the process before the run:
the style summary counts from the stage that fills it on. For a GPU it is what torch allocates.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict

import covary
from covary.context import resolve_device
from covary.files import replacing
from covary.testing.memory import host_peak, resident_bytes

from .memory import torch_peak
from .process import run_module
from .report import spread

__all__ = ["STAGES", "Measured", "Request", "check", "measure", "work"]

STAGES = ("source", "features", "clusterer", "foreground")

_CALLS = {"features": "encode", "clusterer": "fit", "foreground": "select"}

_T = TypeVar("_T")


class Request(BaseModel):
    """One size, to be measured in a fresh process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    world: str
    size: int
    variants: int
    k: int
    space: str
    clusterer: str
    seed: int
    device: str
    repeats: int
    answer: Path

    def pipeline(self) -> covary.Pipeline:
        """The pipeline that is measured."""
        source = {"world": self.world, "resolution": self.size, "n": self.variants}
        clusterer = (self.clusterer, {"k": self.k})
        rule = ("corner", {"corners": "upper" if self.world == "avatars" else "all"})
        return covary.Pipeline(("worlds", source), self.space, clusterer, rule, device=self.device)


class Measured(BaseModel):
    """What one process found."""

    cold: float
    """Seconds of the first run, imports and compilation included."""
    total: tuple[float, ...]
    """Seconds of each later run."""
    seconds: dict[str, tuple[float, ...]]
    """The same by stage."""
    host: dict[str, int]
    """Peak bytes of main memory by stage."""
    device: dict[str, int]
    """Peak bytes that torch allocates on a GPU by stage; empty on a CPU."""
    method: str
    """What measured ``host``."""
    summary: int
    """Bytes of the style summary, which is part of the peaks."""
    found: bool
    """Whether there was a foreground."""


def check(requests: Sequence[Request]) -> None:
    """Refuse, before anything is measured, what cannot run here.

    Raises:
        CovaryError: unknown names or parameters, missing packages, or a size that memory will
            not hold.
    """
    for request in requests:
        request.pipeline().plan().check()


def measure(request: Request, timeout: float) -> dict[str, Any]:
    """The row of one size; where its process failed, with the reason instead of figures."""
    row: dict[str, Any] = request.model_dump(exclude={"answer", "repeats"})
    with tempfile.TemporaryDirectory(prefix="covary-bench-") as folder:
        asked = Path(folder, "request.json")
        request = request.model_copy(update={"answer": Path(folder, "answer.json")})
        asked.write_text(request.model_dump_json(), encoding="utf-8")
        ended = run_module(__name__, str(asked), timeout)
        if ended.status != "ok":
            return {**row, "status": ended.status, "reason": ended.reason, "busy": ended.busy}
        found = Measured.model_validate_json(request.answer.read_bytes())
    stages = {
        stage: {
            "seconds": spread(found.seconds[stage]),
            "host_bytes": found.host[stage],
            "device_bytes": found.device.get(stage),
        }
        for stage in STAGES
    }
    return {
        **row,
        "status": "ok",
        "busy": ended.busy,
        "cold_seconds": found.cold,
        "seconds": spread(found.total),
        "stages": stages,
        "summary_bytes": found.summary,
        "memory_method": found.method,
        "found": found.found,
    }


def work(request: Request) -> Measured:
    """Run and measure, in this process."""
    pipe = request.pipeline()
    cold, _ = _timed(lambda: pipe(seed=request.seed))
    runs = [_timed(lambda: pipe(seed=request.seed)) for _ in range(request.repeats)]
    seconds = [result.provenance["seconds"] for _, result in runs]
    watch = _Watch(resolve_device(request.device))
    watch.attach(pipe)
    result = pipe(seed=request.seed)
    return Measured(
        cold=cold,
        total=tuple(taken for taken, _ in runs),
        seconds={stage: tuple(run[stage] for run in seconds) for stage in STAGES},
        host=dict(watch.host),
        device=dict(watch.device_peaks),
        method=watch.method,
        summary=pipe.plan().summary_bytes,
        found=result.found,
    )


class _Watch:
    """The peaks of memory of each stage, over all of its calls."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._base: int | None = None
        with suppress(OSError):  # no /proc
            self._base = resident_bytes()
        self.host: dict[str, int] = defaultdict(int)
        self.device_peaks: dict[str, int] = {}
        self.method = ""

    def attach(self, pipe: covary.Pipeline) -> None:
        """Watch every later run of the pipeline."""
        source: Any = pipe.source
        open_query = source.open

        def opened(*args: Any) -> covary.Variants:
            variants: covary.Variants = self._call("source", open_query, *args)
            return replace(variants, batches=self._each(variants.batches))

        source.open = opened
        for stage, method in _CALLS.items():
            component = getattr(pipe, stage)
            setattr(component, method, partial(self._call, stage, getattr(component, method)))

    def _each(self, batches: Iterator[covary.VariantBatch]) -> Iterator[covary.VariantBatch]:
        while (batch := self._call("source", next, batches, None)) is not None:
            yield batch

    def _call(self, stage: str, work: Callable[..., _T], *args: Any) -> _T:
        with torch_peak(self._device) as on_device, host_peak(self._base) as on_host:
            result = work(*args)
        self.host[stage] = max(self.host[stage], on_host.bytes or 0)
        self.method = on_host.method
        if on_device.bytes is not None:
            self.device_peaks[stage] = max(self.device_peaks.get(stage, 0), on_device.bytes)
        return result


def _timed(run: Callable[[], covary.Segmentation]) -> tuple[float, covary.Segmentation]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def _main(path: str) -> None:
    request = Request.model_validate_json(Path(path).read_bytes())
    with replacing(request.answer) as temporary:
        temporary.write_text(work(request).model_dump_json(), encoding="utf-8")


if __name__ == "__main__":
    _main(sys.argv[1])
