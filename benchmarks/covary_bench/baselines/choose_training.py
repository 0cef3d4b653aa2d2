"""How the opacity branch is trained: ``python -m covary_bench.baselines.choose_training``.

For some learning rates, with and without a running average of the branch's weights, several
trainings from different seeds on the bundled generator. Each is interrupted every some steps, and
its masks of seeds 500 to 563 are held against `worlds-unet`'s; then it goes on. The setting whose
worst training is best at its best moment is what the baseline is to take: one that is good on
average, and now and then fails, is of no use to who has no labels to see it by.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..paper.reference import Reference
from ..progress import progress
from ..report import RESULTS, print_table, write_results
from .activations import FrozenGenerator
from .choose import SEEDS, judged
from .labels4free import Labels4Free, Settings

__all__ = ["best", "rows"]

RATES_AND_AVERAGES = ((2e-3, 0.0), (2e-3, 0.99), (5e-4, 0.99))


def rows(
    generator: FrozenGenerator,
    reference: Reference,
    settings: Sequence[Settings],
    trainings: int,
    every: int,
    seeds: Sequence[int] = SEEDS,
) -> Iterator[dict[str, Any]]:
    """The figures of every setting and training, each ``every`` steps up to the setting's own."""
    images = torch.cat([some.images for some in generator.batches(seeds, ())])
    truths = reference.masks(images)
    total = sum(one.steps // every for one in settings) * trainings
    with progress(total) as report, tempfile.TemporaryDirectory() as work:
        moments = (
            (number, one, training, steps)
            for number, one in enumerate(settings)
            for training in range(trainings)
            for steps in range(every, one.steps + 1, every)
        )
        for done, (number, one, training, steps) in enumerate(moments):
            report(f"rate {one.learning_rate:g}, training {training}, {steps} steps", done)
            baseline = Labels4Free(replace(one, steps=steps))
            baseline.fit(generator, seed=training, folder=Path(work, f"{number}-{training}"))
            yield {
                "learning_rate": one.learning_rate,
                "average": one.average,
                "training": training,
                "steps": steps,
                **judged(baseline, seeds, truths),
            }


def best(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each setting and moment with the mIoU of its worst, mean and best training, best first."""
    groups = defaultdict(list)
    for row in found:
        groups[row["learning_rate"], row["average"], row["steps"]].append(row["miou"])
    summaries = [
        {
            "rate": f"{rate:g}",
            "average": average,
            "steps": steps,
            "worst": min(values),
            "mean": sum(values) / len(values),
            "best": max(values),
        }
        for (rate, average, steps), values in groups.items()
    ]
    return sorted(summaries, key=lambda one: -one["worst"])


def main() -> None:
    """Measure, print the best and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--every", type=int, default=200)
    parser.add_argument("--trainings", type=int, default=3)
    parser.add_argument("--remark", default="", help="kept in the results")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    settings = [
        Settings(steps=args.steps, learning_rate=rate, average=average)
        for rate, average in RATES_AND_AVERAGES
    ]
    reference = Reference("worlds-unet", {})
    found = list(rows(FrozenGenerator(), reference, settings, args.trainings, args.every))
    print_table("by the worst of its trainings", best(found))
    data = {
        "method": __doc__,
        "command": "python -m covary_bench.baselines.choose_training",
        "remark": args.remark,
        "judge": reference.about(),
        "rows": found,
    }
    print(write_results("baselines-training", data, args.out))


if __name__ == "__main__":
    main()
