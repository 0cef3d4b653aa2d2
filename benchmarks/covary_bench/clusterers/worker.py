"""A fresh process for one job: ``python -m covary_bench.clusterers.worker REQUEST.json``.

It loads the summary into memory of its own, makes the component, fits it once (cold) and again
(warm), and writes an :class:`Attempt` and the labels. What happens to it on the way (a signal, a
time-out) is for the parent to see.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

import covary
from covary.errors import CovaryError, MissingPackageError, PluginError
from covary.files import replacing
from covary.plan import Plan, StagePlan
from covary.testing.memory import host_peak, status_bytes

from ..ceilings import Timer
from ..memory import device_peak
from .protocol import Attempt, Request
from .schema import Memory, Status

__all__ = ["main", "work"]


def main(path: str) -> None:
    """Do the job that the file at ``path`` describes."""
    request = Request.model_validate_json(Path(path).read_bytes())
    try:
        attempt = work(request)
    except (Exception, SystemExit) as error:
        attempt = failure(error)
    with replacing(request.answer) as temporary:
        temporary.write_text(attempt.model_dump_json(), encoding="utf-8")


def work(request: Request) -> Attempt:
    """Fit and time; raises whatever the backend raises."""
    device = torch.device(request.device)
    summary = _summary(request).to(device)
    _limit(request.memory)
    ctx = covary.RunContext(
        device=device,
        seed=request.seed,
        memory=request.memory if device.type == "cpu" else None,
        cache=request.cache,
    ).at("clusterer", request.id)
    start = time.perf_counter()
    component, params, note = _component(request)
    load = time.perf_counter() - start
    fit = _Fit(component, request, summary, ctx)
    _check_memory(component, request, summary, ctx)

    timer = Timer(device)
    with device_peak(device) as on_device, host_peak() as on_host:
        cold = timer(fit)
    with host_peak() as on_host_again:
        warm = [timer(fit)]
    while len(warm) < request.repeats and sum(warm) < request.enough:
        warm.append(timer(fit))

    if not torch.equal(summary.data.cpu(), _summary(request).data):
        return Attempt(status="failed", reason="it changed the summary that it was to cluster")
    with replacing(request.labels) as temporary, temporary.open("wb") as file:
        np.save(file, np.asarray(fit.clusters.labels.cpu()))
    return Attempt(
        status="ok",
        params=params,
        note=note,
        load=load,
        cold=cold,
        warm=tuple(warm),
        memory=Memory(
            host=on_host.bytes,
            host_warm=on_host_again.bytes,
            host_method=on_host.method,
            device=on_device.bytes,
            device_method=on_device.method,
        ),
        iterations=fit.clusters.iterations,
        converged=fit.clusters.converged,
    )


def failure(error: BaseException) -> Attempt:
    """The attempt that ended with this exception."""
    if isinstance(error, MissingPackageError):
        return Attempt(status="missing", reason=error.what, fix=error.fix)
    if isinstance(error, CovaryError):
        status: Status = "failed" if isinstance(error, PluginError) else "refused"
        reason = CovaryError(error.what, expected=error.expected, got=error.got)
        return Attempt(status=status, reason=str(reason), fix=error.fix)
    words = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
    if _out_of_memory(error):
        return Attempt(status="out of memory", reason=words, fix="a smaller size, fewer variants")
    return Attempt(status="failed", reason=words)


def _out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, as numpy, torch, faiss and OpenCV each put it."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    text = str(error).lower()
    words = ("bad_alloc", "out of memory", "can't allocate memory", "insufficient memory")
    return any(word in text for word in words)


def _summary(request: Request) -> covary.StyleSummary:
    """The summary in ordinary memory, so that no page of the file is read while a fit runs."""
    planes = np.load(request.planes, mmap_mode="r")
    return covary.StyleSummary.from_matrix(torch.from_numpy(np.array(planes)).T, request.size)


def _limit(memory: int | None) -> None:
    """Let this process take no more than ``memory`` bytes beyond what it holds now."""
    if memory is None:
        return
    try:
        import resource

        most = status_bytes("VmData") + memory
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    except (ImportError, OSError, ValueError) as error:
        raise covary.InputError(
            "--memory", expected="a system that can limit a process (Linux)", got=str(error)
        ) from error


def _component(request: Request) -> tuple[covary.Clusterer, dict[str, Any], str]:
    """The component, what it was made with, and which part of the stop rule it does not know."""
    entry = next(e for e in covary.components("clusterer") if e.id == request.id)
    known = entry.load().Params.model_fields
    params = {name: value for name, value in request.rule.items() if name in known}
    unknown = " and ".join(name for name in request.rule if name not in known)
    note = f"has no parameter {unknown}: stops by its own rule" if unknown else ""
    params |= request.params
    found: covary.Clusterer = covary.create(request.id, "clusterer", **params)
    # Components import their packages when they fit; here that is timed apart.
    for name in entry.component.requires:
        import_module(name)
    return found, params, note


class _Fit:
    """A fit to be called as often as one likes; the latest result is kept."""

    clusters: covary.ClusterMap

    def __init__(
        self,
        component: covary.Clusterer,
        request: Request,
        summary: covary.StyleSummary,
        ctx: covary.RunContext,
    ) -> None:
        self._component, self._summary, self._ctx = component, summary, ctx
        self._centers: torch.Tensor | None = None
        if request.start is not None:
            self._centers = torch.from_numpy(np.load(request.start)).to(summary.device)
            if not isinstance(component, covary.SupportsInitialCenters):
                raise covary.InputError(
                    f"{request.id} cannot start from given centres",
                    fix="give it a method fit_from (covary.SupportsInitialCenters)",
                )

    def __call__(self) -> None:
        component = self._component
        if self._centers is None:
            self.clusters = component.fit(self._summary, self._ctx)
        elif isinstance(component, covary.SupportsInitialCenters):
            centers = self._centers.clone()  # what a backend does to them is gone next time
            self.clusters = component.fit_from(self._summary, centers, self._ctx)


def _check_memory(
    component: Any, request: Request, summary: covary.StyleSummary, ctx: covary.RunContext
) -> None:
    """Refuse what will not fit by the component's own estimate, as a pipeline does."""
    if not isinstance(component, covary.SupportsMemoryEstimate):
        return
    need = component.memory(summary.size, summary.features)
    Plan(
        size=summary.size,
        variants=request.variants,
        features=summary.features,
        summary_bytes=0,  # it is there already
        stages=(StagePlan("clusterer", request.id, need),),
        budget=ctx.available_memory(),
    ).check()


def _volunteer() -> None:
    """Be the first to go: where memory runs out, not the harness or a bystander should."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    _volunteer()
    main(sys.argv[1])
