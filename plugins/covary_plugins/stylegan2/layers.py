"""StyleGAN2's layers as modules, with the parameter names of NVIDIA's PyTorch checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import Architecture
from .derived import Derived
from .execution import Execution
from .ops import LRELU_GAIN, activate, fir_filter, fold, folded_upconv, modulate, upconv, upsample

__all__ = [
    "ConvLayer",
    "FullyConnected",
    "Modulation",
    "Noise",
    "SkipConv",
    "SynthesisBlock",
    "ToRGB",
]

Noise = Literal["const", "none", "random"]

_TINY = 1e-12  # for dividing by the largest of weights or styles that are all zero


class Modulation(NamedTuple):
    """What a layer does to one batch of codes' features."""

    style: Tensor
    """Factors of the input channels, (B, I)."""
    demodulation: Tensor | None
    """Factors of the output channels, (B, O): 1 / the norm of the modulated weights."""


class FullyConnected(nn.Module):
    """Linear layer with equalised learning rate: ``x @ (W * lr / sqrt(in))^T + b * lr``."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_multiplier))
        self.lr_multiplier = lr_multiplier
        self.weight_gain = lr_multiplier / math.sqrt(in_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.weight_gain, self.bias * self.lr_multiplier)


class ConvLayer(nn.Module):
    """Modulated 3x3 convolution, demodulated; then noise, bias, leaky ReLU and clamp."""

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        resolution: int,
        architecture: Architecture,
        *,
        up: bool = False,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.resolution, self.up = resolution, up
        self.gain = gain
        self.conv_clamp, self.use_noise = architecture.conv_clamp, architecture.use_noise
        self.affine = FullyConnected(architecture.w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("resample_filter", fir_filter())
        if self.use_noise:
            self.register_buffer("noise_const", torch.randn(resolution, resolution))
            self.noise_strength = nn.Parameter(torch.zeros([]))
        self._derived = Derived()

    def modulation(self, w: Tensor) -> Modulation:
        """Of codes w (B, W), with gradients to the weights."""
        style = self.affine(w)
        energy = self.weight.square().sum(dim=(2, 3))
        return Modulation(style, (F.linear(style.square(), energy) + 1e-8).rsqrt())

    def forward(self, x: Tensor, modulation: Modulation, noise: Noise, how: Execution) -> Tensor:
        """Features (B, O, r, r) of x (B or 1, I, h, h), in the execution's dtype."""
        style, demodulation = modulation
        dtype = how.dtype_at(self.resolution)
        x = x.to(dtype)
        gain = LRELU_GAIN * self.gain
        scale = cast(Tensor, demodulation) * gain
        alone = self._scales_weights(x, style, how)
        if alone:
            scaled = self.weight * style[0, :, None, None] * scale[0, :, None, None, None]
            y = self._convolve(x, scaled.to(dtype), folded=False)
        else:
            kernel, peak = self._kernel(dtype, folded=self._folded(how))
            if peak is not None:
                most = style.abs().amax(dim=1, keepdim=True).clamp_min(_TINY)
                style, scale = style / most, scale * most * peak
            y = self._convolve(modulate(x, style), kernel, folded=self._folded(how))
        clamp = _clamp(self.conv_clamp, how, dtype)
        clamp = None if clamp is None else clamp * self.gain
        noise_map = self._noise(len(style), noise, gain)
        return _activation(how.compiled)(
            y, None if alone else scale, self.bias * gain, noise_map, clamp
        )

    def _scales_weights(self, x: Tensor, style: Tensor, how: Execution) -> bool:
        """Whether scaling the weights rather than the features is less work: for one sample."""
        alone = len(x) == 1 and len(style) == 1 and not self._folded(how)
        return alone and self.weight[:, 0].numel() < x[0, 0].numel()

    def _folded(self, how: Execution) -> bool:
        return self.up and how.folded_at(self.resolution)

    def _convolve(self, x: Tensor, kernel: Tensor, *, folded: bool) -> Tensor:
        if not self.up:
            return F.conv2d(x, kernel, padding=1)
        return folded_upconv(x, kernel) if folded else upconv(x, kernel, self.resample_filter)

    def _kernel(self, dtype: torch.dtype, *, folded: bool) -> tuple[Tensor, Tensor | None]:
        """The weights as the convolution takes them, and what they were divided by, (O,).

        In float16 each output's weights are divided as published, so that sums over the inputs
        stay in range; demodulation undoes it.
        """
        half = dtype == torch.float16
        if not folded and dtype == torch.float32:
            return self.weight, None

        def make() -> tuple[Tensor, Tensor | None]:
            weight: Tensor = self.weight
            peak = None
            if half:
                peak = weight.abs().amax(dim=(1, 2, 3)).clamp_min(_TINY)
                peak = peak * math.sqrt(weight[0].numel())
                weight = weight / peak[:, None, None, None]
            weight = fold(weight, self.resample_filter) if folded else weight
            return weight.to(dtype, memory_format=torch.channels_last), peak

        return self._derived.get((dtype, folded), [self.weight, self.resample_filter], make)

    def _noise(self, batch: int, noise: Noise, gain: float) -> Tensor | None:
        if noise == "none" or not self.use_noise:
            return None
        if noise == "const":
            return self.noise_const * (self.noise_strength * gain)
        size = (batch, 1, self.resolution, self.resolution)
        return torch.randn(size, device=self.bias.device) * (self.noise_strength * gain)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> ConvLayer:
        self._derived.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to RGB, float32, not demodulated."""

    def __init__(self, in_channels: int, architecture: Architecture) -> None:
        super().__init__()
        self.affine = FullyConnected(architecture.w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(architecture.img_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(architecture.img_channels))
        self.conv_clamp = architecture.conv_clamp
        self.weight_gain = 1 / math.sqrt(in_channels)

    def modulation(self, w: Tensor) -> Modulation:
        """Of codes w (B, W), with gradients to the weights."""
        return Modulation(self.affine(w), None)

    def forward(self, x: Tensor, modulation: Modulation, how: Execution) -> Tensor:
        """RGB float32 (B, 3, r, r) of x (B or 1, C, r, r)."""
        # One small matrix for each sample: no scaled copy of the features is made.
        style = modulation.style * self.weight_gain
        weight = self.weight.flatten(1).contiguous() * style[:, None, :]
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
        flat = torch.matmul(pixels, weight.to(x.dtype).transpose(1, 2)).transpose(1, 2)
        rgb: Tensor = flat.float().contiguous().unflatten(2, x.shape[2:])
        rgb = rgb + self.bias[:, None, None]
        clamp = _clamp(self.conv_clamp, how, x.dtype)
        return rgb if clamp is None else rgb.clamp(-clamp, clamp)


class SkipConv(nn.Module):
    """The link past a residual block: 1x1 convolution to twice the size, no bias."""

    resample_filter: Tensor

    def __init__(self, in_channels: int, out_channels: int, gain: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.register_buffer("resample_filter", fir_filter())
        self.weight_gain = gain / math.sqrt(in_channels)

    def forward(self, x: Tensor) -> Tensor:
        # Before upsampling, where there are a quarter of the pixels: the two commute.
        y = F.conv2d(x, (self.weight * self.weight_gain).to(x.dtype))
        return upsample(y, self.resample_filter)


class SynthesisBlock(nn.Module):
    """The layers of one resolution; the first block (4x4) starts from a learned constant."""

    resample_filter: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, resolution: int, architecture: Architecture
    ) -> None:
        super().__init__()
        self.kind = architecture.kind
        residual = self.kind == "resnet" and resolution > 4
        gain = math.sqrt(0.5) if residual else 1.0  # keeps the variance of the sum at 1
        if resolution == 4:
            self.const = nn.Parameter(torch.randn(out_channels, 4, 4))
        else:
            self.conv0 = ConvLayer(in_channels, out_channels, resolution, architecture, up=True)
        self.conv1 = ConvLayer(out_channels, out_channels, resolution, architecture, gain=gain)
        if self.kind == "skip" or resolution == architecture.resolution:
            self.torgb = ToRGB(out_channels, architecture)
        if residual:
            self.skip = SkipConv(in_channels, out_channels, gain)
        self.register_buffer("resample_filter", fir_filter())

    def add_rgb(self, image: Tensor, x: Tensor, modulation: Modulation, how: Execution) -> Tensor:
        """The image with this resolution's RGB: added to the upsampled one, or in its place."""
        rgb: Tensor = self.torgb(x, modulation, how)
        return upsample(image, self.resample_filter) + rgb if self.kind == "skip" else rgb


def _clamp(own: float | None, how: Execution, dtype: torch.dtype) -> float | None:
    return how.clamp if own is None and dtype != torch.float32 else own


@cache
def _activation(compiled: bool) -> Callable[..., Tensor]:
    return torch.compile(activate, dynamic=True) if compiled else activate
