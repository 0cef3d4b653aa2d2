"""What `datasets` and the hub of Hugging Face read at the top of ``README.md``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from covary import DataSet

__all__ = ["data_files"]

_SPLITS = {"train": "train", "val": "validation"}


def data_files(dataset: DataSet, pattern: str) -> Mapping[str, Any]:
    """Which files are which split; without it they are guessed.

    Args:
        dataset: with its number of pairs; a split that has none is left out, as `datasets` refuses
            to load one.
        pattern: of the files of ``{split}``.
    """
    files = [
        {"split": _SPLITS.get(split, split), "path": pattern.format(split=split)}
        for split, pairs in sorted(dataset.pairs.items())
        if pairs
    ]
    return {"configs": [{"config_name": "default", "data_files": files}]} if files else {}
