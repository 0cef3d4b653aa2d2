"""Data sets of image and mask pairs, made by workers that may die at any moment.

``_job`` says what is to be made and ``_split`` which seeds go to which shard; ``_maker`` makes one
shard; an executor (``_executor`` is the interface) has them made by workers; ``_generate`` drives
it all; ``_finish`` describes the whole once all shards are there; ``_folder`` knows the places.
"""

from __future__ import annotations

from .._seeds import Seeds
from ._executor import Event, Executor, Finished, GivenUp, Listener, Made
from ._filters import Filters
from ._generate import generate
from ._job import Job
from ._local import LocalExecutor
from ._maker import ShardMaker, single_thread
from ._manifest import read_manifest
from ._pairs import measures
from ._progress import GenerationProgress
from ._ray import RayExecutor
from ._record import FileEntry, ShardRecord
from ._report import GenerationReport
from ._status import Status, read_status

__all__ = [
    "Event",
    "Executor",
    "FileEntry",
    "Filters",
    "Finished",
    "GenerationProgress",
    "GenerationReport",
    "GivenUp",
    "Job",
    "Listener",
    "LocalExecutor",
    "Made",
    "RayExecutor",
    "Seeds",
    "ShardMaker",
    "ShardRecord",
    "Status",
    "generate",
    "measures",
    "read_manifest",
    "read_status",
    "single_thread",
]
