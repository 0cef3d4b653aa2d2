"""A StyleGAN2 generator in plain PyTorch, weight-compatible with the public checkpoints."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from covary.errors import InputError

from .architecture import Architecture
from .layers import Mapping, Noise, SynthesisBlock
from .names import check_tensors, load_plan

__all__ = ["Generator", "Prefix", "Synthesis"]

_NOISES = ("const", "none", "random")


class _Step(NamedTuple):
    """One operation of the synthesis network and the code it listens to."""

    resolution: int
    layer: str
    ws_index: int


@dataclass(frozen=True, slots=True)
class Prefix:
    """The part of a synthesis run that variants of one structure share.

    Attributes:
        x: features after the last step done, (1, C, h, w).
        image: RGB accumulated so far, float32 (1, 3, h, w); black before the first ToRGB.
        steps: how many steps are done.
        noise: the noise they were done with.
    """

    x: Tensor
    image: Tensor
    steps: int
    noise: Noise


class Synthesis(nn.Module):
    """Per-layer codes to images; the skip architecture, one block for each resolution."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.resolution = architecture.resolution
        self.num_ws = architecture.num_ws
        self.w_dim = architecture.w_dim
        self.img_channels = architecture.img_channels
        self.steps: list[_Step] = []
        n_in = 0
        for log2, n_out in enumerate(architecture.channels, start=2):
            block = SynthesisBlock(
                n_in,
                n_out,
                architecture.img_channels,
                architecture.w_dim,
                2**log2,
                conv_clamp=architecture.conv_clamp,
                use_noise=architecture.use_noise,
            )
            self.add_module(f"b{2**log2}", block)
            self.steps += _block_steps(log2)
            n_in = n_out

    def forward(self, ws: Tensor, noise: Noise = "const", prefix: Prefix | None = None) -> Tensor:
        """Images float32 (B, 3, H, W), nominally in [-1, 1] but not clipped, of ws (B, L, W).

        Args:
            noise: the stored noise maps, none, or fresh ones.
            prefix: what `Generator.prefix` computed; ws is then only read from its layer on.

        Raises:
            InputError: ws of another shape, an unknown noise, or a prefix made with other noise.
        """
        _check_noise(noise)
        if ws.ndim != 3 or ws.shape[1:] != (self.num_ws, self.w_dim):
            raise InputError(
                "ws",
                expected=f"shape (B, {self.num_ws}, {self.w_dim})",
                got=str(tuple(ws.shape)),
                fix="use mapping() or style_mix() of the same generator",
            )
        if prefix is None:
            prefix = self.start(noise)
        elif prefix.noise != noise:
            raise InputError(
                "noise",
                expected=f"{prefix.noise!r}, which the prefix was made with",
                got=repr(noise),
                fix="make the prefix with the same noise",
            )
        image = self.advance(prefix, ws, len(self.steps)).image
        return image.expand(len(ws), -1, -1, -1)

    def start(self, noise: Noise, dtype: torch.dtype = torch.float32) -> Prefix:
        """The state before the first step: the learned constant.

        Features keep ``dtype`` all the way; styles and RGB stay in float32.
        """
        const = self.get_parameter("b4.const")[None]
        x = const.to(dtype=dtype, memory_format=torch.channels_last)
        return Prefix(x, const.new_zeros(1, self.img_channels, 2, 2), 0, noise)

    def advance(self, state: Prefix, ws: Tensor, until: int) -> Prefix:
        """``state`` with the steps before ``until`` done, reading each step's code from ``ws``."""
        x, image = state.x, state.image
        for resolution, layer, index in self.steps[state.steps : until]:
            block = cast(SynthesisBlock, self.get_submodule(f"b{resolution}"))
            if layer == "torgb":
                image = block.add_rgb(image, x, ws[:, index])
            else:
                x = block.get_submodule(layer)(x, ws[:, index], state.noise)
        return Prefix(x, image, max(until, state.steps), state.noise)

    def steps_before(self, c: int) -> int:
        """How many steps listen only to codes before layer ``c``."""
        return sum(step.ws_index < c for step in self.steps)

    def steps_to(self, resolution: int) -> int:
        """How many steps lead to the RGB image of ``resolution``."""
        return sum(step.resolution <= resolution for step in self.steps)


class Generator(nn.Module):
    """StyleGAN2: ``mapping`` turns z into codes ws, ``synthesis`` turns ws into images.

    Attributes:
        num_ws: layers, i.e. codes per image (l in the paper).
        resolution: height and width of the images, pixels.
        z_dim: size of z.
        w_dim: size of one code.
        architecture: widths and settings, enough to build the same network again.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.resolution = architecture.resolution
        self.num_ws = architecture.num_ws
        self.z_dim = architecture.mapping_widths[0]
        self.w_dim = architecture.w_dim
        self.mapping = Mapping(
            architecture.mapping_widths, architecture.num_ws, architecture.lr_multiplier
        )
        self.synthesis = Synthesis(architecture)

    @classmethod
    def from_state_dict(
        cls, state: MappingABC[str, Any], init_kwargs: MappingABC[str, Any] | None = None
    ) -> Generator:
        """A generator in evaluation mode with the weights of ``state``, upcast to float32.

        Sizes are read from the shapes. NVIDIA's and rosinality's parameter names are understood;
        for the latter the mean code is expected as ``latent_avg`` beside the parameters, or beside
        ``g_ema`` when ``state`` is the whole checkpoint.

        Args:
            init_kwargs: the constructor arguments the checkpoint was trained with, flat or nested
                as NVIDIA stores them. Those the shapes do not show are read from here:
                ``conv_clamp`` (None), ``lr_multiplier`` (0.01), ``resample_filter`` (1, 3, 3, 1).
                Everything runs in float32, so ``num_fp16_res`` has no effect.

        Raises:
            CheckpointError: another layout, missing or unknown tensors, shapes that do not fit, a
                conditional network, or an architecture other than skip.
        """
        plan = load_plan(state, init_kwargs or {})
        with torch.device("meta"):  # no memory until the stored tensors take their places
            generator = cls(plan.architecture)
        check_tensors(plan.tensors, generator.state_dict())
        generator.load_state_dict(plan.tensors, strict=False, assign=True)
        device = plan.tensors["synthesis.b4.const"].device
        if "mapping.w_avg" not in plan.tensors:
            generator.mapping.w_avg = torch.zeros(generator.w_dim, device=device)
            generator.mapping.has_w_avg = False
        for name, module in generator.named_modules():
            if hasattr(module, "resample_filter"):
                module.resample_filter = plan.filters.get(name, plan.default_filter).to(
                    device, copy=True
                )
        return generator.eval().requires_grad_(False)

    def prefix(self, w_structure: Tensor, c: int, noise: Noise = "const") -> Prefix:
        """The synthesis up to layer ``c``, done once for all variants of ``w_structure``.

        Not an approximation: with ``prefix=g.prefix(w, c)``, ``synthesis`` of codes that
        ``style_mix`` made from w and c gives what it gives without, up to float rounding.

        Args:
            w_structure: (1, L, W) or (L, W).
        """
        self._check_cutoff(c)
        _check_noise(noise)
        ws = self._one_code(w_structure)
        steps = self.synthesis.steps_before(c)
        return self.synthesis.advance(self.synthesis.start(noise), ws, steps)

    def style_mix(self, w_structure: Tensor, w_styles: Tensor, c: int) -> Tensor:
        """Codes (n, L, W): layers before ``c`` from ``w_structure``, from ``c`` on from each style.

        Truncate both before mixing.

        Args:
            w_structure: (1, L, W) or (L, W).
            w_styles: (n, L, W).
            c: cutoff in 0..L; 0 takes all from the styles, L all from the structure.

        Raises:
            InputError: c outside 0..L, or codes of another shape.
        """
        self._check_cutoff(c)
        structure = self._one_code(w_structure)
        if w_styles.ndim != 3 or w_styles.shape[1:] != structure.shape[1:]:
            raise InputError(
                "w_styles",
                expected=f"shape (n, {self.num_ws}, {self.w_dim})",
                got=str(tuple(w_styles.shape)),
            )
        return torch.cat([structure[:, :c].expand(len(w_styles), -1, -1), w_styles[:, c:]], dim=1)

    def _check_cutoff(self, c: int) -> None:
        if isinstance(c, bool) or not isinstance(c, Integral) or not 0 <= c <= self.num_ws:
            raise InputError(
                "cutoff c",
                expected=f"an integer in 0..{self.num_ws}, the generator's layers",
                got=repr(c),
            )

    def _one_code(self, w: Tensor) -> Tensor:
        w = w[None] if w.ndim == 2 else w
        if w.shape != (1, self.num_ws, self.w_dim):
            raise InputError(
                "w_structure",
                expected=f"shape (1, {self.num_ws}, {self.w_dim})",
                got=str(tuple(w.shape)),
                fix="pass one structure at a time",
            )
        return w


def _block_steps(log2: int) -> list[_Step]:
    """Each ToRGB listens to the code of the next block's first convolution."""
    resolution = 2**log2
    if log2 == 2:
        return [_Step(4, "conv1", 0), _Step(4, "torgb", 1)]
    first = 2 * log2 - 5
    layers = ("conv0", "conv1", "torgb")
    return [_Step(resolution, layer, first + k) for k, layer in enumerate(layers)]


def _check_noise(noise: str) -> None:
    if noise not in _NOISES:
        raise InputError("noise", expected=" or ".join(map(repr, _NOISES)), got=repr(noise))
