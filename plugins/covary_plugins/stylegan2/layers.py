"""StyleGAN2's layers as modules, with the parameter names of NVIDIA's PyTorch checkpoints."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from covary.errors import CheckpointError, InputError

from .ops import fir_filter, modulate, upconv, upsample

__all__ = ["ConvLayer", "FullyConnected", "Mapping", "Noise", "SynthesisBlock", "ToRGB"]

Noise = Literal["const", "none", "random"]

_LRELU_SLOPE = 0.2
_LRELU_GAIN = math.sqrt(2)


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


class Mapping(nn.Module):
    """z to per-layer codes w.

    Args:
        widths: the size of z and of every layer's output, the last being the size of w.
        num_ws: codes per image, one for each layer of the synthesis network.
    """

    w_avg: Tensor

    def __init__(self, widths: tuple[int, ...], num_ws: int, lr_multiplier: float) -> None:
        super().__init__()
        self.num_layers = len(widths) - 1
        self.num_ws = num_ws
        for i, (n_in, n_out) in enumerate(pairwise(widths)):
            layer = FullyConnected(n_in, n_out, lr_multiplier=lr_multiplier)
            self.add_module(f"fc{i}", layer)
        self.z_dim, self.w_dim = widths[0], widths[-1]
        self.register_buffer("w_avg", torch.zeros(self.w_dim))
        self.has_w_avg = True

    def forward(self, z: Tensor, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """Codes ws (B, num_ws, w_dim) of z (B, z_dim), truncated towards the mean code.

        Args:
            psi: truncation; 1 leaves w as it is, 0 gives the mean code.
            cutoff: truncate only the layers before this one; all of them when None.

        Raises:
            InputError: z of another shape, or a cutoff outside 0..num_ws.
            CheckpointError: psi is not 1 and the checkpoint came without a mean code.
        """
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise InputError(
                "z", expected=f"shape (B, {self.z_dim})", got=str(tuple(z.shape)), fix="reshape it"
            )
        x = z.float()
        x = x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for i in range(self.num_layers):
            x = F.leaky_relu(self.get_submodule(f"fc{i}")(x), _LRELU_SLOPE) * _LRELU_GAIN
        return self.truncate(x[:, None, :].repeat(1, self.num_ws, 1), psi, cutoff)

    def truncate(self, ws: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """``w_avg + psi * (ws - w_avg)`` for the layers before ``cutoff``, (B, num_ws, w_dim)."""
        if cutoff is not None and not 0 <= cutoff <= self.num_ws:
            raise InputError(
                "truncation cutoff", expected=f"0..{self.num_ws} or None", got=str(cutoff)
            )
        if psi == 1:
            return ws
        if not self.has_w_avg:
            raise CheckpointError(
                "truncation",
                expected="a checkpoint with the mean code (w_avg or latent_avg)",
                got="one without",
                fix="pass psi=1, or add the tensor 'latent_avg' to the state dict",
            )
        cut = self.num_ws if cutoff is None else cutoff
        return torch.cat([torch.lerp(self.w_avg, ws[:, :cut], psi), ws[:, cut:]], dim=1)


class ConvLayer(nn.Module):
    """Modulated 3x3 convolution, demodulated; then noise, bias, leaky ReLU and clamp."""

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        *,
        up: bool = False,
        conv_clamp: float | None = None,
        use_noise: bool = True,
    ) -> None:
        super().__init__()
        self.resolution, self.up = resolution, up
        self.conv_clamp, self.use_noise = conv_clamp, use_noise
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("resample_filter", fir_filter())
        if use_noise:
            self.register_buffer("noise_const", torch.randn(resolution, resolution))
            self.noise_strength = nn.Parameter(torch.zeros([]))
        self._energy_cache: tuple[tuple[int, int], Tensor] | None = None

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        style = self.affine(w)
        x = modulate(x, style)
        if self.up:
            x = upconv(x, self.weight.to(x.dtype), self.resample_filter)
        else:
            x = F.conv2d(x, self.weight.to(x.dtype), padding=1)
        # The gain of the activation is folded in here: leaky ReLU commutes with positive factors.
        scale = self._demodulation(style)[:, :, None, None] * _LRELU_GAIN
        shift = self._shift(len(w), noise) * _LRELU_GAIN
        x = torch.addcmul(shift.to(x.dtype), x, scale.to(x.dtype))
        x = F.leaky_relu(x, _LRELU_SLOPE, inplace=not torch.is_grad_enabled())
        return x if self.conv_clamp is None else x.clamp(-self.conv_clamp, self.conv_clamp)

    def _demodulation(self, style: Tensor) -> Tensor:
        """Per sample and output channel, 1 / the norm of the modulated weights: (B, O)."""
        return (F.linear(style.square(), self._energy()) + 1e-8).rsqrt()

    def _energy(self) -> Tensor:
        """Sum of the squared weights over the kernel, (O, I); remembered outside training."""
        if self.weight.requires_grad and torch.is_grad_enabled():
            return self.weight.square().sum(dim=(2, 3))
        version = 0 if self.weight.is_inference() else self.weight._version
        key = (self.weight.data_ptr(), version)
        if self._energy_cache is None or self._energy_cache[0] != key:
            self._energy_cache = (key, self.weight.detach().square().sum(dim=(2, 3)))
        return self._energy_cache[1]

    def _shift(self, batch: int, noise: Noise) -> Tensor:
        bias = self.bias[None, :, None, None]
        if noise == "none" or not self.use_noise:
            return bias
        if noise == "const":
            return bias + self.noise_const * self.noise_strength
        size = (batch, 1, self.resolution, self.resolution)
        return bias + torch.randn(size, device=bias.device) * self.noise_strength


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to RGB, float32, not demodulated."""

    def __init__(
        self, in_channels: int, out_channels: int, w_dim: int, conv_clamp: float | None
    ) -> None:
        super().__init__()
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.conv_clamp = conv_clamp
        self.weight_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = modulate(x, self.affine(w) * self.weight_gain)
        rgb = F.conv2d(x, self.weight.to(x.dtype)).float() + self.bias[:, None, None]
        return rgb if self.conv_clamp is None else rgb.clamp(-self.conv_clamp, self.conv_clamp)


class SynthesisBlock(nn.Module):
    """The layers of one resolution; the first block (4x4) starts from a learned constant."""

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        img_channels: int,
        w_dim: int,
        resolution: int,
        *,
        conv_clamp: float | None,
        use_noise: bool,
    ) -> None:
        super().__init__()

        def conv(n_in: int, up: bool) -> ConvLayer:
            return ConvLayer(
                n_in,
                out_channels,
                w_dim,
                resolution,
                up=up,
                conv_clamp=conv_clamp,
                use_noise=use_noise,
            )

        if resolution == 4:
            self.const = nn.Parameter(torch.randn(out_channels, 4, 4))
        else:
            self.conv0 = conv(in_channels, up=True)
        self.conv1 = conv(out_channels, up=False)
        self.torgb = ToRGB(out_channels, img_channels, w_dim, conv_clamp)
        self.register_buffer("resample_filter", fir_filter())

    def add_rgb(self, image: Tensor, x: Tensor, w: Tensor) -> Tensor:
        """The image so far, upsampled, plus this resolution's contribution (skip architecture)."""
        rgb: Tensor = self.torgb(x, w)
        return upsample(image, self.resample_filter) + rgb
