"""The code whose image comes closest to a photo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from covary import InputError

from .._mixing import draw_styles
from .loss import pyramid_loss

if TYPE_CHECKING:
    import covary
    from covary_plugins.stylegan2 import Generator

__all__ = ["Projection", "Schedule", "project", "training_bytes"]

# Side at which starting points are compared with the photo, pixels.
_GLANCE = 16
_GLANCED_AT_ONCE = 32
# Codes by which the spread of the generator's codes is measured.
_SPREAD_CODES = 1024
# Float32 values kept for the backward pass, for each value that a convolution returns.
_KEPT = 8


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long to descend, and how fast."""

    steps: int
    """At most so many steps."""
    rate: float
    """Adam's learning rate at its height."""
    patience: int
    """Steps without progress after which the rate goes down for good."""
    tolerance: float = 1e-3
    """Relative decrease of the loss that counts as progress."""

    def run(self, step: Callable[[float], Tensor], progress: Callable[[int, int], None]) -> int:
        """Call ``step(rate)``, which returns its loss, until the schedule ends.

        The rate rises over the first twentieth of the steps and falls to nothing over the last
        quarter, which begins early where the loss has stopped falling.

        Returns:
            Steps done.

        Raises:
            InputError: the loss is no longer finite.
        """
        warm, cool = max(1, self.steps // 20), max(1, self.steps // 4)
        last, done = self.steps, 0
        best, best_at = float("inf"), 0
        while done < last:
            rate = self.rate * min(1.0, (done + 1) / warm, (last - done) / cool)
            loss = float(step(rate))
            if loss != loss or loss == float("inf"):
                raise InputError(
                    "projection", expected="a finite loss", got=str(loss), fix="lower learning_rate"
                )
            if loss < best * (1 - self.tolerance):
                best, best_at = loss, done
            done += 1
            if done - best_at > self.patience:
                last = min(last, done + cool)
            progress(done, last)
        return done


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """A photo as a generator's code."""

    ws: Tensor
    """float32 (1, L, W)."""
    steps: int
    """Steps it took."""


def project(
    generator: Generator,
    target: Tensor,
    schedule: Schedule,
    ctx: covary.RunContext,
    *,
    starts: int,
    psi: float,
    to_mean: float,
    to_equal: float,
    progress: Callable[[int, int], None],
) -> Projection:
    """Descend from the best of some random codes to the code (W+) of ``target``.

    The code is one base for all layers plus an offset for each, and Adam moves both: what all
    layers agree on is found fast, and details follow.

    Args:
        generator: in evaluation mode on ``ctx.device``, its weights without gradients.
        target: float32 (1, 3, H, W) in [-1, 1], of the generator's size.
        starts: how many random codes to start from the best of, beside the mean code.
        psi: truncation of those codes.
        to_mean: weight of the squared distance to the mean code, in its standard deviations.
        to_equal: weight of the squared distance of the layers' codes to each other, likewise.
        progress: called with steps done and steps to do.
    """
    spread = _spread(generator, ctx)
    mean = generator.mapping.w_avg
    with torch.inference_mode(False), torch.enable_grad():
        base = _best_start(generator, target, starts, psi, ctx).clone().requires_grad_()
        offsets = torch.zeros(
            1, generator.num_ws, generator.w_dim, device=ctx.device, requires_grad=True
        )
        optimiser = torch.optim.Adam([base, offsets], betas=(0.9, 0.99))

        def step(rate: float) -> Tensor:
            for group in optimiser.param_groups:
                group["lr"] = rate * spread
            ws = base + offsets
            loss = pyramid_loss(generator.synthesis(ws), target)
            far = ((ws - mean) / spread).square().mean()
            apart = ((ws - ws.mean(dim=1, keepdim=True)) / spread).square().mean()
            optimiser.zero_grad()
            total = loss + to_mean * far + to_equal * apart
            total.backward()
            optimiser.step()
            return total.detach()

        steps = schedule.run(step, progress)
        return Projection((base + offsets).detach(), steps)


def training_bytes(generator: Generator, tuning: bool = False) -> int:
    """Peak bytes of one step: what the backward pass needs of each layer.

    With ``tuning`` of two images, and the copied weights with their gradients and Adam's moments.
    """
    widths = generator.architecture.channels
    values = sum(2 * width * 4**log2 for log2, width in enumerate(widths, start=2))
    weights = sum(weight.numel() for weight in generator.synthesis.parameters())
    return int(4 * (_KEPT * values * (2 if tuning else 1) + (4 * weights if tuning else 0)))


def _spread(generator: Generator, ctx: covary.RunContext) -> float:
    """Standard deviation of the generator's codes, the unit of rates and distances."""
    codes = draw_styles(generator, _SPREAD_CODES, 1.0, ctx.at("spread", "project"))
    return float(codes[:, 0].std(dim=0).mean())


def _best_start(
    generator: Generator, target: Tensor, starts: int, psi: float, ctx: covary.RunContext
) -> Tensor:
    """The first layer's code (1, 1, W) of the start whose small image is closest."""
    codes = draw_styles(generator, starts, psi, ctx.at("start", "project"))
    mean = generator.mapping.w_avg.expand(1, generator.num_ws, -1)
    codes = torch.cat([mean, codes])
    wanted = _glance(target)
    with torch.no_grad():
        distances = [
            (_glance(generator.synthesis(some)) - wanted).square().flatten(1).mean(dim=1)
            for some in codes.split(_GLANCED_AT_ONCE)
        ]
    return codes[torch.cat(distances).argmin()][None, :1]


def _glance(images: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(images, min(_GLANCE, images.shape[3]))
