"""What `lloyd` asks of the arithmetic beneath it; one engine for each way to do it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch

from covary import StyleSummary

__all__ = ["Engine", "Result"]


class Result(NamedTuple):
    """Where Lloyd's algorithm ended; every label is that of the nearest of ``centers``."""

    labels: torch.Tensor
    """int32 (N,)."""
    centers: torch.Tensor
    """float64 (K, D), relative to the engine's offset."""
    inertia: float
    """Sum of squared distances of all pixels to the centre of their label."""
    iterations: int
    """Passes over the pixels."""
    converged: bool
    """False where the iteration limit stopped it."""


class Engine(ABC):
    """k-means over the pixels of one summary, relative to an offset.

    Distances do not change when the same vector is subtracted from all pixels, but rounding does:
    products of values far from zero lose the digits that tell two pixels apart.

    Args:
        summary: what to cluster; its device is where the arithmetic runs.
        offset: float32 (D,), subtracted from every pixel; the mean is a good one.
    """

    def __init__(self, summary: StyleSummary, offset: torch.Tensor) -> None:
        self.summary = summary
        self.offset = offset.to(device=summary.device, dtype=torch.float32)

    def at(self, index: torch.Tensor) -> torch.Tensor:
        """The pixels of that index, int64 (M,), less the offset, float32 (M, D)."""
        return self.summary.gather(index) - self.offset

    @abstractmethod
    def seeds(self, k: int, restarts: int, generator: torch.Generator) -> torch.Tensor:
        """Initial centres of several restarts by greedy k-means++, the reads shared.

        Args:
            k: centres a restart, at most as many as there are distinct pixels.
            restarts: R.
            generator: on the CPU.

        Returns:
            float64 (R, K, D), relative to the offset.
        """

    @abstractmethod
    def lloyd(self, starts: torch.Tensor, *, tol: float, max_iter: int) -> Result:
        """The best of several runs of Lloyd's algorithm, which share each read of the pixels.

        A run stops when a pass relabels no pixel, or one pass after its centres moved by no more
        than ``tol``. An empty cluster takes over the pixel farthest from its centre.

        Args:
            starts: (R, K, D), the centres that each run starts from, relative to the offset.
            tol: squared shift, summed over clusters.
            max_iter: updates of the centres at most.
        """

    @abstractmethod
    def nearest(self, centers: torch.Tensor) -> torch.Tensor:
        """Labels int32 (N,) of the nearest of ``centers`` (K, D), relative to the offset."""

    @abstractmethod
    def inertia(self, labels: torch.Tensor, centers: torch.Tensor) -> float:
        """Sum of squared distances of all pixels to the centre of their label.

        Args:
            labels: int32 (N,).
            centers: (K, D), relative to the offset.
        """
