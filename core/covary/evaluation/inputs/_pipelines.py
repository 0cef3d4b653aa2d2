"""What a pipeline makes of seeds, without saving it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from ..._seeds import Seeds
from ...context import resolve_device
from ...errors import InputError
from ...interfaces import SupportsParts
from ...pipeline import Pipeline
from ...provenance import components_data
from ...recipe import Spec
from ...samples import BACKGROUND, Task
from ...saved import SavedResult
from ...types import Query
from .._stamps import named_in, stamp
from ..classes import MASK, with_background
from ..pairs import Entry, LabelMap
from ._options import InputOptions
from ._results import result_map

__all__ = ["PipelineResults"]


class PipelineResults:
    """The results of a pipeline for some seeds, each made when it is asked for.

    Args:
        pipeline: whose source takes seeds.
        seeds: in any order.
        options: the task and, for objects, their classes.
        progress: handed to the pipeline.

    Raises:
        InputError: no seeds, a source that takes none, or a task without known classes.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        seeds: Seeds,
        options: InputOptions,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        if not len(seeds):
            raise InputError("seeds", expected="at least one", got="none")
        pipeline.check_query(Query(seed=next(iter(seeds))))
        self._pipeline, self._seeds = pipeline, seeds
        self._task: Task = options.task or "foreground"
        self.progress = progress
        self.classes = _classes(pipeline, self._task, options.classes)
        self.source: Spec | None = pipeline.recipe.source

    def __len__(self) -> int:
        return len(self._seeds)

    def entries(self) -> Iterator[Entry]:
        """The results, by seed."""
        for seed in self._seeds:
            yield Entry(str(seed), partial(self._make, seed))

    def describe(self) -> dict[str, Any]:
        """Kind, recipe, seeds, task and classes."""
        return {
            "kind": "pipeline",
            "recipe": self._pipeline.recipe.model_dump(mode="json"),
            "seeds": str(self._seeds),
            "task": self._task,
            "classes": list(self.classes),
        }

    def fingerprint(self) -> dict[str, Any]:
        """Versions of its components, its device, and the files that the recipe names."""
        recipe = self._pipeline.recipe
        return {
            "components": components_data(recipe),
            "device": resolve_device(self._pipeline.device).type,
            "files": stamp(named_in(recipe.model_dump(mode="json"))),
        }

    def _make(self, seed: int) -> LabelMap:
        result = SavedResult.of(self._pipeline(seed=seed, progress=self.progress), str(seed))
        return result_map(result, self._task, self.classes)


def _classes(pipeline: Pipeline, task: Task, classes: Sequence[str]) -> tuple[str, ...]:
    if task == "foreground":
        return MASK
    if task == "parts" and isinstance(pipeline.foreground, SupportsParts):
        return (BACKGROUND, *pipeline.foreground.part_names())
    if task == "instances" and pipeline.detector is not None and classes:
        return with_background(classes)
    remedies = {
        "parts": "use a rule that names clusters (`covary list foreground`)",
        "instances": "add a detector, and name the objects: --classes sofa,lamp",
    }
    raise InputError(
        f"task {task}",
        expected="a pipeline whose classes are known before it runs",
        got=repr(pipeline.foreground if task == "parts" else pipeline.detector),
        fix=remedies[task],
    )
