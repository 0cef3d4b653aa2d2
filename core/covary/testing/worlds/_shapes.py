"""Signed distances of flat shapes, negative inside, in scene units.

Every function takes coordinates relative to the shape's centre, as tensors that broadcast to
(B, h, W), and sizes as (B, 1, 1) tensors or numbers. Distances are exact near the outline, which
is all that :meth:`Canvas.cover` needs, and only approximate far from it.
"""

from __future__ import annotations

import torch
from torch import Tensor

Scalar = Tensor | float

_TINY = 1e-6


def ellipse(x: Tensor, y: Tensor, rx: Scalar, ry: Scalar) -> Tensor:
    """Ellipse with half-axes ``rx`` and ``ry``, to first order in the distance."""
    u, v = x / rx, y / ry
    level = torch.hypot(u, v)
    slope = torch.hypot(u / rx, v / ry)
    # Both vanish at the centre; the offsets make that point inside instead of 0 / 0.
    return (level - 1) * (level + _TINY) / (slope + _TINY)


def box(x: Tensor, y: Tensor, half_w: Scalar, half_h: Scalar, radius: Scalar = 0.0) -> Tensor:
    """Rectangle with rounded corners; ``radius`` is part of the half sizes."""
    dx = x.abs() - half_w + radius
    dy = y.abs() - half_h + radius
    outside = torch.hypot(dx.clamp_min(0), dy.clamp_min(0))
    return outside + torch.maximum(dx, dy).clamp_max(0) - radius


def curve(y: Tensor, line: Tensor, slope: Tensor) -> Tensor:
    """Half plane above (smaller y than) the graph ``line`` whose derivative is ``slope``."""
    return (y - line) * torch.rsqrt(1 + slope.square())


def rotate(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates in a frame turned by ``angle`` radians, clockwise on screen."""
    cos, sin = angle.cos(), angle.sin()
    return cos * x + sin * y, cos * y - sin * x


def smooth_union(a: Tensor, b: Tensor, width: Scalar) -> Tensor:
    """Union of two shapes with a fillet of about ``width`` where they meet."""
    overlap = (width - (a - b).abs()).clamp_min(0)
    return torch.minimum(a, b) - overlap.square() / (4 * width)


def fade(distance: Tensor, width: Scalar) -> Tensor:
    """Soft coverage that falls from 1 to 0 while the distance goes from -width to +width."""
    t = (0.5 - distance / (2 * width)).clamp(0, 1)
    return t * t * (3 - 2 * t)
