"""How far a data set is, told from its folder alone."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError
from ._folder import Folder
from ._progress import BEAT, GenerationProgress, read_heartbeat

__all__ = ["Status", "read_status"]

_SILENCE = 10 * BEAT
"""Seconds without a sign of life after which a run counts as dead."""


@dataclass(frozen=True, slots=True)
class Status:
    """How far a data set is."""

    folder: Path
    name: str
    seeds: str
    """What was asked for, as ranges."""
    state: Literal["finished", "running", "stopped"]
    """``stopped`` by Ctrl-C, an error or a kill: the same command goes on."""
    progress: GenerationProgress | None
    """As its driver last knew it; None if that never came so far."""


def read_status(folder: str | os.PathLike[str]) -> Status:
    """How far the data set in a folder is; writes nothing.

    Raises:
        InputError: no data set there that ``covary generate`` began.
    """
    place = Folder(Path(folder))
    try:
        job = _job(place)
        name, seeds = str(job["name"]), str(job["seeds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"folder {folder}",
            expected="a data set that `covary generate` began",
            got=f"no .covary/job.json ({error})",
            fix="give the folder that was its -o",
        ) from error
    last = read_heartbeat(place.progress)
    # In either direction: clocks of two machines differ, and one may have been put right since.
    silence = abs(time.time() - last.get("time", 0.0))
    alive = last.get("state") == "running" and silence < _SILENCE
    state: Literal["finished", "running", "stopped"] = "running" if alive else "stopped"
    if not alive and place.manifest.exists():
        state = "finished"
    return Status(Path(folder), name, seeds, state, _progress(last, alive))


def _job(place: Folder) -> dict[str, Any]:
    """The job; that of the manifest where a finished data set has lost its ``.covary``."""
    try:
        text = place.job.read_bytes()
    except OSError:
        if not place.manifest.exists():
            raise
        with open(place.manifest, "rb") as lines:
            text = lines.readline()
        return dict(json.loads(text)["job"])
    return dict(json.loads(text))


def _progress(last: dict[str, Any], alive: bool) -> GenerationProgress | None:
    names = [field.name for field in fields(GenerationProgress)]
    if not all(name in last for name in names):
        return None
    data = {name: last[name] for name in names}
    if not alive:
        data |= {"rate": None, "seconds_left": None}
    return GenerationProgress(**data)
