"""Boxes from numbers and files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from math import floor, isfinite
from pathlib import Path
from typing import Any

from covary import Box, InputError

__all__ = ["pixel_box", "read_boxes"]

_NAMES = ("x0", "y0", "x1", "y1")


def pixel_box(numbers: Sequence[float], size: tuple[int, int], what: str) -> Box:
    """A box on pixel edges, inside an image (H, W).

    Args:
        numbers: x0, y0, x1, y1; fractions go to the nearest edge.
        size: (H, W).
        what: name for errors.

    Raises:
        InputError: not finite, without pixels after rounding, or outside the image.
    """
    if not all(isfinite(number) for number in numbers):
        raise InputError(what, expected="four finite numbers", got=_show(numbers))
    x0, y0, x1, y1 = (floor(number + 0.5) for number in numbers)
    height, width = size
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise InputError(
            what,
            expected=f"0 <= x0 < x1 <= {width} and 0 <= y0 < y1 <= {height}, inside the image",
            got=_show(numbers),
            fix="give x0, y0, x1, y1 in pixels of the image, ends exclusive",
        )
    return Box(x0, y0, x1, y1)


def read_boxes(path: Path, size: tuple[int, int]) -> list[Box]:
    """The boxes in a .json or .csv file, inside an image (H, W).

    Raises:
        InputError: no such file, another format, no boxes, boxes of several images, or a box that
            does not fit.
    """
    what = f"boxes {path}"
    readers = {".json": _from_json, ".csv": _from_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(what, expected="a .json or .csv file", got=path.suffix or "no suffix")
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = reader(text)
        boxes = [pixel_box(row, size, f"box {i} in {path}") for i, row in enumerate(rows)]
    except InputError:
        raise
    except OSError as error:
        raise InputError(what, expected="a file", got=error.strerror or str(error)) from None
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(
            what,
            expected="a list of x0, y0, x1, y1 (or COCO boxes)",
            got=f"{type(error).__name__}: {error}",
            fix="`covary show box` describes the formats",
        ) from error
    if not boxes:
        raise InputError(what, expected="at least one box", got="none")
    return boxes


def _from_json(text: str) -> list[list[float]]:
    data = json.loads(text)
    entries = data["annotations"] if isinstance(data, Mapping) else data
    if not isinstance(entries, list):
        raise ValueError(f"a {type(entries).__name__}, not a list")
    images = {entry.get("image_id") for entry in entries if isinstance(entry, Mapping)}
    if len(images) > 1:
        raise ValueError(f"boxes of {len(images)} images; keep those of one")
    return [_corners(entry) for entry in entries]


def _from_csv(text: str) -> list[list[float]]:
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    return [_floats(row[name] for name in _NAMES) for row in rows]


def _corners(entry: Any) -> list[float]:
    if not isinstance(entry, Mapping):
        return _floats(entry)
    if "bbox" in entry:
        x, y, width, height = _floats(entry["bbox"])
        return [x, y, x + width, y + height]
    return _floats(entry[name] for name in _NAMES)


def _floats(values: Iterable[Any]) -> list[float]:
    numbers = [float(value) for value in values]
    if len(numbers) != 4:
        raise ValueError(f"{len(numbers)} numbers, not 4")
    return numbers


def _show(numbers: Sequence[float]) -> str:
    return f"({', '.join(f'{number:g}' for number in numbers)})"
