"""Drives it all: prepares the job, finds what is there, has the rest made, finishes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, cast

from pydantic import ValidationError

from .._locks import PATIENCE, alone
from .._seeds import Seeds
from .._stages import Part
from ..errors import InputError, OutputError
from ..files import file_sha256, output_folder
from ..interfaces import Writer
from ..pipeline import Pipeline
from ..samples import Shard, Task
from ._cores import cores
from ._durable import remove_all, write_text
from ._executor import Event, Executor, Finished, GivenUp, Made
from ._filters import Filters
from ._finish import Counts, finish
from ._folder import Folder
from ._here import HereExecutor
from ._job import Job
from ._prepare import prepare
from ._progress import GenerationProgress, Heartbeat, Tracker, read_heartbeat
from ._record import FileEntry, ShardRecord
from ._report import GenerationReport

__all__ = ["generate"]

_PATIENCE = PATIENCE
"""Seconds to wait for the folder: workers of a driver that was killed may need one to end."""
_LONG = 200
"""Characters of one difference between two jobs that a message has room for."""


def generate(
    pipeline: Pipeline | str,
    seeds: str | Iterable[int],
    out: str | os.PathLike[str],
    writer: Part = "webdataset",
    *,
    task: Task = "foreground",
    classes: Sequence[str] = (),
    filters: Filters | None = None,
    val: float = 0.05,
    shard_size: int = 500,
    together: int = 1,
    seed: int | None = None,
    name: str | None = None,
    device: str | None = None,
    workers: int | None = None,
    on: Literal["local", "ray"] | Executor = "local",
    extend: bool = False,
    verify: bool = False,
    retry_failed: bool = False,
    cost_per_hour: float | None = None,
    progress: Callable[[GenerationProgress], None] | None = None,
) -> GenerationReport:
    """Make a data set of image and mask pairs; what is there already is kept.

    The seeds of each split are cut into shards, and a shard is written whole or not at all.
    Stopped at any moment, by Ctrl-C, a full disk or the end of a worker, the driver or the machine,
    the same call goes on where it was, and ends with the same bytes as if nothing had happened:
    every seed once, in its pair or with the reason why it has none.

    Args:
        pipeline: one, or the name of a preset.
        seeds: of the queries: ``range(10_000)``, ``"0-9999,20000"``, any integers.
        out: the data set's folder; made if need be. An earlier run's of the same job, else empty.
        writer: of the format: ``"webdataset"``, ``("webdataset", {"image": "jpg"})``.
        task: whether the classes of masks are ``foreground``, named ``parts``, or, as
            ``instances``, the labels of detected objects.
        classes: the labels of objects for the task instances, where the detector does not say or
            only some are wanted; the others are then background.
        filters: what a pair has to fulfil.
        val: the share of seeds that go to the split val, by a hash of each.
        shard_size: seeds in a shard.
        together: how many queries share batches; changes the rounding, so it is part of the job.
        seed: of everything drawn at random; None is each query's own.
        name: of the data set; None is the folder's.
        device: None is the pipeline's; ``"auto"``, ``"cpu"``, ``"cuda"``.
        workers: processes, each with one thread for arithmetic; 1 works in this process. None is
            one for each core, and one on a GPU, but no more than there are shards.
        on: ``"local"``, ``"ray"``, or an executor.
        extend: whether the seeds of an earlier run's job may be some of these. Shards that change
            are removed and made again: those from the first new seed on.
        verify: whether to compare what is there with its sha256, and not by size alone.
        retry_failed: whether to make shards again in which seeds failed.
        cost_per_hour: what all workers together cost, for the progress.
        progress: called as it goes on.

    Returns:
        What there is now.

    Raises:
        InputError: arguments that do not fit, another job's folder, or one at which another run
            is at work.
        OutputError: a full disk, a read-only folder. What is finished stays.
        UnknownNameError, ParamsError, MissingPackageError, PluginError, CheckpointError: as a
            pipeline's.
    """
    if isinstance(pipeline, str):
        pipeline = Pipeline.preset(pipeline)
    if not pipeline.soft:
        pipeline = pipeline.replace(soft=True)  # from which the confidence comes
    root = Path(out)
    job = prepare(
        pipeline,
        Seeds.of(seeds),
        name=name or root.resolve().name,
        task=task,
        classes=classes,
        writer=writer,
        filters=filters or Filters(),
        val=val,
        shard_size=shard_size,
        together=together,
        seed=seed,
        device=device or str(pipeline.device),
    )
    executor = _executor(on, workers, pipeline, job)
    folder = Folder(output_folder(root))
    folder.make()
    with alone(
        folder.lock,
        f"folder {root}",
        "another `covary generate` at work in it",
        "wait for it (`covary generate --status DIR`), or choose another folder",
        _PATIENCE,
    ):
        _claim(folder, job, extend)
        run = _Run(job, folder, cost_per_hour, progress or (lambda progress: None))
        return run.do(executor, verify, retry_failed)


class _Run:
    """One run of a job: what it finds, has made, and counts."""

    def __init__(
        self,
        job: Job,
        folder: Folder,
        price: float | None,
        tell: Callable[[GenerationProgress], None],
    ) -> None:
        self.job, self.folder, self.tell = job, folder, tell
        self.there: set[str] = set()
        self.counts, self.made, self.given_up = Counts(), 0, dict[str, str]()
        self.shards = sum(1 for _ in job.shards())
        before = float(read_heartbeat(folder.progress).get("seconds", 0.0))
        self.tracker = Tracker(len(Seeds.of(job.seeds)), self.shards, before, price)

    def do(self, executor: Executor, verify: bool, retry_failed: bool) -> GenerationReport:
        """Have made what is missing, and finish."""
        with Heartbeat(self.folder.progress, self.tracker.progress):
            self._look(verify, retry_failed)
            missing = len(self.there) < self.shards
            if missing or not self.folder.manifest.exists():
                remove_all([self.folder.manifest])
                self.folder.drop_staged()
                self.tracker.began()
                self.tell(self.tracker.progress())
                if missing:
                    self._have_made(executor)
                if not self.given_up:
                    writer = cast(Writer, self.job.writer.create("writer"))
                    finish(self.job, self.folder, writer, self.counts)
            return self._report()

    def _have_made(self, executor: Executor) -> None:
        try:
            executor.run(self.job, self.folder.root, self._missing(), self._hear)
        finally:
            self.tracker.ended()
            self.folder.drop_staged()  # the workers are gone, and what they were at with them

    def _look(self, verify: bool, retry_failed: bool) -> None:
        """Find the shards that are there; forget the others, before any of them is made again."""
        for shard in self.job.shards():
            record = ShardRecord.read(self.folder.record(shard.name))
            if record is None:
                continue
            again = retry_failed and record.failed
            same = record.seeds == str(Seeds.of(shard.seeds))
            if same and not again and self._whole(record, verify):
                self.there.add(shard.name)
                self.counts.add(record)
                self.tracker.kept(record, len(shard.seeds))
            else:
                self._forget(record)

    def _whole(self, record: ShardRecord, verify: bool) -> bool:
        return all(_unchanged(self.folder.root / one.path, one, verify) for one in record.files)

    def _forget(self, record: ShardRecord) -> None:
        """Remove a shard: its keys may be those of another now, or of seeds that fail this time."""
        remove_all(self.folder.root / one.path for one in record.files)
        remove_all([self.folder.record(record.shard)])

    def _missing(self) -> Iterator[Shard]:
        return (shard for shard in self.job.shards() if shard.name not in self.there)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Made):
            self.tracker.made(event.shard, event.seeds)
        elif isinstance(event, GivenUp):
            self.given_up[event.shard] = event.reason
            self.tracker.dropped(event.shard)
        elif isinstance(event, Finished):
            self.made += 1
            self.counts.add(event.record)
            self.tracker.finished(event.record, len(Seeds.of(event.record.seeds)))
        self.tell(self.tracker.progress())

    def _report(self) -> GenerationReport:
        return GenerationReport(
            folder=self.folder.root,
            pairs=self.counts.by_split(),
            left_out=dict(sorted(self.counts.left_out.items())),
            failed=dict(sorted(self.counts.failed.items())),
            failures=self.counts.failures,
            given_up=self.given_up,
            made=self.made,
            shards=self.shards,
            seconds=self.tracker.progress().seconds,
        )


def _executor(on: str | Executor, workers: int | None, pipeline: Pipeline, job: Job) -> Executor:
    if not isinstance(on, str):
        return on
    if workers is not None and workers < 1:
        raise InputError("workers", expected="at least 1", got=repr(workers))
    if on == "ray":
        from ._ray import RayExecutor

        return RayExecutor(workers=workers)
    if on != "local":
        raise InputError("on", expected="local, ray or an executor", got=repr(on))
    own = [data["id"] for data in job.components.values() if data["id"].startswith("local/")]
    number = workers or (1 if own else _shards_up_to(_room(job), job))
    if number == 1:
        return HereExecutor(pipeline if own else None)
    if own:
        raise InputError(
            f"{number} workers",
            expected="registered components, which other processes can make by their names",
            got=own[0],
            fix="give workers=1, or register it through a plugin (see the tutorial)",
        )
    from ._local import LocalExecutor

    return LocalExecutor(number)


def _shards_up_to(most: int, job: Job) -> int:
    """How many shards a job has, or ``most``: more workers would have nothing to do."""
    return sum(1 for _ in islice(job.shards(), most))


def _room(job: Job) -> int:
    """How many workers fill this machine."""
    return cores() if job.device == "cpu" else 1


def _claim(folder: Folder, job: Job, extend: bool) -> None:
    """Make the folder this job's, unless it is another's.

    Raises:
        InputError: it is, or it holds something else.
        OutputError: it cannot be written.
    """
    if not folder.job.exists():
        folder.refuse_others()
        write_text(folder.job, job.model_dump_json(indent=1) + "\n")
        return
    there = _read_job(folder)
    different = there.differences(job)
    if not different:
        return
    grows = Seeds.of(there.seeds) <= Seeds.of(job.seeds)
    only_seeds = all(line.startswith("seeds: ") for line in different)
    if extend and grows and only_seeds:
        remove_all([folder.manifest])
        write_text(folder.job, job.model_dump_json(indent=1) + "\n")
        return
    fix = "choose another folder, or give the same arguments as before"
    if grows and only_seeds:
        fix = "add --extend (in Python extend=True) to add seeds to it, or choose another folder"
    elif extend:
        fix = "give the arguments of before and its seeds among others, or choose another folder"
    raise InputError(
        f"folder {folder.root} holds another data set",
        got="; ".join(map(_short, different[:3])) + ("; ..." if len(different) > 3 else ""),
        fix=fix,
    )


def _short(text: str) -> str:
    """``text`` without its middle where it is long, as lists of seeds may be."""
    return text if len(text) <= _LONG else f"{text[: _LONG // 2]} ... {text[-_LONG // 2 :]}"


def _read_job(folder: Folder) -> Job:
    try:
        return Job.model_validate_json(folder.job.read_bytes())
    except OSError as error:
        raise OutputError(f"cannot read {folder.job}", got=error.strerror or str(error)) from error
    except ValidationError as error:
        raise InputError(
            str(folder.job),
            expected="a job of this version of covary",
            got=str(error.errors(include_url=False)[0]["msg"]),
            fix="choose another folder",
        ) from error


def _unchanged(path: Path, entry: FileEntry, verify: bool) -> bool:
    try:
        same = path.stat().st_size == entry.bytes
        return same and (not verify or file_sha256(path) == entry.sha256)
    except OSError:  # gone, or on a part of the disk that cannot be read any more
        return False
