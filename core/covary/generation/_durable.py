"""Files that survive the machine: what has a name here is whole, and on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..files import replacing, unwritable

__all__ = [
    "make_folder",
    "move_all",
    "remove_all",
    "replacing_for_good",
    "sync_file",
    "sync_folder",
    "write_text",
]


@contextmanager
def replacing_for_good(path: Path) -> Iterator[Path]:
    """A temporary path that takes the name of ``path`` after the block, even in a power failure.

    Raises:
        OutputError: it cannot be written.
    """
    with replacing(path) as temporary:
        yield temporary
        sync_file(temporary)
    try:
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Write a small file that is whole whenever it is there, even after a power failure.

    Raises:
        OutputError: it cannot be written.
    """
    with replacing_for_good(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def make_folder(folder: Path) -> None:
    """Make a folder, and those that it is in, for good.

    Raises:
        OSError: as the system has it.
    """
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        sync_folder(one.parent)


def move_all(names: Iterable[str], source: Path, target: Path) -> None:
    """Move files to the same paths below another folder of the same file system, for good.

    Raises:
        OSError: as the system has it.
    """
    folders = set()
    for name in names:
        place = target / name
        if place.parent not in folders:
            # Files in a folder are lost with its name, which is on the disk only with its parent.
            make_folder(place.parent)
            folders.add(place.parent)
        os.replace(source / name, place)
    for folder in sorted(folders):
        sync_folder(folder)


def remove_all(paths: Iterable[Path]) -> None:
    """Remove files, those of them that are there, for good.

    Raises:
        OutputError: one cannot be removed.
    """
    folders = set()
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(path, error) from error
        folders.add(path.parent)
    for folder in sorted(folders):
        with suppress(FileNotFoundError):  # somebody has removed the whole folder
            sync_folder(folder)


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until a folder's names are on the disk, where the system can be asked for it."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
