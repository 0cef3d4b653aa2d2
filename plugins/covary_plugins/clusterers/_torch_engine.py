"""The engine in plain torch: wherever torch runs, and what the others are compared with."""

from __future__ import annotations

import torch

from covary import StyleSummary

from ._engine import Engine, Result
from ._lloyd import Runs, iterate
from ._pixels import Pixels, one_hot
from ._seeding import kmeans_plus_plus

__all__ = ["TorchEngine"]


class TorchEngine(Engine):
    """Blocks of pixels in float32, products by torch."""

    def __init__(self, summary: StyleSummary, offset: torch.Tensor) -> None:
        super().__init__(summary, offset)
        self.pixels = Pixels(summary, summary.device, self.offset)

    def seeds(self, k: int, restarts: int, generator: torch.Generator) -> torch.Tensor:
        """See :meth:`Engine.seeds`."""
        closest = torch.full((restarts, self.pixels.count), torch.inf, device=self.pixels.device)
        return kmeans_plus_plus(self, closest, k, generator).to(torch.float64)

    def lloyd(self, starts: torch.Tensor, *, tol: float, max_iter: int) -> Result:
        """See :meth:`Engine.lloyd`."""
        runs = _TorchRuns(starts.to(self.pixels.device), self)
        return iterate(runs, tol=tol, max_iter=max_iter)

    def nearest(self, centers: torch.Tensor) -> torch.Tensor:
        """See :meth:`Engine.nearest`."""
        own = centers.to(device=self.pixels.device, dtype=torch.float32)
        labels = [_nearest(_scores(x, own[None]))[0] for _, x in self.pixels.blocks()]
        return torch.cat(labels)

    def inertia(self, labels: torch.Tensor, centers: torch.Tensor) -> float:
        """See :meth:`Engine.inertia`."""
        return self.pixels.inertia(labels, centers.to(torch.float32))

    def closer(self, points: torch.Tensor, closest: torch.Tensor, *, keep: bool) -> torch.Tensor:
        """See :class:`._seeding.Distances`."""
        restarts, trials, features = points.shape
        potentials = torch.zeros((restarts, trials), dtype=torch.float64, device=closest.device)
        for where, x in self.pixels.blocks():
            # |x|^2 - 2xy + |y|^2, torch's default for many points, is not zero for equal ones.
            mode = "donot_use_mm_for_euclid_dist"
            distances = torch.cdist(x, points.reshape(-1, features), compute_mode=mode).square_()
            known = closest[:, None, where]
            smaller = torch.minimum(distances.T.reshape(restarts, trials, -1), known)
            potentials += smaller.sum(dim=2, dtype=torch.float64)
            if keep:
                known.copy_(smaller)
        return potentials


class _TorchRuns(Runs):
    def __init__(self, starts: torch.Tensor, engine: TorchEngine) -> None:
        super().__init__(starts, engine)
        self.pixels = engine.pixels

    def assign(self, active: list[int]) -> list[int]:
        centers = self.centers[active].to(torch.float32)
        moved = [0] * len(active)
        for where, x in self.pixels.blocks():
            new = _nearest(_scores(x, centers))
            for place, run in enumerate(active):
                moved[place] += self._relabel(run, where, x, new[place])
        return moved

    def _relabel(self, run: int, where: slice, x: torch.Tensor, new: torch.Tensor) -> int:
        old = self.labels[run, where]
        index = (new != old).nonzero().squeeze(1)
        if len(index) == 0:
            return 0
        rows = x if len(index) == len(x) else x[index]
        sign = one_hot(new[index], self.k) - one_hot(old[index], self.k)
        # As a product, because index_add_ is not deterministic on CUDA.
        self.sums[run] += sign @ rows
        self.counts[run] += sign.sum(dim=1)
        old.copy_(new)
        return len(index)

    def farthest(self, run: int, means: torch.Tensor) -> int | None:
        best, found = 0.0, None
        for where, x in self.pixels.blocks():
            residual = x - means.to(torch.float32)[self.labels[run, where].long()]
            distances = residual.square_().sum(dim=1)
            index = int(distances.argmax())
            if float(distances[index]) > best:
                best, found = float(distances[index]), where.start + index
        return found

    def inertia(self, run: int) -> float:
        return self.pixels.inertia(self.labels[run], self.centers[run].to(torch.float32))


def _scores(x: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """x.c - |c|^2/2 of pixels (M, D) and centres (R, K, D), float32 (R, K, M).

    |x|^2 is the same for all centres: the largest score belongs to the nearest.
    """
    flat = centers.reshape(-1, centers.shape[2])
    half_norms = flat.square().sum(dim=1, keepdim=True) / 2
    return torch.addmm(half_norms, flat, x.T, beta=-1).reshape(*centers.shape[:2], -1)


def _nearest(scores: torch.Tensor) -> torch.Tensor:
    """Labels int32 (R, M) of the best scores (R, K, M); ties go to the lowest id."""
    # Along the contiguous axis argmax is eight times as fast.
    return scores.transpose(1, 2).contiguous().argmax(dim=2).to(torch.int32)
