"""StyleGAN2's synthesis network: codes to images, in steps that variants can share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from covary.errors import InputError

from .architecture import Architecture
from .derived import Derived
from .execution import FP32, Execution
from .layers import ConvLayer, Modulation, Noise, SynthesisBlock, ToRGB
from .styles import StyleBank

__all__ = ["Prefix", "Synthesis", "check_noise"]

_NOISES = ("const", "none", "random")


class _Step(NamedTuple):
    """One operation of the synthesis network and the code it listens to."""

    resolution: int
    layer: str
    ws_index: int


@dataclass(frozen=True, slots=True)
class Prefix:
    """The part of a synthesis run that variants of a structure share, for one structure or several.

    Attributes:
        x: features after the last step done, (q, C, h, w) for q structures, or (1, C, h, w) while
            they have no difference yet.
        image: RGB accumulated so far, float32, likewise; black before the first ToRGB.
        steps: how many steps are done.
        noise: the noise they were done with.
        how: what they were computed with, and the rest will be.
        residual: what a residual block under way adds to its output, or None.
    """

    x: Tensor
    image: Tensor
    steps: int
    noise: Noise
    how: Execution = FP32
    residual: Tensor | None = None

    def of(self, owners: Tensor) -> Prefix:
        """A row for each of the codes that are to go on: that of its structure, int64 (B,)."""

        def rows(part: Tensor) -> Tensor:
            return part if len(part) == 1 else part[owners]

        residual = None if self.residual is None else rows(self.residual)
        return replace(self, x=rows(self.x), image=rows(self.image), residual=residual)


class Synthesis(nn.Module):
    """Per-layer codes to images, one block for each resolution."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.resolution = architecture.resolution
        self.num_ws = architecture.num_ws
        self.w_dim = architecture.w_dim
        self.img_channels = architecture.img_channels
        self.kind = architecture.kind
        self.steps: list[_Step] = []
        n_in = 0
        for log2, n_out in enumerate(architecture.channels, start=2):
            block = SynthesisBlock(n_in, n_out, 2**log2, architecture)
            self.add_module(f"b{2**log2}", block)
            self.steps += _block_steps(log2, with_rgb=hasattr(block, "torgb"))
            n_in = n_out
        self._derived = Derived()

    def forward(
        self,
        ws: Tensor,
        noise: Noise = "const",
        prefix: Prefix | None = None,
        *,
        how: Execution | None = None,
        max_resolution: int | None = None,
    ) -> Tensor:
        """Images float32 (B, 3, H, W), nominally in [-1, 1] but not clipped, of ws (B, L, W).

        Args:
            noise: the stored noise maps, none, or fresh ones.
            prefix: what `Generator.prefix` computed; ws is then only read from its layer on.
            how: number formats and the like; None is float32, or what the prefix was made with.
            max_resolution: stop there and give images of that size; skip architecture only.

        Raises:
            InputError: ws of another shape, an unknown noise, a prefix made with other settings,
                or a ``max_resolution`` that the network has no RGB at.
        """
        check_noise(noise)
        if ws.ndim != 3 or ws.shape[1:] != (self.num_ws, self.w_dim):
            raise InputError(
                "ws",
                expected=f"shape (B, {self.num_ws}, {self.w_dim})",
                got=str(tuple(ws.shape)),
                fix="use mapping() or style_mix() of the same generator",
            )
        until = self.steps_to(self.check_max_resolution(max_resolution))
        if prefix is None:
            prefix = self.start(noise, FP32 if how is None else how)
        else:
            _check_prefix(prefix, noise, how, until)
        image = self.advance(prefix, ws, until).image
        return image.expand(len(ws), -1, -1, -1)

    def start(self, noise: Noise, how: Execution | torch.dtype = FP32) -> Prefix:
        """The state before the first step: the learned constant.

        Args:
            how: a dtype alone means all features in it; styles and RGB stay in float32.
        """
        how = Execution(how) if isinstance(how, torch.dtype) else how
        const = self.get_parameter("b4.const")[None]
        x = const.to(dtype=how.dtype_at(4), memory_format=torch.channels_last)
        return Prefix(x, const.new_zeros(1, self.img_channels, 2, 2), 0, noise, how)

    def advance(self, state: Prefix, ws: Tensor, until: int) -> Prefix:
        """``state`` with the steps before ``until`` done, reading each step's code from ``ws``."""
        until = max(until, state.steps)
        x, image, residual, how = state.x, state.image, state.residual, state.how
        modulations = self._modulations(ws, state.steps, until)
        steps = self.steps[state.steps : until]
        for (resolution, name, _), modulation in zip(steps, modulations, strict=True):
            block = cast(SynthesisBlock, self.get_submodule(f"b{resolution}"))
            if name == "torgb":
                image = block.add_rgb(image, x, modulation, how)
                continue
            if name == "conv0" and self.kind == "resnet":
                residual = block.skip(x.to(how.dtype_at(resolution)))
            x = block.get_submodule(name)(x, modulation, state.noise, how)
            if name == "conv1" and residual is not None:
                x, residual = x + residual, None
        return Prefix(x, image, until, state.noise, how, residual)

    def steps_before(self, c: int) -> int:
        """How many steps listen only to codes before layer ``c``."""
        return sum(step.ws_index < c for step in self.steps)

    def steps_to(self, resolution: int) -> int:
        """How many steps lead to the RGB image of ``resolution``."""
        return sum(step.resolution <= resolution for step in self.steps)

    def check_max_resolution(self, resolution: int | None) -> int:
        """The size of the images, pixels, when synthesis stops at ``resolution``.

        Raises:
            InputError: the network has no RGB there.
        """
        if resolution is None or resolution == self.resolution:
            return self.resolution
        sizes = [step.resolution for step in self.steps if step.layer == "torgb"]
        if resolution not in sizes:
            why = "" if self.kind == "skip" else f" (architecture {self.kind!r})"
            raise InputError(
                "max_resolution",
                expected=f"one of {', '.join(map(str, sizes))}: the sizes that the network has "
                f"RGB at{why}",
                got=repr(resolution),
                fix="leave max_resolution out for the full size",
            )
        return resolution

    def _modulations(self, ws: Tensor, first: int, until: int) -> list[Modulation]:
        """What the steps from ``first`` to ``until`` need to know of the codes."""
        if first == until:
            return []
        layers = self._layers()
        sources = StyleBank.sources(layers)
        indices = [step.ws_index for step in self.steps[first:until]]
        if torch.is_grad_enabled() and any(source.requires_grad for source in sources):
            codes = zip(layers[first:until], indices, strict=True)
            return [layer.modulation(ws[:, index]) for layer, index in codes]
        bank = self._derived.get("bank", sources, lambda: StyleBank(layers))
        return bank.modulations(ws[:, indices], first, until)

    def _layers(self) -> list[ConvLayer | ToRGB]:
        """The layer of each step."""
        return [
            cast(ConvLayer | ToRGB, self.get_submodule(f"b{step.resolution}.{step.layer}"))
            for step in self.steps
        ]

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Synthesis:
        self._derived.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def _block_steps(log2: int, *, with_rgb: bool) -> list[_Step]:
    """Each ToRGB listens to the code of the next block's first convolution."""
    resolution = 2**log2
    layers = ["conv1"] if log2 == 2 else ["conv0", "conv1"]
    layers += ["torgb"] if with_rgb else []
    first = max(2 * log2 - 5, 0)
    return [_Step(resolution, layer, first + k) for k, layer in enumerate(layers)]


def check_noise(noise: str) -> None:
    """Refuse an unknown kind of noise."""
    if noise not in _NOISES:
        raise InputError("noise", expected=" or ".join(map(repr, _NOISES)), got=repr(noise))


def _check_prefix(prefix: Prefix, noise: Noise, how: Execution | None, until: int) -> None:
    if prefix.noise != noise:
        raise InputError(
            "noise",
            expected=f"{prefix.noise!r}, which the prefix was made with",
            got=repr(noise),
            fix="make the prefix with the same noise",
        )
    if how is not None and how != prefix.how:
        raise InputError(
            "how",
            expected=f"{prefix.how}, which the prefix was made with",
            got=str(how),
            fix="leave it out: the prefix knows",
        )
    if prefix.steps > until:
        raise InputError(
            "prefix",
            expected="one that ends before max_resolution",
            got="one that goes beyond it",
            fix="make the prefix with the same max_resolution",
        )
