"""What to read in an input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...samples import Task

__all__ = ["InputOptions"]


@dataclass(frozen=True, slots=True)
class InputOptions:
    """What the user said of both inputs."""

    task: Task | None = None
    """Which maps of results, pipelines and rendered scenes to take: the mask, the parts, or the
    labels of objects. None: the mask; of rendered scenes the parts or objects."""
    classes: tuple[str, ...] = ()
    """Names by value, from 1, where an input's own files do not say them."""
    device: str = "auto"
    """Where pipelines and segmenters run."""
    segmenter: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the segmenter."""
