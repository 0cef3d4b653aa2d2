"""One shard, from seeds to files in their place: what every worker does."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from .._registry import describe
from .._seeds import Seeds
from ..errors import (
    CheckpointError,
    CovaryError,
    MemoryBudgetError,
    MissingPackageError,
    OutputError,
    ParamsError,
    PluginError,
)
from ..files import file_sha256, unwritable
from ..interfaces import Writer
from ..pipeline import Pipeline
from ..samples import Sample, Shard
from ..segmentation import Segmentation
from ._durable import move_all, sync_file
from ._folder import OWN, Folder
from ._job import Job
from ._pairs import key_of, pair
from ._preview import Preview
from ._record import FAILED, FileEntry, ShardRecord

__all__ = ["HOPELESS", "ShardMaker", "publish", "single_thread", "written_by"]

HOPELESS = (
    CheckpointError, MemoryBudgetError, MemoryError, MissingPackageError, OutputError, ParamsError,
    PluginError, torch.cuda.OutOfMemoryError,
)  # fmt: skip
"""What no other seed would be spared, or what may go well on another day."""

_FULL = {errno.ENOSPC, errno.EROFS, *([errno.EDQUOT] if hasattr(errno, "EDQUOT") else [])}


class ShardMaker:
    """Makes shards of one job; the pipeline is built once and keeps its weights loaded.

    Args:
        job: what is made.
        root: the data set's folder.
        worker: who makes them, for the records.
        pipeline: to take instead of the recipe's, where it is at hand.

    Raises:
        CovaryError: a component of the job cannot be made here.
    """

    def __init__(
        self, job: Job, root: Path, worker: str = "", pipeline: Pipeline | None = None
    ) -> None:
        self.job = job
        self.folder = Folder(root)
        self.worker = worker
        self.pipeline = pipeline or Pipeline.from_recipe(job.recipe, device=job.device)
        writer = job.writer.create("writer")
        assert isinstance(writer, Writer)  # noqa: S101  (for the type checker)
        self.writer = writer

    def make(self, shard: Shard, made: Callable[[int], None] = lambda seeds: None) -> ShardRecord:
        """Make a shard: its files are in their place when this returns, and its record too.

        Args:
            shard: one of the job's.
            made: called with the number of its seeds that are done, after each.

        Raises:
            CovaryError: what no other shard would be spared; nothing of this one is left but
                perhaps files without a record, which count for nothing.
        """
        start = time.perf_counter()
        pairs = _Pairs(self.pipeline, self.job, shard, made)
        try:
            with self.folder.staged(shard.name) as outer:
                files = self._write(pairs, shard, outer)
                sync_all(outer / "files", files)
                move_all([one.path for one in files], outer / "files", self.folder.root)
            pairs.preview.write(self.folder.preview(shard.name))
        except OSError as error:
            if isinstance(error, CovaryError):
                raise
            raise unwritable(self.folder.root, error) from error
        record = ShardRecord(
            shard=shard.name,
            split=shard.split,
            seeds=str(Seeds.of(shard.seeds)),
            kept=str(Seeds.of(pairs.kept)),
            left_out=pairs.left_out,
            files=files,
            seconds=round(time.perf_counter() - start, 3),
            worker=self.worker,
        )
        record.write(self.folder.record(shard.name))
        return record

    def _write(self, pairs: _Pairs, shard: Shard, outer: Path) -> tuple[FileEntry, ...]:
        place = outer / "files"
        place.mkdir()
        with written_by(self.writer):
            try:
                self.writer.write(iter(pairs), shard, self.job.dataset(), place)
            finally:
                # Whatever a writer made of it: what the pipeline met comes first.
                if pairs.error is not None:
                    raise pairs.error
        if not pairs.ended:
            raise _broken(self.writer, f"all samples of shard {shard.name} to be taken", "fewer")
        files = publish(self.writer, outer)
        if pairs.kept and not files:
            raise _broken(self.writer, f"files of shard {shard.name}", "none")
        own = {shard.name, *map(key_of, shard.seeds)}
        for one in files:
            if own.isdisjoint(_words(one.path)):
                raise _broken(
                    self.writer,
                    f"paths with the shard's name ({shard.name}) or a sample's key in them, "
                    "so that no two shards have one in common",
                    one.path,
                )
        return files


class _Pairs:
    """The pairs of a shard as they are made, and what became of all its seeds."""

    def __init__(
        self, pipeline: Pipeline, job: Job, shard: Shard, made: Callable[[int], None]
    ) -> None:
        self._pipeline, self._job, self._shard, self._made = pipeline, job, shard, made
        self.kept: list[int] = []
        self.left_out: dict[int, str] = {}
        self.preview = Preview.of(shard, job)
        self.error: CovaryError | None = None
        self.ended = False

    def __iter__(self) -> Iterator[Sample]:
        try:
            for done, (seed, found) in enumerate(self._results(), start=1):
                sample = self._judged(seed, found)
                if sample is not None:
                    yield sample
                    self.kept.append(seed)
                self._made(done)
        except HOPELESS as error:
            self.error = error if isinstance(error, CovaryError) else _out_of_memory(error)
            raise self.error from error
        self.ended = True

    def _judged(self, seed: int, found: Segmentation | str) -> Sample | None:
        """The pair of a result, or None once the reason why there is none is noted."""
        if isinstance(found, str):
            self.left_out[seed] = FAILED + found
            return None
        sample = pair(found, seed, self._job)
        seen = sample.metadata
        reason = self._job.filters.reason(seen["found"], seen["area"], seen["confidence"])
        if reason:
            self.left_out[seed] = reason
            return None
        self.preview.add(sample)
        return sample

    def _results(self) -> Iterator[tuple[int, Segmentation | str]]:
        """Each seed with its result, or with why there is none."""
        job, seeds = self._job, self._shard.seeds
        results = self._pipeline.map(seeds, seed=job.seed, together=job.together)
        for seed in seeds:
            yield seed, self._next(results)

    def _next(self, results: Iterator[Segmentation]) -> Segmentation | str:
        try:
            return next(results)
        except HOPELESS:
            raise
        except CovaryError as error:
            return str(error)
        except OSError as error:
            if error.errno in _FULL:
                raise unwritable(Path(error.filename or "a file of the run"), error) from error
            return describe(error)
        except Exception as error:  # a plugin's: the seeds after this one may do
            # torch has no class of its own for what its allocator on the CPU meets.
            if "DefaultCPUAllocator" in str(error):
                raise _out_of_memory(error) from error
            return describe(error)


@contextmanager
def single_thread() -> Iterator[None]:
    """One thread for arithmetic in the block: workers share the cores, and bytes depend on none."""
    torch_threads = torch.get_num_threads()
    # numba first: as it starts, it sets the number of threads of the OpenMP that torch uses too,
    # and threads that wait for each other at every operation cost several times the work.
    with _numba_single_thread():
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(torch_threads)


@contextmanager
def _numba_single_thread() -> Iterator[None]:
    try:
        import numba
    except ImportError:  # components do without it, only slower
        yield
        return
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(threads)


@contextmanager
def written_by(writer: Writer) -> Iterator[None]:
    """What a writer raises in the block, as an error of covary's that names it.

    Raises:
        OutputError: it could not write.
        PluginError: it failed for another reason.
    """
    try:
        yield
    except CovaryError:
        raise
    except OSError:
        raise
    except Exception as error:
        raise PluginError(
            f"writer {writer.id}",
            got=describe(error),
            fix="report it to its authors; one worker and COVARY_RAISE=1 show the traceback",
        ) from error


def publish(writer: Writer, outer: Path) -> tuple[FileEntry, ...]:
    """The files that a writer has left in ``outer / "files"``, by their paths.

    Raises:
        PluginError: something beside that folder, or something that is no plain file.
        OSError: they cannot be read.
    """
    place = outer / "files"
    if strangers := sorted(path.name for path in outer.iterdir() if path != place):
        raise _broken(writer, "files in the folder that it was given", f"{strangers[0]} outside it")
    files = []
    for path in sorted(place.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        name = path.relative_to(place).as_posix()
        if path.is_symlink() or not path.is_file():
            raise _broken(writer, "plain files", f"{name}, which is none")
        if name in OWN or name.split("/")[0] == ".covary":
            raise _broken(writer, "files of its own", f"{name}, which covary writes")
        files.append(FileEntry(name, file_sha256(path), path.stat().st_size))
    return tuple(files)


def sync_all(place: Path, files: Sequence[FileEntry]) -> None:
    """Wait until the content of all files is on the disk."""
    for one in files:
        sync_file(place / one.path)


def _words(path: str) -> set[str]:
    """What in a path may be a shard's name or a key: ``train-00000``, ``000000042``."""
    return set(re.findall(r"[a-z]+-\d+|\d+", path))


def _broken(writer: Writer, expected: str, got: str) -> PluginError:
    return PluginError(f"writer {writer.id}", expected=expected, got=got, fix="correct its write()")


def _out_of_memory(error: BaseException) -> MemoryBudgetError:
    return MemoryBudgetError(
        "out of memory",
        got=describe(error),
        fix="use fewer workers, or fewer queries together",
    )
