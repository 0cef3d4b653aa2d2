"""A folder of mask PNGs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ...errors import InputError
from .._stamps import stamp
from ..classes import MASK, with_background
from ..pairs import Entry, LabelMap, natural
from ._options import InputOptions

__all__ = ["MaskFolder", "by_name", "read_values"]

_NAMES = ("classes.json", "parts.json")
"""What `covary export --format palette` and the writers of data sets put beside pictures."""

_ON = {1, 255, 65535}


class MaskFolder:
    """A picture an image, named after it: ``00042.png``.

    Where the names of classes are known, from the user or from ``classes.json`` or ``parts.json``
    beside the pictures, a pixel's value is the number of its class. Otherwise they are masks: 0
    is background, and 1 or white, which is 255 or of 16 bits 65535, foreground. Hidden files are
    none of them.

    Args:
        folder: with PNG files of mode 1, L, P or I;16, or RGB with equal channels; nothing
            may be transparent.
        classes: names by value, from 1.

    Raises:
        InputError: there are no such files, or two of one name.
    """

    def __init__(self, folder: Path, classes: Sequence[str] = ()) -> None:
        self._folder = folder
        self._paths = by_name(_pictures(folder))
        if not self._paths:
            raise InputError(f"folder {folder}", expected="mask PNGs", got="none")
        names = classes or _names_in(folder)
        self._are_masks = not names
        self.classes = with_background(names) if names else MASK

    @staticmethod
    def recognises(text: str) -> bool:
        """Whether it is a folder with a PNG in it."""
        folder = Path(text)
        return folder.is_dir() and any(_pictures(folder))

    @classmethod
    def open(cls, text: str, options: InputOptions) -> MaskFolder:
        """The masks of a folder."""
        return cls(Path(text), options.classes)

    def __len__(self) -> int:
        return len(self._paths)

    def entries(self) -> Iterator[Entry]:
        """The masks, by name."""
        for path in self._paths:
            yield Entry(path.stem, partial(self._read, path), stamp([path]))

    def describe(self) -> dict[str, Any]:
        """Kind, folder and classes."""
        return {"kind": "masks", "folder": str(self._folder), "classes": list(self.classes)}

    def _read(self, path: Path) -> LabelMap:
        values = read_values(path)
        if self._are_masks:
            values = self._as_mask(values, path)
        return LabelMap(path.stem, values)

    def _as_mask(self, values: torch.Tensor, path: Path) -> torch.Tensor:
        present = set(values.unique().tolist()) - {0}
        if len(present) > 1 or not present <= _ON:
            shown = sorted(present)
            raise InputError(
                f"mask {path}",
                expected="0 and 255, or 0 and 1",
                got=", ".join(map(str, shown[:8])) + (", ..." if len(shown) > 8 else ""),
                fix="name the classes that values stand for: --classes hair,skin,...",
            )
        return (values > 0).to(torch.uint8)


def _pictures(folder: Path) -> Iterator[Path]:
    """The PNG files of a folder, as it lists them; macOS, for one, puts hidden ones beside them."""
    return (
        path
        for path in folder.iterdir()
        if path.suffix.lower() == ".png" and not path.name.startswith(".") and path.is_file()
    )


def by_name(paths: Iterator[Path]) -> list[Path]:
    """Paths in the order of their names.

    Raises:
        InputError: two have one name, such as 7 and 007.
    """
    ordered = sorted(paths, key=lambda path: natural(path.stem))
    for one, other in pairwise(ordered):
        if natural(one.stem) == natural(other.stem):
            raise InputError(
                f"{one} and {other}", expected="different names", got=f"{one.stem!r} twice"
            )
    return ordered


def read_values(path: Path) -> torch.Tensor:
    """The values of a mask's pixels as they are stored, int32 (H, W).

    Raises:
        InputError: no picture, a damaged one, or one in colour.
    """
    expected = "a mask: a PNG of indices or greys"
    try:
        with Image.open(path) as picture:
            mode, values = picture.mode, np.asarray(picture)
    # Pillow's decoders meet damaged bytes with whatever their code happens to raise.
    except Exception as error:
        got = str(error) or type(error).__name__
        raise InputError(f"mask {path}", expected=expected, got=got) from error
    if mode in ("LA", "RGBA") and (values[..., -1] == 255).all():
        mode, values = ("L", values[..., 0]) if mode == "LA" else ("RGB", values[..., :3])
    if mode == "RGB":
        if not (values == values[..., :1]).all():
            fix = "save the indices of classes, not their colours"
            raise InputError(f"mask {path}", expected=expected, got="colours", fix=fix)
        values = values[..., 0]
    elif mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
        raise InputError(f"mask {path}", expected=expected, got=f"mode {mode}")
    return torch.from_numpy(values.astype(np.int32))


def _names_in(folder: Path) -> tuple[str, ...]:
    """The names of classes by value that a file beside the pictures says, from 1; or none."""
    for name in _NAMES:
        path = folder / name
        if not path.exists():
            continue
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(data, list):  # from the background on
                return tuple(map(str, data[1:]))
            return tuple(str(data[str(number)]) for number in range(1, len(data) + 1))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                str(path),
                expected='names by number, {"1": "hair", "2": "skin"}, or a list from 0',
                got=f"{type(error).__name__}: {error}",
            ) from error
    return ()
