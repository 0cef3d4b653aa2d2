"""Workers on a cluster: actors of Ray, which restarts them where they or their machine die."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import socket
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .._metadata import installed_version
from ..errors import CovaryError, InputError, MissingPackageError, PluginError
from ..samples import Shard
from ._executor import DEATHS, Finished, GivenUp, Listener, Made
from ._folder import Folder
from ._job import Job
from ._record import ShardRecord
from ._worker import error_data, error_of, shard_data, shard_of

__all__ = ["RayExecutor"]

_REACHABLE_SECONDS = 10.0
_SLACK = 1e-9
"""So that three shares of 1/3 fit one GPU."""


@dataclass(frozen=True, slots=True)
class RayExecutor:
    """Workers that are actors of Ray Core, one shard at a time each.

    Without an address a Ray is started on this machine and ended afterwards; a Ray to which this
    process is connected already is used and left running. On a cluster every node needs the same
    packages and weights, and sees the data set's folder under the same path: both are checked
    before a worker begins. Ray restarts a worker that dies, on another node if need be; its shard
    goes to whoever is free. One that costs three workers is given up.
    """

    workers: int | None = None
    """How many; None is as many as fit."""
    address: str | None = None
    """None for a Ray of its own; else ``auto``, ``host:6379`` or ``ray://host:10001``."""
    cpus: float = 1.0
    """CPUs that a worker counts for."""
    gpu_share: float | None = None
    """GPUs that a worker counts for, e.g. 0.5 for two on each; None is one for a job on CUDA."""
    patience: float = 60.0
    """Seconds that a cluster has to grow to the size that the workers need."""

    def run(self, job: Job, root: Path, shards: Iterable[Shard], hear: Listener) -> None:
        """Have every shard made; see :class:`~._executor.Executor`.

        Raises:
            MissingPackageError: Ray is not installed.
            InputError: the address does not answer, the cluster is too small for the workers, or
                its nodes are not alike.
            PluginError: workers die before they begin.
        """
        needs = self._needs(job)
        ray = _ray()
        with _connected(ray, self.address):
            crew = _Crew(ray, job, root.resolve(), shards, hear, needs)
            try:
                for _ in range(self.workers or max(1, _places(ray, needs))):
                    crew.hire()
                patience = self.patience if self.address else 0.0
                _await_places(ray, needs, crew.size, patience)
                crew.work()
            finally:
                crew.dismiss()

    def _needs(self, job: Job) -> dict[str, float]:
        """What one worker counts for, by Ray's names of resources."""
        share = self.gpu_share
        if share is None:
            share = 1.0 if job.device.startswith("cuda") else 0.0
        if self.cpus < 0 or share < 0 or self.cpus + share == 0:
            got = f"cpus={self.cpus:g}, gpu_share={share:g}"
            raise InputError("what a worker needs", expected="some CPU or GPU", got=got)
        if share > 1 and share != int(share):
            # Ray splits a GPU, and hands out several only whole.
            raise InputError("gpu_share", expected="up to 1, or a whole number", got=f"{share:g}")
        return {"CPU": self.cpus, "GPU": share}


class _Crew:
    """The actors of one run, and the shards that are not made yet."""

    def __init__(
        self,
        ray: Any,
        job: Job,
        root: Path,
        shards: Iterable[Shard],
        hear: Listener,
        needs: dict[str, float],
    ) -> None:
        self._ray, self._hear = ray, hear
        self._shards = iter(shards)
        self._again: deque[Shard] = deque()
        self._deaths: Counter[str] = Counter()
        self._arguments = job.model_dump_json(), str(root), _job_hash(root)
        self._make = ray.remote(_Worker).options(
            num_cpus=needs["CPU"], num_gpus=needs["GPU"], max_restarts=-1, max_task_retries=-1
        )
        self._actors: list[Any] = []
        self._proven = False
        """Whether any worker has ever been ready."""
        self._idle: list[Any] = []
        self._starting: dict[Any, Any] = {}
        """Reference of an answer -> the actor that is to say that it is ready."""
        self._making: dict[Any, tuple[Any, Shard]] = {}
        """Reference of an answer -> the actor that makes a shard, and the shard."""

    @property
    def size(self) -> int:
        """How many workers there are."""
        return len(self._actors)

    def hire(self) -> None:
        """Start a worker, if there is a shard for it."""
        shard = next(self._shards, None)
        if shard is not None:
            self._again.append(shard)
            self._actors.append(self._make.remote(*self._arguments))
            self._start(self._actors[-1])

    def work(self) -> None:
        """Go on until every shard is made or given up."""
        while self._hand_out():
            # With a timeout, so that Ctrl-C comes through.
            done, _ = self._ray.wait([*self._starting, *self._making], timeout=1.0)
            for answer in done:
                if answer in self._starting:
                    self._begun(answer)
                else:
                    self._made(answer)

    def dismiss(self) -> None:
        """End every worker; what they are at is dropped."""
        for actor in self._actors:
            self._ray.kill(actor)

    def _hand_out(self) -> bool:
        """Give idle workers what is left; whether anything is still to be waited for."""
        while self._idle and self._left():
            actor, shard = self._idle.pop(), self._again.popleft()
            # No retries: a worker whose node is gone may be long in coming back, or never come,
            # and another can take its shard.
            answer = actor.make.options(max_task_retries=0).remote(shard_data(shard))
            self._making[answer] = actor, shard
        return bool(self._making) or self._left()

    def _left(self) -> bool:
        if not self._again:
            self._again.extend(islice(self._shards, 1))
        return bool(self._again)

    def _start(self, actor: Any) -> None:
        """Ask a worker to say when it is ready, as Ray starts it, or starts it again."""
        # Where others could begin, Ray may try for as long as it takes, e.g. for another node.
        retries = -1 if self._proven else DEATHS - 1
        self._starting[actor.ready.options(max_task_retries=retries).remote()] = actor

    def _begun(self, answer: Any) -> None:
        actor, exceptions = self._starting.pop(answer), self._ray.exceptions
        try:
            self._answer(answer)
        except exceptions.RayActorError as error:
            for_good = not isinstance(error, exceptions.ActorUnavailableError)
            self._not_begun(actor, error, for_good)
            return
        self._proven = True
        self._idle.append(actor)

    def _not_begun(self, actor: Any, error: Exception, for_good: bool) -> None:
        """A worker died before it was ready: one of many that will be, or they all do."""
        if self._proven and not for_good:
            self._start(actor)
        elif not self._proven or not (self._starting or self._making or self._idle):
            raise PluginError(
                "workers die before they begin",
                got=_first_line(error),
                fix="see that covary and its plugins are installed on every node, and Ray's logs",
            ) from error

    def _made(self, answer: Any) -> None:
        actor, shard = self._making.pop(answer)
        try:
            record = self._answer(answer)["record"]
        except self._ray.exceptions.RayActorError as error:
            self._died(shard, _first_line(error))
            self._start(actor)
        else:
            self._hear(Finished(ShardRecord.parse(record)))
            self._idle.append(actor)

    def _died(self, shard: Shard, reason: str) -> None:
        """A worker has died: its shard is handed out again, or given up."""
        self._deaths[shard.name] += 1
        if self._deaths[shard.name] >= DEATHS:
            self._hear(GivenUp(shard.name, f"{DEATHS} workers died at it; the last: {reason}"))
        else:
            self._hear(Made(shard.name, 0))
            self._again.append(shard)

    def _answer(self, answer: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._ray.get(answer)
        if "error" in found:
            raise error_of(found["error"])
        return found


class _Worker:
    """What an actor is: it makes shards of one job, and says what came of it as plain data."""

    def __init__(self, job: str, root: str, job_hash: str) -> None:
        self._job, self._root, self._job_hash = Job.model_validate_json(job), root, job_hash
        self._maker: Any = None

    def ready(self) -> dict[str, Any]:
        """Whether this node is one on which the job can be done."""
        try:
            _check_node(self._job, Path(self._root), self._job_hash)
            self._made()
        except CovaryError as error:
            return {"error": error_data(error)}
        return {}

    def make(self, shard: dict[str, Any]) -> dict[str, Any]:
        """The record of a shard, once it is in its place."""
        from ._maker import single_thread

        try:
            # Ray may have restarted this actor after it was ready.
            maker = self._made()
            with single_thread():
                return {"record": maker.make(shard_of(shard)).data()}
        except CovaryError as error:
            return {"error": error_data(error)}

    def _made(self) -> Any:
        from ._maker import ShardMaker

        if self._maker is None:
            name = f"{platform.node()} {os.getpid()}"
            self._maker = ShardMaker(self._job, Path(self._root), name)
        return self._maker


def _check_node(job: Job, root: Path, job_hash: str) -> None:
    """Refuse a node that would give other bytes, or give them elsewhere.

    Raises:
        InputError: it has other versions, or does not see the data set's folder.
    """
    node = f"node {platform.node()}"
    if _job_hash(root) != job_hash:
        raise InputError(
            node,
            expected=f"the data set's folder {root}, as the driver sees it",
            got="another one or none",
            fix="put it on a file system that every node has under the same path",
        )
    wanted = dict(job.versions)
    for origin in job.components.values():
        if "version" in origin:
            wanted[origin["distribution"]] = origin["version"]
    for name, there in wanted.items():
        if (here := installed_version(name) or "not installed") != there:
            raise InputError(
                node, expected=f"{name} {there}, as the driver has it", got=here,
                fix="install the same packages on every node",
            )  # fmt: skip


def _job_hash(root: Path) -> str:
    try:
        return hashlib.sha256(Folder(root).job.read_bytes()).hexdigest()
    except OSError:
        return ""


def _ray() -> Any:
    """The package.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingPackageError(
            "generation on Ray needs ray", fix="run: pip install 'covary[ray]'"
        ) from error
    return ray


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """A connection to the Ray at an address, or to one of its own, for the block.

    Raises:
        InputError: there is none.
    """
    if ray.is_initialized():
        yield
        return
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is not None:
        _check_reachable(address)
    try:
        with _no_usage_report():
            if address is None:
                ray.init(address="local", include_dashboard=False, **quiet)
            else:
                ray.init(address=address, **quiet)
    except ImportError as error:
        # ray:// needs more of Ray than is installed with it.
        raise MissingPackageError(
            f"address {address}", got=_first_line(error), fix="run: pip install 'ray[client]'"
        ) from error
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        raise _unanswered(address or "of this machine", error) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Whether something listens there; Ray itself would take a minute to say that nothing does."""
    place = urlsplit(address if "://" in address else f"ray://{address}")
    try:
        host, port = place.hostname, place.port
    except ValueError as error:
        raise _unanswered(address, error) from error
    if host is None or port is None:
        return  # auto, or a name that only Ray understands
    try:
        socket.create_connection((host, port), _REACHABLE_SECONDS).close()
    except OSError as error:
        raise _unanswered(address, error) from error


def _unanswered(address: str, error: Exception) -> InputError:
    return InputError(
        f"Ray {address}",
        expected="an answer",
        got=_first_line(error),
        fix="start one (`ray start --head`) and give auto, host:6379 or ray://host:10001; without "
        "an address covary starts a Ray of its own",
    )


@contextmanager
def _no_usage_report() -> Iterator[None]:
    """Let a Ray that is started in the block report nothing to its makers, unless told to."""
    name = "RAY_USAGE_STATS_ENABLED"
    if name in os.environ:
        yield
        return
    os.environ[name] = "0"
    try:
        yield
    finally:
        del os.environ[name]


def _places(ray: Any, needs: dict[str, float]) -> int:
    """How many workers the nodes of the cluster hold."""
    asked = {kind: need for kind, need in needs.items() if need}
    return sum(
        min(int(node["Resources"].get(kind, 0) / need + _SLACK) for kind, need in asked.items())
        for node in ray.nodes()
        if node["Alive"]
    )


def _await_places(ray: Any, needs: dict[str, float], workers: int, patience: float) -> None:
    """Wait until the cluster holds all workers; those that are asked for make it grow if it can.

    Raises:
        InputError: it does not in time.
    """
    end = time.monotonic() + patience
    while (places := _places(ray, needs)) < workers:
        if time.monotonic() >= end:
            each = " and ".join(f"{need:g} {kind}" for kind, need in needs.items() if need)
            raise InputError(
                f"{workers} workers of {each} each",
                expected="a Ray with room for them",
                got=f"one with room for {places}",
                fix=f"give {max(places, 1)} workers, a smaller share to each (cpus, gpu_share), or "
                "add nodes",
            )
        time.sleep(1.0)


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
