"""A process of its own for each measurement, and how busy the machine was meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import psutil

from covary.processes import run_python

__all__ = ["Ended", "run_module"]

_FIXES = {"timeout": "raise --timeout", "out of memory": "a smaller size, fewer variants"}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended."""

    status: Literal["ok", "timeout", "out of memory", "crashed"]
    reason: str = ""
    """Why not ok, with the last lines that it printed."""
    fix: str = ""
    """What would help."""
    busy: float = 0.0
    """Cores that other processes kept busy meanwhile, on average."""


def run_module(
    module: str, argument: str, timeout: float, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run ``python -m module argument`` and say how it ended.

    The process and all that it started are gone when this returns or is interrupted; what they
    print goes nowhere but into the reason.

    Args:
        module: to be run as a script.
        argument: its one argument.
        timeout: seconds.
        environment: variables to set beside the present ones.
    """
    others = _Bystanders()
    ended = run_python(["-m", module, argument], timeout, environment)
    return Ended(ended.status, ended.reason, _FIXES.get(ended.status, ""), others.cores())


class _Bystanders:
    """How busy the machine is with anything but this process and its children."""

    def __init__(self) -> None:
        self._start, self._busy, self._own = time.perf_counter(), _busy_seconds(), _own_seconds()

    def cores(self) -> float:
        """Cores kept busy by others since the beginning, on average."""
        seconds = max(time.perf_counter() - self._start, 1e-3)
        others = (_busy_seconds() - self._busy) - (_own_seconds() - self._own)
        return round(max(0.0, others / seconds), 2)


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    # A guest's time is part of the user's.
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "guest", 0.0)
    return float(sum(times) - idle)


def _own_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])
