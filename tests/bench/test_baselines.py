"""The baselines on the bundled generator: what they look at, what they learn, how they resume."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import covary
from covary.errors import UnknownNameError
from covary.provenance import iou
from covary_bench import baselines
from covary_bench.baselines import DatasetGAN, FrozenGenerator, Labels4Free, SiS, SiSOracle
from covary_bench.baselines.activations import stretched
from covary_bench.baselines.choose_training import best, rows
from covary_bench.baselines.labels4free import Settings, backgrounds
from covary_bench.paper.figures import compare, summarise
from covary_bench.paper.reference import Reference

SEEDS = range(1000, 1006)


@pytest.fixture(scope="module")
def generator() -> FrozenGenerator:
    return FrozenGenerator("avatars-64", psi=0.8)


@pytest.fixture(scope="module")
def sis(generator: FrozenGenerator) -> SiS:
    found = SiS()
    found.fit(generator)
    return found


def _ours(seeds: range) -> Tensor:
    pipe = covary.Pipeline.preset("avatars", device="cpu")
    return torch.stack([pipe(seed=seed).mask for seed in seeds])


def _agreement(masks: Tensor, others: Tensor) -> float:
    return sum(iou(a, b) for a, b in zip(masks, others, strict=True)) / len(masks)


# ------------------------------------------------------------------------- activations


def test_seeds_mean_the_images_of_the_source(generator: FrozenGenerator) -> None:
    pipe = covary.Pipeline.preset("avatars", device="cpu")
    images = generator.activations(generator.codes([7, 1003])).images
    for image, seed in zip(images, (7, 1003), strict=True):
        expected = pipe.source.open(covary.Query(seed=seed), covary.RunContext()).image
        # One code and several round otherwise.
        assert (image.int() - expected.int()).abs().max() <= 1


def test_feature_maps_are_those_that_the_synthesis_passes_on(generator: FrozenGenerator) -> None:
    codes = generator.codes([3, 4])
    found = generator.activations(codes)
    synthesis = generator.network.synthesis
    state, layers = synthesis.start("const"), iter(found.layers)
    for done, step in enumerate(synthesis.steps, start=1):
        state = synthesis.advance(state, codes, done)
        if step.layer != "torgb":
            torch.testing.assert_close(next(layers), state.x, rtol=1e-4, atol=1e-4)
    assert next(layers, None) is None
    assert tuple(x.shape[1] for x in found.layers) == generator.channels
    assert tuple(x.shape[2] for x in found.layers) == generator.sizes


def test_nothing_stays_hooked_to_the_generator(generator: FrozenGenerator) -> None:
    with pytest.raises(covary.InputError, match="ws"):
        generator.activations(torch.zeros(1, 2, 3))
    generator.activations(generator.codes([0]))
    assert not any(module._forward_hooks for module in generator.network.modules())


def test_layers_are_chosen_by_number(generator: FrozenGenerator) -> None:
    codes = generator.codes([0])
    everything = generator.activations(codes).layers
    first, last = generator.activations(codes, (0, -1)).layers
    assert torch.equal(first, everything[0])
    assert torch.equal(last, everything[-1])
    assert stretched((first, last), 64).shape == (1, first.shape[1] + last.shape[1], 64, 64)
    with pytest.raises(covary.InputError, match="layer of the generator"):
        generator.activations(codes, (9,))


# --------------------------------------------------------------------------------- all


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_each_says_what_it_needs_and_refuses_to_go_without(
    name: str, generator: FrozenGenerator
) -> None:
    baseline = baselines.create(name)
    assert baseline.name == name
    assert json.loads(json.dumps(baseline.settings)) == baseline.settings
    with pytest.raises(covary.InputError, match="a fitted one"):
        baseline.masks([0])
    if baseline.needs.labelled:
        with pytest.raises(covary.InputError, match=f"masks of {baseline.needs.labelled} images"):
            baseline.fit(generator)


def test_another_name_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="datasetgan"):
        baselines.create("datasetgam")


# --------------------------------------------------------------------------------- SiS


def test_clusters_are_consistent_and_find_the_person(sis: SiS) -> None:
    images, masks = sis.masks(SEEDS)
    assert images.dtype == torch.uint8
    assert masks.dtype == torch.bool
    alone = torch.cat([sis.masks([seed])[1] for seed in SEEDS])
    assert (masks != alone).double().mean() < 0.01, "a mask depends on the other images"
    assert _agreement(masks, _ours(SEEDS)) > 0.8


@pytest.mark.parametrize("everything", [True, False])
def test_the_oracle_chooses_the_clusters_that_the_labels_fill(
    everything: bool, generator: FrozenGenerator
) -> None:
    oracle = SiSOracle(images=16)
    oracle.fit(generator, label=lambda images: torch.full_like(images[:, 0], everything).bool())
    assert bool(oracle.masks([1000])[1].all()) == everything
    assert bool(oracle.masks([1000])[1].any()) == everything


# -------------------------------------------------------------------------- DatasetGAN


def test_a_few_labels_are_learned_and_so_are_their_opposites(
    sis: SiS, generator: FrozenGenerator
) -> None:
    def label(images: Tensor) -> Tensor:
        # The labels of seeds 0 to 3, whatever those images are called.
        return sis.masks(range(4))[1]

    settings = {"labelled": 4, "members": 3, "steps": 40}
    learned, opposite, again = (DatasetGAN(**settings) for _ in range(3))
    learned.fit(generator, label=label)
    opposite.fit(generator, label=lambda images: ~label(images))
    again.fit(generator, label=label)
    truth, masks = sis.masks(SEEDS)[1], learned.masks(SEEDS)[1]
    assert _agreement(masks, truth) > 0.9
    assert _agreement(opposite.masks(SEEDS)[1], ~truth) > 0.9
    assert torch.equal(again.masks(SEEDS)[1], masks)


# ------------------------------------------------------------------------- Labels4Free


def _tiny(steps: int = 4) -> Labels4Free:
    return Labels4Free(Settings(steps=steps, batch=2, judged_at=8, width=4, save_every=2))


def test_training_goes_on_as_if_never_stopped(generator: FrozenGenerator, tmp_path: Path) -> None:
    whole, stopped, resumed = _tiny(), _tiny(), _tiny()
    whole.fit(generator, folder=tmp_path / "whole")

    def stop(what: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped.fit(generator, folder=tmp_path / "stopped", report=stop)
    steps: list[int] = []
    resumed.fit(
        generator,
        folder=tmp_path / "stopped",
        report=lambda what, done, total: steps.append(done),
    )
    assert steps == [3, 4], "it went on from the last checkpoint"
    expected = whole._branch.state_dict()
    for name, value in resumed._branch.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_a_checkpoint_of_other_settings_is_refused(
    generator: FrozenGenerator, tmp_path: Path
) -> None:
    _tiny(steps=2).fit(generator, folder=tmp_path)
    other = Labels4Free(Settings(steps=4, batch=3, judged_at=8, width=4))
    with pytest.raises(covary.InputError, match="another folder"):
        other.fit(generator, folder=tmp_path)
    _tiny(steps=3).fit(generator, folder=tmp_path)  # longer is no other training
    with pytest.raises(covary.InputError, match="2 steps or fewer"):
        _tiny(steps=2).fit(generator, folder=tmp_path)


@given(seed=st.integers(0, 1000), height=st.integers(8, 20), width=st.integers(10, 20))
def test_backgrounds_show_nothing_but_the_upper_corners(seed: int, height: int, width: int) -> None:
    random = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 3, height, width, generator=random)
    changed = image.clone()
    wide = width // 5
    changed[:, :, height // 2 :] = 9
    changed[:, :, :, wide:-wide] = 9
    made = backgrounds(image)
    assert torch.equal(backgrounds(changed), made)
    assert made.shape == image.shape
    assert made.max() <= image.max()
    assert made.min() >= image.min()


def test_settings_are_ranked_by_their_worst_training(generator: FrozenGenerator) -> None:
    tiny = _tiny().training
    settings = [tiny, replace(tiny, learning_rate=1.0)]
    judge = Reference("worlds-unet", {})
    found = list(rows(generator, judge, settings, trainings=2, every=2, seeds=[500, 501]))
    assert [(one["training"], one["steps"]) for one in found] == [
        (0, 2),
        (0, 4),
        (1, 2),
        (1, 4),
    ] * 2
    alone = Labels4Free(tiny)
    alone.fit(generator, seed=1)
    masks, truths = alone.masks([500, 501])[1], judge.masks(alone.masks([500, 501])[0])
    assert found[3]["miou"] == summarise(list(map(compare, masks, truths)))["miou"]
    ranked = best(found)
    assert [one["worst"] for one in ranked] == sorted(
        (one["worst"] for one in ranked), reverse=True
    )
    assert all(one["worst"] <= one["mean"] <= one["best"] for one in ranked)
    assert len(ranked) == 4


@pytest.mark.acceptance
def test_opacity_finds_the_person_without_labels(generator: FrozenGenerator) -> None:
    baseline = Labels4Free(Settings(steps=200))  # half of the usual ones
    baseline.fit(generator)
    assert _agreement(baseline.masks(SEEDS)[1], _ours(SEEDS)) > 0.8
