"""Boxes, names and scores from numbers and files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor, isfinite
from pathlib import Path, PureWindowsPath
from typing import Any

from covary import Box, Detection, InputError, Query

__all__ = ["pixel_box", "read_detections"]

_CORNERS = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True, slots=True)
class _Row:
    """One box as a file states it, unchecked."""

    corners: list[float]
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class _Listed:
    """What a file says about one image."""

    rows: list[_Row]
    names_image: bool = False
    """Whether it names the image: having no boxes is then a finding, else a mistake."""
    size: tuple[int, int] | None = None
    """(H, W) of that image, where the file says it."""


class _DefectError(ValueError):
    """What is wrong with a file, in a few words."""


class _ImageError(_DefectError):
    """Which image is meant cannot be told."""


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


def read_detections(path: Path, size: tuple[int, int], query: Query | None) -> list[Detection]:
    """What a .json or .csv file says about an image (H, W), in the file's order.

    Args:
        path: the file; the detector ``file`` describes its formats.
        size: (H, W).
        query: what is looked at; chooses among the images of a file.

    Raises:
        InputError: no such file, another format, boxes of other images only, or a box that does
            not fit.
    """
    listed = _read(path, query)
    if listed.size not in (None, size):
        raise InputError(
            f"boxes {path}",
            expected=f"boxes of an image of {size[1]}x{size[0]} pixels",
            got=f"{listed.size[1]}x{listed.size[0]}",
            fix="give boxes in pixels of X_0, the image that is segmented",
        )
    if not listed.rows and not listed.names_image:
        raise InputError(f"boxes {path}", expected="at least one box", got="none")
    return [_detection(row, size, f"box {i} in {path}") for i, row in enumerate(listed.rows)]


def _detection(row: _Row, size: tuple[int, int], what: str) -> Detection:
    if not 0 <= row.score <= 1:  # NaN compares as False
        raise InputError(f"score of {what}", expected="a number in 0..1", got=f"{row.score:g}")
    return Detection(pixel_box(row.corners, size, what), row.label, row.score)


def _read(path: Path, query: Query | None) -> _Listed:
    what = f"boxes {path}"
    readers = {".json": _from_json, ".csv": _from_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(what, expected="a .json or .csv file", got=path.suffix or "no suffix")
    try:
        return reader(path.read_text(encoding="utf-8-sig"), query)
    except OSError as error:
        raise InputError(what, expected="a file", got=error.strerror or str(error)) from None
    except _ImageError as error:
        raise InputError(
            what,
            expected="the boxes of one image, or of one that is named as the query is",
            got=str(error),
            fix="keep those of one image, or name the images as your files are named",
        ) from None
    except (ValueError, RecursionError, csv.Error) as error:
        raise InputError(
            what,
            expected="a list of x0, y0, x1, y1 (or COCO boxes)",
            got=str(error),
            fix="`covary show file` describes the formats",
        ) from error


# --- CSV -------------------------------------------------------------------------------------


def _from_csv(text: str, query: Query | None) -> _Listed:
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    return _Listed(list(_rows(rows, {})))


# --- JSON ------------------------------------------------------------------------------------


def _from_json(text: str, query: Query | None) -> _Listed:
    data = json.loads(text)
    if isinstance(data, Mapping):
        return _from_coco(data, query)
    entries = _list(data, "it")
    chosen = _choose(_own_names(entries), query)
    return _Listed(list(_rows(_of_image(entries, chosen), {})))


def _from_coco(data: Mapping[str, Any], query: Query | None) -> _Listed:
    """COCO annotations: ``images``, ``annotations`` and ``categories``."""
    if "annotations" not in data:
        raise _DefectError("no list 'annotations'")
    entries = [_object(entry) for entry in _list(data["annotations"], "'annotations'")]
    images, own = _by_id(data, "images"), _own_names(entries)
    if images and (strangers := own.keys() - images.keys()):
        raise _DefectError(
            f"boxes of image {min(strangers, key=str)}, which is not among its images"
        )
    names = {key: image.get("file_name", key) for key, image in images.items()}
    chosen = _choose(names or own, query)
    mine = [entry for entry in _of_image(entries, chosen) if not entry.get("iscrowd")]
    categories = {
        key: str(category.get("name", key)) for key, category in _by_id(data, "categories").items()
    }
    rows = list(_rows(mine, categories))
    return _Listed(rows, chosen in images, _size(images.get(chosen, {})))


def _by_id(data: Mapping[str, Any], name: str) -> dict[Any, Mapping[str, Any]]:
    entries = [_object(entry) for entry in _list(data.get(name, []), f"{name!r}")]
    if any("id" not in entry for entry in entries):
        raise _DefectError(f"one of its {name} has no id")
    found = {_key(entry["id"]): entry for entry in entries}
    if len(found) < len(entries):
        raise _DefectError(f"two of its {name} have the same id")
    return found


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _own_names(entries: Sequence[Any]) -> dict[int | str, int | str]:
    """The images that boxes say they are of, each named by its id."""
    ids = (_key(entry["image_id"]) for entry in entries
           if isinstance(entry, Mapping) and "image_id" in entry)  # fmt: skip
    return {key: key for key in ids}


def _of_image(entries: Sequence[Any], image: Any) -> list[Any]:
    """The boxes of an image, and those that say nothing about theirs."""
    return [entry for entry in entries
            if not isinstance(entry, Mapping) or entry.get("image_id", image) == image]  # fmt: skip


def _choose(images: Mapping[Any, Any], query: Query | None) -> Any:
    """The id of the query's image among id -> file name (or the id again); None of none."""
    if len(images) < 2:
        return next(iter(images), None)
    if query is None:
        raise _ImageError(f"those of {len(images)} images")
    for alike in (_same_name, _same_stem, _same_number):
        if found := [key for key, name in images.items() if alike(_path(name), query)]:
            break
    if len(found) != 1:
        raise _ImageError(
            f"those of {len(images)} images, {len(found) or 'none'} of them called {query.name!r}"
        )
    return found[0]


def _path(name: Any) -> PureWindowsPath:
    # Of Windows, because either kind of slash separates folders there.
    return PureWindowsPath(str(name))


def _same_name(image: PureWindowsPath, query: Query) -> bool:
    return bool(query.paths) and image.name == query.paths[0].name


def _same_stem(image: PureWindowsPath, query: Query) -> bool:
    return image.stem == query.name


def _same_number(image: PureWindowsPath, query: Query) -> bool:
    """Whether both are numbers, as in 139 and 000139.jpg, and the same."""
    both = image.stem.isdecimal() and query.name.isdecimal()
    return both and int(image.stem) == int(query.name)


# --- entries ---------------------------------------------------------------------------------


def _rows(entries: Iterable[Any], categories: Mapping[Any, str]) -> Iterator[_Row]:
    for i, entry in enumerate(entries):
        try:
            yield _row(entry, categories)
        except (ValueError, TypeError, OverflowError) as error:
            raise _DefectError(f"box {i}: {error}") from error


def _row(entry: Any, categories: Mapping[Any, str]) -> _Row:
    if not isinstance(entry, Mapping):
        return _Row(_floats(entry), "", 1.0)
    score = entry.get("score")
    return _Row(
        _corners(entry), _label(entry, categories), 1.0 if score in (None, "") else float(score)
    )


def _corners(entry: Mapping[str, Any]) -> list[float]:
    if "bbox" in entry:
        x, y, width, height = _floats(entry["bbox"])
        return [x, y, x + width, y + height]
    missing = [name for name in _CORNERS if entry.get(name) is None]
    if missing:
        raise _DefectError(f"no {', '.join(missing)}")
    return _floats([entry[name] for name in _CORNERS])


def _label(entry: Mapping[str, Any], categories: Mapping[Any, str]) -> str:
    category = entry.get("category_id")
    if (given := entry.get("label")) is not None:
        return str(given)
    if categories and category is not None:
        if (key := _key(category)) not in categories:
            raise _DefectError(f"category {category} is not among the file's categories")
        return categories[key]
    return "" if category is None else str(category)


def _floats(values: Any) -> list[float]:
    numbers = [float(value) for value in _list(values, "a box")]
    if len(numbers) != 4:
        raise _DefectError(f"{len(numbers)} numbers, not 4")
    return numbers


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise _DefectError(f"{what} is a {type(value).__name__}, not a list")
    return value


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _DefectError(f"a {type(value).__name__} where an object is expected")
    return value


def _key(value: Any) -> int | str:
    if not isinstance(value, (int, str)):
        raise _DefectError(f"an id that is a {type(value).__name__}")
    return value


def _show(numbers: Sequence[float]) -> str:
    return f"({', '.join(f'{number:g}' for number in numbers)})"
