"""Runs the jobs: data prepared once, a process for each job and round, rows kept as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from covary.context import cache_folder
from covary.errors import InputError
from covary.files import output_folder, replacing

from .attempts import attempt
from .data import Dataset, data_name, prepare
from .jobs import Job
from .ledger import Ledger
from .protocol import Attempt, Request
from .quality import judge
from .reference import Reference, reference
from .schema import Row, Setting

__all__ = ["Conditions", "run"]

Report = Callable[[str, int], None]
"""Called with what comes next, and how many processes are done."""

_ENOUGH_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """How every job is measured."""

    repeats: int = 5
    """Warm fits of each process; fewer where they take longer than a minute together."""
    rounds: int = 2
    """Processes of each job; the backends take turns between them."""
    timeout: float = 600.0
    """Seconds that one process may take."""
    memory: int | None = None
    """Bytes of main memory that a process may take beyond the summary; None: what is free."""
    retry: bool = False
    """Whether rows that failed earlier are tried again."""


@dataclass(slots=True)
class _Steps:
    report: Report
    done: int = 0

    def next(self, what: str) -> None:
        self.report(what, self.done)


def run(
    jobs: Sequence[Job],
    ledger: Ledger,
    conditions: Conditions,
    report: Report = lambda what, done: None,
) -> list[Row]:
    """The rows of all jobs, measured now or taken from the ledger.

    Interrupted, it leaves what is done in the ledger and no process or data behind.

    Args:
        jobs: those on the same data next to each other.
        ledger: where rows go as they are known.
        conditions: how to measure.
        report: called before each step.
    """
    steps = _Steps(report)
    for job in jobs:
        if _is_open(job, ledger, conditions) and (obstacle := job.obstacle()):
            ledger.finish(job, [Attempt(status="missing", reason=obstacle[0], fix=obstacle[1])])
    for _, same_data in groupby(jobs, key=lambda job: data_name(job.setting)):
        todo = [job for job in same_data if _is_open(job, ledger, conditions)]
        if todo:
            _on_same_data(todo, ledger, conditions, steps)
    ledger.save()
    return [row for job in jobs if (row := ledger.row(job)) is not None]


def _is_open(job: Job, ledger: Ledger, conditions: Conditions) -> bool:
    row = ledger.row(job)
    return row is None or (conditions.retry and row.status != "ok")


def _on_same_data(
    todo: Sequence[Job], ledger: Ledger, conditions: Conditions, steps: _Steps
) -> None:
    first = todo[0].setting
    steps.next(f"rendering {data_name(first)}")
    data = prepare(first, ledger.unfinished / "data")
    try:
        for setting, group in groupby(todo, key=lambda job: job.setting):
            steps.next(f"reference, k = {setting.k}")
            found = reference(data, setting, cache_folder() / "bench")
            bench = _Bench(data, setting, found, ledger, conditions)
            for _, of_track in groupby(group, key=lambda job: job.track):
                bench.measure(list(of_track), steps)
    finally:
        data.delete()


@dataclass(frozen=True, slots=True)
class _Bench:
    """One setting, ready to be measured."""

    data: Dataset
    setting: Setting
    reference: Reference
    ledger: Ledger
    conditions: Conditions

    def measure(self, jobs: Sequence[Job], steps: _Steps) -> None:
        """Run the jobs of one track, in rounds; one that fails has no further round."""
        rounds = self.conditions.rounds
        ended: set[str] = set()
        for number in range(rounds):
            for job in jobs:
                attempts = self.ledger.attempts(job)
                if len(attempts) > number or job.key() in ended:
                    continue
                steps.next(f"{job.what}, process {number + 1} of {rounds}")
                attempts.append(self._attempt(job, judged=number == 0))
                if attempts[-1].status != "ok" or len(attempts) == rounds:
                    self.ledger.finish(job, attempts)
                    ended.add(job.key())
                    steps.done += rounds - number
                else:
                    self.ledger.keep(job, attempts)
                    steps.done += 1

    def _attempt(self, job: Job, *, judged: bool) -> Attempt:
        folder = self.data.folder
        request = Request(
            id=job.backend.id,
            params=job.params,
            rule=job.rule,
            track=job.track,
            planes=self.data.file,
            size=self.data.size,
            variants=self.setting.variants,
            start=self._start() if job.track == "same start" else None,
            seed=self.setting.seed,
            device=job.device,
            repeats=self.conditions.repeats,
            enough=_ENOUGH_SECONDS,
            memory=self.conditions.memory,
            # Of this backend alone: nobody pays for what others compile, nor profits from it.
            cache=output_folder(self.ledger.unfinished / "cache" / job.backend.slug()),
            labels=folder / "labels.npy",
            answer=folder / "answer.json",
        )
        found = attempt(request, self.conditions.timeout)
        return self._judged(found, request) if judged and found.status == "ok" else found

    def _judged(self, found: Attempt, request: Request) -> Attempt:
        try:
            quality = judge(
                self.data,
                self.setting,
                np.load(request.labels, allow_pickle=False),
                self.reference,
                iterations=found.iterations,
                converged=found.converged,
            )
        except (InputError, OSError, ValueError) as error:
            return Attempt(status="failed", reason=f"its labels do not fit: {error}")
        return found.model_copy(update={"quality": quality})

    def _start(self) -> Path:
        path = self.data.folder / f"start-{self.setting.k}-{self.setting.start}.npy"
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, self.reference.start)
        return path
