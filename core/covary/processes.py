"""A Python process of its own for code that may crash, hang or fill the memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

__all__ = ["Ended", "call", "how_it_ended", "run_python", "signal_name"]

_TAIL_LINES, _TAIL_CHARACTERS = 5, 600
_OUTPUT_BYTES = 2**16

_CALL = """
import importlib, json, pathlib, sys
sys.path[:], module, function, argument, answer = json.loads(sys.argv[1])
result = getattr(importlib.import_module(module), function)(argument)
pathlib.Path(answer).write_text(json.dumps(result), encoding="utf-8")
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended."""

    status: Literal["ok", "timeout", "out of memory", "crashed"]
    """``out of memory`` is a SIGKILL that nobody here sent."""
    reason: str = ""
    """Why not ok, with the last lines that it printed; empty where it is ok."""
    signal: str = ""
    """Name of the signal that ended it, e.g. ``SIGSEGV``."""
    output: str = ""
    """The end of what it printed, stdout and stderr together."""


def run_python(
    arguments: Sequence[str], timeout: float, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run this Python with ``arguments`` and say how it ended.

    The process and all that it started are gone when this returns or is interrupted; what they
    print goes nowhere but into the result.

    Args:
        arguments: e.g. ``["-m", "package.module", "argument"]``.
        timeout: seconds.
        environment: variables to set beside the present ones.
    """
    with tempfile.TemporaryFile() as log:
        # A group of its own, so that what it starts can be ended with it.
        process = subprocess.Popen(  # noqa: S603  (this Python, no shell)
            [sys.executable, *arguments],
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
        output = _end_of(log)
    return _ended(status, timeout, output)


def call(target: str, argument: Any, timeout: float) -> tuple[Ended, Any]:
    """Call a function in a process of its own, with this one's ``sys.path`` and environment.

    Args:
        target: ``module:function``.
        argument: its one argument, plain data that JSON can say.
        timeout: seconds.

    Returns:
        How the process ended, and what the function returned, plain data too; None where it
        returned nothing or did not come to its end.
    """
    module, function = target.split(":")
    with tempfile.TemporaryDirectory(prefix="covary-") as folder:
        answer = Path(folder, "answer.json")
        asked = json.dumps([sys.path, module, function, argument, str(answer)])
        ended = run_python(["-c", _CALL, asked], timeout)
        try:
            return ended, json.loads(answer.read_bytes())
        except (OSError, ValueError):
            return ended, None


def how_it_ended(status: int, log: IO[bytes]) -> Ended:
    """How a process ended whose status and output are at hand.

    Args:
        status: as ``subprocess`` gives it, negative for a signal.
        log: the file that it printed to.
    """
    return _ended(status, 0.0, _end_of(log))


def signal_name(number: int) -> str:
    """``SIGSEGV`` for 11, and ``signal 99`` for one that has no name here."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end_of(log: IO[bytes]) -> str:
    log.seek(max(0, log.seek(0, os.SEEK_END) - _OUTPUT_BYTES))
    return log.read().decode("utf-8", errors="replace")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):  # nothing of it is left
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _ended(status: int | None, timeout: float, output: str) -> Ended:
    tail = _tail(output)
    said = f"; it last said: {tail}" if tail else ""
    if status == 0:
        return Ended("ok", output=output)
    if status is None:
        return Ended("timeout", f"not done after {timeout:g} s{said}", output=output)
    if status > 0:
        return Ended("crashed", f"exited with status {status}{said}", output=output)
    name = signal_name(-status)
    if name == "SIGKILL":
        reason = f"killed by the system (SIGKILL), as it does when memory runs out{said}"
        return Ended("out of memory", reason, name, output)
    return Ended("crashed", f"died of {name}{said}", name, output)


def _tail(output: str) -> str:
    """The last lines, on one line."""
    kept = [line.strip() for line in output.splitlines() if line.strip()][-_TAIL_LINES:]
    return " | ".join(kept)[-_TAIL_CHARACTERS:]
