"""How far a run is, how fast, and how long it will take; kept in a file for others to read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from .._rate import Rate
from ..errors import OutputError
from ..files import replacing
from ._record import ShardRecord

__all__ = ["BEAT", "GenerationProgress", "Heartbeat", "Tracker", "read_heartbeat"]

BEAT = 2.0
"""Seconds between two looks at the clock."""


@dataclass(frozen=True, slots=True)
class GenerationProgress:
    """How far the making of a data set is."""

    seeds: int
    """Seeds of the job."""
    done: int
    """Seeds that are done: in finished shards, and in those at work."""
    pairs: int
    """Pairs in finished shards."""
    left_out: int
    """Seeds in finished shards that filters left out."""
    failed: int
    """Seeds in finished shards that could not be segmented."""
    shards: int
    """Shards of the job."""
    shards_done: int
    """Finished shards."""
    rate: float | None
    """Seeds per second of late, two minutes or a few shards; None before one can be told."""
    seconds_left: float | None
    """At this rate."""
    seconds: float
    """How long all runs in this folder took together."""
    cost: float | None
    """What they cost, where the price of an hour is known."""


class Tracker:
    """Counts what it hears of, and tells how far it all is; from any thread.

    Args:
        seeds: of the job.
        shards: of the job.
        before: seconds that earlier runs in this folder took.
        price: of an hour, if it is known.
    """

    def __init__(
        self,
        seeds: int,
        shards: int,
        before: float = 0.0,
        price: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seeds, self._shards, self._before, self._price = seeds, shards, before, price
        self._clock, self._start, self._lock = clock, clock(), Lock()
        self._finished = self._pairs = self._left_out = self._failed = self._shards_done = 0
        self._at_work: dict[str, int] = {}
        self._speed = Rate(clock)

    def kept(self, record: ShardRecord, seeds: int) -> None:
        """A shard is there from before, and all its seeds."""
        with self._lock:
            self._count(record, seeds)

    def began(self) -> None:
        """Work begins now, with what is there: only what comes is speed."""
        with self._lock:
            self._speed.began(self._done)

    def made(self, shard: str, seeds: int) -> None:
        """So many seeds of a shard are done."""
        with self._lock:
            self._at_work[shard] = seeds
            self._speed.mark(self._done)

    def finished(self, record: ShardRecord, seeds: int) -> None:
        """A shard is done, and all its seeds."""
        with self._lock:
            told = self._at_work.pop(record.shard, 0)
            self._count(record, seeds)
            self._speed.mark(self._done, span=0.0 if told else record.seconds)

    def dropped(self, shard: str) -> None:
        """A shard is not made after all."""
        with self._lock:
            self._at_work.pop(shard, None)

    def ended(self) -> None:
        """No worker is left: what they were at is not done."""
        with self._lock:
            self._at_work.clear()

    def progress(self) -> GenerationProgress:
        """How far it is now."""
        with self._lock:
            return self._progress()

    def _progress(self) -> GenerationProgress:
        rate = self._speed.per_second(self._done)
        seconds = self._before + self._clock() - self._start
        return GenerationProgress(
            seeds=self._seeds,
            done=self._done,
            pairs=self._pairs,
            left_out=self._left_out,
            failed=self._failed,
            shards=self._shards,
            shards_done=self._shards_done,
            rate=rate,
            seconds_left=(self._seeds - self._done) / rate if rate else None,
            seconds=seconds,
            cost=None if self._price is None else self._price * seconds / 3600,
        )

    @property
    def _done(self) -> int:
        return self._finished + sum(self._at_work.values())

    def _count(self, record: ShardRecord, seeds: int) -> None:
        self._finished += seeds
        self._pairs += record.pairs
        self._failed += record.failed
        self._left_out += len(record.left_out) - record.failed
        self._shards_done += 1


class Heartbeat:
    """Writes the progress to a file every other second, from a thread of its own.

    That a run is at work can so be seen even while it waits for a slow image. The file is no
    result: where it cannot be written, e.g. on a full disk, what writes results will say so.
    """

    def __init__(self, path: Path, progress: Callable[[], GenerationProgress]) -> None:
        self._path, self._progress = path, progress
        self._stop = Event()
        self._thread = Thread(target=self._run, name="covary-heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._beat("running")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._beat("stopped" if kind else "ended")

    def _run(self) -> None:
        while not self._stop.wait(BEAT):
            self._beat("running")

    def _beat(self, state: str) -> None:
        data: dict[str, Any] = asdict(self._progress())
        data |= {"state": state, "time": time.time()}
        with suppress(OutputError), replacing(self._path) as temporary:
            temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def read_heartbeat(path: Path) -> dict[str, Any]:
    """What a heartbeat last wrote; empty where there is nothing whole."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
