"""A data set of ``covary generate``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ...errors import InputError
from ...generation import read_manifest
from ...interfaces import SupportsReading
from ...recipe import Recipe, Spec
from ...samples import Sample
from ..pairs import Entry, LabelMap
from ._options import InputOptions

__all__ = ["DataSetFolder"]

_MANIFEST = "manifest.jsonl"


class DataSetFolder:
    """The pairs of a data set, read one after another by the writer that wrote them.

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
        for sample in self._reader.read(self._root):
            yield Entry(str(sample.seed), lambda sample=sample: _map(sample))  # type: ignore[misc]

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


def _map(sample: Sample) -> LabelMap:
    found = bool(sample.metadata.get("found", True))
    return LabelMap(str(sample.seed), sample.mask.to(torch.int32), sample.image, found)


def _source(root: Path) -> Spec:
    with open(root / _MANIFEST, encoding="utf-8") as file:
        head = json.loads(file.readline())
    return Recipe.parse(head["job"]["recipe"]).source
