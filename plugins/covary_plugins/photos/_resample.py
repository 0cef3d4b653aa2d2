"""A part of a photo, cut, turned and resampled without aliasing."""

from __future__ import annotations

from math import ceil, floor

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor

from covary import InputError
from covary.images import to_pil

__all__ = ["resample"]

# Samples for each pixel and axis where an image is turned.
_OVERSAMPLING = 2
# Pixels of the shrunk photo for each of the result's, at least: more is sharper, 2 would alias.
_SHARPNESS = 1.5
# Blur of mirrored margins relative to the crop's shorter side, as in FFHQ.
_BLUR = 0.02


def resample(photo: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """The image that ``matrix`` cuts out of ``photo``.

    Upright crops go through a Lanczos filter. Others are shrunk by whole factors and then sampled
    linearly, with several samples a pixel. Where the crop leaves the photo, the photo is mirrored
    and blurred, more so the further away.

    Args:
        photo: uint8 (3, H, W).
        matrix: float64 (2, 3), from (x, y, 1) in the result to (x, y) in the photo; a pixel's
            middle is at one half in both.
        size: (h, w) of the result.

    Returns:
        uint8 (3, h, w), on the CPU.

    Raises:
        InputError: the crop misses the photo altogether.
    """
    linear, offset = matrix[:, :2].double(), matrix[:, 2].double()
    low, high = _bounds(linear, offset, size)
    outside = _outside(low, high, photo)
    upright = bool(linear[0, 1] == 0 and linear[1, 0] == 0 and (linear.diag() > 0).all())
    if upright and outside < 1e-6:
        return _scaled(photo, low, high, size)
    picture, origin = _window(photo, low, high, outside)
    shrink = max(1, floor(float(linear.norm(dim=0).min()) / _SHARPNESS))
    picture = picture.reduce(shrink) if shrink > 1 else picture
    padding = _padding((low - origin) / shrink, (high - origin) / shrink, picture)
    padded = _mirrored(np.asarray(picture), padding, _BLUR * float((high - low).min()) / shrink)
    first = torch.tensor([padding[1][0], padding[0][0]], dtype=torch.float64)
    return _sampled(padded, linear / shrink, (offset - origin) / shrink + first, size)


def _bounds(linear: Tensor, offset: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The crop's smallest and largest (x, y) in the photo."""
    height, width = size
    corners = torch.tensor([[0, 0], [width, 0], [0, height], [width, height]]).double()
    placed = corners @ linear.T + offset
    return placed.min(dim=0).values, placed.max(dim=0).values


def _outside(low: Tensor, high: Tensor, photo: Tensor) -> float:
    """How far the crop reaches beyond the photo, in pixels."""
    extent = torch.tensor([photo.shape[2], photo.shape[1]], dtype=torch.float64)
    if bool((high <= 0).any() or (low >= extent).any()):
        raise InputError(
            "crop",
            expected=f"a part of the photo of {photo.shape[2]}x{photo.shape[1]} pixels",
            got=f"x {float(low[0]):.0f}..{float(high[0]):.0f}, "
            f"y {float(low[1]):.0f}..{float(high[1]):.0f}",
        )
    return max(0.0, float((-low).max()), float((high - extent).max()))


def _scaled(photo: Tensor, low: Tensor, high: Tensor, size: tuple[int, int]) -> Tensor:
    extent = torch.tensor([photo.shape[2], photo.shape[1]], dtype=torch.float64)
    box = (*low.clamp(min=0).tolist(), *torch.minimum(high, extent).tolist())
    result = to_pil(photo).resize((size[1], size[0]), Image.Resampling.LANCZOS, box=box)
    return _to_tensor(np.array(result))


def _window(photo: Tensor, low: Tensor, high: Tensor, outside: float) -> tuple[Image.Image, Tensor]:
    """The part of the photo that bears on the crop, and its first corner (x, y)."""
    # As much again as is missing: the margin mirrors it.
    margin = outside + 2
    x0, y0 = (max(0, floor(float(value) - margin)) for value in low)
    x1 = min(photo.shape[2], ceil(float(high[0]) + margin))
    y1 = min(photo.shape[1], ceil(float(high[1]) + margin))
    part = photo[:, y0:y1, x0:x1]
    return to_pil(part), torch.tensor([x0, y0], dtype=torch.float64)


_Padding = tuple[tuple[int, int], tuple[int, int]]


def _padding(low: Tensor, high: Tensor, picture: Image.Image) -> _Padding:
    """Pixels to add (above, below), (left, right)."""
    before = [max(0, ceil(-float(value))) for value in low]
    after = [
        max(0, ceil(float(value) - side)) for value, side in zip(high, picture.size, strict=True)
    ]
    return (before[1], after[1]), (before[0], after[0])


def _mirrored(pixels: np.ndarray, padding: _Padding, sigma: float) -> np.ndarray:
    """``pixels`` (H, W, 3) with mirrored margins that blur away from the photo."""
    if not any(map(any, padding)):
        return pixels
    padded = np.pad(pixels, (*padding, (0, 0)), mode="symmetric")
    blurred = np.asarray(Image.fromarray(padded).filter(ImageFilter.GaussianBlur(sigma)))
    rows, columns = (
        np.maximum(0, np.maximum(first - np.arange(total), np.arange(total) - (total - last - 1)))
        for (first, last), total in zip(padding, padded.shape[:2], strict=True)
    )
    distance = np.maximum(rows[:, None], columns[None, :])
    weight = np.minimum(1, distance / max(3 * sigma, 1))[..., None].astype(np.float32)
    mixed = padded + weight * (blurred.astype(np.float32) - padded)
    return np.asarray(np.rint(mixed), dtype=np.uint8)


def _sampled(pixels: np.ndarray, linear: Tensor, offset: Tensor, size: tuple[int, int]) -> Tensor:
    image = _to_tensor(pixels)[None].float()
    steps = [(torch.arange(n * _OVERSAMPLING).double() + 0.5) / _OVERSAMPLING for n in size]
    y, x = torch.meshgrid(*steps, indexing="ij")
    places = torch.stack([x, y], dim=-1) @ linear.T + offset
    extent = torch.tensor([image.shape[3], image.shape[2]], dtype=torch.float64)
    # grid_sample takes coordinates in which the image spans [-1, 1].
    grid = (places / extent * 2 - 1).float()[None]
    fine = F.grid_sample(image, grid, padding_mode="border", align_corners=False)
    return F.avg_pool2d(fine, _OVERSAMPLING)[0].round().clamp(0, 255).to(torch.uint8)


def _to_tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()
