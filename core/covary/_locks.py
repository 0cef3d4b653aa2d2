"""One run at a time in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import InputError
from .files import unwritable

__all__ = ["PATIENCE", "alone"]

PATIENCE = 5.0
"""Seconds that another run has to end."""


@contextmanager
def alone(
    path: Path, what: str, got: str, fix: str, patience: float | None = None
) -> Iterator[None]:
    """Keep other runs out, until the block ends.

    Args:
        path: of the lock, in a folder that exists.
        what: the folder, in words.
        got: what else is at work in it.
        fix: what to do then.
        patience: seconds that it has to end; None takes ``PATIENCE``.

    Raises:
        InputError: it does not end.
        OutputError: the lock cannot be written.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=PATIENCE if patience is None else patience)
    except Timeout:
        raise InputError(what, expected="one run at a time", got=got, fix=fix) from None
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield
    finally:
        lock.release()
