"""Lloyd's algorithm over blocks of pixels."""

from __future__ import annotations

from typing import NamedTuple

import torch

from ._pixels import Pixels, one_hot

__all__ = ["Result", "lloyd", "nearest"]


class Result(NamedTuple):
    """Where Lloyd's algorithm ended; every label is that of the nearest of ``centers``."""

    labels: torch.Tensor
    """int32 (N,)."""
    centers: torch.Tensor
    """float64 (K, D), relative to the offset of the pixels."""
    iterations: int
    """Passes over the pixels."""
    converged: bool
    """False where the iteration limit stopped it."""


def lloyd(pixels: Pixels, centers: torch.Tensor, *, tol: float, max_iter: int) -> Result:
    """Alternate assignment and update from ``centers`` until nothing moves.

    Stops when a pass relabels no pixel, or one pass after the centres moved by no more than
    ``tol`` (squared, summed over clusters). Only relabelled pixels touch the sums, and an empty
    cluster takes over the pixel farthest from its centre.

    Args:
        pixels: the data.
        centers: (K, D) to start from, relative to the offset of ``pixels``.
        tol: squared distance.
        max_iter: updates of the centres at most.
    """
    state = _State(pixels, centers)
    settled = False
    for iteration in range(1, max_iter + 2):
        moved = state.assign()
        refilled = iteration <= max_iter and state.refill()
        if not refilled and (moved == 0 or settled):
            return Result(state.labels, state.centers, iteration, True)
        if iteration <= max_iter:
            shift = state.update()
            settled = not refilled and shift <= tol
    return Result(state.labels, state.centers, iteration, False)


def nearest(x: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """Labels int32 (M,) of the nearest of float32 ``centers`` (K, D) for the rows of ``x``."""
    # |x|^2 is the same for all centres: the largest x.c - |c|^2/2 is the nearest.
    half_norms = centers.square().sum(dim=1, keepdim=True) / 2
    scores = torch.addmm(half_norms, centers, x.T, beta=-1)
    # Along the contiguous axis argmax is eight times as fast; ties go to the lowest id.
    return scores.T.contiguous().argmax(dim=1).to(torch.int32)


class _State:
    """Labels, and the float64 sums and counts that belong to them."""

    def __init__(self, pixels: Pixels, centers: torch.Tensor) -> None:
        self.pixels, self.k = pixels, len(centers)
        device = pixels.device
        self.centers = centers.to(device=device, dtype=torch.float64)
        self.labels = torch.full((pixels.count,), -1, dtype=torch.int32, device=device)
        self.sums = torch.zeros_like(self.centers)
        self.counts = torch.zeros(self.k, dtype=torch.float64, device=device)

    def assign(self) -> int:
        """Give every pixel to its nearest centre; the number of pixels that changed hands."""
        centers = self.centers.to(torch.float32)
        moved = 0
        for where, x in self.pixels.blocks():
            new, old = nearest(x, centers), self.labels[where]
            index = (new != old).nonzero().squeeze(1)
            if len(index) == 0:
                continue
            moved += len(index)
            rows = x if len(index) == len(x) else x[index]
            sign = one_hot(new[index], self.k) - one_hot(old[index], self.k)
            # As a product, because index_add_ is not deterministic on CUDA.
            self.sums += sign @ rows
            self.counts += sign.sum(dim=1)
            old.copy_(new)
        return moved

    def update(self) -> float:
        """Move the centres to the means; their squared shift, summed over clusters."""
        filled = self.counts[:, None] > 0
        means = torch.where(filled, self.sums / self.counts.clamp(min=1)[:, None], self.centers)
        shift = float((means - self.centers).square().sum())
        self.centers = means
        return shift

    def refill(self) -> bool:
        """Give every empty cluster the pixel farthest from its centre; whether any was."""
        refilled = False
        for cluster in (self.counts == 0).nonzero().squeeze(1).tolist():
            index = self._farthest()
            if index is None:
                break
            row, owner = self.pixels.row(index), int(self.labels[index])
            self.sums[owner] -= row
            self.counts[owner] -= 1
            self.sums[cluster] = row
            self.counts[cluster] = 1
            self.labels[index] = cluster
            refilled = True
        return refilled

    def _farthest(self) -> int | None:
        """The pixel farthest from its cluster's mean, if any is away from it."""
        means = self.sums / self.counts.clamp(min=1)[:, None]
        best, found = 0.0, None
        for where, x in self.pixels.blocks():
            residual = x - means.to(torch.float32)[self.labels[where].long()]
            distances = residual.square_().sum(dim=1)
            index = int(distances.argmax())
            if float(distances[index]) > best:
                best, found = float(distances[index]), where.start + index
        return found
