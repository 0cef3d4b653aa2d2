"""What the harness asks of a process, and what the process answers: JSON in two files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from .schema import Memory, Quality, Status, Track

__all__ = ["Attempt", "Request"]


class Request(BaseModel):
    """One backend on one setting, to be fitted in a fresh process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(description="canonical id of the clusterer")
    params: dict[str, Any] = Field(description="what to make it with")
    rule: dict[str, Any] = Field(description="what else, as far as it has such parameters")
    track: Track
    planes: Path = Field(description="the summary (D, N), .npy")
    size: tuple[int, int] = Field(description="(H, W)")
    variants: int = Field(description="n")
    start: Path | None = Field(description="initial centres (K, D), .npy; None: its own")
    seed: int = Field(description="of the run")
    device: str = Field(description="torch device that holds the summary")
    repeats: int = Field(ge=1, description="warm fits at most")
    enough: float = Field(description="seconds of warm fits after which no other is begun")
    memory: int | None = Field(description="bytes that it may take on the host; None: what is free")
    cache: Path = Field(description="folder for what it keeps between processes")
    labels: Path = Field(description="where its labels go, .npy")
    answer: Path = Field(description="where the Attempt goes, JSON")


class Attempt(BaseModel):
    """What came of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Status
    reason: str = ""
    fix: str = ""
    params: dict[str, Any] = Field(default_factory=dict, description="what it was made with")
    note: str = Field(default="", description="how it departs from what was asked")
    load: float = 0.0
    cold: float = 0.0
    warm: tuple[float, ...] = ()
    memory: Memory | None = None
    iterations: int = 0
    converged: bool = False
    busy: float | None = Field(default=None, description="cores that others kept busy meanwhile")
    quality: Quality | None = Field(default=None, description="the harness's judgement")
