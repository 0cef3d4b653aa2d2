"""What the baselines look at: the feature maps of a frozen StyleGAN2 generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import covary
from covary_plugins.sources._mixing import published_latent
from covary_plugins.stylegan2 import load_generator, to_uint8

__all__ = ["Activations", "FrozenGenerator", "stretched"]


@dataclass(frozen=True, slots=True)
class Activations:
    """Images and what the generator's layers held while it made them."""

    images: Tensor
    """uint8 (B, 3, H, W)."""
    layers: tuple[Tensor, ...]
    """float32 (B, C_i, h_i, w_i), after the nonlinearity of each layer asked for."""


class FrozenGenerator:
    """Images by seed, and the feature maps that they were made of.

    Seeds mean the images that they mean to the source ``stylegan2``.

    Args:
        checkpoint: a file, or a name from the catalogue.
        psi: truncation towards the mean latent; 1 is none.
        max_resolution: stop at this size, pixels; None is the full one.
    """

    def __init__(
        self,
        checkpoint: str | Path = "avatars-64",
        psi: float = 0.8,
        max_resolution: int | None = None,
    ) -> None:
        self.network = load_generator(covary.checkpoint_path(str(checkpoint)))
        self.psi = psi
        synthesis = self.network.synthesis
        self.resolution = synthesis.check_max_resolution(max_resolution)
        steps = synthesis.steps[: synthesis.steps_to(self.resolution)]
        self._convolutions = [
            synthesis.get_submodule(f"b{step.resolution}.{step.layer}")
            for step in steps
            if step.layer != "torgb"
        ]
        self._sizes = tuple(step.resolution for step in steps if step.layer != "torgb")

    @property
    def channels(self) -> tuple[int, ...]:
        """Feature maps of each convolution, from the coarsest on."""
        return tuple(int(layer.get_parameter("bias").numel()) for layer in self._convolutions)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Height and width of each convolution's feature maps, pixels."""
        return self._sizes

    def codes(self, seeds: Sequence[int]) -> Tensor:
        """Truncated codes float32 (B, L, W) of the published latents of ``seeds``."""
        z = torch.cat([published_latent(seed, self.network.z_dim) for seed in seeds])
        return self._mapped(z)

    def random_codes(self, count: int, random: torch.Generator) -> Tensor:
        """Truncated codes float32 (count, L, W) of fresh latents."""
        return self._mapped(torch.randn(count, self.network.z_dim, generator=random))

    @torch.no_grad()
    def activations(self, codes: Tensor, layers: Sequence[int] | None = None) -> Activations:
        """The images of ``codes`` (B, L, W) and the feature maps of ``layers``.

        Args:
            codes: truncated, of `codes` or `random_codes`.
            layers: numbers of convolutions from the coarsest on, negative ones from the finest;
                None is all of them.

        Raises:
            InputError: there is no such convolution.
        """
        modules = [self._convolutions[i] for i in self._indices(layers)]
        with _recorded(modules) as found:
            limit = self.resolution
            images = to_uint8(self.network.synthesis(codes, max_resolution=limit))
        # The first layer's maps are one for all where they depend on no code.
        maps = tuple(one.float().expand(len(codes), -1, -1, -1) for one in found())
        return Activations(images, maps)

    def batches(
        self, seeds: Sequence[int], layers: Sequence[int] | None = None, size: int = 16
    ) -> Iterator[Activations]:
        """The activations of ``seeds``, ``size`` at a time."""
        for start in range(0, len(seeds), size):
            yield self.activations(self.codes(seeds[start : start + size]), layers)

    def _indices(self, layers: Sequence[int] | None) -> Sequence[int]:
        count = len(self._convolutions)
        chosen = range(count) if layers is None else layers
        wrong = [i for i in chosen if not -count <= i < count]
        if wrong:
            raise covary.InputError(
                "layer of the generator", expected=f"-{count}..{count - 1}", got=str(wrong[0])
            )
        return chosen

    @torch.no_grad()
    def _mapped(self, z: Tensor) -> Tensor:
        codes: Tensor = self.network.mapping(z, psi=self.psi)
        return codes


def stretched(layers: Sequence[Tensor], size: int) -> Tensor:
    """Feature maps bilinearly brought to one size and joined, (B, sum of C_i, size, size)."""
    return torch.cat(
        [
            one
            if one.shape[-1] == size
            else F.interpolate(one, size=(size, size), mode="bilinear", align_corners=False)
            for one in layers
        ],
        dim=1,
    )


@contextmanager
def _recorded(modules: Sequence[nn.Module]) -> Iterator[Callable[[], list[Tensor]]]:
    """What ``modules`` give while the block runs, in their order, by forward hooks."""
    outputs: dict[int, Tensor] = {}

    def keep(module: nn.Module, _: object, output: Tensor) -> None:
        outputs[id(module)] = output

    hooks = [module.register_forward_hook(keep) for module in modules]
    try:
        yield lambda: [outputs[id(module)] for module in modules]
    finally:
        for hook in hooks:
            hook.remove()
