"""A U-Net trained from scratch on covary's pairs, against the same one trained on exact masks.

Stands for the paper's Table 3 (networks trained on generated masks, tested on real photos), on
data that anyone can make again. The real images are avatars drawn by the renderer, of which every
mask is known exactly; those of the test are of seeds that nothing was trained on or chosen by. A
row is a set of training pairs:

`exact`: rendered avatars with exact masks. `worlds`: the same images with covary's masks (the
preset `worlds` at this size). `ours`: images of the bundled generator with covary's masks (the
preset `avatars`): neither a real image nor a mask by a person or a network, as in the paper.
`mixed`: half of `worlds` and half of `ours`. `judge`: the images of `ours` with the masks of
`worlds-unet`, a network trained on exact masks: what is lost there is lost by the generator's
images. `sis`, `sis-oracle`, `datasetgan`, `labels4free`: the generator's images with a baseline's
masks, of which `datasetgan` learned from 16 masks of `worlds-unet`, and `sis-oracle` chose its
clusters by 64.

All rows have the same number of pairs and the same training: steps, batch, rate, flips, and what is
done to the images. Each is trained several times, from several seeds; the spread is over these.
Beside each stands how good its training masks are: against the exact ones, or the judge's.

IoU of foreground and background and their mean (mIoU); the same inside the band of 3 pixels on
either side of the true outline (trimap, Euclidean distance); boundary IoU (Cheng et al. 2021, 2 %
of the diagonal). Means over the test's images.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..unet import predict, train_unet
from .figures import COLUMNS, Figures, compare, summarise
from .pairs import Pairs
from .pictures import Row as Picture
from .pictures import save_rows, shown
from .study import Study, told

__all__ = ["Part", "Row", "Training", "run"]

EXACT = "exact"
"""The row that the others are held against."""
GOAL = 0.03
"""How much mIoU a network may lose by covary's masks."""

_SHOWN = 8
_TILE = 64


@dataclass(frozen=True, slots=True)
class Training:
    """What all rows have in common."""

    pairs: int = 1000
    """Pairs that a network sees, again and again."""
    steps: int = 300
    """Updates."""
    batch: int = 16
    """Pairs in each."""
    soften: bool = True
    """Blur half of the images a little and add noise to all."""
    networks: int = 2
    """How many are trained for each row, from different seeds."""


@dataclass(frozen=True, slots=True)
class Part:
    """Where pairs of a row come from."""

    collect: Callable[[int], tuple[Pairs, Sequence[int]]]
    """Gives so many pairs, and their seeds."""
    truth: Callable[[Pairs, Sequence[int]], Tensor]
    """The masks to hold them against, bool (N, H, W), by the pairs and their seeds."""
    about: Mapping[str, Any]
    """What decides on them, as plain data."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: pairs of one kind, or equally many of several."""

    name: str
    kind: str
    """``exact``, ``ours``, ``judge`` or ``baseline``."""
    parts: Sequence[Part]


def run(
    study: Study,
    rows: Sequence[Row],
    tests: Pairs,
    training: Training,
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """Train and test the networks of all rows, draw some masks, write the results.

    A stopped run goes on: pairs, trained networks and unfinished trainings are kept in
    ``study.work``.

    Args:
        study: where and on what.
        rows: of the table; the one called ``exact`` is what the others are held against.
        tests: images with true masks, of ``study.seeds``.
        training: what all rows have in common.
        extra: for the results, e.g. the judge's skill.
    """
    bench = _Bench(study, {row.name: row for row in rows}, tests, training)
    about = {
        "training": asdict(training),
        "rows": {row.name: [dict(part.about) for part in row.parts] for row in rows},
        **extra,
    }
    bench.collect()
    keys = [f"{row.name} {seed}" for seed in range(training.networks) for row in rows]
    entries = dict(zip(keys, study.measure(keys, bench.measure, about), strict=True))
    made = [
        _summary(row, [entries[f"{row.name} {seed}"] for seed in range(training.networks)])
        for row in rows
    ]
    made = _with_differences(made)
    data = {
        **about,
        "rows": made,
        "goal": GOAL,
        "pictures": save_rows(list(bench.pictures()), study.out / f"{study.name}.webp"),
    }
    study.write(data, __doc__)
    return data


class _Bench:
    """Pairs made once, networks trained and tested."""

    def __init__(
        self, study: Study, rows: Mapping[str, Row], tests: Pairs, training: Training
    ) -> None:
        self._study, self._rows, self._tests, self._training = study, rows, tests, training
        self._pairs: dict[str, tuple[Pairs, dict[str, Any]]] = {}

    def collect(self) -> None:
        """Have the pairs of all rows, so that what is missing for one shows before any training."""
        for name in self._rows:
            self._of(name)

    def measure(self, key: str) -> dict[str, Any]:
        """How good one network is, and the pairs that it was trained on."""
        name, _, seed = key.rpartition(" ")
        about = self._of(name)[1]
        found = predict(self._net(name, int(seed)), self._tests.images) > 0
        truths = self._tests.masks.bool()
        figures = [compare(mask, truth) for mask, truth in zip(found, truths, strict=True)]
        return {"pairs": about, "test": summarise(figures)}

    def pictures(self) -> Iterator[Picture]:
        """Masks of the first images: the true ones, and those of each row's first network."""
        some = self._tests[:_SHOWN]

        def tiles(masks: Tensor) -> list[Tensor]:
            pairs = zip(some.images, masks, strict=True)
            return [shown(image, mask, _TILE) for image, mask in pairs]

        yield Picture("the true masks", tiles(some.masks.bool()))
        for name in self._rows:
            masks = predict(self._net(name, 0), some.images) > 0
            yield Picture(f"trained on {name}", tiles(masks))

    def _net(self, name: str, seed: int) -> torch.nn.Module:
        """The network of a row and a seed; one that is finished is only loaded."""
        training, pairs = self._training, self._of(name)[0]
        return train_unet(
            pairs.images,
            pairs.masks,
            classes=2,
            steps=training.steps,
            batch=training.batch,
            seed=seed,
            soften=training.soften,
            folder=self._study.work / self._study.name / "nets" / f"{name}-{seed}",
            progress=told(f"{name} {seed}", training.steps),
        )

    def _of(self, name: str) -> tuple[Pairs, dict[str, Any]]:
        """The pairs of a row, and what is to be said of them."""
        if name not in self._pairs:
            self._pairs[name] = self._collected(self._rows[name])
        return self._pairs[name]

    def _collected(self, row: Row) -> tuple[Pairs, dict[str, Any]]:
        training, shares = self._training, len(row.parts)
        parts: list[Pairs] = []
        judged: list[Figures] = []
        for number, part in enumerate(row.parts):
            # Shares that add up to the number asked for.
            first, last = (training.pairs * n // shares for n in (number, number + 1))
            pairs, seeds = part.collect(last - first)
            parts.append(pairs)
            truths = part.truth(pairs, seeds)
            judged += [compare(*both) for both in zip(pairs.masks.bool(), truths, strict=True)]
        return Pairs.joined(parts), {"pairs": training.pairs, "masks": summarise(judged)}


def _summary(row: Row, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A row of the results, of what was measured for each of its networks."""
    tests = [entry["test"] for entry in entries]
    return {
        "name": row.name,
        "kind": row.kind,
        **entries[0]["pairs"],
        **{name: _over([test[name] for test in tests]) for name in COLUMNS},
        "networks": tests,
    }


def _over(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and spread over networks; one network has no standard deviation."""
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "min": min(values),
        "max": max(values),
    }


def _with_differences(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row with its mIoU less that of the row ``exact``; None where there is none."""
    exact = next((row["miou"]["mean"] for row in rows if row["name"] == EXACT), None)
    return [
        {**row, "from_exact": None if exact is None else row["miou"]["mean"] - exact}
        for row in rows
    ]
