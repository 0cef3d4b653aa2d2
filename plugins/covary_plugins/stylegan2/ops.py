"""The arithmetic of StyleGAN2 in plain PyTorch: resampling with a FIR filter and modulation.

Written from the papers (Karras et al., "Analyzing and Improving the Image Quality of StyleGAN",
2020, and "Training Generative Adversarial Networks with Limited Data", 2020). No custom ops.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "LRELU_GAIN",
    "LRELU_SLOPE",
    "activate",
    "fir_filter",
    "fold",
    "folded_upconv",
    "modulate",
    "to_uint8",
    "upconv",
    "upsample",
]

LRELU_SLOPE = 0.2
LRELU_GAIN = 2**0.5


def fir_filter(taps: Sequence[float] | Tensor = (1, 3, 3, 1)) -> Tensor:
    """The two-dimensional filter of ``taps``, float32 (k, k), summing to 1.

    Args:
        taps: one row of taps, or a (k, k) filter that is only normalised.
    """
    f = torch.as_tensor(taps, dtype=torch.float32)
    if f.ndim == 1:
        f = f[:, None] * f[None, :]
    return f / f.sum()


def upsample(image: Tensor, f: Tensor) -> Tensor:
    """``image`` (B, C, H, W) at twice the size: zeros inserted, then the filter ``f`` (k, k)."""
    channels, height, width = image.shape[1:]
    k = f.shape[-1]
    kernel = (f * 4).to(image.dtype)[None, None].repeat(channels, 1, 1, 1)
    full = F.conv_transpose2d(image, kernel, stride=2, groups=channels)
    first = k - 1 - (k + 1) // 2
    return full[:, :, first : first + 2 * height, first : first + 2 * width]


def upconv(x: Tensor, weight: Tensor, f: Tensor) -> Tensor:
    """3x3 convolution (B, I, H, W) -> (B, O, 2H, 2W): transposed with stride 2, then ``f`` (k, k).

    Args:
        weight: (O, I, 3, 3), used unflipped in the transposed convolution.
    """
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    channels, k = x.shape[1], f.shape[-1]
    # F.conv2d correlates; the filter is a true convolution, hence the flip.
    kernel = (f * 4).flip(0, 1).to(x.dtype).expand(channels, 1, k, k)
    before, after = (k + 1) // 2 - 1, (k - 2) // 2
    if before == after:
        return F.conv2d(x, kernel, padding=before, groups=channels)
    return F.conv2d(F.pad(x, (before, after, before, after)), kernel, groups=channels)


def fold(weight: Tensor, f: Tensor) -> Tensor:
    """The kernel with which `folded_upconv` does what `upconv` does with ``weight`` and ``f``.

    Each output pixel sees few input pixels, and which ones depends only on its row and column
    being even or odd: four ordinary convolutions, stacked as output channels.

    Args:
        weight: (O, I, 3, 3).
        f: (k, k).

    Returns:
        (4*O, I, m, m) with m odd; the outputs of one parity (row, column) side by side.
    """
    o, i, k = *weight.shape[:2], f.shape[-1]
    # One transposed kernel: the 3x3 one convolved with the filter, (O, I, k+2, k+2).
    flipped = (f * 4).flip(0, 1)[None, None].to(weight.dtype)
    both = F.conv2d(weight.reshape(o * i, 1, 3, 3), flipped, padding=k - 1)
    # Output n of the pair takes tap n + shift - 2m of input m.
    shift = k - 1 - ((k + 1) // 2 - 1)
    reach = max((shift + 1) // 2, (k + 1 - shift) // 2)
    taps = [[parity + shift - 2 * d for d in range(-reach, reach + 1)] for parity in (0, 1)]
    both = F.pad(both, (2 * reach,) * 4)  # taps outside the kernel are zero
    index = torch.tensor(taps, device=weight.device) + 2 * reach
    phases = both.reshape(o, i, *both.shape[2:])[:, :, index][:, :, :, :, index]
    m = 2 * reach + 1
    return phases.permute(2, 4, 0, 1, 3, 5).reshape(4 * o, i, m, m)


def folded_upconv(x: Tensor, kernel: Tensor) -> Tensor:
    """As `upconv`, by one convolution with the ``kernel`` that `fold` made: (B, O, 2H, 2W)."""
    batch, _, height, width = x.shape
    y = F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
    y = y.view(batch, 2, 2, -1, height, width).permute(0, 4, 1, 5, 2, 3)  # (B, H, 2, W, 2, O)
    return y.reshape(batch, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


def modulate(x: Tensor, style: Tensor) -> Tensor:
    """Features scaled per sample and channel: (B or 1, C, H, W) by (B, C) -> (B, C, H, W).

    Scaling the activations rather than the weights lets one plain convolution serve the whole
    batch. The result is channels-last: the convolutions run several times faster that way on CPUs.
    """
    scaled = x * style.to(x.dtype)[:, :, None, None]
    return scaled.contiguous(memory_format=torch.channels_last)


def activate(
    y: Tensor, scale: Tensor | None, bias: Tensor, noise: Tensor | None, clamp: float | None
) -> Tensor:
    """``clamp(leaky_relu(y * scale + bias + noise))``; overwrites ``y`` unless gradients are on.

    Gains belong into scale, bias and noise: leaky ReLU commutes with positive factors.

    Args:
        y: (B, C, H, W).
        scale: (B, C), or None for 1.
        bias: (C,).
        noise: broadcastable to (B, 1, H, W), or None.
    """
    shift = bias.to(y.dtype)[:, None, None]
    noise = None if noise is None else noise.to(y.dtype)
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        y = y + shift if scale is None else torch.addcmul(shift, y, _planes(scale, y))
        y = F.leaky_relu(y if noise is None else y + noise, LRELU_SLOPE)
        return y if clamp is None else y.clamp(-clamp, clamp)
    # In place, and noise apart: allocating maps costs more than filling them, and a sum of bias
    # and noise would have every channel's map in another memory layout than y.
    if scale is None:
        y.add_(shift)
    else:
        torch.addcmul(shift, y, _planes(scale, y), out=y)
    if noise is not None:
        y.add_(noise)
    F.leaky_relu_(y, LRELU_SLOPE)
    return y if clamp is None else y.clamp_(-clamp, clamp)


def _planes(scale: Tensor, y: Tensor) -> Tensor:
    return scale.to(y.dtype)[:, :, None, None]


def to_uint8(image: Tensor) -> Tensor:
    """Images in nominal [-1, 1] as uint8, clipped and truncated as NVIDIA's scripts do it.

    Args:
        image: float (B, 3, H, W), any range.
    """
    return (image * 127.5 + 128).clamp(0, 255).to(torch.uint8)
