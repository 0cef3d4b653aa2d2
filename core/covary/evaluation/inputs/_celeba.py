"""CelebAMask-HQ: faces with masks of 18 parts, drawn by hand (Lee et al., CVPR 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ...errors import InputError
from ...images import read_image
from ...samples import BACKGROUND
from .._stamps import stamp
from ..pairs import Entry, LabelMap
from ._masks import by_name, read_values
from ._options import InputOptions

__all__ = ["PARTS", "CelebAMaskHQ"]

PARTS = (
    *("skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth"),
    *("u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth"),
)
"""The parts in the order in which they are laid on each other: later ones overwrite."""

_IMAGES, _MASKS, _A_FOLDER = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno", 2000
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


class CelebAMaskHQ:
    """Images ``CelebA-HQ-img/42.jpg`` and masks ``CelebAMask-HQ-mask-anno/0/00042_hair.png``.

    Masks are half as large as images; a part that a face does not show has no file.

    Args:
        root: the folder of both.

    Raises:
        InputError: there are no images.
    """

    classes = (BACKGROUND, *PARTS)

    def __init__(self, root: Path) -> None:
        self._root = root
        images = root / _IMAGES
        found = images.iterdir() if images.is_dir() else iter(())
        self._images = by_name(path for path in found if _is_image(path))
        if not self._images:
            raise InputError(f"folder {root}", expected=f"{_IMAGES}/0.jpg, ...", got="none")

    @staticmethod
    def recognises(text: str) -> bool:
        """Whether it has the folder of masks."""
        return (Path(text) / _MASKS).is_dir()

    @classmethod
    def open(cls, text: str, options: InputOptions) -> CelebAMaskHQ:
        """The data set in a folder."""
        return cls(Path(text))

    def __len__(self) -> int:
        return len(self._images)

    def entries(self) -> Iterator[Entry]:
        """Its faces, by number."""
        for path in self._images:
            files = [path, *self._masks(int(path.stem)).values()]
            yield Entry(path.stem, partial(self._read, path), stamp(files))

    def describe(self) -> dict[str, Any]:
        """Kind, folder and classes."""
        return {
            "kind": "CelebAMask-HQ",
            "folder": str(self._root),
            "classes": list(self.classes),
        }

    def _read(self, path: Path) -> LabelMap:
        number = int(path.stem)
        labels: torch.Tensor | None = None
        for value, file in self._masks(number).items():
            if not file.exists():
                continue
            mask = read_values(file) > 0
            if labels is None:
                labels = torch.zeros(mask.shape, dtype=torch.uint8)
            elif mask.shape != labels.shape:
                expected = f"the size of the parts before it, {tuple(labels.shape)}"
                raise InputError(str(file), expected=expected, got=str(tuple(mask.shape)))
            labels[mask] = value
        if labels is None:
            expected = f"masks of its parts, {number:05d}_*.png"
            folder = self._root / _MASKS / str(number // _A_FOLDER)
            raise InputError(f"face {number}", expected=expected, got=f"none in {folder}")
        return LabelMap(path.stem, labels, read_image(path))

    def _masks(self, number: int) -> dict[int, Path]:
        """Where the masks of a face are, by the values of their parts; some may not be there."""
        folder = self._root / _MASKS / str(number // _A_FOLDER)
        names = (f"{number:05d}_{part}.png" for part in PARTS)
        return {value: folder / name for value, name in enumerate(names, start=1)}


def _is_image(path: Path) -> bool:
    stem = path.stem
    return path.suffix.lower() in _SUFFIXES and stem.isascii() and stem.isdigit()
