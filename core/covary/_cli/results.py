"""Folders of saved results, as the user names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError

__all__ = ["results_in"]


def results_in(folder: Path) -> Sequence[Path]:
    """The folder itself if it holds a result, else the folders in it that do."""
    from ..provenance import read_provenance

    if not (folder / "provenance.json").exists() and folder.is_dir():
        found = [path.parent for path in folder.glob("*/provenance.json")]
        if not found:
            raise InputError(
                f"folder {folder}",
                expected="a result with its provenance.json, or folders of results",
                got="none",
                fix="give a folder that `covary segment` wrote",
            )
        return sorted(found, key=lambda path: (len(path.name), path.name))
    read_provenance(folder)
    return [folder]
