"""Reading a style summary block by block, and what every clusterer here needs of it."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

import torch

from covary import ClusterMap, InputError, StyleSummary

from ._coarse import grid

__all__ = [
    "Pixels",
    "check_centers",
    "check_distinct",
    "check_inertia",
    "cluster_map",
    "count_distinct",
    "one_hot",
    "working_bytes",
]

# A block and its few temporaries stay in the last-level cache; a GPU wants fewer, larger blocks.
_BLOCK_BYTES = 4 * 2**20
_CUDA_BLOCK_BYTES = 32 * 2**20
# What fits in here is converted once and kept, instead of on every pass.
_KEEP_BYTES = 12 * 2**20


class Pixels:
    """The pixels of a summary as float32 blocks on one device, relative to an offset.

    Distances do not change when the same vector is subtracted from all pixels, but rounding does:
    products of values far from zero lose the digits that tell two pixels apart.

    Args:
        summary: what to read; never held in float32 as a whole unless it is small.
        device: where the blocks go.
        offset: float32 (D,), subtracted from every pixel; the mean is a good one.
    """

    def __init__(self, summary: StyleSummary, device: torch.device, offset: torch.Tensor) -> None:
        self.summary, self.device = summary, device
        self.offset = offset.to(device=device, dtype=torch.float32)
        self.count, self.features = summary.pixels, summary.features
        self._kept: list[tuple[slice, torch.Tensor]] = []
        if 4 * self.count * self.features <= _KEEP_BYTES:
            self._kept = list(self._read())

    def blocks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """(where, rows float32 (M, D)) over all pixels, in order."""
        return iter(self._kept) if self._kept else self._read()

    def inertia(self, labels: torch.Tensor, centers: torch.Tensor) -> float:
        """Sum of squared distances of all pixels to the centre of their label.

        Args:
            labels: integer (N,).
            centers: float32 (K, D), relative to the offset.
        """
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for where, x in self.blocks():
            own = one_hot(labels[where], len(centers))
            # x minus its own centre: the product only copies centres, so nothing is rounded.
            residual = torch.addmm(x.T, centers.T, own, alpha=-1)
            total += residual.square_().sum(dim=0).sum(dtype=torch.float64)
        return float(total)

    def _read(self) -> Iterator[tuple[slice, torch.Tensor]]:
        size = _CUDA_BLOCK_BYTES if self.device.type == "cuda" else _BLOCK_BYTES
        step = max(1, size // (4 * self.features))
        for start in range(0, self.count, step):
            stop = min(start + step, self.count)
            rows = self.summary.rows(start, stop).to(self.device)
            yield slice(start, stop), rows - self.offset


def working_bytes(pixels: int, features: int) -> int:
    """Bytes on the CPU of the blocks kept or in flight, temporaries included."""
    return min(4 * pixels * features, _KEEP_BYTES) + 5 * _BLOCK_BYTES


def one_hot(labels: torch.Tensor, k: int) -> torch.Tensor:
    """float32 (K, M): 1 where a pixel has the label of the row; all 0 for labels below 0."""
    ids = torch.arange(k, dtype=labels.dtype, device=labels.device)
    return (labels == ids[:, None]).to(torch.float32)


def count_distinct(summary: StyleSummary, at_most: int) -> int:
    """Number of distinct pixels, counted no further than ``at_most``."""
    # Nearly always a few pixels tell; only a picture of few colours is read as a whole.
    if _projected(grid(summary)) >= at_most:
        return at_most
    seen: list[torch.Tensor] = []
    for _, rows in summary.chunks(max_bytes=2**21):
        new = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        for known in seen:
            new &= (rows != known).any(dim=1)
        while bool(new.any()):
            known = rows[int(new.nonzero()[0])].clone()
            seen.append(known)
            if len(seen) == at_most:
                return at_most
            new &= (rows != known).any(dim=1)
    return len(seen)


def _projected(summary: StyleSummary) -> int:
    """At most the number of distinct pixels: how many differ beyond doubt on a random line."""
    line = torch.rand(summary.features, generator=torch.Generator().manual_seed(0))
    values = (line.to(summary.device) @ summary.data.T.to(torch.float32)).sort().values
    # Equal pixels may come out a few roundings apart.
    gaps = values.diff() > 1e-5 * values.abs().max()
    return 1 + int(gaps.sum())


def check_distinct(summary: StyleSummary, k: int) -> None:
    """Refuse more clusters than there are distinct pixels.

    Raises:
        InputError: fewer than ``k`` distinct pixels.
    """
    found = count_distinct(summary, at_most=k)
    if found < k:
        raise InputError(
            f"k = {k} clusters",
            expected=f"at most {found}, the number of distinct pixels",
            got=str(k),
            fix="lower k, or use an image with more colours",
        )


def check_centers(centers: torch.Tensor, features: int, k: int | None = None) -> torch.Tensor:
    """``centers`` as float32 (K, D), detached.

    Raises:
        InputError: another shape, or values that are not finite.
    """
    shape = tuple(centers.shape)
    wanted = f"({'K' if k is None else k}, {features})"
    if len(shape) != 2 or shape[1] != features or 0 in shape or (k is not None and shape[0] != k):
        raise InputError(
            "initial centres" if k is not None else "centres",
            expected=f"shape {wanted}",
            got=str(shape),
            fix="one row per cluster, one column per feature of the summary",
        )
    if not bool(torch.isfinite(centers).all()):
        raise InputError("centres", expected="finite values", got="NaN or infinity")
    return centers.detach().to(torch.float32)


def cluster_map(
    summary: StyleSummary,
    labels: torch.Tensor,
    centers: torch.Tensor,
    *,
    device: torch.device,
    iterations: int,
    converged: bool,
) -> ClusterMap:
    """Canonical ids, and the inertia of these labels and centres over all pixels.

    Args:
        summary: what was clustered.
        labels: integer (N,).
        centers: (K, D).
        device: where to compute.
        iterations: passes made.
        converged: whether they were enough.

    Raises:
        InputError: distances that float32 cannot hold.
    """
    from ._engines import choose

    summary, labels = summary.to(device), labels.to(device)
    centers = centers.to(device=device, dtype=torch.float64)
    offset = centers.mean(dim=0).to(torch.float32)
    engine = choose("auto", summary.device)(summary, offset)
    return ClusterMap.from_labels(
        labels,
        centers,
        size=summary.size,
        inertia=check_inertia(engine.inertia(labels.to(torch.int32), centers - offset)),
        iterations=iterations,
        converged=converged,
    )


def check_inertia(inertia: float) -> float:
    """``inertia`` itself.

    Raises:
        InputError: it is not finite, because float32 cannot hold the distances.
    """
    if not isfinite(inertia):
        raise InputError(
            "style summary",
            expected="values whose squared distances fit float32, below about 1e18",
            got="larger ones",
            fix="scale the data down first",
        )
    return inertia
