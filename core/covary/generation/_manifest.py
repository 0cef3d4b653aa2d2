"""The manifest of a data set: what it is, then a line for each shard; JSON Lines.

It names no time and no folder of this machine, so that every run of a job gives the same.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .._seeds import Seeds
from ..errors import InputError
from ..recipe import Spec
from ..samples import DataSet, Shard
from ._durable import replacing_for_good
from ._folder import Folder
from ._job import Job
from ._record import ShardRecord

__all__ = ["read_manifest", "read_records", "write_manifest"]


def write_manifest(
    job: Job, records: Iterable[ShardRecord], counts: Mapping[str, Any], path: Path
) -> None:
    """Write the manifest.

    Args:
        job: what was made.
        records: one for each shard, in the order in which they are listed.
        counts: what they come to.
        path: the file.

    Raises:
        OutputError: it cannot be written.
    """
    data = job.published()
    head = {key: data[key] for key in ("format", "name", "task", "classes")}
    head |= {"counts": counts, "writer": data["writer"], "versions": data["versions"], "job": data}
    with replacing_for_good(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(json.dumps(head) + "\n")
        for record in records:
            line = record.data()
            del line["seconds"], line["worker"]
            file.write(json.dumps(line) + "\n")


def read_manifest(folder: str | os.PathLike[str]) -> tuple[DataSet, Spec]:
    """What a finished data set is, and the writer that reads it.

    Args:
        folder: of the data set.

    Returns:
        The data set, with its shards and number of pairs, and its writer with its parameters. Where
        that can read, ``spec.create("writer").read(folder)`` gives the pairs.

    Raises:
        InputError: no finished data set of ``covary generate`` there.
    """
    path = Folder(Path(folder)).manifest
    try:
        lines = _lines(path)
        head = next(lines)
        pairs: Counter[str] = Counter()
        shards = []
        for line in lines:
            shards.append(Shard(line["shard"], line["split"], tuple(Seeds.of(line["seeds"]))))
            pairs[line["split"]] += len(Seeds.of(line["kept"]))
        if any(pairs[split] != number for split, number in head["counts"]["pairs"].items()):
            raise ValueError("one that lists other pairs than it counts")  # it was cut short
        return (
            DataSet(
                head["name"],
                head["task"],
                tuple(head["classes"]),
                tuple(shards),
                head["counts"]["pairs"],
            ),
            Spec.parse(head["writer"]),
        )
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise InputError(
            f"data set {folder}",
            expected="a whole manifest.jsonl",
            got=str(error) or type(error).__name__,
            fix="give a folder that `covary generate` has finished",
        ) from error


def read_records(folder: Path) -> Iterator[ShardRecord]:
    """The shards of a finished data set, as its manifest lists them; no seconds, no worker."""
    lines = _lines(Folder(folder).manifest)
    next(lines)
    for line in lines:
        yield ShardRecord.parse(line | {"seconds": 0.0, "worker": ""})


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
