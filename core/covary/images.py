"""Reading and writing images as uint8 tensors (3, H, W), RGB."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import InputError, OutputError
from .types import check_image

__all__ = [
    "encode_png",
    "output_folder",
    "read_image",
    "replacing",
    "to_pil",
    "unwritable",
    "write_png",
]


def read_image(path: str | os.PathLike[str]) -> torch.Tensor:
    """The image file as uint8 (3, H, W), RGB, turned upright by its EXIF orientation.

    Raises:
        InputError: no such file, not an image, truncated, or a mode without an obvious RGB
            meaning (16-bit, floating point).
    """
    path = Path(path)
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode not in ("RGB", "L", "1", "P", "RGBA", "LA"):
                raise InputError(
                    f"image {path}",
                    expected="8-bit RGB or greyscale",
                    got=f"mode {image.mode}",
                    fix="convert it to an 8-bit PNG first",
                )
            pixels = np.array(image.convert("RGB"))
    except FileNotFoundError:
        raise InputError(f"image {path}", expected="an image file", got="no such file") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise InputError(
            f"image {path}",
            expected="a whole image file (PNG, JPEG, WebP, ...)",
            got=str(error),
            fix="export or download it again",
        ) from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name if the block succeeds.

    Raises:
        OutputError: the folder is missing, read-only or full; nothing is left behind.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OutputError:
        raise  # from a block that writes another file too, and names that one
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def output_folder(path: str | os.PathLike[str]) -> Path:
    """The folder ``path``, made if need be.

    Raises:
        OutputError: it cannot be made, or is a file.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder {folder}",
            expected="a writable place",
            got=error.strerror or str(error),
            fix="choose another output folder",
        ) from error
    return folder


def unwritable(path: Path, error: OSError) -> OutputError:
    """The error to raise where ``path`` cannot be written, with the system's reason."""
    return OutputError(
        f"cannot write {path}",
        expected="a writable folder with free space",
        got=error.strerror or str(error),
        fix="choose another output folder or free some space",
    )


def _umask() -> int:
    # There is no way to read the mask without setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
