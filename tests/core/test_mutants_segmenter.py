"""Deliberate defects in segmenters, each of which their contract catches by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from pydantic import Field
from torch.nn.functional import conv2d

import covary
from covary import CheckpointError, RunContext
from covary.testing import SegmenterContract, run_contract


class Bright(covary.Segmenter):
    """What is dark, medium and bright, by a fixed convolution that stands for a network."""

    class Params(covary.Params):
        checkpoint: str = Field("bundled", description="Weights.")

    params: Params

    @property
    def classes(self) -> Sequence[str]:
        return ("background", "medium", "bright")

    def segment(self, images: torch.Tensor, ctx: RunContext | None = None) -> Any:
        ctx = ctx or RunContext(device=images.device)
        with torch.no_grad():
            return self.give(self.label(self.take(images).float(), self.load(), ctx), images)

    def take(self, images: torch.Tensor) -> torch.Tensor:
        return covary.check_images(images)

    def load(self) -> torch.Tensor:
        if self.params.checkpoint != "bundled":
            raise CheckpointError(f"no weights at {self.params.checkpoint}", fix="fetch them")
        return torch.full((1, 3, 3, 3), 1 / 27, requires_grad=True)

    def label(self, images: torch.Tensor, weights: torch.Tensor, ctx: RunContext) -> torch.Tensor:
        return torch.bucketize(conv2d(images, weights, padding=1)[:, 0], torch.tensor([85.0, 170]))

    def give(self, labels: torch.Tensor, images: torch.Tensor) -> Any:
        return labels


def contract_of(component: type[covary.Segmenter]) -> type[SegmenterContract]:
    class Tested(SegmenterContract):
        def create(self, **params: Any) -> Any:
            return component(**params)

    return Tested


def wrong(component: type[covary.Segmenter], *only: str) -> dict[str, str]:
    """Check -> explanation of what the contract finds wrong with a segmenter."""
    results = run_contract(contract_of(component), only)
    return {result.check: result.message for result in results if not result.good}


def test_a_sound_segmenter_passes() -> None:
    assert wrong(Bright) == {}


@pytest.mark.parametrize("seed", range(3))
def test_no_false_alarm_under_other_seeds_of_hypothesis(seed: int) -> None:
    contract = contract_of(Bright)
    for check in contract.checks():
        function = contract.plain(check)
        if hypothesis.is_hypothesis_test(function):
            hypothesis.seed(seed)(function)(contract())


class SmallRefused(Bright):
    """Sound too: says that small images do not fit."""

    def take(self, images: torch.Tensor) -> torch.Tensor:
        if min(covary.check_images(images).shape[2:]) < 32:
            raise covary.InputError("images", expected="32 pixels or more a side")
        return images


def test_small_images_may_be_refused() -> None:
    assert wrong(SmallRefused) == {}


class Narrow(Bright):
    """Gives the type that masks are stored in."""

    def give(self, labels: torch.Tensor, images: torch.Tensor) -> Any:
        return labels.to(torch.uint8)


class Halves(Bright):
    """Gives labels at the resolution of its network."""

    def give(self, labels: torch.Tensor, images: torch.Tensor) -> Any:
        return labels[:, ::2, ::2]


class FirstAlone(Bright):
    """Answers for the first image."""

    def give(self, labels: torch.Tensor, images: torch.Tensor) -> Any:
        return labels[0]


class Ignores(Bright):
    """Gives 255 to what belongs to no class, as data sets do."""

    def give(self, labels: torch.Tensor, images: torch.Tensor) -> Any:
        return torch.where(labels == 0, 255, labels)


class NoBackground(Bright):
    """Lists the classes without what is none of them."""

    @property
    def classes(self) -> Sequence[str]:
        return ("dark", "medium", "bright")


class Twice(Bright):
    """Lists a class twice."""

    @property
    def classes(self) -> Sequence[str]:
        return ("background", "bright", "bright")


class Numbers(Bright):
    """Lists numbers instead of names."""

    @property
    def classes(self) -> Sequence[str]:
        return [0, 1, 2]  # type: ignore[list-item]


class LoadsForClasses(Bright):
    """Reads the weights to know its classes."""

    @property
    def classes(self) -> Sequence[str]:
        return ("background", *(f"class {i}" for i in range(2 * len(self.load()))))


class LearnsClasses(Bright):
    """Knows all its classes only once it worked."""

    def give(self, labels: torch.Tensor, images: torch.Tensor) -> Any:
        self.more = ("glowing",)
        return labels

    @property
    def classes(self) -> Sequence[str]:
        return ("background", "medium", "bright", *getattr(self, "more", ()))


class Reverses(Bright):
    """Gives the last image first."""

    def give(self, labels: torch.Tensor, images: torch.Tensor) -> Any:
        return labels.flip(0)


class Trains(Bright):
    """Normalises by the statistics of the batch, as a network in training mode does."""

    def label(self, images: torch.Tensor, weights: torch.Tensor, ctx: RunContext) -> torch.Tensor:
        levels = conv2d(images, weights, padding=1)[:, 0]
        scaled = (levels - levels.mean()) / (levels.std() + 1)
        return torch.bucketize(scaled, torch.tensor([-0.5, 0.5]))


class DropsOut(Bright):
    """Leaves some pixels out at random."""

    def label(self, images: torch.Tensor, weights: torch.Tensor, ctx: RunContext) -> torch.Tensor:
        kept = torch.rand(images.shape, generator=ctx.generator()) < 0.5
        return super().label(images * kept, weights, ctx)


class Jitters(Bright):
    """Draws from numpy's global state."""

    def take(self, images: torch.Tensor) -> torch.Tensor:
        np.random.rand()
        return super().take(images)


class KeepsGraph(Bright):
    """Leaves gradients on."""

    def segment(self, images: torch.Tensor, ctx: RunContext | None = None) -> Any:
        with torch.enable_grad():
            return self.label(self.take(images).float(), self.load(), RunContext())


class TurnsGradientsOff(Bright):
    """Leaves gradients off for whoever comes next."""

    def segment(self, images: torch.Tensor, ctx: RunContext | None = None) -> Any:
        torch.set_grad_enabled(False)
        return super().segment(images, ctx)


class InPlace(Bright):
    """Works in the images that it was given."""

    def take(self, images: torch.Tensor) -> torch.Tensor:
        return covary.check_images(images).clamp_(16, 235)


class Views(Bright):
    """Wants pixels that lie side by side."""

    def take(self, images: torch.Tensor) -> torch.Tensor:
        return covary.check_images(images).view(-1).view(images.shape)


class Pools(Bright):
    """Halves the image four times, whatever its size."""

    def label(self, images: torch.Tensor, weights: torch.Tensor, ctx: RunContext) -> torch.Tensor:
        small = torch.nn.functional.max_pool2d(images, 8)
        large = torch.nn.functional.interpolate(small, images.shape[2:])
        return super().label(large, weights, ctx)


class Multiples(Bright):
    """Wants sides that can be halved."""

    def label(self, images: torch.Tensor, weights: torch.Tensor, ctx: RunContext) -> torch.Tensor:
        halved = images.unflatten(3, (-1, 2)).mean(dim=4)
        return super().label(halved.repeat_interleave(2, dim=3), weights, ctx)


class TakesAnything(Bright):
    """Does not look at what it is given."""

    def take(self, images: torch.Tensor) -> torch.Tensor:
        return images


class FailsRudely(Bright):
    """Lets the system's error through where there are no weights."""

    def load(self) -> torch.Tensor:
        if self.params.checkpoint != "bundled":
            Path(self.params.checkpoint).read_bytes()
        return super().load()


class SaysNothing(Bright):
    """Says that there are no weights, and not what to do."""

    def load(self) -> torch.Tensor:
        if self.params.checkpoint != "bundled":
            raise CheckpointError(f"no weights at {self.params.checkpoint}")
        return super().load()


class GoesOn(Bright):
    """Goes on with other weights after it told that there are none."""

    told = False

    def load(self) -> torch.Tensor:
        if self.params.checkpoint != "bundled" and not self.told:
            self.told = True
            raise CheckpointError(f"no weights at {self.params.checkpoint}", fix="fetch them")
        return torch.full((1, 3, 3, 3), 1 / 27)


class NeedsContext(Bright):
    """Cannot do without a context."""

    def segment(self, images: torch.Tensor, ctx: RunContext | None = None) -> Any:
        assert ctx is not None
        return super().segment(images, ctx)


MUTANTS = {
    Narrow: (("labels_every_pixel",), "got uint8"),
    Halves: (("labels_every_pixel", "takes_images_with_odd_sides"), "scale scores back"),
    FirstAlone: (("labels_every_pixel",), "a class for every pixel"),
    Ignores: (("labels_every_pixel",), "0..2, as it has 3 classes"),
    NoBackground: (("names_its_classes",), "'background', got 'dark'"),
    Twice: (("names_its_classes",), "['bright'] more than once"),
    Numbers: (("names_its_classes",), "two names or more"),
    LoadsForClasses: (("knows_its_classes_without_weights",), "1 tensors made"),
    LearnsClasses: (("knows_its_classes_without_weights",), "'glowing'"),
    Reverses: (("labels_each_image_on_its_own",), "keep the order"),
    Trains: (("labels_each_image_on_its_own",), ".eval()"),
    DropsOut: (("follows_from_the_images_alone",), "draw no numbers"),
    Jitters: (("leaves_global_random_state_alone",), "of numpy was used"),
    KeepsGraph: (("builds_no_graph",), "kept for one"),
    TurnsGradientsOff: (("builds_no_graph",), "still on, got off"),
    InPlace: (("leaves_its_input_unchanged",), "the images was changed"),
    Views: (("ignores_the_layout_in_memory",), "view"),
    Pools: (("takes_small_images_or_refuses_them",), "an image of one pixel: expected a result"),
    Multiples: (("takes_images_with_odd_sides",), "79x65 pixels"),
    TakesAnything: (("refuses_what_are_no_images",), "covary.check_images"),
    FailsRudely: (("says_how_to_get_missing_weights",), "got FileNotFoundError"),
    SaysNothing: (("says_how_to_get_missing_weights",), "expected what to do"),
    GoesOn: (("says_how_to_get_missing_weights",), "an error the second time too"),
    NeedsContext: (("works_without_a_context",), ""),
}  # fmt: skip


@pytest.mark.parametrize("component", MUTANTS)
def test_a_defect_is_caught_by_name(component: type[covary.Segmenter]) -> None:
    checks, words = MUTANTS[component]
    gradients = torch.is_grad_enabled()
    try:
        found = wrong(component, *checks)
    finally:
        torch.set_grad_enabled(gradients)
    assert tuple(found) == checks
    assert words in " ".join(found.values())
