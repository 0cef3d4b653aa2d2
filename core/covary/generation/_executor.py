"""Who makes shards: the interface between what is to be done and the processes that do it.

An executor starts workers, hands out shards, tells what it hears of them, and survives their
death. It knows nothing about segmentation: a worker makes a :class:`~._maker.ShardMaker` once,
inside :func:`~._maker.single_thread`, and calls its ``make`` for each shard that it is handed.
Making a shard twice does no harm, as both times give the same bytes, so an executor need not be
certain that a shard was not made when it hands it out again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ._record import ShardRecord

if TYPE_CHECKING:
    from ..samples import Shard
    from ._job import Job

__all__ = ["DEATHS", "Event", "Executor", "Finished", "GivenUp", "Listener", "Made"]

DEATHS = 3
"""How many workers a shard may cost before it is given up."""


@dataclass(frozen=True, slots=True)
class Made:
    """A worker has got so far within a shard."""

    shard: str
    seeds: int
    """How many seeds of the shard are done; fewer than before where it began anew."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A shard is in its place, and its record too."""

    record: ShardRecord


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A shard has cost three workers; the others go on."""

    shard: str
    reason: str


Event = Made | Finished | GivenUp
"""What is heard of a shard."""
Listener = Callable[[Event], None]
"""Is told of every event."""


class Executor(Protocol):
    """Has shards made."""

    def run(self, job: Job, root: Path, shards: Iterable[Shard], hear: Listener) -> None:
        """Have every shard made; returns when each is finished or given up.

        No worker is left when this returns or raises, KeyboardInterrupt included; what they were
        at is dropped.

        Args:
            job: what is made.
            root: the data set's folder, seen by every worker under the same path.
            shards: those to make; taken one at a time, as there may be a great many.
            hear: called with each event, from the thread that called ``run``. ``Made`` may be left
                out or be rare; there is one ``Finished`` or ``GivenUp`` for each shard.

        Raises:
            CovaryError: what a worker met that no other shard would be spared: a full disk, a
                missing package or checkpoint, a plugin that does not keep its interface.
        """
