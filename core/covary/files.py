"""Files: written whole or not at all, their folders, hashes, and what failed downloads leave."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import OutputError

__all__ = [
    "drop_leftovers",
    "file_sha256",
    "foreign_content",
    "output_folder",
    "replacing",
    "unwritable",
]

_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{12}\.part")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name if the block succeeds.

    Raises:
        OutputError: the folder is missing, read-only or full; nothing is left behind.
    """
    temporary: Path | None = None
    try:
        name = path.parent / f".{path.name}.{secrets.token_hex(6)}.part"
        # Not tempfile, whose files are for their owner alone: to give them the usual mode one has
        # to ask for the umask, which is to set it, for all threads, for a moment.
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        temporary = name
        yield temporary
        temporary.replace(path)
    except OutputError:
        raise  # from a block that writes another file too, and names that one
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def drop_leftovers(folder: Path) -> None:
    """Remove what :func:`replacing` left in a folder where its process was killed.

    For folders in which nobody else is writing.
    """
    with suppress(OSError):
        for path in [path for path in folder.iterdir() if _LEFTOVER.fullmatch(path.name)]:
            path.unlink(missing_ok=True)


def output_folder(path: str | os.PathLike[str]) -> Path:
    """The folder ``path``, made if need be.

    Raises:
        OutputError: it cannot be made, or is a file.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder {folder}",
            expected="a writable place",
            got=error.strerror or str(error),
            fix="choose another output folder",
        ) from error
    return folder


def unwritable(path: Path, error: OSError) -> OutputError:
    """The error to raise where ``path`` cannot be written, with the system's reason."""
    return OutputError(
        f"cannot write {path}",
        expected="a writable folder with free space",
        got=error.strerror or str(error),
        fix="choose another output folder or free some space",
    )


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The sha256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def foreign_content(head: bytes) -> tuple[str, str] | None:
    """What a file that starts with ``head`` is, and what to do, if it is no data at all.

    Recognises what failed downloads leave: nothing, a web page, a Git-LFS pointer.
    """
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not text:
        return "an empty file", "download it again"
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "a web page (HTML)", "the link leads to a page: open it in a browser to get the file"
    if text.startswith(b"version https://git-lfs"):
        return "a Git-LFS pointer", "fetch the file itself with 'git lfs pull'"
    return None
