"""Lloyd's algorithm for several runs at once; how the pixels are read is left to the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from ._engine import Engine, Result

__all__ = ["Runs", "iterate"]


class Runs(ABC):
    """R runs over the same pixels: their labels, and the float64 sums that belong to them.

    Args:
        starts: (R, K, D), relative to the engine's offset.
        engine: whose pixels they are.
    """

    def __init__(self, starts: torch.Tensor, engine: Engine) -> None:
        count, k, _ = starts.shape
        device, pixels = starts.device, engine.summary.pixels
        self.k, self.engine = k, engine
        self.centers = starts.to(torch.float64, copy=True)
        self.labels = torch.full((count, pixels), -1, dtype=torch.int32, device=device)
        self.sums = torch.zeros_like(self.centers)
        self.counts = torch.zeros((count, k), dtype=torch.float64, device=device)

    @abstractmethod
    def assign(self, active: list[int]) -> list[int]:
        """Give every pixel to its nearest centre; how many changed hands in each active run.

        Updates ``labels``, ``sums`` and ``counts`` of these runs.
        """

    @abstractmethod
    def farthest(self, run: int, means: torch.Tensor) -> int | None:
        """The pixel farthest from the mean of its cluster, if any is away from it."""

    @abstractmethod
    def inertia(self, run: int) -> float:
        """Sum of squared distances of all pixels to the centre of their label."""

    def update(self, active: list[int]) -> list[float]:
        """Move the centres to the means; their squared shift, summed over clusters."""
        centers, counts = self.centers[active], self.counts[active][..., None]
        means = torch.where(counts > 0, self.sums[active] / counts.clamp(min=1), centers)
        self.centers[active] = means
        shifts: list[float] = (means - centers).square_().sum(dim=(1, 2)).tolist()
        return shifts

    def refill(self, run: int) -> bool:
        """Give every empty cluster the pixel farthest from its centre; whether any was."""
        refilled = False
        for cluster in (self.counts[run] == 0).nonzero().squeeze(1).tolist():
            means = self.sums[run] / self.counts[run].clamp(min=1)[:, None]
            index = self.farthest(run, means)
            if index is None:
                break
            row = self.engine.at(torch.tensor([index]))[0]
            owner = int(self.labels[run, index])
            self.sums[run, owner] -= row
            self.counts[run, owner] -= 1
            self.sums[run, cluster] = row.to(torch.float64)
            self.counts[run, cluster] = 1
            self.labels[run, index] = cluster
            refilled = True
        return refilled


def iterate(runs: Runs, *, tol: float, max_iter: int) -> Result:
    """Alternate assignment and update until no run goes on; the best of them.

    A run stops when a pass relabels no pixel, or one pass after its centres moved by no more than
    ``tol`` (squared, summed over clusters). Only relabelled pixels touch the sums, and an empty
    cluster takes over the pixel farthest from its centre.

    Args:
        runs: where to start from.
        tol: squared distance.
        max_iter: updates of the centres at most.
    """
    active = list(range(len(runs.centers)))
    iterations, settled = [max_iter + 1] * len(active), [False] * len(active)
    converged = [False] * len(active)
    for iteration in range(1, max_iter + 2):
        moved = runs.assign(active)
        updating = iteration <= max_iter
        refilled = {run: updating and _lacks(runs, run) and runs.refill(run) for run in active}
        for run, some in zip(active, moved, strict=True):
            if not refilled[run] and (some == 0 or settled[run]):
                iterations[run], converged[run] = iteration, True
        active = [run for run in active if not converged[run]]
        if not active or not updating:
            break
        for run, shift in zip(active, runs.update(active), strict=True):
            settled[run] = not refilled[run] and shift <= tol
    inertias = [runs.inertia(run) for run in range(len(runs.centers))]
    best = min(range(len(inertias)), key=inertias.__getitem__)
    return Result(
        runs.labels[best], runs.centers[best], inertias[best], iterations[best], converged[best]
    )


def _lacks(runs: Runs, run: int) -> bool:
    """Whether any cluster has no pixel."""
    return bool((runs.counts[run] == 0).any())
