"""What a GPU makes of clustering: ``lloyd``'s engines, and every other clusterer beside them.

The pixels are those of no picture: eight colours that vary along one direction of their own, as
lit surfaces do, and noise, so that three or eight clusters take a number of passes to find.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import covary
from covary.provenance import adjusted_rand_index
from covary_plugins.clusterers._engines import choose

from .ceilings import Timer, copy_rate
from .checks import Budget, Row, row, rows
from .clusterers.attempts import attempt
from .clusterers.jobs import Job, backends, jobs
from .clusterers.protocol import Attempt, Request
from .clusterers.schema import Setting
from .memory import torch_peak

__all__ = ["GOALS", "agreement", "converged", "others", "passes", "summary_of"]

GOALS = {"seconds": 0.005, "times_floor": 2.0, "times_best_other": 20.0}
"""One H200, 1024x1024 pixels of 150 features in float16, k = 3: a converged run with its
initialisation; one pass over the time of reading the pixels at the speed of a copy; and the time of
the fastest other clusterer with the same result over that of ``lloyd``."""

ENGINES = ("triton", "torch")
# Passes of a short and of a long run, both long enough to be one CUDA graph repeated.
_SHORT, _LONG = 8, 48
_SAME_RESULT = 0.99


def summary_of(
    side: int, variants: int, device: torch.device, colours: float = 20
) -> covary.StyleSummary:
    """Planes in float16, as a pipeline stores them, of ``side``^2 pixels and 3 n features.

    ``colours`` is how far apart they are; at 0 nothing is left that clusters could settle on.
    """
    random = torch.Generator(device).manual_seed(0)
    pixels, features = side * side, 3 * variants
    parts = colours * torch.randn(8, features, generator=random, device=device)
    ways = torch.randn(8, features, generator=random, device=device)
    labels = torch.randint(8, (pixels,), generator=random, device=device)
    light = 0.4 * colours * torch.randn(pixels, generator=random, device=device)
    planes = torch.empty(features, pixels, dtype=torch.float16, device=device)
    for plane, part, way in zip(planes, parts.T, ways.T, strict=True):
        noise = torch.randn(pixels, generator=random, device=device)
        plane.copy_(part[labels] + way[labels] * light + 4 * noise)
    return covary.StyleSummary(planes.T, (side, side))


def agreement(device: torch.device, side: int) -> Iterator[Row]:
    """Each engine on a rendered scene against ``lloyd`` on the CPU."""
    source = ("worlds", {"resolution": side, "n": 20})
    pipe = covary.Pipeline(source, "lab", ("lloyd", {"k": 4}), "corner", device="cpu")
    summary = pipe.summarise(seed=0)
    here = covary.create("lloyd", k=4).fit(summary, covary.RunContext(seed=0))
    there = summary.to(device)
    for engine in ENGINES:
        yield from rows(partial(_agrees, engine, there, here))


def _agrees(engine: Any, there: covary.StyleSummary, here: covary.ClusterMap) -> Iterator[Row]:
    what = f"lloyd, {engine}, against the CPU"
    if (reason := _missing(engine, there.device)) is not None:
        yield row(what, reason)
        return
    ctx = covary.RunContext(seed=0, device=there.device)
    found = covary.create("lloyd", k=4, engine=engine).fit(there, ctx)
    same = adjusted_rand_index(found.labels.cpu(), here.labels)
    ratio = found.inertia / here.inertia
    yield row(
        what, f"adjusted Rand index {same:.4f}, inertia x {ratio:.6f}",
        same > _SAME_RESULT and abs(ratio - 1) < 1e-3, agreement=same, inertia_ratio=ratio,
    )  # fmt: skip


def converged(summary: covary.StyleSummary, repeats: int = 9) -> Iterator[Row]:
    """Whole runs of each engine, initialisation included: time, memory, and the same result."""
    for k in (3, 8):
        found: list[covary.ClusterMap] = []
        for engine in ENGINES:
            yield from rows(partial(_converged, engine, k, summary, repeats, found))
        if len(found) == len(ENGINES):
            ratio = found[0].inertia / found[1].inertia
            yield row(
                f"{' against '.join(ENGINES)}, k = {k}", f"inertia x {ratio:.6f}",
                abs(ratio - 1) < 1e-4, inertia_ratio=ratio,
            )  # fmt: skip


def _converged(
    engine: Any,
    k: int,
    summary: covary.StyleSummary,
    repeats: int,
    found: list[covary.ClusterMap],
) -> Iterator[Row]:
    device, what = summary.device, f"lloyd, {engine}, k = {k}, converged"
    if (reason := _missing(engine, device)) is not None:
        yield row(what, reason)
        return
    clusterer = covary.create("lloyd", "clusterer", k=k, engine=engine)
    ctx = covary.RunContext(seed=0, device=device)
    timer, results = Timer(device), list[covary.ClusterMap]()
    with torch_peak(device) as peak:
        cold = timer(lambda: results.append(clusterer.fit(summary, ctx)))
    taken = sorted(timer(lambda: clusterer.fit(summary, ctx)) for _ in range(repeats))
    middle, result = statistics.median(taken), results[0]
    found.append(result)
    asked = engine == "triton" and k == 3 and _full_size(summary)
    yield row(
        what,
        f"{middle * 1e3:.2f} ms ({taken[0] * 1e3:.2f} to {taken[-1] * 1e3:.2f}), first "
        f"{cold * 1e3:.0f} ms, {result.iterations} full passes, {(peak.bytes or 0) / 1e6:.1f} MB",
        middle <= GOALS["seconds"] and result.converged if asked else None,
        seconds=taken,
        cold=cold,
        passes=result.iterations,
        peak_bytes=peak.bytes,
    )


def passes(side: int, variants: int, device: torch.device) -> Iterator[Row]:
    """One pass of each engine against reading the pixels at the speed of a copy."""
    # Noise alone: the long run does not end before its time.
    summary = summary_of(side, variants, device, colours=0)
    floor = summary.nbytes / copy_rate(Timer(summary.device))
    yield row("reading the pixels", f"{floor * 1e6:.0f} us at the speed of a copy", seconds=floor)
    for engine in ENGINES:
        for k in (3, 8):
            yield from rows(partial(_pass, engine, k, summary, floor))


def _pass(engine: Any, k: int, summary: covary.StyleSummary, floor: float) -> Iterator[Row]:
    device, what = summary.device, f"lloyd, {engine}, k = {k}, one pass"
    if (reason := _missing(engine, device)) is not None:
        yield row(what, reason)
        return
    arithmetic = choose(engine, device)(summary, summary.gather(torch.arange(256)).mean(dim=0))
    starts = summary.gather(torch.arange(k)) - arithmetic.offset
    made, taken = [], []
    for most in (_SHORT, _LONG):

        def run(most: int = most) -> int:
            found = arithmetic.lloyd(starts[None].double(), tol=0.0, max_iter=most - 1)
            return found.iterations

        made.append(run())
        taken.append(min(Timer(device)(run) for _ in range(5)))
    if made[1] == made[0]:
        yield row(what, f"not known: converged after {made[0]} passes")
        return
    seconds = (taken[1] - taken[0]) / (made[1] - made[0])
    asked = engine == "triton" and k == 3 and _full_size(summary)
    yield row(
        what, f"{seconds * 1e6:.0f} us, {seconds / floor:.2f} times the floor",
        seconds <= GOALS["times_floor"] * floor if asked else None,
        seconds=seconds, times_floor=seconds / floor,
    )  # fmt: skip


def others(
    summary: covary.StyleSummary, budget: Budget, names: Sequence[str] = (), repeats: int = 3
) -> Iterator[Row]:
    """Every discovered clusterer from the same start, k = 3, each in a process of its own.

    Args:
        summary: what to cluster.
        budget: those that come too late are left out.
        names: of the clusterers; empty: all.
        repeats: warm fits.
    """
    setting = Setting(world="avatars", size=summary.size[0], variants=summary.features // 3, k=3)
    todo = jobs([setting], ["same start"], backends(names), summary.device)
    # lloyd first, which the others are compared with; then what runs on the GPU.
    todo.sort(key=lambda job: (job.backend.id != "covary/lloyd", job.device == "cpu"))
    with tempfile.TemporaryDirectory(prefix="covary-gpu-") as folder:
        bench = _Bench(summary, Path(folder), repeats)
        for job in todo:
            yield from budget.rows(_name(job), partial(bench.row, job, budget))
        yield from bench.verdict()


class _Bench:
    """The summary and a start on disk, and what was found so far."""

    def __init__(self, summary: covary.StyleSummary, folder: Path, repeats: int) -> None:
        self.summary, self.folder, self.repeats = summary, folder, repeats
        np.save(folder / "planes.npy", summary.data.T.cpu().numpy())
        far_apart = torch.arange(3) * (summary.pixels // 3)
        np.save(folder / "start.npy", summary.gather(far_apart).cpu().numpy())
        self.labels: torch.Tensor | None = None
        self.best: float | None = None
        """Seconds of ``lloyd``."""
        self.others: dict[str, float] = {}
        """Seconds of the others that found the same."""

    def row(self, job: Job, budget: Budget) -> Iterator[Row]:
        what = _name(job)
        if (obstacle := job.obstacle()) is not None:
            why, remedy = obstacle
            yield row(what, f"missing: {why}" + (f" ({remedy})" if remedy else ""))
            return
        found = attempt(self._request(job), timeout=max(1.0, min(90.0, budget.left)))
        if found.status != "ok":
            broken = found.status in ("failed", "crashed") and job.backend.id.startswith("covary/")
            yield row(what, f"{found.status}: {found.reason}", False if broken else None)
            return
        yield self._measured(job, found)

    def _measured(self, job: Job, found: Attempt) -> Row:
        labels = torch.from_numpy(np.load(self.folder / "labels.npy"))
        seconds = statistics.median(found.warm)
        if self.labels is None:
            self.labels, self.best = labels, seconds
        same = adjusted_rand_index(labels, self.labels)
        if job.backend.id != "covary/lloyd" and same > _SAME_RESULT:
            self.others[_name(job)] = seconds
        device = found.memory.device if found.memory else None
        memory = "" if device is None else f", {device / 1e6:.0f} MB"
        return row(
            _name(job),
            f"{seconds * 1e3:.1f} ms, first {found.cold * 1e3:.0f} ms{memory}, "
            f"adjusted Rand index {same:.3f}, {found.iterations} passes, on {job.device_name}",
            seconds=list(found.warm), cold=found.cold, device_bytes=device, agreement=same,
        )  # fmt: skip

    def verdict(self) -> Iterator[Row]:
        """How many times as fast as the best other ``lloyd`` was."""
        if self.best is None or not self.others:
            return
        name = min(self.others, key=self.others.__getitem__)
        times = self.others[name] / self.best
        good = times >= GOALS["times_best_other"] if _full_size(self.summary) else None
        yield row(f"lloyd against {name}", f"{times:.1f} times as fast", good, times=times)

    def _request(self, job: Job) -> Request:
        return Request(
            id=job.backend.id,
            params=job.params,
            rule=job.rule,
            track=job.track,
            planes=self.folder / "planes.npy",
            size=self.summary.size,
            variants=job.setting.variants,
            start=self.folder / "start.npy",
            seed=0,
            device=job.device,
            repeats=self.repeats,
            enough=20.0,
            memory=None,
            cache=self.folder / "cache",
            labels=self.folder / "labels.npy",
            answer=self.folder / "answer.json",
        )


def _name(job: Job) -> str:
    name = job.backend.id.removeprefix("covary/")
    return f"{name}, {job.backend.name}" if job.backend.name else name


def _missing(engine: Any, device: torch.device) -> str | None:
    """Why this engine cannot run there, if it cannot."""
    try:
        choose(engine, device)
    except covary.InputError as error:
        return f"missing: {error.fix or error.what}"
    return None


def _full_size(summary: covary.StyleSummary) -> bool:
    return summary.device.type == "cuda" and tuple(summary.data.shape) == (1024 * 1024, 150)
