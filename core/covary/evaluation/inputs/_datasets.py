"""A data set of ``covary generate``."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch

from ..._failures import HOPELESS
from ..._seeds import Seeds
from ...errors import InputError
from ...generation import read_manifest
from ...generation._manifest import read_records
from ...generation._record import ShardRecord
from ...interfaces import SupportsReading, SupportsShards
from ...provenance import component_data
from ...recipe import Recipe, Spec
from ...samples import Sample
from .._stamps import stamp
from ..pairs import Entry, LabelMap
from ._options import InputOptions

__all__ = ["DataSetFolder"]

_MANIFEST = "manifest.jsonl"

_Found = Iterator[Sample] | Iterator[Sample | InputError]


class DataSetFolder:
    """The pairs of a data set, read one after another by the writer that wrote them.

    A pair that is damaged is an entry that cannot be loaded, and those after it are still read;
    so are the other shards where one is missing or damaged as a whole, if the writer can
    (``SupportsShards``).

    Args:
        root: its folder.

    Raises:
        InputError: it is not whole, or its format cannot be read back.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._dataset, spec = read_manifest(root)
        writer = spec.create("writer")
        if not isinstance(writer, SupportsReading):
            raise InputError(
                f"data set {root}",
                expected="a format that its writer can read back",
                got=spec.use,
                fix="generate it in another format, e.g. --format folder",
            )
        self._reader, self._format = writer, spec.use
        self.classes = self._dataset.classes
        self.source = _source(root)
        """What gave the images."""

    @staticmethod
    def recognises(text: str) -> bool:
        """Whether it has a manifest."""
        return (Path(text) / _MANIFEST).exists()

    @classmethod
    def open(cls, text: str, options: InputOptions) -> DataSetFolder:
        """The data set in a folder."""
        return cls(Path(text))

    def __len__(self) -> int:
        return sum(self._dataset.pairs.values())

    def entries(self) -> Iterator[Entry]:
        """Its pairs, by seed; each is read before it is given."""
        reader = self._reader
        if not isinstance(reader, SupportsShards):
            records = list(read_records(self._root))
            seeds = sorted(seed for record in records for seed in Seeds.of(record.kept))
            yield from _entries(seeds, partial(reader.read, self._root), self._stamp(*records))
            return
        streams = (self._split(split, reader) for split in self._dataset.pairs)
        yield from heapq.merge(*streams, key=lambda entry: int(entry.name))

    def describe(self) -> dict[str, Any]:
        """Kind, folder, format, task, classes and source."""
        return {
            "kind": "data set",
            "folder": str(self._root),
            "format": self._format,
            "task": self._dataset.task,
            "classes": list(self.classes),
            "source": self.source.model_dump(mode="json"),
        }

    def fingerprint(self) -> dict[str, Any]:
        """The version of what reads it."""
        return {"writer": component_data("writer", self._format)}

    def _split(self, split: str, reader: SupportsShards) -> Iterator[Entry]:
        """The pairs of a split, in whose shards seeds ascend."""
        for record in read_records(self._root):
            if record.split == split:
                read = partial(reader.read_shard, self._root, record.shard)
                yield from _entries(Seeds.of(record.kept), read, self._stamp(record))

    def _stamp(self, *records: ShardRecord) -> str:
        return stamp(self._root / file.path for record in records for file in record.files)


def _entries(seeds: Iterable[int], read: Callable[[], _Found], mark: str) -> Iterator[Entry]:
    """An entry for each of the seeds; those that are not found cannot be loaded."""
    found, ahead = _salvaged(read), None
    errors: list[Exception] = []
    for seed in seeds:
        while ahead is None or ahead.seed < seed:
            one = next(found, None)
            if one is None:
                break
            if isinstance(one, Exception):
                errors.append(one)
            else:
                ahead = one
        if ahead is not None and ahead.seed == seed:
            errors.clear()
            yield Entry(str(seed), partial(_map, ahead), mark)
        else:
            # Of several in a row each has its own; what ended the shard is that of all the rest.
            error = errors.pop(0) if len(errors) > 1 else (*errors, _absent(seed))[0]
            yield Entry(str(seed), partial(_fail, error), mark)


def _salvaged(read: Callable[[], _Found]) -> Iterator[Sample | Exception]:
    """What is found, and at last what ended it before its time, if anything did."""
    try:
        yield from read()
    except HOPELESS:
        raise
    except Exception as error:  # a plugin's own, too, is of this shard alone
        yield error


def _absent(seed: int) -> InputError:
    return InputError(
        f"seed {seed}",
        expected="a pair, as the manifest of the data set says",
        got="none",
        fix="give its `covary generate` command again with --verify, which mends shards",
    )


def _fail(error: Exception) -> NoReturn:
    raise error


def _map(sample: Sample) -> LabelMap:
    found = bool(sample.metadata.get("found", True))
    return LabelMap(str(sample.seed), sample.mask.to(torch.int32), sample.image, found)


def _source(root: Path) -> Spec:
    with open(root / _MANIFEST, encoding="utf-8") as file:
        head = json.loads(file.readline())
    return Recipe.parse(head["job"]["recipe"]).source
