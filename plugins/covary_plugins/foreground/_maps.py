"""Saliency maps: Gaussian heat maps, files and arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from covary import InputError, read_image

__all__ = ["as_map", "gaussian", "read_map", "resize"]

Row = tuple[float, float]


def gaussian(size: tuple[int, int], mean: Row, covariance: tuple[Row, Row]) -> torch.Tensor:
    """A Gaussian of peak 1 at pixel centres, float32 (H, W).

    Args:
        size: (H, W).
        mean: (x, y) relative to width and height.
        covariance: ((xx, xy), (xy, yy)) in the same units, positive definite.
    """
    height, width = size
    x = (torch.arange(width, dtype=torch.float64) + 0.5) / width - mean[0]
    y = ((torch.arange(height, dtype=torch.float64) + 0.5) / height - mean[1])[:, None]
    (xx, xy), (_, yy) = covariance
    determinant = xx * yy - xy * xy
    distance = (yy * x * x - 2 * xy * x * y + xx * y * y) / determinant
    return torch.exp(-distance / 2).to(torch.float32)


def resize(saliency: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear, with antialiasing where it shrinks; float32 (H, W)."""
    if tuple(saliency.shape) == size:
        return saliency
    return torch.nn.functional.interpolate(
        saliency[None, None], size=size, mode="bilinear", align_corners=False, antialias=True
    )[0, 0]


def as_map(array: np.ndarray[Any, Any] | torch.Tensor, what: str) -> torch.Tensor:
    """A saliency map as float32 (H, W) in 0..1 on the CPU.

    Args:
        array: (H, W), floats in 0..1, bool, or uint8 in 0..255.
        what: name for errors.

    Raises:
        InputError: another shape, dtype or range, or values that are not finite.
    """
    values = np.asarray(array.detach().cpu() if isinstance(array, torch.Tensor) else array)
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(what, expected="shape (H, W)", got=str(values.shape))
    if values.dtype == np.uint8:
        return torch.from_numpy(values.astype(np.float32) / 255)
    if values.dtype != np.bool_ and not np.issubdtype(values.dtype, np.floating):
        raise InputError(what, expected="dtype float, bool or uint8", got=str(values.dtype))
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(
            what,
            expected="finite values",
            got="NaN or infinity",
            fix="replace such pixels, by 0 for instance",
        )
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise InputError(
            what, expected="values in 0..1", got=f"{low:g}..{high:g}", fix="scale the map first"
        )
    return torch.from_numpy(values)


def read_map(path: Path) -> torch.Tensor:
    """The saliency map in an image, .npy or .npz file; as :func:`as_map`.

    Raises:
        InputError: no such file, not a map, not greyscale, or several arrays.
    """
    what = f"saliency map {path}"
    if path.suffix.lower() in (".npy", ".npz"):
        return as_map(_load_array(path, what), what)
    image = read_image(path)
    if not bool((image == image[:1]).all()):
        raise InputError(
            what,
            expected="a greyscale image",
            got="colours",
            fix="export the map itself, not a colour rendering of it",
        )
    return as_map(image[0], what)


def _load_array(path: Path, what: str) -> np.ndarray[Any, Any]:
    try:
        loaded: Any = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            if len(loaded.files) != 1:
                names = ", ".join(loaded.files) or "none"
                raise InputError(
                    what, expected="one array", got=names, fix="save the map alone as .npy"
                )
            array: np.ndarray[Any, Any] = loaded[loaded.files[0]]
            return array
    except FileNotFoundError:
        raise InputError(what, expected="a file", got="no such file") from None
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            what, expected="a .npy or .npz file of numbers", got=str(error), fix="save it again"
        ) from error
