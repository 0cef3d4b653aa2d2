"""What each method needs: labels, images, training, memory, seconds an image.

Each method is measured in a process of its own, on one thread: first what it does before it can
give masks (`training`, which for ours is nothing), then the masks of several images one at a time,
after one that is not counted. Seconds are processor time, because the machine is shared; wall time
stands beside. Memory is the highest resident size while the work runs, above that of the process
with its packages and the generator loaded. All but `worlds-unet` need the generator, which itself
was trained on images without labels; `worlds-unet` needs somebody who gives exact masks. `ours` and
the baselines make the image and its mask; `worlds-unet` is given the image.

The number S2 is that of this project's plan; the paper's supplement was not at hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import covary
from covary.processes import call

from ..baselines import create
from ..report import spread
from .reference import Reference
from .study import Study
from .table1 import generator_of

__all__ = ["OURS", "UNET", "measure", "run"]

OURS, UNET = "ours", "worlds-unet"
_MIB = 2**20

_Masks = Callable[[int], object]


def run(
    study: Study,
    pipe: covary.Pipeline,
    reference: Reference,
    methods: Sequence[str],
    *,
    timeout: float,
    training: Mapping[str, Any],
) -> dict[str, Any]:
    """Measure the methods, each in a process of its own, and write the results.

    Args:
        study: where and on what.
        pipe: ours.
        reference: labels the images that baselines learn from.
        methods: `OURS`, `UNET`, and names of baselines.
        timeout: seconds for each.
        training: fields of ``covary_bench.segmenters.train.Training`` to change.

    Raises:
        UnknownNameError: a method is none.
        InputError: baselines are asked for, and the pipeline has no generator for them.
    """
    baselines = [method for method in methods if method not in (OURS, UNET)]
    for name in baselines:
        create(name)
    if baselines:
        generator_of(pipe.recipe)
    about = {
        "recipe": pipe.recipe.model_dump(mode="json"),
        "judge": reference.about(),
        "training": dict(training),
    }

    def one(method: str) -> dict[str, Any]:
        asked = {"method": method, "seeds": list(study.seeds), **about}
        ended, found = call("covary_bench.paper.s2:measure", asked, timeout)
        if ended.status != "ok":
            return {"what": method, "status": ended.status, "reason": ended.reason}
        return {"what": method, "status": "ok", **found}

    rows = list(study.measure(methods, one, about))
    data = {**about, "rows": rows}
    study.write(data, __doc__)
    return data


def measure(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What one method needs, as plain data; called in a process of its own."""
    import torch

    torch.set_num_threads(1)
    method = asked["method"]
    if method == OURS:
        return _ours(asked)
    if method == UNET:
        return _supervised(asked)
    return _baseline(asked)


def _ours(asked: Mapping[str, Any]) -> dict[str, Any]:
    recipe = covary.Recipe.parse(asked["recipe"])
    pipe = covary.Pipeline.from_recipe(recipe, device="cpu")
    pipe(seed=0)  # loads the generator, compiles

    def mask(seed: int) -> object:
        return pipe(seed=seed).mask

    nothing = {"seconds": 0.0, "wall_seconds": 0.0, "peak_mib": 0.0}
    return {
        "labelled": 0,
        "images": 0,
        "trained": "nothing",
        "training": nothing,
        **_masks(mask, asked["seeds"]),
    }


def _baseline(asked: Mapping[str, Any]) -> dict[str, Any]:
    judge = {name: value for name, value in asked["judge"].items() if name != "inputs"}
    reference = Reference(judge.pop("use"), judge)
    generator = generator_of(covary.Recipe.parse(asked["recipe"]))
    baseline = create(asked["method"])
    # What is loaded once is not part of the work.
    reference.masks(next(generator.batches([0])).images)
    training = _work(lambda: baseline.fit(generator, label=reference.masks))
    needs = baseline.needs
    return {
        "labelled": needs.labelled,
        "images": needs.images,
        "trained": needs.trained,
        "training": training,
        **_masks(lambda seed: baseline.masks([seed]), asked["seeds"]),
    }


def _supervised(asked: Mapping[str, Any]) -> dict[str, Any]:
    from dataclasses import replace

    from covary.testing import worlds

    from ..segmenters.data import exact, groups, render_labelled
    from ..segmenters.train import DEFAULTS
    from ..unet import predict, train_unet

    how = replace(DEFAULTS["avatars"], **asked["training"])
    world = worlds.get(how.world)
    start = time.process_time()
    images, labels = render_labelled(world, how.scenes, how.seed, how.size)
    drawn = time.process_time() - start
    classes = len(groups(world))
    train_unet(images[:16], labels[:16], classes=classes, steps=1, batch=2)
    kept: list[Any] = []

    def fit() -> None:
        kept.append(
            train_unet(
                images,
                labels,
                classes=classes,
                steps=how.steps,
                batch=how.batch,
                seed=how.seed,
                soften=True,
            )
        )

    training = _work(fit)
    shown = {seed: exact(world, seed, how.size)[0][None] for seed in asked["seeds"]}
    return {
        "labelled": how.scenes,
        "images": 0,
        "trained": "a network",
        "data_seconds": drawn,
        "steps": how.steps,
        "usual_steps": DEFAULTS["avatars"].steps,
        "training": training,
        **_masks(lambda seed: predict(kept[0], shown[seed]), asked["seeds"]),
    }


def _masks(mask: _Masks, seeds: Sequence[int]) -> dict[str, Any]:
    """Seconds and memory of masks, one at a time."""
    mask(seeds[0])
    found = [_work(partial(mask, seed)) for seed in seeds]
    return {
        "seconds": spread([one["seconds"] for one in found]),
        "wall_seconds": spread([one["wall_seconds"] for one in found]),
        "peak_mib": max(one["peak_mib"] for one in found),
    }


def _work(work: Callable[[], object]) -> dict[str, float]:
    """Processor and wall seconds of some work, and the highest memory above that before it."""
    from covary.testing.memory import host_peak

    with host_peak() as peak:
        wall, start = time.perf_counter(), time.process_time()
        work()
        seconds, waited = time.process_time() - start, time.perf_counter() - wall
    assert peak.bytes is not None  # Linux and others tell, when the block has ended
    return {"seconds": seconds, "wall_seconds": waited, "peak_mib": peak.bytes / _MIB}
