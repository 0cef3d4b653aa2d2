"""Stacks of images on disk: files, or an array in an .npz."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from covary import InputError, read_image
from covary.provenance import file_sha256

__all__ = ["ArrayStack", "FileStack", "image_files"]

_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder in natural order, hidden ones left out.

    Raises:
        InputError: there are none.
    """
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not files:
        raise InputError(
            f"folder {folder}",
            expected="image files (PNG, JPEG, WebP, TIFF, ...)",
            got="none",
            fix="give the folder that holds the images themselves",
        )
    return sorted(files, key=_natural)


class FileStack:
    """Image files, read when asked for.

    Raises:
        InputError: one of them does not exist.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        for path in paths:
            if not path.is_file():
                raise InputError(f"image {path}", expected="an image file", got="no such file")
        self._paths = paths
        self.names = [str(path) for path in paths]

    def read(self, index: int) -> torch.Tensor:
        """uint8 (3, H, W)."""
        return read_image(self._paths[index])

    def inputs(self) -> Mapping[str, str]:
        """Path of each file -> sha256."""
        return {str(path): file_sha256(path) for path in self._paths}


class ArrayStack:
    """uint8 images in an .npz, (n, 3, H, W) or (n, H, W, 3); the former where both would fit.

    Args:
        path: the file.
        key: name of the array; None takes the only one.

    Raises:
        InputError: not such a file, several arrays and no key, another shape or dtype.
    """

    def __init__(self, path: Path, key: str | None) -> None:
        self._path = path
        array = _load(path, key)
        if array.dtype != np.uint8:
            floating = np.issubdtype(array.dtype, np.floating)
            raise InputError(
                f"array in {path}",
                expected="dtype uint8 in 0..255",
                got=str(array.dtype),
                fix="save (array * 255).round().astype('uint8') if it is in 0..1"
                if floating
                else "save it as uint8",
            )
        if array.ndim != 4 or 3 not in (array.shape[1], array.shape[3]) or 0 in array.shape:
            raise InputError(
                f"array in {path}",
                expected="shape (n, 3, H, W) or (n, H, W, 3), RGB",
                got=str(array.shape),
            )
        tensor = torch.from_numpy(array)
        self._images = tensor if array.shape[1] == 3 else tensor.permute(0, 3, 1, 2)
        self.names = [f"{path}[{i}]" for i in range(len(array))]

    def read(self, index: int) -> torch.Tensor:
        """uint8 (3, H, W)."""
        return self._images[index].contiguous()

    def inputs(self) -> Mapping[str, str]:
        """Path of the file -> sha256."""
        return {str(self._path): file_sha256(self._path)}


def _load(path: Path, key: str | None) -> np.ndarray[Any, Any]:
    try:
        with np.load(path, allow_pickle=False) as loaded:
            names = list(loaded.files)
            wanted = names[0] if key is None and len(names) == 1 else key
            if wanted not in names:
                raise InputError(
                    f"file {path}",
                    expected="one array" if key is None else f"an array called {key!r}",
                    got=", ".join(names) or "none",
                    fix="choose one of them with the parameter key",
                )
            array: np.ndarray[Any, Any] = loaded[wanted]
            return array
    except FileNotFoundError:
        raise InputError(f"file {path}", expected="an .npz file", got="no such file") from None
    except InputError:
        raise
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"file {path}",
            expected="an .npz file of numbers",
            got=str(error) or type(error).__name__,
            fix="save it again with numpy.savez",
        ) from error


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sort key under which 2 comes before 10; the name itself settles 2 against 02."""
    parts = re.findall(r"\d+|\D+", path.name.lower())
    numbered = [(int(part), "") if part[0].isdecimal() else (-1, part) for part in parts]
    return numbered, path.name
