"""What a results file holds: validated when it is written and again when it is read."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "FORMAT",
    "VERSION",
    "Memory",
    "Quality",
    "Results",
    "Row",
    "Setting",
    "Start",
    "Status",
    "Times",
    "Track",
]

FORMAT: Final = "covary-bench-clusterers"
VERSION = 1
"""Raised when a file of the old version can no longer be read as one of the new."""

Status = Literal["ok", "missing", "refused", "timeout", "out of memory", "crashed", "failed"]
"""How a job ended.

``missing``: a package or a device is not there. ``refused``: the backend said that it will not do
this (a covary error). ``crashed``: the process died; the reason names the signal. ``failed``: any
other exception.
"""

Track = Literal["same start", "defaults"]
"""``same start``: same initial centres and the same stop rule for all backends that take them.
``defaults``: each backend as its authors left it, its own initialisation included."""


Start = Literal["k-means++", "random"]
"""``k-means++``: greedy, as in scikit-learn; near the optimum, a few passes from it. ``random``:
pixels drawn at random, as in faiss; many passes from it."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Setting(_Part):
    """The data that were clustered, and into how many clusters."""

    world: str = Field(description="rendered world: avatars or rooms")
    size: int = Field(ge=1, description="side of the square image, pixels; N = size^2")
    variants: int = Field(ge=1, description="n; D = 3 n")
    k: int = Field(ge=1, description="number of clusters")
    space: str = Field(default="lab", description="feature space")
    seed: int = Field(default=0, description="of the scene and of the initial centres")
    start: Start = Field(default="k-means++", description="how the initial centres were drawn")


class Times(_Part):
    """Seconds by the wall clock, the device synchronised inside the region."""

    load: float = Field(description="importing the backend's packages and making the component")
    cold: float = Field(
        description="the first fit of the first process; in a backend's first row of a run it "
        "compiles what is compiled"
    )
    warm: tuple[float, ...] = Field(description="every later fit, conversions included")
    cached: float | None = Field(
        default=None,
        description="the first fit of the second process, which finds compiled code on disk; None "
        "where there was one process",
    )


class Memory(_Part):
    """Peak bytes of a fit above what the process held just before it."""

    host: int | None = Field(
        description="bytes of main memory in the first fit, which also loads and compiles code; "
        "None where not measurable"
    )
    host_warm: int | None = Field(
        default=None, description="the same of the second fit: what the algorithm itself needs"
    )
    host_method: str = Field(description="how: VmHWM reset, or the fallback that was used")
    device: int | None = Field(default=None, description="bytes of GPU memory; None on a CPU")
    device_method: str = Field(default="", description="how: NVML per process, or the fallback")


class Quality(_Part):
    """Recomputed by the harness in float64 from the labels alone."""

    inertia: float = Field(description="sum of squared distances to the means of the labels")
    inertia_ratio: float | None = Field(
        default=None, description="to the lowest inertia of the same setting and track"
    )
    ari_reference: float | None = Field(
        default=None, description="adjusted Rand index to a converged float64 Lloyd's labels"
    )
    reference_ratio: float | None = Field(
        default=None, description="inertia over that of the converged float64 Lloyd"
    )
    ari_truth: float = Field(description="adjusted Rand index to the scene's true regions")
    iou: float = Field(description="IoU of the mask with the true foreground; 0 if none found")
    iterations: int = Field(description="as the backend reports it")
    converged: bool = Field(description="as the backend reports it")


class Row(_Part):
    """One backend on one setting in one track, on one device; whatever came of it."""

    id: str = Field(description="canonical id, e.g. covary/lloyd")
    variation: str = Field(default="", description="parameters that tell rows of one id apart")
    params: dict[str, Any] = Field(default_factory=dict, description="what it was made with")
    versions: dict[str, str] = Field(default_factory=dict, description="its packages")
    track: Track
    setting: Setting
    device: str = Field(default="cpu", description="cpu, or the GPU's name")
    status: Status
    reason: str = Field(default="", description="why not ok; empty for ok")
    fix: str = Field(default="", description="what would help, e.g. the install line")
    note: str = Field(default="", description="what to know of it, e.g. a stop rule of its own")
    busy: float | None = Field(
        default=None, description="cores that other processes kept busy meanwhile, on average"
    )
    times: Times | None = None
    memory: Memory | None = None
    quality: Quality | None = None


class Results(_Part):
    """A results file."""

    format: Literal["covary-bench-clusterers"] = "covary-bench-clusterers"
    version: int = VERSION
    created: str = Field(description="ISO date and time, UTC")
    command: str = Field(description="makes it again")
    method: str = Field(description="what the figures mean")
    remark: str = Field(default="", description="e.g. that the machine was shared")
    machine: dict[str, Any] = Field(description="processor, cores, versions, GPU")
    rows: tuple[Row, ...]
