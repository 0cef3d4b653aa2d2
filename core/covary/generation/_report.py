"""What a run has come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["GenerationReport"]


@dataclass(frozen=True, slots=True)
class GenerationReport:
    """What ``covary.generate`` has made."""

    folder: Path
    """Where the data set is."""
    pairs: Mapping[str, int]
    """Pairs in each split."""
    left_out: Mapping[str, int]
    """How many seeds the filters left out, by the kind of reason."""
    failed: Mapping[int, str] = field(default_factory=dict)
    """Seeds that could not be segmented, and why; the first thousand."""
    failures: int = 0
    """How many seeds could not be segmented."""
    given_up: Mapping[str, str] = field(default_factory=dict)
    """Shards that are missing because they cost several workers, and how those died."""
    made: int = 0
    """Shards made by this run; the others were there."""
    shards: int = 0
    """Shards of the data set."""
    seconds: float = 0.0
    """How long all runs in this folder took together."""

    @property
    def finished(self) -> bool:
        """Whether the data set is complete, with its manifest."""
        return not self.given_up

    @property
    def total(self) -> int:
        """Pairs in all splits."""
        return sum(self.pairs.values())
