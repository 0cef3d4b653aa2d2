"""What is to be made: everything that determines the bytes of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from .._seeds import Seeds
from ..recipe import Recipe, Spec
from ..samples import DataSet, Shard, Task
from ._filters import Filters
from ._split import shards_of

__all__ = ["Job"]


class Job(BaseModel):
    """A data set to be made. Equal jobs give equal bytes, whoever makes them in what order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    name: str
    task: Task
    classes: tuple[str, ...]
    recipe: Recipe
    """With canonical ids, all defaults, and soft masks, from which the confidence comes."""
    seeds: str
    """The seeds of the queries, as ranges."""
    seed: int | None = None
    """The seed of everything drawn at random; None for each query's own."""
    filters: Filters
    val: float
    shard_size: int
    together: int
    device: str
    """``cpu``, ``cuda`` or ``cuda:1``; what counts is the kind, as these round differently."""
    writer: Spec
    components: dict[str, dict[str, str]]
    """Distribution and version of every component, by its place in the recipe, and the writer's."""
    versions: dict[str, str]
    """Versions of the packages that images, masks and files depend on."""
    inputs: dict[str, str] = {}
    """Name of every file that the recipe names, such as weights -> its sha256."""

    def shards(self) -> Iterator[Shard]:
        """Every shard, one at a time, always the same."""
        return shards_of(Seeds.of(self.seeds), self.val, self.shard_size)

    def dataset(
        self, shards: tuple[Shard, ...] = (), pairs: Mapping[str, int] | None = None
    ) -> DataSet:
        """What writers are told."""
        return DataSet(self.name, self.task, self.classes, shards, pairs or {})

    @property
    def kind_of_device(self) -> str:
        """``cpu`` or ``cuda``: whichever GPU of a machine it is."""
        return self.device.partition(":")[0]

    def published(self) -> dict[str, Any]:
        """As plain data that says nothing about where files lie on this machine, or which GPU."""
        data: dict[str, Any] = _without_folders(self.model_dump(mode="json"))
        return data | {"device": self.kind_of_device}

    def differences(self, other: Job) -> list[str]:
        """What differs from another job, as ``seeds: 0-9 -> 0-19``."""
        mine, theirs = _flat(self.published()), _flat(other.published())
        return [
            f"{key}: {mine.get(key, 'none')} -> {theirs.get(key, 'none')}"
            for key in dict.fromkeys([*mine, *theirs])
            if mine.get(key) != theirs.get(key)
        ]


def _without_folders(value: Any) -> Any:
    """``value`` with the last name of each absolute path in the place of the path."""
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    if isinstance(value, str) and "\n" not in value:
        path = Path(value).expanduser()
        return path.name if path.is_absolute() else value
    return value


def _flat(value: Any, place: str = "") -> dict[str, Any]:
    """Nested tables as one, by dotted keys."""
    if not isinstance(value, dict):
        return {place: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{place}.{key}" if place else key)
    return flat
