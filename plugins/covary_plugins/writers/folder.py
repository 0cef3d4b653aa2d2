"""Data sets as folders of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._hub import data_files
from ._tree import TreeWriter, records_file

if TYPE_CHECKING:
    from covary import DataSet

__all__ = ["Folder"]


class Folder(TreeWriter):
    """Plain folders of pictures, with a list that `datasets` reads as an imagefolder.

    ``train/images/KEY.png`` (or jpg, webp), ``train/masks/KEY.png``, grey levels being classes,
    and ``train/instances/KEY.png`` of 16 bits where the task is instances; the same below ``val``.
    ``train/metadata.jsonl`` has a line for each sample: key, seed, metadata, objects and the names
    of its files. ``classes.json`` lists the names of the classes, ``records/`` the pairs of each
    shard, for covary.
    """

    def finish(self, dataset: DataSet, root: Path, folder: Path) -> None:
        """Write ``classes.json`` and each split's ``metadata.jsonl``.

        Raises:
            OutputError: the folder is missing, read-only or full.
        """
        from ._files import read_lines, write_classes, write_file

        write_classes(dataset, folder)
        for split in sorted({shard.split for shard in dataset.shards}):
            lists = (
                root / records_file(shard.name) for shard in dataset.shards if shard.split == split
            )
            whole = chain.from_iterable(map(read_lines, lists))
            write_file(folder / split / "metadata.jsonl", whole)

    def front_matter(self, dataset: DataSet) -> Mapping[str, Any]:
        """Which files are which split, for the top of ``README.md``."""
        return data_files(dataset, "{split}/**")

    def _base(self, split: str) -> str:
        return split

    def _folder(self, name: str, split: str) -> str:
        return {"image": "images", "mask": "masks", "instances": "instances"}[name]
