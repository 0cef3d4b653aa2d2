"""Small data sets for the contract of writers, and how covary puts one together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from covary import Box, DataSet, Sample, SampleObject, Shard, Writer

__all__ = [
    "OWN",
    "SHARDS",
    "TASKS",
    "Composed",
    "Files",
    "compose",
    "contents",
    "data_set",
    "pairs",
    "sample",
    "write_elsewhere",
    "write_shard",
]

Files = dict[str, bytes]
"""Path below a folder -> content."""

TASKS: Mapping[str, tuple[str, ...]] = {
    "foreground": ("background", "foreground"),
    "parts": ("background", "Haar, blond", "目", 'eye "left"/upper', "it's"),
    "instances": ("background", "sofa", "café table"),
}
"""The classes of a data set of each task."""

SHARDS = (
    Shard("train-00000", "train", (0, 2, 3)),
    # By their keys, 000000000 and so on, the last would come before the one of nine digits.
    Shard("train-00001", "train", (900_000_000, 2**32 - 1)),
    Shard("val-00000", "val", (1, 4)),
)

OWN = frozenset({"README.md", "manifest.jsonl", "pipeline.toml", "preview.png"})
"""Files of a data set that covary itself writes."""

_SIZE = (22, 17)


def sample(seed: int, task: str = "parts", size: tuple[int, int] = _SIZE) -> Sample:
    """A pair of random colours in which every class of the task is there, if it has the room."""
    draw = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, *size), generator=draw, dtype=torch.uint8)
    count = len(TASKS[task])
    numbers = torch.randint(0, count, size, generator=draw, dtype=torch.uint8)
    metadata = {
        "area": 1 / 3,
        "found": True,
        "reason": "größter Bereich",
        "more": {"seeds": [seed, None], "none": []},
    }
    pair = Sample(f"{seed:09d}", seed, image, numbers, metadata=metadata)
    if task != "instances":
        return pair
    # Two of one class, and one that has no pixel left.
    objects = (
        SampleObject(1, Box(0, 0, 3, 4), 0.1 + 0.2),
        SampleObject(2, Box(1, 1, 5, 9)),
        SampleObject(2, Box(0, 0, 1, 1), 0.5),
        SampleObject(1, Box(2, 0, 4, 4), 0.25),
    )
    place = torch.tensor([0, 1, 2, 4], dtype=torch.int32)
    instances = place[torch.randint(0, 4, size, generator=draw)]
    classes = torch.tensor([0, *(each.category for each in objects)], dtype=torch.uint8)
    return replace(pair, mask=classes[instances.long()], instances=instances, objects=objects)


def pairs(shard: Shard, task: str = "parts") -> Iterator[Sample]:
    """The samples of a shard, each made when it is asked for."""
    return (sample(seed, task) for seed in shard.seeds)


def data_set(task: str = "parts", shards: tuple[Shard, ...] = ()) -> DataSet:
    """A data set with that task's classes."""
    counts = dict.fromkeys(("train", "val"), 0) if shards else {}
    for shard in shards:
        counts[shard.split] += len(shard.seeds)
    return DataSet("Bilder für alle 雪", task, TASKS[task], shards, counts)  # type: ignore[arg-type]


def write_shard(
    writer: Writer, samples: Iterable[Sample], shard: Shard, dataset: DataSet, folder: Path
) -> Files:
    """What a writer makes of a shard, in a new folder."""
    folder.mkdir(parents=True)
    writer.write(samples, shard, dataset, folder)
    return contents(folder)


def contents(folder: Path) -> Files:
    """All files below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@dataclass(frozen=True)
class Composed:
    """A data set on disk, put together as covary does."""

    root: Path
    shards: Mapping[str, Files]
    """What was written for each shard."""
    finish: Files
    """What was written at the end."""


def compose(
    make: Callable[[], Writer],
    place: Path,
    task: str = "parts",
    shards: tuple[Shard, ...] = SHARDS,
    samples: Callable[[Shard, str], Iterable[Sample]] = pairs,
) -> Composed:
    """A finished data set below ``place``: each shard by a writer of its own."""
    root = place / "data-set"
    root.mkdir(parents=True)
    written = {}
    for shard in shards:
        folder = place / "staging" / shard.name
        written[shard.name] = write_shard(
            make(), samples(shard, task), shard, data_set(task), folder
        )
        _move(folder, root)
    folder = place / "staging" / "finish"
    folder.mkdir()
    make().finish(data_set(task, shards), root, folder)
    finish = contents(folder)
    _move(folder, root)
    return Composed(root, written, finish)


def _move(folder: Path, root: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            target = root / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)


def write_elsewhere(asked: dict[str, Any]) -> bool:
    """Put a data set together in another process."""
    import covary

    compose(
        lambda: covary.create(asked["name"], "writer", **asked["params"]),
        Path(asked["place"]),
        asked["task"],
    )
    return True
