"""The image X_0, the control map that holds its structure, and how they fit each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F

import covary
from covary_plugins.photos import digest, one_photo

from .._stacks import image_files

__all__ = ["Structure", "canny", "of_map", "of_photo", "resized", "working_size"]

STEP = 8
"""Sides of images are multiples of this many pixels, as the VAE of Stable Diffusion wants it."""

_ASPECT = 0.01
_FEW_EDGES = 0.002


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """What the variants have in common."""

    image: torch.Tensor | None
    """X_0, uint8 (3, H, W), H and W multiples of 8; None where it is still to be drawn."""
    control: torch.Tensor
    """The control map, uint8 (3, H, W)."""
    crop: covary.Crop | None = None
    """How X_0 lies in the photo; None where there is a map and no photo."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Absolute path of each file that was read -> sha256."""
    warnings: tuple[str, ...] = ()
    """What may spoil the result."""


def of_photo(
    paths: Sequence[Path],
    side: int,
    map_path: Path | None,
    canny_params: tuple[float, float, float],
) -> Structure:
    """The structure of a photo whose shorter side becomes ``side`` pixels.

    Args:
        paths: one photo.
        side: a multiple of 8.
        map_path: a control map or a folder of them; None finds edges.
        canny_params: as for :func:`canny`.

    Raises:
        InputError: several photos, one too small, no map of its name, or a map of another aspect.
    """
    path = one_photo(covary.Query(paths=tuple(paths)), "controlnet")
    photo = covary.read_image(path)
    size = working_size(photo, side, f"photo {path}")
    image = resized(photo, size)
    inputs = digest(path)
    warnings: tuple[str, ...] = ()
    if map_path is None:
        control = canny(image, *canny_params)
        warnings = _too_few_edges(control)
    else:
        map_path = _map_for(path, map_path)
        given = covary.read_image(map_path)
        _check_aspect(given, photo, size, map_path)
        control = resized(given, size)
        inputs |= digest(map_path)
    return Structure(image, control, covary.Crop.whole(photo, size), inputs, warnings)


def of_map(map_path: Path, side: int) -> Structure:
    """The structure that a control map alone gives; X_0 is still to be drawn.

    Raises:
        InputError: not one image file, or one too small.
    """
    if map_path.is_dir():
        raise covary.InputError(
            "parameter 'control' of ControlNet",
            expected="one image file, since a seed chooses none",
            got=f"the folder {map_path}",
            fix="give the map itself",
        )
    given = covary.read_image(map_path)
    control = resized(given, working_size(given, side, f"control map {map_path}"))
    return Structure(None, control, inputs=digest(map_path))


def working_size(image: torch.Tensor, side: int, what: str) -> tuple[int, int]:
    """(H, W) in multiples of 8, nearly of the aspect of ``image``, the shorter of them ``side``.

    Raises:
        InputError: ``image`` is narrower than 8 pixels; ``what`` names it.
    """
    height, width = int(image.shape[1]), int(image.shape[2])
    if min(height, width) < STEP:
        raise covary.InputError(
            what, expected=f"at least {STEP}x{STEP} pixels", got=f"{height}x{width}"
        )
    scale = side / min(height, width)
    return _rounded(height * scale), _rounded(width * scale)


def resized(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """uint8 (3, H, W) at ``size``, itself where it has that size; smoothed where it shrinks."""
    if tuple(image.shape[1:]) == size:
        return image
    scaled = F.interpolate(
        image[None].float(), size=size, mode="bilinear", antialias=True, align_corners=False
    )
    return scaled[0].round().clamp(0, 255).to(torch.uint8)


def canny(image: torch.Tensor, low: float, high: float, sigma: float) -> torch.Tensor:
    """Edges of ``image`` uint8 (3, H, W): 255 on 0, three equal channels.

    ``low`` and ``high`` are in the units of OpenCV's Canny with L2 gradients, which published
    ControlNets were trained with: the Sobel gradient of an image in 0..255. Runs on the CPU, so
    that the map is the same on every device.
    """
    from kornia.filters import canny as kornia_canny

    # The blur reflects the image at its borders, at most once.
    radius = min(int(3 * sigma + 0.5), min(image.shape[1:]) - 1)
    width = 2 * radius + 1
    _, edges = kornia_canny(
        image[None].cpu().float() / 255,
        low_threshold=low / 255,
        high_threshold=high / 255,
        kernel_size=(width, width),
        # A kernel of one pixel does not blur, whatever its sigma.
        sigma=(sigma or 1.0, sigma or 1.0),
    )
    return (edges[0] * 255).to(torch.uint8).expand(3, -1, -1).contiguous()


def _rounded(length: float) -> int:
    return max(STEP, round(length / STEP) * STEP)


def _too_few_edges(control: torch.Tensor) -> tuple[str, ...]:
    share = float((control > 0).float().mean())
    if share >= _FEW_EDGES:
        return ()
    return (
        f"canny found edges in {share:.2%} of the pixels, too few to hold the structure; "
        "lower canny_low and canny_high",
    )


def _map_for(photo: Path, map_path: Path) -> Path:
    """``map_path`` itself, or the image in that folder that is called as the photo is."""
    if not map_path.is_dir():
        return map_path
    found = [path for path in image_files(map_path) if path.stem == photo.stem]
    if len(found) != 1:
        raise covary.InputError(
            f"control maps in {map_path}",
            expected=f"one image called {photo.stem!r}, as the photo is",
            got=str(len(found)),
            fix="name each map as its photo",
        )
    return found[0]


def _check_aspect(
    given: torch.Tensor, photo: torch.Tensor, size: tuple[int, int], path: Path
) -> None:
    height, width = int(given.shape[1]), int(given.shape[2])
    aspect = photo.shape[2] / photo.shape[1]
    if (height, width) == size or abs(width / height / aspect - 1) <= _ASPECT:
        return
    raise covary.InputError(
        f"control map {path}",
        expected=f"the photo's aspect, {photo.shape[1]}x{photo.shape[2]} pixels or in proportion",
        got=f"{height}x{width}",
        fix="make the map from the same photo, uncropped",
    )
