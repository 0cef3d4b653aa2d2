"""Shards made one after another in this very process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ._executor import Finished, Listener, Made

if TYPE_CHECKING:
    from ..pipeline import Pipeline
    from ..samples import Shard
    from ._job import Job

__all__ = ["HereExecutor"]


@dataclass(slots=True)
class HereExecutor:
    """The simplest executor: no worker but this process, which dies if a plugin crashes.

    It takes a pipeline of components that are not registered, which no other process could make.
    """

    pipeline: Pipeline | None = None

    def run(self, job: Job, root: Path, shards: Iterable[Shard], hear: Listener) -> None:
        """Make every shard; see :class:`~._executor.Executor`."""
        from ._maker import ShardMaker, single_thread

        maker = ShardMaker(job, root, "this process", self.pipeline)
        with single_thread():
            for shard in shards:
                name = shard.name

                def made(seeds: int, name: str = name) -> None:
                    hear(Made(name, seeds))

                hear(Finished(maker.make(shard, made)))
