"""The pictures of ``explanation/limits.md``: a setting that fails beside one that works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from PIL import Image

import covary
from covary.segmentation import Region, Segmentation
from covary_bench.limits import CASES, Case, Outcome, Setting

from .drawing import FAILS, WORKS, Tile, beside, labelled, mosaic, row, titled

__all__ = ["pictures"]

_SIDE, _TILE = 256, 196
_SMALL = 0.02
"""Share of the image below which what is sought is shown enlarged."""


def pictures() -> dict[str, Callable[[], Image.Image]]:
    """What draws each picture, by name."""
    return {f"limits-{case.name}": partial(_case, case) for case in CASES}


def _case(case: Case) -> Image.Image:
    """The first setting that fails, and the last that works."""
    fails = next(setting for setting in case.settings if not setting.works)
    works = next(setting for setting in reversed(case.settings) if setting.works)
    left = titled(_panel(fails, case.seed), f"Fails: {fails.what}", FAILS)
    right = titled(_panel(works, case.seed), f"Works: {works.what}", WORKS)
    return beside([left, right], gap=34)


def _panel(setting: Setting, seed: int) -> Image.Image:
    whole = setting.run(seed, _SIDE)
    outcome = _zoomed(whole)
    what = "photo, reconstruction" if len(outcome.labels) != len(outcome.mask) else "X0, variants"
    return row(
        [
            Tile(mosaic([outcome.image, *outcome.variants[:3]], _TILE), what),
            Tile(labelled(outcome.labels, _TILE), "clusters"),
            Tile(_overlay(outcome), f"mask, mIoU {whole.score.miou:.2f}"),
        ],
        side=_TILE,
    )


def _zoomed(outcome: Outcome) -> Outcome:
    """The part of an outcome that holds what is sought, where that is small."""
    if float(outcome.truth.float().mean()) > _SMALL:
        return outcome
    ys, xs = outcome.truth.nonzero(as_tuple=True)
    side = 2 * int(xs.max() - xs.min())
    top, left = (int(at.float().mean()) - side // 2 for at in (ys, xs))
    window = (..., slice(top, top + side), slice(left, left + side))
    fields = ("image", "variants", "labels", "mask", "truth")
    return replace(outcome, **{name: getattr(outcome, name)[window] for name in fields})


def _overlay(outcome: Outcome) -> torch.Tensor:
    """The image with what was not chosen greyed, as a result shows it."""
    height, width = outcome.mask.shape
    clusters = covary.ClusterMap(outcome.mask.int(), torch.zeros(2, 1), 0.0, 0)
    chosen = covary.Foreground.from_clusters(
        clusters, torch.tensor([False, True]), torch.zeros(2), "as measured"
    )
    region = Region(covary.Box(0, 0, width, height), clusters, chosen)
    return Segmentation(outcome.image, (region,)).overlay()
