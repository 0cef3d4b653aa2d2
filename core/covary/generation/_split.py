"""Which seeds go to which shard of which split; it follows from the seeds alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from .._seeds import Seeds
from ..samples import Shard

__all__ = ["SPLITS", "shards_of", "split_of"]

SPLITS = ("train", "val")
"""The splits, in the order in which they are listed."""


def split_of(seed: int, val: float) -> str:
    """``val`` for about that share of all seeds, ``train`` for the others.

    By a hash of the seed and nothing else: a seed stays where it is, whatever others there are.
    """
    digest = hashlib.sha256(f"covary split {seed}".encode()).digest()
    return "val" if int.from_bytes(digest[:8], "big") < val * 2**64 else "train"


def shards_of(seeds: Seeds, val: float, size: int) -> Iterator[Shard]:
    """Every seed in one shard: the seeds of each split, ascending, cut into runs of ``size``.

    Shards come as they are full, the incomplete ones last; no more than one of each split is held.
    """
    waiting: dict[str, list[int]] = {split: [] for split in SPLITS}
    number = dict.fromkeys(SPLITS, 0)

    def cut(split: str) -> Shard:
        shard = Shard(f"{split}-{number[split]:05d}", split, tuple(waiting[split]))
        number[split] += 1
        waiting[split] = []
        return shard

    for seed in seeds:
        split = split_of(seed, val)
        waiting[split].append(seed)
        if len(waiting[split]) == size:
            yield cut(split)
    for split in SPLITS:
        if waiting[split]:
            yield cut(split)
