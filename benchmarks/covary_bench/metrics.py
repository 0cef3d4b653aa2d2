"""Metrics against other implementations: ``python -m covary_bench.metrics``.

The confusion matrix is that of torchmetrics, computed otherwise; both are timed on maps of one
size, on one thread, in seconds of processor time, which other work on the machine changes little:
the median of repeated calls after one that is not counted. Boundaries are
found by one pass for all classes; beside it stands the way of an exact Euclidean distance
transform a class (scipy's), which gives the same pixels. How much a definition matters is counted
on rendered avatars: pixels of the trimap of width 3 and of the boundaries of boundary IoU with
distances in a straight line, over those with distances along the sides and diagonals of squares,
which max-pooling and repeated erosion by 3 x 3 pixels have.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from covary.metrics import (
    TRIMAP_WIDTH,
    boundary,
    boundary_distance,
    confusion_matrix,
    trimap_band,
)
from covary.testing import worlds

from .report import RESULTS, print_table, spread, write_results

__all__ = ["main"]

_CLASSES = (2, 6, 19)
_SHAPES = 200
"""Seeds on which definitions are compared."""


def labels(classes: int, size: int) -> torch.Tensor:
    """Smooth regions of so many classes, uint8 (size, size)."""
    draw = torch.Generator().manual_seed(classes)
    scores = torch.rand(1, classes, 8, 8, generator=draw)
    wide = torch.nn.functional.interpolate(scores, size=(size, size), mode="bicubic")
    return wide[0].argmax(0).to(torch.uint8)


def time_all(size: int, repeats: int) -> Iterator[dict[str, Any]]:
    """A row for each number of classes and each way."""
    for classes in _CLASSES:
        truth = labels(classes, size)
        for (what, how), call in ways(truth.roll(3, 0), truth, classes).items():
            seconds = spread(timed(call, repeats))
            yield {"what": what, "how": how, "classes": classes, "size": size, "seconds": seconds}


def ways(
    prediction: torch.Tensor, truth: torch.Tensor, classes: int
) -> dict[tuple[str, str], Callable[[], object]]:
    """What computes each thing, by (what, how)."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    matrix, transform = "confusion matrix", "a distance transform a class"
    distance = boundary_distance((truth.shape[0], truth.shape[1]))
    near = f"within {distance} pixels"
    return {
        (matrix, "covary"): partial(confusion_matrix, prediction, truth, classes),
        (matrix, "torchmetrics"): partial(multiclass_confusion_matrix, prediction, truth, classes),
        ("trimap", "covary"): partial(trimap_band, truth),
        ("trimap", transform): partial(transformed, truth, TRIMAP_WIDTH),
        (near, "covary"): partial(trimap_band, truth, distance),
        (near, transform): partial(transformed, truth, distance),
    }


def transformed(truth: torch.Tensor, width: float) -> torch.Tensor:
    """The trimap by a Euclidean distance transform for each class."""
    from scipy.ndimage import distance_transform_edt

    band = torch.zeros(truth.shape, dtype=torch.bool)
    for value in truth.unique().tolist():
        mask = truth == value
        band |= mask & torch.from_numpy(distance_transform_edt(mask.numpy()) <= width)
    return band


def timed(call: Callable[[], object], repeats: int) -> list[float]:
    """Processor time in seconds of each call after the first."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return seconds


def definitions(first_seed: int, size: int) -> Iterator[dict[str, Any]]:
    """How many pixels there are by each definition."""
    distance = boundary_distance((size, size))
    counts = {"trimap, width 3": [0, 0], f"boundary, {distance} pixels": [0, 0]}
    for seed in range(first_seed, first_seed + _SHAPES):
        mask = worlds.get("avatars").scene(seed, (size, size)).truth.foreground[0]
        padded = torch.nn.functional.pad(mask, (1, 1, 1, 1))
        pairs = (
            (trimap_band(mask), square_near(mask, int(TRIMAP_WIDTH))),
            (boundary(mask, distance), mask & square_near(padded, distance)[1:-1, 1:-1]),
        )
        for sums, pair in zip(counts.values(), pairs, strict=True):
            for index, band in enumerate(pair):
                sums[index] += int(band.sum())
    for what, (straight, square) in counts.items():
        yield {"what": what, "size": size, "seeds": _SHAPES, "straight": straight,
               "square": square, "ratio": straight / square}  # fmt: skip


def square_near(mask: torch.Tensor, distance: int) -> torch.Tensor:
    """The pixels with one of the other kind at most so many steps away, diagonal ones included."""
    window = 2 * distance + 1
    values = mask.float()[None, None]
    most = torch.nn.functional.max_pool2d(values, window, stride=1, padding=distance)
    least = -torch.nn.functional.max_pool2d(-values, window, stride=1, padding=distance)
    return (most > least)[0, 0]


def main(argv: list[str] | None = None) -> None:
    """Measure, print the tables and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--name", default="metrics")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    times = list(time_all(args.size, args.repeats))
    compared = list(definitions(args.first_seed, args.resolution))
    print_table("seconds", [{**row, "seconds": row["seconds"]["median"]} for row in times])
    print_table("pixels by definition", compared)
    data = {
        "method": __doc__,
        "command": f"python -m covary_bench.metrics --size {args.size} --repeats {args.repeats} "
        f"--first-seed {args.first_seed} --resolution {args.resolution}",
        "times": times,
        "definitions": compared,
    }
    print(write_results(args.name, data, args.out))


if __name__ == "__main__":
    main()
