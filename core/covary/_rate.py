"""How fast work goes on, and how long the rest will take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

__all__ = ["Rate"]

_WINDOW = 120.0
"""Seconds over which the rate is measured."""


class Rate:
    """Steps per second over the last two minutes, from what it is told of the steps done."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: deque[tuple[float, int]] = deque()

    def began(self, done: int) -> None:
        """Work begins now, with so many steps from before: only what comes is speed."""
        self._marks = deque([(self._clock(), done)])

    def mark(self, done: int) -> None:
        """So many steps are done now."""
        now = self._clock()
        # A mark a second is enough, and two must stay to tell a rate from.
        if not self._marks or now - self._marks[-1][0] >= 1.0:
            self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[0][0] > _WINDOW:
            self._marks.popleft()

    def per_second(self, done: int) -> float | None:
        """The rate where so many are done; None before there is one to tell from."""
        if not self._marks:
            return None
        since, before = self._marks[0]
        seconds, made = self._clock() - since, done - before
        return made / seconds if seconds > 0 and made > 0 else None
