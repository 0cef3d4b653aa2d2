"""A small U-Net that finds background, hair, skin and clothes in avatars, to judge the generator.

Only the check uses it: covary itself segments without a network.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from covary_bench.avatars.data import REGIONS, render_with_regions

__all__ = ["Segmenter", "Skill", "train_segmenter"]


class _Double(nn.Sequential):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(
            nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
        )


class Segmenter(nn.Module):
    """Images uint8 (B, 3, H, W) to logits (B, regions, H, W), in the order of `REGIONS`."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 48, 48)) -> None:
        super().__init__()
        ins = (3, *widths[:-1])
        self.down = nn.ModuleList(_Double(a, b) for a, b in zip(ins, widths, strict=True))
        pairs = list(pairwise(widths))[::-1]
        self.up = nn.ModuleList(_Double(low + skip, skip) for skip, low in pairs)
        self.head = nn.Conv2d(widths[0], len(REGIONS), 1)

    def forward(self, image: Tensor) -> Tensor:
        x = (image.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for i, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if i else x)
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skip], dim=1))
        logits: Tensor = self.head(x)
        return logits

    @torch.no_grad()
    def regions(self, images: Tensor) -> Tensor:
        """The most likely region of every pixel: int64 (B, H, W)."""
        return torch.cat([self(part).argmax(dim=1) for part in images.split(256)])


@dataclass(frozen=True, slots=True)
class Skill:
    """How good a segmenter is on rendered avatars it has not seen.

    Attributes:
        accuracy: share of pixels whose region is right.
        person_iou: mean intersection over union of the person's mask.
        region_iou: mean intersection over union of every region.
    """

    accuracy: float
    person_iou: float
    region_iou: dict[str, float]


def train_segmenter(
    *, steps: int, count: int, seed: int, device: torch.device, batch: int = 16
) -> tuple[Segmenter, Skill]:
    """A segmenter trained on rendered avatars, some of them blurred, and its skill on others."""
    torch.manual_seed(seed)
    images, regions = (x.to(device) for x in render_with_regions(count, seed + 1000, 64))
    net = Segmenter().to(device)
    optim = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, 6e-3, total_steps=steps)
    for _ in range(steps):
        index = torch.randint(count, (batch,), device=device)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits = net(_soften(images[index]))
        loss = F.cross_entropy(logits.float(), regions[index])
        optim.zero_grad(set_to_none=True)
        loss.backward()
        optim.step()
        schedule.step()
    net.eval().requires_grad_(False)
    return net, _skill(net, device, count=max(50, count // 10), seed=seed + 2000)


def _soften(images: Tensor) -> Tensor:
    """Blurs half of the batch and adds a little noise, as a generator's images are less crisp."""
    x = images.float()
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    share = torch.rand(len(x), 1, 1, 1, device=x.device) * 2 - 1
    x = torch.lerp(x, blurred, share.clamp_min(0)) + torch.randn_like(x) * 3
    return x.clamp(0, 255)


def _skill(net: Segmenter, device: torch.device, count: int, seed: int) -> Skill:
    images, truth = (x.to(device) for x in render_with_regions(count, seed, 64))
    found = net.regions(images)
    return Skill(
        accuracy=float((found == truth).double().mean()),
        person_iou=mask_iou(found > 0, truth > 0),
        region_iou={name: mask_iou(found == i, truth == i) for i, name in enumerate(REGIONS)},
    )


def mask_iou(a: Tensor, b: Tensor) -> float:
    """Mean over the batch of intersection over union, masks bool (B, H, W) or broadcastable."""
    union = (a | b).sum(dim=(-2, -1))
    both = (a & b).sum(dim=(-2, -1))
    return float((both.double() / union.clamp_min(1))[union > 0].mean())
