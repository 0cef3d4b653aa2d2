"""The end of a run: what describes the data set as a whole."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CovaryError
from ..files import unwritable
from ..interfaces import Writer
from ..recipe import Recipe
from ..samples import DataSet, Shard
from ._card import card
from ._durable import move_all, sync_file, write_text
from ._folder import CARD, PIPELINE, PREVIEW, Folder
from ._job import Job
from ._maker import publish, written_by
from ._manifest import write_manifest
from ._preview import write_preview
from ._record import FAILED, ShardRecord
from ._split import SPLITS

__all__ = ["Counts", "finish", "reason_kind"]

_LISTED = 1000


@dataclass(slots=True)
class Counts:
    """What the shards of a data set come to."""

    pairs: Counter[str] = field(default_factory=Counter)
    """By split."""
    left_out: Counter[str] = field(default_factory=Counter)
    """By the kind of reason; those that failed are not among them."""
    failures: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    """The first of them."""

    def add(self, record: ShardRecord) -> None:
        """Count a shard."""
        self.pairs[record.split] += record.pairs
        for seed, reason in record.left_out.items():
            if not reason.startswith(FAILED):
                self.left_out[reason_kind(reason)] += 1
                continue
            self.failures += 1
            if len(self.failed) < _LISTED:
                self.failed[seed] = reason.removeprefix(FAILED)

    def by_split(self) -> dict[str, int]:
        """Pairs in each split, in the order in which splits are listed."""
        return {split: self.pairs[split] for split in SPLITS}

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "pairs": self.by_split(),
            "left_out": dict(sorted(self.left_out.items())),
            "failed": self.failures,
        }


def reason_kind(reason: str) -> str:
    """A reason without its figures, so that like ones can be counted: ``area is below 0.05``."""
    return re.sub(r"^(area|confidence) [\d.]+", r"\1", reason)


def finish(job: Job, folder: Folder, writer: Writer, counts: Counts) -> None:
    """Write all that describes the data set; the manifest last, which says that it is complete.

    Raises:
        OutputError: something cannot be written.
        PluginError: the writer does not keep its interface.
    """
    ordered = sorted(job.shards(), key=_place)
    dataset = job.dataset(tuple(ordered), counts.by_split())
    try:
        with folder.staged("finish") as outer:
            _let_finish(folder, writer, dataset, outer)
        write_text(folder.root / PIPELINE, _recipe_toml(job))
        previews = (folder.preview(shard.name) for shard in ordered)
        drawn = write_preview(previews, job, folder.root / PREVIEW)
        write_text(folder.root / CARD, card(job, counts, writer, dataset, preview=drawn))
        write_manifest(job, _records(folder, ordered), counts.data(), folder.manifest)
    except OSError as error:
        if isinstance(error, CovaryError):
            raise
        raise unwritable(folder.root, error) from error


def _let_finish(folder: Folder, writer: Writer, dataset: DataSet, outer: Path) -> None:
    place = outer / "files"
    place.mkdir()
    with written_by(writer):
        writer.finish(dataset, folder.root, place)
    names = [one.path for one in publish(writer, outer)]
    for name in names:
        sync_file(place / name)
    move_all(names, place, folder.root)


def _records(folder: Folder, shards: list[Shard]) -> Iterator[ShardRecord]:
    for shard in shards:
        record = ShardRecord.read(folder.record(shard.name))
        assert record is not None  # noqa: S101  (each was read or written by this run)
        yield record


def _place(shard: Shard) -> tuple[int, int, str]:
    return SPLITS.index(shard.split), len(shard.name), shard.name


def _recipe_toml(job: Job) -> str:
    return Recipe.parse(job.published()["recipe"]).to_toml()
