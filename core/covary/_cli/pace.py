"""How far long work is, how fast it goes, and how long the rest will take, for people."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .output import Report, remark

__all__ = ["Show", "duration", "pace", "shown"]

_EVERY = 30.0
"""Seconds between two lines about the progress where there is no terminal to draw a bar on."""

Show = Callable[[int, int, str], None]
"""Takes how many are done, of how many, and their pace in words."""


@contextmanager
def shown(doing: str, unit: str) -> Iterator[tuple[Show, Report]]:
    """A bar on stderr; where that is no terminal, a line now and then.

    Gives what shows the progress, and what shows how far the one at work is, on a bar below.

    Args:
        doing: what is done, e.g. ``generating``.
        unit: what is counted, e.g. ``seeds``.
    """
    if not sys.stderr.isatty():
        yield _said_now_and_then(unit), lambda done, total, what: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.fields[doing]}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, doing=doing)
        inside = bar.add_task("", total=None, doing="", visible=False)

        def show(done: int, total: int, words: str) -> None:
            bar.update(task, total=total, completed=done, description=words)

        def report(done: int, total: int, what: str) -> None:
            bar.update(inside, total=total, completed=done, description=what, visible=True)

        yield show, report


def _said_now_and_then(unit: str) -> Show:
    said = time.monotonic()

    def show(done: int, total: int, words: str) -> None:
        nonlocal said
        if time.monotonic() - said >= _EVERY:
            said = time.monotonic()
            remark(f"{done:,} of {total:,} {unit}, {words}".rstrip(", "))

    return show


def pace(rate: float | None, seconds_left: float | None, cost: float | None = None) -> str:
    """Rate, time left and cost, as far as they are known."""
    words = []
    if rate is not None:
        words.append(f"{rate:.3g}/s")
    if seconds_left is not None:
        words.append(f"{duration(seconds_left)} left")
    if cost is not None:
        words.append(f"cost {cost:.2f}")
    return ", ".join(words)


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{rest} s"
