"""Workers on this machine: processes of their own, watched, and replaced when they die."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO, Any

from ..errors import PluginError
from ..processes import how_it_ended
from ..samples import Shard
from ._executor import DEATHS, Finished, GivenUp, Listener, Made
from ._job import Job
from ._record import ShardRecord
from ._worker import error_of, shard_data

__all__ = ["LocalExecutor"]

_ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NUMBA_NUM_THREADS",
    ),
    "1",
)
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from covary.generation._worker import main
main()
"""
_GRACE = 5.0
"""Seconds that a worker has to end before it is killed."""


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Worker processes of this machine, each started anew: never a fork, which torch may not take.

    A worker that dies, e.g. as memory runs out, is replaced, and its shard handed out again. A
    shard that costs three workers is given up.
    """

    workers: int

    def run(self, job: Job, root: Path, shards: Iterable[Shard], hear: Listener) -> None:
        """Have every shard made; see :class:`~._executor.Executor`.

        Raises:
            PluginError: workers die before they begin.
        """
        crew = _Crew(job, root, shards, hear)
        try:
            for _ in range(self.workers):
                crew.hire()
            crew.work()
        finally:
            crew.dismiss()


class _Crew:
    """The workers of one run, and the shards that are not made yet."""

    def __init__(self, job: Job, root: Path, shards: Iterable[Shard], hear: Listener) -> None:
        self._job, self._root, self._hear = job, root, hear
        self._shards = iter(shards)
        self._again: deque[Shard] = deque()
        self._deaths: Counter[str] = Counter()
        self._stillborn = 0
        self._workers: set[_Worker] = set()
        self._answers: SimpleQueue[tuple[_Worker, dict[str, Any] | None]] = SimpleQueue()

    def hire(self) -> None:
        """Start a worker, if there is a shard for it."""
        shard = self._next()
        if shard is not None:
            self._workers.add(_Worker(self._job, self._root, shard, self._answers))

    def work(self) -> None:
        """Go on until no worker is left."""
        while self._workers:
            try:
                # With a timeout, as Windows lets nothing interrupt an endless wait.
                worker, answer = self._answers.get(timeout=1.0)
            except Empty:
                continue
            if answer is None:
                self._gone(worker)
            elif "error" in answer:
                raise error_of(answer["error"])
            elif "made" in answer:
                self._hear(Made(worker.shard.name, answer["made"]))
            elif "record" in answer:
                self._hear(Finished(ShardRecord.parse(answer["record"])))
                self._hand_out(worker)
            else:
                worker.ready, self._stillborn = True, 0

    def dismiss(self) -> None:
        """End every worker; returns when they are gone."""
        for worker in self._workers:
            worker.close()
        for worker in self._workers:
            worker.end()

    def _next(self) -> Shard | None:
        return self._again.popleft() if self._again else next(self._shards, None)

    def _hand_out(self, worker: _Worker) -> None:
        shard = self._next()
        if shard is None:
            self._workers.remove(worker)
            worker.end()
        else:
            worker.take(shard)

    def _gone(self, worker: _Worker) -> None:
        """A worker has died: its shard is handed out again, or given up."""
        if worker not in self._workers:
            return  # it was told to end
        self._workers.remove(worker)
        reason = worker.end()
        shard = worker.shard
        if not worker.ready:
            self._again.append(shard)
            self._stillborn += 1
            if self._stillborn >= DEATHS:
                self._do_without(reason)
                return
        else:
            self._deaths[shard.name] += 1
            if self._deaths[shard.name] >= DEATHS:
                self._hear(GivenUp(shard.name, f"{DEATHS} workers died at it; the last {reason}"))
            else:
                self._hear(Made(shard.name, 0))
                self._again.append(shard)
        self.hire()

    def _do_without(self, reason: str) -> None:
        """Hire no more in the place of those that never begin: there may be memory for fewer only.

        Raises:
            PluginError: nobody is left.
        """
        if not self._workers:
            raise PluginError(
                "workers die before they begin",
                got=reason,
                fix="try workers=1, which works in this process and shows what is wrong",
            )


class _Worker:
    """One process with the shard that it is at."""

    def __init__(
        self,
        job: Job,
        root: Path,
        shard: Shard,
        answers: SimpleQueue[tuple[_Worker, dict[str, Any] | None]],
    ) -> None:
        self.shard, self.ready = shard, False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed by end)
        self._process = subprocess.Popen(  # noqa: S603  (this Python, no shell)
            [sys.executable, "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            # A session of its own: Ctrl-C is for the driver, which then ends the workers.
            start_new_session=True,
            env={**os.environ, **_ONE_THREAD},
        )
        assert self._process.stdout is not None  # noqa: S101  (for the type checker)
        self._reader = Thread(target=self._read, args=(self._process.stdout, answers), daemon=True)
        self._reader.start()
        self._send({"job": job.model_dump(mode="json"), "root": str(root.resolve())})
        self.take(shard)

    def take(self, shard: Shard) -> None:
        """Hand it a shard; it need not have finished starting."""
        self.shard = shard
        self._send({"shard": shard_data(shard)})

    def close(self) -> None:
        """Tell it to end, without waiting."""
        assert self._process.stdin is not None  # noqa: S101  (for the type checker)
        with suppress(OSError):  # it is gone already, with something unsent
            self._process.stdin.close()

    def end(self) -> str:
        """Wait for its end, which is at hand, and say how it came about."""
        self.close()
        try:
            status = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._reader.join()
        with self._log:
            return how_it_ended(status, self._log).reason or "ended unasked"

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101  (for the type checker)
        with suppress(OSError):  # it has died, which its reader tells
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def _read(
        self, answers: IO[str], queue: SimpleQueue[tuple[_Worker, dict[str, Any] | None]]
    ) -> None:
        with answers:
            for line in answers:
                # A worker that is killed may leave half a line.
                if line.endswith("\n"):
                    queue.put((self, json.loads(line)))
        queue.put((self, None))
