"""A mask branch on a frozen generator, trained against a discriminator without labels.

In the spirit of Abdal et al., "Labels4Free: Unsupervised Segmentation using StyleGAN", 2021: a
branch on the generator's feature maps gives an opacity for every pixel; the image, laid over
another background with that opacity, has to look like an image of the generator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import covary
from covary.files import output_folder, replacing
from covary_bench.avatars.discriminator import Discriminator

from .activations import Activations, FrozenGenerator
from .base import Baseline, Label, Needs, Report

__all__ = ["AlphaBranch", "Labels4Free", "Settings", "backgrounds"]

_PENALTY_EVERY = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """How the branch is trained."""

    steps: int = 400
    """Updates of both networks."""
    batch: int = 16
    """Images in each."""
    judged_at: int = 32
    """Size at which the discriminator sees images, pixels: a fraction of the work of 64."""
    width: int = 16
    """Channels of the branch."""
    learning_rate: float = 2e-3
    """Of both networks (Adam)."""
    average: float = 0.99
    """Weight of the past in the running average of the branch's weights, which gives the masks: the
    weights themselves follow the game with the discriminator to and fro."""
    area: float = 0.5
    """Weight of the mean opacity: without it, one that is 1 everywhere would be perfect."""
    least: float = 0.2
    """Mean opacity below which an image is punished."""
    binary: float = 0.5
    """Weight of the distance of opacities from 0 and 1."""
    gamma: float = 0.1
    """Weight of the discriminator's gradient penalty on real images (R1)."""
    save_every: int = 200
    """Steps between checkpoints."""


_DEFAULT = Settings()


class AlphaBranch(nn.Module):
    """Feature maps of all convolutions to the logits of the opacity, float32 (B, H, W).

    As the generator's skip architecture sums up RGB: a 1x1 convolution of each feature map, summed
    over resolutions; then two convolutions at the size of the image.

    Args:
        channels: of each convolution's feature maps.
        width: channels of the sum.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(nn.Conv2d(n, width, 1) for n in channels)
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        total = torch.zeros(1, 1, 1, 1)
        for layer, reduce in zip(layers, self.reduce, strict=True):
            size = layer.shape[-2:]
            if total.shape[-2:] != size:
                total = F.interpolate(total, size=size, mode="bilinear", align_corners=False)
            total = total + F.leaky_relu(reduce(layer), 0.2)
        logits: Tensor = self.out(F.leaky_relu(self.mix(total), 0.2))
        return logits[:, 0]


class Labels4Free(Baseline):
    """Opacity above one half is foreground.

    Args:
        training: how its branch is trained.
    """

    name: ClassVar[str] = "labels4free"

    def __init__(self, training: Settings = _DEFAULT) -> None:
        self.training = training

    @property
    def settings(self) -> Mapping[str, Any]:
        """Of the training."""
        return asdict(self.training)

    @property
    def needs(self) -> Needs:
        """No labels; fresh images in every step."""
        images = 3 * self.training.steps * self.training.batch
        return Needs(labelled=0, images=images, trained="networks")

    def _fit(
        self,
        generator: FrozenGenerator,
        label: Label | None,
        seed: int,
        folder: Path | None,
        report: Report,
    ) -> None:
        settings = self.training
        training = _Training(generator, settings, seed)
        checkpoint = None if folder is None else output_folder(folder) / f"{self.name}.pt"
        if checkpoint is not None and checkpoint.exists():
            training.restore(torch.load(checkpoint, weights_only=True), checkpoint)
        while training.done < settings.steps:
            training.step()
            report(training.remark(), training.done, settings.steps)
            last = training.done == settings.steps
            if checkpoint is not None and (last or training.done % settings.save_every == 0):
                with replacing(checkpoint) as temporary:
                    torch.save(training.state(), temporary)
        self._branch = training.average.module.eval().requires_grad_(False)

    def _masks(self, some: Activations) -> Tensor:
        logits: Tensor = self._branch(some.layers)
        return logits > 0


class _Training:
    """Both networks, their optimisers, and how far they have come."""

    def __init__(self, generator: FrozenGenerator, settings: Settings, seed: int) -> None:
        self.generator, self.settings, self.seed = generator, settings, seed
        self.random = torch.Generator().manual_seed(seed)
        # The networks' initial weights come from torch's global generator.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.branch = AlphaBranch(generator.channels, settings.width)
            self.discriminator = Discriminator(settings.judged_at)
        self.average = AveragedModel(
            self.branch, multi_avg_fn=get_ema_multi_avg_fn(settings.average)
        )
        self.optim = _adam(self.branch, settings)
        self.optim_d = _adam(self.discriminator, settings)
        self.done = 0
        self.losses: dict[str, float] = {}

    def step(self) -> None:
        """One update of the branch, then one of the discriminator."""
        settings, batch = self.settings, self.settings.batch
        codes = self.generator.random_codes(3 * batch, self.random)
        some = self.generator.activations(codes[:batch])
        others = self.generator.activations(codes[batch:], ()).images
        other, real = (_scaled(images) for images in others.split(batch))
        alpha = self.branch(some.layers).sigmoid()[:, None]
        image = torch.lerp(backgrounds(other), _scaled(some.images), alpha)
        fake, real = self._seen(image), self._seen(real)

        area = alpha.mean(dim=(1, 2, 3))
        losses = {
            "real": F.softplus(-self.discriminator(fake)).mean(),
            "area": settings.area * (area + 10 * (settings.least - area).relu()).mean(),
            "binary": settings.binary * torch.minimum(alpha, 1 - alpha).mean(),
        }
        self.optim.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward(inputs=list(self.branch.parameters()))
        self.optim.step()
        self.average.update_parameters(self.branch)

        logits = self.discriminator(torch.cat([fake.detach(), real]))
        loss = F.softplus(logits[:batch]).mean() + F.softplus(-logits[batch:]).mean()
        if self.done % _PENALTY_EVERY == 0:
            loss = loss + _PENALTY_EVERY * settings.gamma / 2 * self._penalty(real)
        self.optim_d.zero_grad(set_to_none=True)
        loss.backward()
        self.optim_d.step()

        self.done += 1
        self.losses = {name: float(value.detach()) for name, value in losses.items()}
        self.losses |= {
            "discriminator": float(loss.detach()),
            "opacity": float(area.detach().mean()),
        }

    def remark(self) -> str:
        """The last step's losses in a line."""
        return ", ".join(f"{name} {value:.3f}" for name, value in self.losses.items())

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs to go on as if never stopped."""
        return {
            "settings": self._settings(),
            "branch": self.branch.state_dict(),
            "average": self.average.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optim": self.optim.state_dict(),
            "optim_d": self.optim_d.state_dict(),
            "random": self.random.get_state(),
            "done": self.done,
        }

    def restore(self, state: Mapping[str, Any], path: Path) -> None:
        """Go on from ``state``.

        Raises:
            InputError: it was made with other settings, or trained for longer.
        """
        settings, steps = self._settings(), self.settings.steps
        if state["settings"] != settings or state["done"] > steps:
            raise covary.InputError(
                f"checkpoint {path}",
                expected=f"{settings}, {steps} steps or fewer",
                got=f"{state['settings']}, {state['done']} steps",
                fix="use another folder, or remove the file",
            )
        for name in ("branch", "average", "discriminator", "optim", "optim_d"):
            getattr(self, name).load_state_dict(state[name])
        self.random.set_state(state["random"])
        self.done = state["done"]

    def _settings(self) -> dict[str, Any]:
        """What decides on each step; a longer training may go on from a shorter one."""
        found = asdict(self.settings) | {"seed": self.seed}
        return {k: v for k, v in found.items() if k not in ("steps", "save_every")}

    def _seen(self, images: Tensor) -> Tensor:
        """Averaged to the discriminator's size."""
        return F.adaptive_avg_pool2d(images, self.settings.judged_at)

    def _penalty(self, real: Tensor) -> Tensor:
        real = real.detach().requires_grad_()
        total = self.discriminator(real).sum()
        (gradient,) = torch.autograd.grad(total, real, create_graph=True)
        return gradient.square().sum(dim=(1, 2, 3)).mean()


def backgrounds(images: Tensor) -> Tensor:
    """Pictures without a foreground, made of the upper corners of ``images`` (B, 3, H, W).

    Each corner, half as high and a fifth as wide as the image, is enlarged to all of it, and the
    left one fades into the right one. There is no foreground in the upper corners of a portrait:
    the same that covary's border rule takes for granted.
    """
    height, width = images.shape[-2:]
    high, wide = max(1, height // 2), max(1, width // 5)
    corners = images[:, :, :high, :wide], images[:, :, :high, -wide:]
    left, right = (
        F.interpolate(one, size=(height, width), mode="bilinear", align_corners=False)
        for one in corners
    )
    return torch.lerp(left, right, torch.linspace(0, 1, width))


def _scaled(images: Tensor) -> Tensor:
    """uint8 as float32 in -1..1."""
    return images.float() / 127.5 - 1


def _adam(network: nn.Module, settings: Settings) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=settings.learning_rate, betas=(0.0, 0.99))
