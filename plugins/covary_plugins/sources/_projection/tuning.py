"""A generator fine-tuned around one code (pivotal tuning, Roich et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .._mixing import draw_styles
from .inversion import Schedule
from .loss import pyramid_loss

if TYPE_CHECKING:
    import covary
    from covary_plugins.stylegan2 import Generator

__all__ = ["tune"]

# Weight of what the tuned generator may not change.
_LOCALITY = 1.0


def tune(
    generator: Generator,
    pivot: Tensor,
    target: Tensor,
    schedule: Schedule,
    ctx: covary.RunContext,
    *,
    psi: float,
    progress: Callable[[int, int], None],
) -> Generator:
    """A copy of ``generator`` whose image of ``pivot`` comes closer to ``target``.

    Each step also holds the image of one random code where it was, so that the appearances which
    style mixing draws stay those of the generator.

    Args:
        pivot: float32 (1, L, W).
        target: float32 (1, 3, H, W) in [-1, 1].
        psi: truncation of the random codes.
        progress: called with steps done and steps to do.
    """
    with torch.inference_mode(False), torch.enable_grad():
        tuned = deepcopy(generator)
        weights = list(tuned.synthesis.parameters())
        for weight in weights:
            weight.requires_grad_()
        others = draw_styles(generator, schedule.steps, psi, ctx.at("tuning", "project"))
        remaining = iter(others.clone().split(1))
        optimiser = torch.optim.Adam(weights)

        def step(rate: float) -> Tensor:
            for group in optimiser.param_groups:
                group["lr"] = rate
            other = next(remaining)
            with torch.no_grad():
                kept = generator.synthesis(other)
            loss = pyramid_loss(tuned.synthesis(pivot), target)
            moved = pyramid_loss(tuned.synthesis(other), kept)
            optimiser.zero_grad()
            (loss + _LOCALITY * moved).backward()
            optimiser.step()
            return loss.detach()

        schedule.run(step, progress)
    return tuned.requires_grad_(False)
