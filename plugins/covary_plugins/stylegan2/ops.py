"""The arithmetic of StyleGAN2 in plain PyTorch: resampling with a FIR filter and modulation.

Written from the papers (Karras et al., "Analyzing and Improving the Image Quality of StyleGAN",
2020, and "Training Generative Adversarial Networks with Limited Data", 2020). No custom ops.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["fir_filter", "modulate", "to_uint8", "upconv", "upsample"]


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


def modulate(x: Tensor, style: Tensor) -> Tensor:
    """Features scaled per sample and channel: (B or 1, C, H, W) by (B, C) -> (B, C, H, W).

    Scaling the activations rather than the weights lets one plain convolution serve the whole
    batch. The result is channels-last: the convolutions run several times faster that way on CPUs.
    """
    scaled = x * style.to(x.dtype)[:, :, None, None]
    return scaled.contiguous(memory_format=torch.channels_last)


def to_uint8(image: Tensor) -> Tensor:
    """Images in nominal [-1, 1] as uint8, clipped and truncated as NVIDIA's scripts do it.

    Args:
        image: float (B, 3, H, W), any range.
    """
    return (image * 127.5 + 128).clamp(0, 255).to(torch.uint8)
