"""Reading and writing images as uint8 tensors (3, H, W), RGB."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps

from ._drawing import PALETTE, tinted
from .errors import InputError
from .files import output_folder, replacing, unwritable
from .types import check_image

__all__ = [
    "PALETTE",
    "encode_png",
    "output_folder",
    "read_image",
    "replacing",
    "stored_values",
    "tinted",
    "to_pil",
    "unwritable",
    "write_png",
]


_Pixels = npt.NDArray[np.uint8]

_READABLE = (
    *("RGB", "RGBX", "RGBA", "RGBa", "L", "LA", "La", "P", "PA", "1"),
    *("I", "I;16", "I;16L", "I;16B", "I;16N"),
)


def read_image(path: str | os.PathLike[str]) -> torch.Tensor:
    """The image file as uint8 (3, H, W), RGB, turned upright by its EXIF orientation.

    Each kind of pixel has one meaning. Transparent ones lie over white. Grey becomes three equal
    channels. Of 16 bits, grey v becomes round(v / 257); colour keeps its high byte, which is what
    Pillow decodes and differs from that by at most 1. Of an animation or a file of several pages,
    the first. Nothing is guessed about the rest: CMYK and LAB depend on a colour profile,
    floating-point and 32-bit values on a range that the file does not state.

    Raises:
        InputError: no such file, not an image, truncated, too large to be one (a decompression
            bomb), or pixels without an obvious meaning in 8-bit RGB.
    """
    path = Path(path)
    try:
        with Image.open(path) as opened:
            return _rgb(opened, path)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"image {path}", expected="an image file", got="no such file") from None
    # Pillow's decoders meet damaged bytes with whatever their code happens to raise.
    except Exception as error:
        raise InputError(
            f"image {path}",
            expected="a whole image file (PNG, JPEG, WebP, ...)",
            got=str(error) or type(error).__name__,
            fix="export or download it again",
        ) from error


def _rgb(opened: Image.Image, path: Path) -> torch.Tensor:
    # Reading an EPS would start Ghostscript on it.
    if opened.mode not in _READABLE or opened.format == "EPS" or _has_32_bits(opened):
        raise InputError(
            f"image {path}",
            expected="RGB or greyscale of 8 or 16 bits",
            got="EPS, a program" if opened.format == "EPS" else f"mode {opened.mode}",
            fix="convert it to a PNG first",
        )
    image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):
        pixels = _from_16_bits(image)
    elif "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        pixels = _over_white(np.array(image.convert("RGBA")))
    else:
        pixels = np.array(image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _has_32_bits(image: Image.Image) -> bool:
    # Mode "I" is wide enough for 16 bits too, and PNG and PGM hold no more.
    return image.mode == "I" and image.format not in ("PNG", "PPM")


def _from_16_bits(image: Image.Image) -> _Pixels:
    grey = np.array(image).astype(np.uint32)
    pixels = ((grey + 128) // 257).astype(np.uint8)
    transparent = image.info.get("transparency")
    if transparent is not None:
        pixels[grey == transparent] = 255
    return np.repeat(pixels[..., None], 3, axis=2)


def _over_white(rgba: _Pixels) -> _Pixels:
    """Uint8 (H, W, 3) of uint8 (H, W, 4), composited over white and rounded."""
    colour, alpha = rgba[..., :3].astype(np.uint32), rgba[..., 3:].astype(np.uint32)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def to_pil(image: torch.Tensor) -> Image.Image:
    """A PIL image of uint8 (3, H, W), or of a map (H, W) of bool or uint8."""
    if image.ndim == 2:
        grey = image.to(torch.uint8) * 255 if image.dtype == torch.bool else image
        return Image.fromarray(grey.cpu().numpy())
    return Image.fromarray(check_image(image).permute(1, 2, 0).contiguous().cpu().numpy())


def write_png(image: torch.Tensor | Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a PNG that appears under its name only when it is whole.

    Args:
        image: uint8 (3, H, W), a map (H, W) of bool or uint8, or a PIL image.
        path: where; the folder must exist.

    Raises:
        OutputError: the folder is missing, read-only or full.
    """
    with replacing(Path(path)) as temporary:
        encode_png(image, temporary)


def encode_png(image: torch.Tensor | Image.Image, path: Path) -> None:
    """Write a PNG straight to ``path``, for use inside :func:`replacing`."""
    picture = image if isinstance(image, Image.Image) else to_pil(image)
    # Level 1 is three times as fast as the default and a few per cent larger.
    picture.save(path, format="PNG", compress_level=1)


def stored_values(
    path: str | os.PathLike[str], what: str, expected: str, modes: Collection[str]
) -> tuple[torch.Tensor, str]:
    """The values of a picture that covary wrote, as they are stored, int32 (H, W), and its mode.

    Args:
        path: the picture.
        what: name for errors.
        expected: the picture that it should be, for errors.
        modes: Pillow's modes that it may have, of one channel.

    Raises:
        InputError: no such file, no picture, or one of another mode.
    """
    fix = "segment the image again"
    try:
        with Image.open(path) as picture:
            mode, values = str(picture.mode), np.array(picture).astype(np.int32)
    except (OSError, SyntaxError) as error:
        raise InputError(what, expected=expected, got=str(error), fix=fix) from error
    if mode not in modes:
        raise InputError(what, expected=expected, got=f"mode {mode}", fix=fix)
    return torch.from_numpy(values), mode
