"""Which layers and k the SiS-style baseline takes: ``python -m covary_bench.baselines.choose``.

Every combination is fitted as in the tables, on seeds 0 to 63 of the bundled generator, and its
masks of seeds 500 to 563 are held against `worlds-unet`'s. The best by the border rule is what the
baseline is to take: the choice of the foreground belongs to the method. Beside it stands the choice
by labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ..paper.figures import compare, summarise
from ..paper.reference import Reference
from ..progress import progress
from ..report import RESULTS, print_table, write_results
from .activations import FrozenGenerator
from .base import Baseline
from .sis import SiS, SiSOracle

__all__ = ["judged", "rows"]

LAYERS = ((2,), (3,), (4,), (5,), (6,), (3, 4), (4, 5), (5, 6), (3, 4, 5), (3, 4, 5, 6))
KS = (2, 3, 4, 5, 6, 8, 10, 16, 24)
SEEDS = range(500, 564)


def rows(
    generator: FrozenGenerator,
    reference: Reference,
    seeds: Sequence[int] = SEEDS,
    layers: Sequence[tuple[int, ...]] = LAYERS,
    ks: Sequence[int] = KS,
) -> Iterator[dict[str, Any]]:
    """The figures of every combination, by the border rule and by labels."""
    images = torch.cat([some.images for some in generator.batches(seeds, ())])
    truths = reference.masks(images)
    combinations = [(chosen, k) for chosen in layers for k in ks]
    with progress(len(combinations)) as report:
        for done, (chosen, k) in enumerate(combinations):
            report(f"layers {chosen}, k = {k}", done)
            for kind in (SiS, SiSOracle):
                baseline = kind(layers=chosen, k=k)
                baseline.fit(generator, label=reference.masks)
                yield {
                    "baseline": kind.name,
                    "layers": list(chosen),
                    "k": k,
                    **judged(baseline, seeds, truths),
                }


def judged(baseline: Baseline, seeds: Sequence[int], truths: torch.Tensor) -> dict[str, Any]:
    """The figures of a fitted baseline's masks, held against ``truths``."""
    masks = baseline.masks(seeds)[1]
    return summarise([compare(mask, truth) for mask, truth in zip(masks, truths, strict=True)])


def main() -> None:
    """Measure, print the best and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    reference = Reference("worlds-unet", {})
    found = list(rows(FrozenGenerator(), reference))
    by_rule = [row for row in found if row["baseline"] == SiS.name]
    best = sorted(by_rule, key=lambda row: -row["miou"])[:8]
    print_table("the best by the border rule", [_shown(row) for row in best])
    data = {
        "method": __doc__,
        "command": "python -m covary_bench.baselines.choose",
        "judge": reference.about(),
        "rows": found,
    }
    print(write_results("baselines-choice", data, args.out))


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    layers = " ".join(map(str, row["layers"]))
    return {"layers": layers, "k": row["k"], "mIoU": row["miou"], "trimap": row["trimap_miou"]}


if __name__ == "__main__":
    main()
