"""A process of its own for each job, watched from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
from pydantic import ValidationError

from .protocol import Attempt, Request

__all__ = ["attempt"]

_TAIL_LINES, _TAIL_CHARACTERS = 5, 600


def attempt(request: Request, timeout: float) -> Attempt:
    """What came of the job, whatever became of its process.

    The process and all that it started are gone when this returns or is interrupted.
    """
    with tempfile.TemporaryDirectory(prefix="covary-bench-") as folder:
        asked, log = Path(folder, "request.json"), Path(folder, "output.txt")
        asked.write_text(request.model_dump_json(), encoding="utf-8")
        request.answer.unlink(missing_ok=True)
        request.labels.unlink(missing_ok=True)
        watch = _Bystanders()
        with log.open("wb") as output:
            command = [sys.executable, "-m", _WORKER, str(asked)]
            status = _run(command, output.fileno(), timeout, _caches(request.cache))
        busy = watch.cores()
        found = _answer(request.answer) if status == 0 else None
        if found is None:
            found = _without_answer(status, timeout, _tail(log))
        return found.model_copy(update={"busy": busy})


_WORKER = "covary_bench.clusterers.worker"


def _caches(folder: Path) -> dict[str, str]:
    """Where compilers keep what they made, so that a first fit is one on a fresh machine."""
    names = {"NUMBA_CACHE_DIR": "numba", "TRITON_CACHE_DIR": "triton", "CUPY_CACHE_DIR": "cupy"}
    return {variable: str(folder / name) for variable, name in names.items()}


def _run(
    command: list[str], output: int, timeout: float, environment: Mapping[str, str]
) -> int | None:
    """The exit status of the command; None where it did not end in time."""
    # A group of its own, so that what a backend starts can be ended with it.
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, **environment},
    )
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):  # nothing of it is left
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _answer(path: Path) -> Attempt | None:
    try:
        return Attempt.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _without_answer(status: int | None, timeout: float, tail: str) -> Attempt:
    """The attempt of a process that left no answer."""
    said = f"; it last said: {tail}" if tail else ""
    if status is None:
        reason = f"not done after {timeout:g} s{said}"
        return Attempt(status="timeout", reason=reason, fix="raise --timeout")
    if status >= 0:
        return Attempt(status="crashed", reason=f"exited with status {status}{said}")
    name = _signal_name(-status)
    if name == "SIGKILL":
        reason = f"killed by the system (SIGKILL), as it does when memory runs out{said}"
        return Attempt(status="out of memory", reason=reason, fix="a smaller size, fewer variants")
    return Attempt(status="crashed", reason=f"died of {name}{said}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _tail(log: Path) -> str:
    """The last lines of what the process printed, on one line."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    kept = [line.strip() for line in lines if line.strip()][-_TAIL_LINES:]
    return " | ".join(kept)[-_TAIL_CHARACTERS:]


class _Bystanders:
    """How busy the machine is with anything but this process's children."""

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
