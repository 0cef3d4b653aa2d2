"""Whether files are still those that were read: by place, size and time of change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .._registry import checkpoint_path
from ..errors import CovaryError

__all__ = ["named_in", "stamp"]


def stamp(paths: Iterable[Path]) -> str:
    """A text that changes when one of these files does, or comes, or goes.

    Args:
        paths: files, which may be missing, or folders, of which the files in them count.
    """
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            digest.update(f"{file.absolute()}\0{_state(file)}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def named_in(value: Any) -> Iterator[Path]:
    """The files and folders that parameters name, by their paths or by names of the catalogue."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from named_in(item)
    elif isinstance(value, str) and value:
        try:
            path = Path(value).expanduser()
            yield path if path.exists() else checkpoint_path(value)
        except (CovaryError, OSError, RuntimeError, ValueError):  # text, not a path
            pass


def _state(file: Path) -> str:
    try:
        found = file.stat()
    except OSError:
        return "absent"
    return f"{found.st_size} {found.st_mtime_ns}"
