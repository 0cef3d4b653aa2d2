"""Rows of a script that checks and measures: what, result, and whether it is as it should be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Budget", "Row", "row", "rows"]

Row = dict[str, Any]


def row(what: str, result: str, good: bool | None = None, **figures: Any) -> Row:
    """One row; ``good`` is None where nothing is asked."""
    return {"what": what, "result": result, "good": good, **figures}


def rows(part: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """The rows of ``part``; an exception is one of them, and the script goes on."""
    try:
        yield from part()
    except Exception as error:  # whatever breaks, the other rows are worth having
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        yield row("broke off", f"{type(error).__name__}: {reason[0]}", False)


class Budget:
    """Seconds that a script may take; what comes later is left out.

    Args:
        seconds: from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left, negative once they are spent."""
        return self._end - time.monotonic()

    def rows(self, what: str, part: Callable[[], Iterator[Row]]) -> Iterator[Row]:
        """The rows of ``part`` as by :func:`rows`, or one that says that it was left out."""
        if self.left > 0:
            yield from rows(part)
        else:
            yield row(what, "left out: the time is up")
