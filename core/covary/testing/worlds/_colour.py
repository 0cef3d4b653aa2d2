"""Colours from hue, saturation and value."""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor


def hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """RGB (..., 3) in [0, 1] of hue (in turns, wraps), saturation and value, each (...)."""
    saturation, value = saturation.clamp(0, 1)[..., None], value.clamp(0, 1)[..., None]
    phase = (hue[..., None] * 6 + torch.tensor([5.0, 3.0, 1.0])) % 6
    return value * (1 - saturation * torch.minimum(phase, 4 - phase).clamp(0, 1))


def soft(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """:func:`hsv` without neon: greens, much the lightest hue in HSV, are toned down."""
    green = (2 * pi * (hue - 0.34)).cos().clamp_min(0).square()
    return hsv(hue, saturation * (1 - 0.3 * green), value * (1 - 0.14 * green * saturation))


def mix(a: Tensor, b: Tensor, share: Tensor | float) -> Tensor:
    """From colour ``a`` towards ``b`` by ``share`` in [0, 1]."""
    return a + (b - a) * share
