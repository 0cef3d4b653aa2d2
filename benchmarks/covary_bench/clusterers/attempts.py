"""One job in one fresh process, whatever becomes of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pydantic import ValidationError

from ..process import run_module
from .protocol import Attempt, Request

__all__ = ["attempt"]

_WORKER = f"{__package__}.worker"


def attempt(request: Request, timeout: float) -> Attempt:
    """What came of the request: the worker's answer, or how its process ended without one.

    Args:
        request: what to do.
        timeout: seconds after which the process and all that it started are ended.
    """
    for left in (request.answer, request.labels):
        left.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="covary-bench-") as folder:
        asked = Path(folder, "request.json")
        asked.write_text(request.model_dump_json(), encoding="utf-8")
        ended = run_module(_WORKER, str(asked), timeout, _caches(request.cache))
    found = _answer(request.answer) if ended.status == "ok" else None
    if found is not None:
        return found.model_copy(update={"busy": ended.busy})
    if ended.status == "ok":  # e.g. os._exit(0) in a fit
        return Attempt(status="crashed", reason="ended without a result", busy=ended.busy)
    return Attempt(status=ended.status, reason=ended.reason, fix=ended.fix, busy=ended.busy)


def _answer(path: Path) -> Attempt | None:
    try:
        return Attempt.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _caches(folder: Path) -> dict[str, str]:
    """Where compilers keep what they made, so that a first fit is one on a fresh machine."""
    names = {"NUMBA_CACHE_DIR": "numba", "TRITON_CACHE_DIR": "triton", "CUPY_CACHE_DIR": "cupy"}
    return {variable: str(folder / name) for variable, name in names.items()}
