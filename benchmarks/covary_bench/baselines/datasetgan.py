"""Few-shot segmentation from a generator's feature maps.

After Zhang et al., "DatasetGAN: Efficient Labeled Data Factory with Minimal Human Effort", 2021:
the feature maps of all layers, brought to the image's size, make one vector for each pixel; an
ensemble of small perceptrons, trained on the pixels of a few labelled images, votes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .activations import Activations, FrozenGenerator, stretched
from .base import Baseline, Label, Needs, Report

__all__ = ["DatasetGAN"]

_LEARNING_RATE = 1e-3


class DatasetGAN(Baseline):
    """An ensemble of perceptrons on all feature maps; most votes win.

    Args:
        labelled: images that are labelled, of the seeds from 0 on.
        members: perceptrons.
        steps: of training, for each.
        batch: pixels in a step.
        widths: of the hidden layers.
    """

    name: ClassVar[str] = "datasetgan"

    def __init__(
        self,
        labelled: int = 16,
        members: int = 10,
        steps: int = 600,
        batch: int = 256,
        widths: tuple[int, ...] = (128, 32),
    ) -> None:
        self.labelled, self.members = labelled, members
        self.steps, self.batch, self.widths = steps, batch, widths

    @property
    def settings(self) -> Mapping[str, Any]:
        """Labels, perceptrons and their training."""
        return {
            "labelled": self.labelled,
            "members": self.members,
            "steps": self.steps,
            "batch": self.batch,
            "widths": list(self.widths),
        }

    @property
    def needs(self) -> Needs:
        """A few labelled images, and no others."""
        return Needs(labelled=self.labelled, images=self.labelled, trained="networks")

    def _fit(
        self,
        generator: FrozenGenerator,
        label: Label | None,
        seed: int,
        folder: Path | None,
        report: Report,
    ) -> None:
        assert label is not None  # fit() has seen to it
        batches = generator.batches(range(self.labelled))
        seen = [(_pixels(one), label(one.images)) for one in batches]
        pixels = torch.cat([one for one, _ in seen])
        truth = torch.cat([mask.flatten() for _, mask in seen]).float()
        self._mean, deviation = pixels.mean(dim=0), pixels.std(dim=0)
        self._deviation = deviation.clamp_min(1e-6)
        self._networks = []
        for member in range(self.members):
            report("perceptrons", member, self.members)
            self._networks.append(self._trained(pixels, truth, seed * self.members + member))

    def _trained(self, pixels: Tensor, truth: Tensor, seed: int) -> nn.Module:
        random = torch.Generator().manual_seed(seed)
        network = _perceptron((pixels.shape[1], *self.widths), random)
        optim = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
        for _ in range(self.steps):
            index = torch.randint(len(pixels), (self.batch,), generator=random)
            logits = network(self._standardised(pixels[index]))[:, 0]
            optim.zero_grad(set_to_none=True)
            F.binary_cross_entropy_with_logits(logits, truth[index]).backward()
            optim.step()
        return network.eval().requires_grad_(False)

    def _masks(self, some: Activations) -> Tensor:
        masks = []
        # One image at a time: all maps at full size are large.
        for i in range(len(some.images)):
            one = Activations(some.images[i : i + 1], tuple(x[i : i + 1] for x in some.layers))
            pixels = self._standardised(_pixels(one))
            votes = torch.stack([network(pixels)[:, 0] > 0 for network in self._networks])
            masks.append((votes.sum(dim=0) * 2 > self.members).reshape(one.images.shape[-2:]))
        return torch.stack(masks)

    def _standardised(self, pixels: Tensor) -> Tensor:
        return (pixels - self._mean) / self._deviation


def _pixels(some: Activations) -> Tensor:
    """Float32 (B * H * W, sum of C_i)."""
    maps = stretched(some.layers, some.images.shape[-1])
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def _perceptron(widths: tuple[int, ...], random: torch.Generator) -> nn.Sequential:
    """Linear layers with batch normalisation between, one output; weights drawn from ``random``."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(widths[-1], 1))
    for layer in network:
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=random)
            nn.init.zeros_(layer.bias)
    return network
