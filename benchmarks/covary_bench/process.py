"""A process of its own for each measurement, watched from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import psutil

__all__ = ["Ended", "run_module"]

_TAIL_LINES, _TAIL_CHARACTERS = 5, 600


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
    with tempfile.TemporaryFile() as log:
        # A group of its own, so that what a backend starts can be ended with it.
        process = subprocess.Popen(
            [sys.executable, "-m", module, argument],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        try:
            status: int | None = process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end_group(process)
        log.seek(0)
        said = _tail(log.read())
    return _ended(status, timeout, said, others.cores())


def _end_group(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):  # nothing of it is left
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _ended(status: int | None, timeout: float, said: str, busy: float) -> Ended:
    said = f"; it last said: {said}" if said else ""
    if status == 0:
        return Ended("ok", busy=busy)
    if status is None:
        return Ended("timeout", f"not done after {timeout:g} s{said}", "raise --timeout", busy)
    if status > 0:
        return Ended("crashed", f"exited with status {status}{said}", busy=busy)
    name = _signal_name(-status)
    if name == "SIGKILL":
        reason = f"killed by the system (SIGKILL), as it does when memory runs out{said}"
        return Ended("out of memory", reason, "a smaller size, fewer variants", busy)
    return Ended("crashed", f"died of {name}{said}", busy=busy)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _tail(output: bytes) -> str:
    """The last lines, on one line."""
    lines = output.decode("utf-8", errors="replace").splitlines()
    kept = [line.strip() for line in lines if line.strip()][-_TAIL_LINES:]
    return " | ".join(kept)[-_TAIL_CHARACTERS:]


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
