"""Landmarks from files and from detectors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from covary import InputError

if TYPE_CHECKING:
    from covary import LandmarkDetector, RunContext

__all__ = ["detect_landmarks", "landmark_file", "read_landmarks"]

_COUNTS = (5, 68)


def landmark_file(given: Path, photo: Path) -> Path:
    """The file of ``photo``'s landmarks: ``given`` itself, or NAME.json in the folder ``given``."""
    given = given.expanduser()
    return given / f"{photo.stem}.json" if given.is_dir() else given


def read_landmarks(path: Path, size: tuple[int, int]) -> Tensor:
    """The points in a JSON file, float64 (5, 2) or (68, 2).

    The file holds ``[[x, y], ...]``, or an object with such a list as ``landmarks``.

    Args:
        size: (H, W) of the photo, which at least half of the points must lie in.

    Raises:
        InputError: no such file, other contents, or points of another photo.
    """
    what = f"landmarks {path}"
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
        entries = data["landmarks"] if isinstance(data, Mapping) else data
        points = torch.tensor([[float(value) for value in point] for point in entries]).double()
    except OSError as error:
        raise InputError(
            what,
            expected="a JSON file of points, or a folder with one for each photo",
            got=error.strerror or str(error),
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            what,
            expected="a list of 5 or 68 points [x, y]",
            got=f"{type(error).__name__}: {error}",
        ) from error
    if points.ndim != 2 or len(points) not in _COUNTS or points.shape[1] != 2:
        raise InputError(
            what, expected="5 or 68 points [x, y]", got=f"numbers of shape {tuple(points.shape)}"
        )
    if not bool(points.isfinite().all()):
        raise InputError(what, expected="finite numbers", got="NaN or infinity")
    _check_inside(points, size, what)
    return points


def detect_landmarks(detector: LandmarkDetector, photo: Tensor, ctx: RunContext) -> list[Tensor]:
    """Landmarks of the faces that ``detector`` finds, the most prominent first.

    Raises:
        InputError: landmarks of another shape than the interface promises.
    """
    faces = list(detector.landmarks(photo, ctx.at("landmarks", detector.id)))
    for face in faces:
        if tuple(face.shape) not in [(count, 2) for count in _COUNTS]:
            raise InputError(
                f"landmarks by {detector.id or type(detector).__name__}",
                expected="shape (5, 2) or (68, 2)",
                got=str(tuple(face.shape)),
            )
    return faces


def _check_inside(points: Tensor, size: tuple[int, int], what: str) -> None:
    height, width = size
    inside = (points >= 0).all(dim=1) & (points < torch.tensor([width, height])).all(dim=1)
    if int(inside.sum()) * 2 < len(points):
        raise InputError(
            what,
            expected=f"points inside the photo of {width}x{height} pixels",
            got=f"{len(points) - int(inside.sum())} of {len(points)} outside",
            fix="give pixels of this photo, upright as its EXIF orientation says",
        )
