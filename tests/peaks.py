"""Peaks of memory, to be measured in a process of their own by ``covary.processes.call``.

A process that has run other tests has gaps in its heap, which a block may fill or not.
"""

from __future__ import annotations

import numpy as np
import torch

from covary import ClusterMap, Foreground, StyleSummary, pixel_confidence, soft_mask
from covary.testing.data import overlapping
from covary.testing.memory import host_peak, map_large_blocks

__all__ = ["after_others", "soft_masks"]


def after_others(rounds: int) -> list[int]:
    """Peaks of two blocks of 16 MiB, each after blocks of many sizes were freed in part."""
    map_large_blocks()
    rng = np.random.default_rng(0)
    return [_two_blocks(rng) for _ in range(rounds)]


def _two_blocks(rng: np.random.Generator) -> int:
    others = [torch.ones(int(n)) for n in 2 ** rng.integers(10, 23, 40)]
    kept = [others[i] for i in rng.permutation(40)[:8]]
    del others
    with host_peak() as peak:
        block = torch.ones(4 * 2**20)
        for _ in range(8):
            block = block + 1
    del kept
    assert peak.bytes is not None
    return peak.bytes


def soft_masks(features: int) -> tuple[int, int]:
    """The peak of a soft mask and a confidence, and the bytes of their summary in float32."""
    map_large_blocks()
    summary, start = overlapping(1, size=(160, 160), features=features, k=4)
    half = StyleSummary(summary.data.to(torch.float16), summary.size)
    labels = torch.arange(half.pixels) % 4
    clusters = ClusterMap.from_labels(labels, start, size=half.size, inertia=0.0, iterations=1)
    verdict = torch.tensor([True, False, False, True])
    foreground = Foreground.from_clusters(clusters, verdict, verdict.float(), "as the test says")
    soft_mask(half, clusters, foreground)  # once before, to load what torch loads
    with host_peak() as peak:
        soft_mask(half, clusters, foreground)
        pixel_confidence(half, clusters)
    assert peak.bytes is not None
    return peak.bytes, 4 * half.data.numel()
