"""The discriminator that the avatars generator is trained against."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from covary_plugins.stylegan2.ops import fir_filter

__all__ = ["Discriminator"]

# Feature channels at each resolution; few, for two CPU cores.
CHANNELS = {4: 128, 8: 128, 16: 96, 32: 48, 64: 24}
_GAIN = math.sqrt(2)
_STDDEV_GROUP = 8


class _Conv(nn.Module):
    """Convolution with equalised learning rate, bias and leaky ReLU; may halve the size."""

    resample_filter: Tensor

    def __init__(
        self, n_in: int, n_out: int, size: int, *, down: bool = False, activate: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in, size, size))
        self.bias = nn.Parameter(torch.zeros(n_out)) if activate else None
        self.gain = (_GAIN if activate else 1.0) / math.sqrt(n_in * size * size)
        self.down, self.activate, self.size = down, activate, size
        self.register_buffer("resample_filter", fir_filter(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight * self.gain).to(x.dtype)
        if self.bias is None:
            return F.conv2d(self._blur(x, padding=1), weight, stride=2)
        bias = (self.bias * _GAIN).to(x.dtype)
        if self.down:
            x = F.conv2d(self._blur(x, padding=2), weight, bias, stride=2)
        else:
            x = F.conv2d(x, weight, bias, padding=self.size // 2)
        return F.leaky_relu(x, 0.2)

    def _blur(self, x: Tensor, padding: int) -> Tensor:
        # Never with stride 2: the gradient of that depthwise convolution is very slow on CPUs.
        channels = x.shape[1]
        kernel = self.resample_filter.to(x.dtype).expand(channels, 1, 4, 4)
        return F.conv2d(x, kernel, padding=padding, groups=channels)


class _Linear(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in))
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.gain = 1 / math.sqrt(n_in)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.gain, self.bias)


class _Block(nn.Module):
    """Residual block halving the resolution."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv0 = _Conv(n_in, n_in, 3)
        self.conv1 = _Conv(n_in, n_out, 3, down=True)
        self.skip = _Conv(n_in, n_out, 1, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        sum_: Tensor = self.conv1(self.conv0(x)) + self.skip(x)
        return sum_ * math.sqrt(0.5)


class Discriminator(nn.Module):
    """Images (B, 3, r, r) in [-1, 1] to logits (B,), for any r of 8, 16, 32, 64.

    Blocks above r are left unused, so training can grow the resolution and keep what lies below.
    """

    def __init__(self, resolution: int = 64) -> None:
        super().__init__()
        self.resolution = resolution
        sizes = [2**k for k in range(3, int(math.log2(resolution)) + 1)]
        self.from_rgb = nn.ModuleDict({str(r): _Conv(3, CHANNELS[r], 1) for r in sizes})
        self.blocks = nn.ModuleDict({str(r): _Block(CHANNELS[r], CHANNELS[r // 2]) for r in sizes})
        self.conv = _Conv(CHANNELS[4] + 1, CHANNELS[4], 3)
        self.hidden = _Linear(CHANNELS[4] * 16, CHANNELS[4])
        self.out = _Linear(CHANNELS[4], 1)

    def forward(
        self, image: Tensor, fade: float = 1.0, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Logits float32 (B,).

        Args:
            fade: weight of the highest resolution while it is being blended in, 0..1.
            dtype: of the features; the last two layers are float32 always.
        """
        r = image.shape[-1]
        image = image.to(dtype=dtype, memory_format=torch.channels_last)
        x = self.blocks[str(r)](self.from_rgb[str(r)](image))
        if fade < 1:
            x = torch.lerp(self.from_rgb[str(r // 2)](F.avg_pool2d(image, 2)), x, fade)
        r //= 2
        while r > 4:
            x = self.blocks[str(r)](x)
            r //= 2
        x = self.conv(_with_stddev(x)).flatten(1).float()
        x = F.leaky_relu(self.hidden(x), 0.2) * _GAIN
        logits: Tensor = self.out(x)
        return logits[:, 0]


def _with_stddev(x: Tensor) -> Tensor:
    """One more channel: the mean standard deviation over groups of the batch (Karras 2018)."""
    batch, channels, height, width = x.shape
    group = math.gcd(batch, _STDDEV_GROUP)
    y = x.float().reshape(group, batch // group, channels, height, width)
    deviation = (y.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3), keepdim=True)
    extra = deviation.to(x.dtype).repeat(group, 1, height, width)
    return torch.cat([x, extra], dim=1)
