"""Deliberate defects in refiners, each of which their contract catches by name."""

from __future__ import annotations

from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, pad

import covary
from covary import RunContext
from covary.testing import RefinerContract, run_contract


class Smooth(covary.Refiner):
    """The mean of each pixel's neighbourhood; the image is only looked at for its size."""

    def refine(self, soft: torch.Tensor, image: torch.Tensor, ctx: RunContext | None = None) -> Any:
        return self.give(self.smooth(self.take(soft, image)))

    def take(self, soft: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        return covary.check_soft(soft, image)

    def smooth(self, soft: torch.Tensor) -> torch.Tensor:
        return avg_pool2d(pad(soft[None, None], [1] * 4, mode="replicate"), 3, stride=1)[0, 0]

    def give(self, soft: torch.Tensor) -> Any:
        return soft.clamp(0, 1)


def contract_of(component: type[covary.Refiner]) -> type[RefinerContract]:
    class Tested(RefinerContract):
        def create(self, **params: Any) -> Any:
            return component(**params)

    return Tested


def wrong(component: type[covary.Refiner], *only: str) -> dict[str, str]:
    """Check -> explanation of what the contract finds wrong with a refiner."""
    results = run_contract(contract_of(component), only)
    return {result.check: result.message for result in results if not result.good}


def test_a_sound_refiner_passes() -> None:
    assert wrong(Smooth) == {}


@pytest.mark.parametrize("seed", range(3))
def test_no_false_alarm_under_other_seeds_of_hypothesis(seed: int) -> None:
    contract = contract_of(Smooth)
    for check in contract.checks():
        function = contract.plain(check)
        if hypothesis.is_hypothesis_test(function):
            hypothesis.seed(seed)(function)(contract())


class Hard(Smooth):
    """Gives a hard mask."""

    def give(self, soft: torch.Tensor) -> Any:
        return soft > 0.5


class Channel(Smooth):
    """Keeps the axes that the library wants."""

    def give(self, soft: torch.Tensor) -> Any:
        return soft[None]


class Double(Smooth):
    """Gives float64."""

    def give(self, soft: torch.Tensor) -> Any:
        return soft.double()


class Levels(Smooth):
    """Gives grey levels."""

    def give(self, soft: torch.Tensor) -> Any:
        return soft * 255


class Sharpens(Smooth):
    """Overshoots at borders."""

    def smooth(self, soft: torch.Tensor) -> torch.Tensor:
        return 2 * soft - super().smooth(soft)

    def give(self, soft: torch.Tensor) -> Any:
        return soft


class Stretches(Smooth):
    """Stretches the values to the whole range, of a constant mask too."""

    def give(self, soft: torch.Tensor) -> Any:
        return (soft - soft.min()) / (soft.max() - soft.min())


class Inverts(Smooth):
    """Gives the share of background."""

    def give(self, soft: torch.Tensor) -> Any:
        return 1 - soft


class Transposes(Smooth):
    """Takes x for y."""

    def give(self, soft: torch.Tensor) -> Any:
        return soft.T.reshape(soft.shape)


class Dilates(Smooth):
    """Draws a frame around whatever there is."""

    def give(self, soft: torch.Tensor) -> Any:
        framed = soft.clone()
        framed[0] = framed[-1] = 1
        return framed.clamp(0, 1)


class InPlace(Smooth):
    """Works in the mask that it was given."""

    def take(self, soft: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        return covary.check_soft(soft, image).mul_(0.9)


class Remembers(Smooth):
    """Follows the masks slowly, as in a film."""

    def give(self, soft: torch.Tensor) -> Any:
        before = getattr(self, "before", soft)
        self.before = (soft + before) / 2 if before.shape == soft.shape else soft
        return self.before


class Jitters(Smooth):
    """Adds noise of numpy's global state."""

    def give(self, soft: torch.Tensor) -> Any:
        noise = torch.from_numpy(np.random.rand(*soft.shape)).float()
        return (soft + 0.01 * noise).clamp(0, 1)


class Views(Smooth):
    """Wants rows that lie side by side."""

    def smooth(self, soft: torch.Tensor) -> torch.Tensor:
        return super().smooth(soft.view(-1).view(soft.shape))


class TakesAnything(Smooth):
    """Does not look at what it is given."""

    def take(self, soft: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        return soft.float()


class Reflects(Smooth):
    """Pads by reflection, of which a single row has none."""

    def smooth(self, soft: torch.Tensor) -> torch.Tensor:
        return avg_pool2d(pad(soft[None, None], [1] * 4, mode="reflect"), 3, stride=1)[0, 0]


class NeedsContext(Smooth):
    """Cannot do without a context."""

    def refine(self, soft: torch.Tensor, image: torch.Tensor, ctx: RunContext | None = None) -> Any:
        assert ctx is not None
        return super().refine(soft.to(ctx.device), image)


MUTANTS = {
    Hard: (("returns_a_soft_mask",), "got bool"),
    Channel: (("returns_a_soft_mask",), "take off the axes"),
    Double: (("returns_a_soft_mask",), "convert with .to(torch.float32)"),
    Levels: (("returns_a_soft_mask",), "values in 0..1"),
    Sharpens: (("returns_a_soft_mask",), ".clamp(0, 1)"),
    Stretches: (("invents_nothing",), "nan..nan"),
    Inverts: (("invents_nothing", "keeps_most_of_a_mask"), "no foreground, as there was none"),
    Transposes: (("keeps_most_of_a_mask",), "mind rows and columns"),
    Dilates: (("invents_nothing",), "80 pixels of it"),
    InPlace: (("leaves_its_input_unchanged",), "the mask was changed"),
    Remembers: (("keeps_nothing_between_runs",), "another mask"),
    Jitters: (("leaves_global_random_state_alone",), "of numpy was used"),
    Views: (("ignores_the_layout_in_memory",), "view"),
    TakesAnything: (("refuses_what_is_no_mask_of_the_image",), "covary.check_soft"),
    Reflects: (("takes_images_of_any_size",), "an image of one pixel: expected a result"),
    NeedsContext: (("works_without_a_context",), ""),
}  # fmt: skip


@pytest.mark.parametrize("component", MUTANTS)
def test_a_defect_is_caught_by_name(component: type[covary.Refiner]) -> None:
    checks, words = MUTANTS[component]
    found = wrong(component, *checks)
    assert tuple(found) == checks
    assert words in " ".join(found.values())
