"""The skill of ``worlds-unet`` on rendered scenes: ``python -m covary_bench.segmenters.measure``.

The scene of each seed, as the source ``worlds`` draws it, is labelled and held against the
renderer's exact classes. Each class's IoU is taken in every image that shows it, or in which it was
found, and averaged over these; the mean IoU of an image is that over its classes. ``foreground`` is
the IoU of all classes but the background: the person, or all objects. ``blurred`` images went
through a 3 x 3 mean first, as softer ones would look to it. At another size than the network works
at, images are scaled to that and the scores scaled back.

Seeds start at 1000. Training drew its scenes otherwise and looked at none of them.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

import covary
from covary.files import file_sha256
from covary.provenance import iou
from covary.testing import worlds

from ..progress import progress
from ..report import RESULTS, print_table, spread, write_results
from .data import exact
from .train import DEFAULTS

__all__ = ["main", "measure", "skill"]

FOREGROUND = "foreground"
SIZES = (64, 128, 256)
_BATCH = 20
_WORST = 5


def skill(found: Tensor, truth: Tensor, classes: Sequence[str]) -> dict[str, float]:
    """The IoU of each class that is there or was found, and of the foreground, in (H, W)."""
    shown = [i for i in range(len(classes)) if bool((truth == i).any() | (found == i).any())]
    return {
        FOREGROUND: iou(found > 0, truth > 0),
        **{classes[i]: iou(found == i, truth == i) for i in shown},
    }


def measure(
    segmenter: covary.Segmenter, world: worlds.World, seeds: Sequence[int], size: int, blurred: bool
) -> dict[int, dict[str, float]]:
    """The skill at each seed."""
    found: dict[int, dict[str, float]] = {}
    with progress(len(seeds)) as report:
        for start in range(0, len(seeds), _BATCH):
            some = seeds[start : start + _BATCH]
            report(f"{world.name} at {size} pixels", start)
            images, truths = zip(*(exact(world, seed, size) for seed in some), strict=True)
            batch = _blurred(torch.stack(images)) if blurred else torch.stack(images)
            labels = segmenter.segment(batch)
            for seed, one, truth in zip(some, labels, truths, strict=True):
                found[seed] = skill(one, truth, segmenter.classes)
    return found


def _blurred(images: Tensor) -> Tensor:
    padded = F.pad(images.float(), (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(padded, 3, stride=1).round().to(torch.uint8)


def summarise(found: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """Means over seeds, their spread, and the worst seeds."""
    by_class: dict[str, list[float]] = defaultdict(list)
    means = {}
    for seed, one in found.items():
        for name, value in one.items():
            by_class[name].append(value)
        own = [value for name, value in one.items() if name != FOREGROUND]
        means[seed] = sum(own) / len(own)
    worst = sorted(means, key=means.__getitem__)[:_WORST]
    return {
        "seeds": len(found),
        "mean_iou": sum(means.values()) / len(means),
        "mean_iou_spread": spread(list(means.values())),
        "classes": {
            name: {"iou": sum(some) / len(some), "images": len(some), "spread": spread(some)}
            for name, some in by_class.items()
        },
        "worst": {str(seed): means[seed] for seed in worst},
    }


def main(argv: list[str] | None = None) -> None:
    """Measure, print the tables and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--name", default="worlds-unet")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)

    seeds = range(args.first_seed, args.first_seed + args.seeds)
    rows, weights = [], {}
    for name in DEFAULTS:
        world = worlds.get(name)
        segmenter = cast(
            covary.Segmenter, covary.create("worlds-unet", kind="segmenter", world=name)
        )
        sizes = [size for size in SIZES if size >= DEFAULTS[name].size]
        for size, blurred in [(size, False) for size in sizes] + [(sizes[0], True)]:
            summary = summarise(measure(segmenter, world, seeds, size, blurred))
            rows.append({"world": name, "size": size, "blurred": blurred, **summary})
        weights[name] = file_sha256(covary.checkpoint_path(f"worlds-unet-{name}"))
        own = [row for row in rows if row["world"] == name]
        print_table(
            f"worlds-unet on {name}, {args.seeds} seeds",
            [
                {"size": row["size"], "blurred": row["blurred"], "mean IoU": row["mean_iou"]}
                | {each: row["classes"][each]["iou"] for each in (FOREGROUND, *segmenter.classes)}
                for row in own
            ],
        )
    data = {
        "method": __doc__,
        "command": f"python -m covary_bench.segmenters.measure --seeds {args.seeds} "
        f"--first-seed {args.first_seed}",
        "weights_sha256": weights,
        "rows": rows,
    }
    print(write_results(args.name, data, args.out))


if __name__ == "__main__":
    main()
