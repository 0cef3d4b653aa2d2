"""How fast work goes on, and how long the rest will take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

__all__ = ["Rate"]

_WINDOW = 120.0
"""Seconds over which the rate is measured."""
_SPANS = 3
"""Or so many times what steps take that are told of all at once."""


class Rate:
    """Steps per second of late, two minutes or more, from what it is told of the steps done."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._window = clock, _WINDOW
        self._marks: deque[tuple[float, int]] = deque()

    def began(self, done: int) -> None:
        """Work begins now, with so many steps from before: only what comes is speed."""
        self._marks = deque([(self._clock(), done)])

    def mark(self, done: int, span: float = 0.0) -> None:
        """So many steps are done now.

        Args:
            done: the steps.
            span: seconds that the latest of them took, where nothing was told in between. Workers
                that began together also end together: between, and at, such moments the last two
                minutes alone would tell of nothing, or of far too much.
        """
        self._window = max(self._window, _SPANS * span)
        now = self._clock()
        # A mark a second is enough; the first that stays is the last from before the window.
        if not self._marks or now - self._marks[-1][0] >= 1.0:
            self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[1][0] > self._window:
            self._marks.popleft()

    def per_second(self, done: int) -> float | None:
        """The rate where so many are done; None before there is one to tell from."""
        if not self._marks:
            return None
        since, before = self._marks[0]
        seconds, made = self._clock() - since, done - before
        return made / seconds if seconds > 0 and made > 0 else None
