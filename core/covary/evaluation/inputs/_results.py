"""Results of ``covary segment``, saved or in memory, as maps of classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..._cli.results import results_in
from ...errors import InputError
from ...exports import FOREGROUND
from ...provenance import read_provenance
from ...recipe import Recipe, Spec
from ...samples import BACKGROUND, Task
from ...saved import SavedResult
from .._stamps import stamp
from ..classes import MASK
from ..pairs import Entry, LabelMap, natural
from ._options import InputOptions

__all__ = ["ResultFolders", "result_map"]


class ResultFolders:
    """The results in a folder, or the result that the folder is.

    Args:
        folder: what ``covary segment`` wrote.
        task: which of a result's maps to take.

    Raises:
        InputError: no results there, or none that knows parts or objects where these are asked.
    """

    def __init__(self, folder: Path, task: Task = "foreground") -> None:
        self._folder, self._task = folder, task
        self._folders = sorted(results_in(folder), key=lambda path: natural(path.resolve().name))
        about = _provenances(self._folders)
        self.classes = _classes(about, task, folder)
        sources = {Recipe.parse(one["recipe"]).source.model_dump_json() for one in about}
        self.source = Spec.model_validate_json(sources.pop()) if len(sources) == 1 else None
        """What gave the images, if it was the same for all."""

    @staticmethod
    def recognises(text: str) -> bool:
        """Whether it is a result, or a folder of results."""
        folder = Path(text)
        return (folder / "provenance.json").exists() or any(folder.glob("*/provenance.json"))

    @classmethod
    def open(cls, text: str, options: InputOptions) -> ResultFolders:
        """The results in a folder."""
        return cls(Path(text), options.task or "foreground")

    def __len__(self) -> int:
        return len(self._folders)

    def entries(self) -> Iterator[Entry]:
        """The results, by name."""
        for folder in self._folders:
            yield Entry(folder.resolve().name, partial(self._read, folder), stamp([folder]))

    def describe(self) -> dict[str, Any]:
        """Kind, folder, task, classes and source."""
        return {
            "kind": "results",
            "folder": str(self._folder),
            "task": self._task,
            "classes": list(self.classes),
            "source": None if self.source is None else self.source.model_dump(mode="json"),
        }

    def _read(self, folder: Path) -> LabelMap:
        return result_map(SavedResult.read(folder), self._task, self.classes)


def result_map(result: SavedResult, task: Task, classes: Sequence[str]) -> LabelMap:
    """A result as a map of classes; parts and objects of other names are background."""
    if task == "foreground":
        labels = result.mask.to(torch.int32)
    elif task == "parts":
        labels = _renumbered(result.parts, result.part_names, classes)
    else:
        own = [one.label or FOREGROUND for one in result.objects]
        labels = _renumbered(result.instances, own, classes)
    return LabelMap(result.name, labels, result.image, result.found)


def _renumbered(numbers: torch.Tensor, own: Sequence[str], classes: Sequence[str]) -> torch.Tensor:
    """Numbers i + 1 of ``own[i]`` as indices into ``classes``."""
    places = {name: number for number, name in enumerate(classes)}
    table = torch.tensor([0, *(places.get(name, 0) for name in own)], dtype=torch.int32)
    return table[numbers.long()]


def _provenances(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """What is known of the results; those that are damaged fail when they are read.

    Raises:
        InputError: all of them are damaged.
    """
    found, errors = [], []
    for folder in folders:
        try:
            found.append(read_provenance(folder))
        except InputError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    return found


def _classes(about: Sequence[dict[str, Any]], task: Task, folder: Path) -> tuple[str, ...]:
    if task == "foreground":
        return MASK
    if task == "parts":
        given = [name for one in about for name in one["result"].get("parts", ())]
    else:
        objects = (each for one in about for each in one["result"].get("objects", ()))
        given = sorted({each["label"] or FOREGROUND for each in objects})
    names = tuple(dict.fromkeys(given))
    if not names:
        made = "a rule that names clusters" if task == "parts" else "a detector"
        raise InputError(
            f"results in {folder}",
            expected=f"{task}, which {made} gives",
            got="none",
            fix="judge the whole foreground (--task foreground)",
        )
    return (BACKGROUND, *names)
