"""A photo file made ready for a generator."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from covary import Crop, InputError, SupportsInputs, read_image
from covary.provenance import file_sha256

from ._ffhq import ffhq_matrix
from ._landmarks import detect_landmarks, landmark_file, read_landmarks
from ._resample import resample

if TYPE_CHECKING:
    from covary import LandmarkDetector, Query, RunContext

    from .params import PhotoParams

__all__ = ["PreparedPhoto", "digest", "one_photo", "prepare"]

# Aspects that differ by less are taken for the same one.
_ASPECT_TOLERANCE = 0.02
# Enlarging a photo further than this leaves nothing for the generator to recognise.
_MOST_ENLARGED = 2.0
# A crop may reach beyond the photo, but not to so many of its longer sides.
_MOST_BEYOND = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPhoto:
    """A photo as a generator's image."""

    image: Tensor
    """X_0, uint8 (3, H, W), RGB, on the run's device."""
    crop: Crop
    """The photo, and where in it the image lies."""
    warnings: tuple[str, ...]
    """What may spoil the result, each with its remedy."""
    inputs: dict[str, str]
    """Path of every file that was read -> its sha256."""


def prepare(
    path: str | os.PathLike[str],
    size: tuple[int, int],
    params: PhotoParams,
    ctx: RunContext,
    detector: LandmarkDetector | None = None,
) -> PreparedPhoto:
    """The photo at ``path``, aligned as ``params`` say and resampled to ``size`` (H, W).

    Args:
        detector: what ``params.landmark_detector`` names, made before; None makes it anew.

    Raises:
        InputError: no such photo, landmarks that do not fit it, or no face where one is demanded.
    """
    path = Path(path)
    photo = read_image(path)
    inputs = digest(path)
    if detector is None and params.landmark_detector is not None:
        detector = cast("LandmarkDetector", params.landmark_detector.create("landmarks"))
    points, remarks = _landmarks(photo, path, params, ctx, detector, inputs)
    if points is None:
        matrix, cut = _unaligned(photo, size, params.align)
        remarks += cut
    else:
        matrix = ffhq_matrix(points, size)
        _check_extent(matrix, photo, size, path)
    remarks += _enlargement(matrix)
    return PreparedPhoto(
        image=resample(photo, matrix, size).to(ctx.device),
        crop=Crop(photo, matrix),
        warnings=tuple(f"{path.name} {remark}" for remark in remarks),
        inputs=inputs,
    )


def _landmarks(
    photo: Tensor,
    path: Path,
    params: PhotoParams,
    ctx: RunContext,
    detector: LandmarkDetector | None,
    inputs: dict[str, str],
) -> tuple[Tensor | None, list[str]]:
    """The face's points, if any, and what to remark about them; adds what it reads to inputs."""
    if params.landmarks is not None:
        file = landmark_file(params.landmarks, path)
        points = read_landmarks(file, (photo.shape[1], photo.shape[2]))
        inputs |= digest(file)
        return points, []
    if detector is None:
        return None, []
    faces = detect_landmarks(detector, photo, ctx)
    if isinstance(detector, SupportsInputs):
        inputs |= detector.inputs()
    name = detector.id or type(detector).__name__
    if len(faces) > 1:
        return faces[0], [
            f"shows {len(faces)} faces, and the most prominent was taken; crop the photo to "
            "another one to have that"
        ]
    if faces:
        return faces[0], []
    if params.align == "face":
        raise InputError(
            f"photo {path}",
            expected="a face",
            got=f"none that {name} finds",
            fix="give its points as `landmarks`, or another `align`",
        )
    return None, [f"shows no face that {name} finds; give its points as `landmarks`"]


def one_photo(query: Query, source: str) -> Path:
    """The path of the one photo that ``query`` is.

    Raises:
        InputError: a seed, several paths, or a folder; ``source`` is whose query it is.
    """
    if len(query.paths) == 1 and not query.paths[0].is_dir():
        return query.paths[0]
    got = f"the folder {query.paths[0]}" if query.paths else "a seed"
    raise InputError(
        f"query of source {source}",
        expected="one photo",
        got=f"{len(query.paths)} paths" if len(query.paths) > 1 else got,
        fix="give the photos themselves, each as a query of its own, e.g. FOLDER/*.jpg",
    )


def digest(path: Path) -> dict[str, str]:
    """Absolute path of a file -> its sha256, as results record what they were made of."""
    # Absolute, so that results are compared with the same file from any working folder.
    return {str(path.resolve()): file_sha256(path)}


def _check_extent(matrix: Tensor, photo: Tensor, size: tuple[int, int], path: Path) -> None:
    """Refuse landmarks so far apart that the face would be a small part of the crop."""
    side = float(matrix[:, :2].norm(dim=0).max()) * max(size)
    longest = max(photo.shape[1:])
    if side > _MOST_BEYOND * longest:
        raise InputError(
            f"landmarks of {path}",
            expected=f"a face that fits the photo of {longest} pixels",
            got=f"points that ask for a crop of {side:.0f} pixels",
            fix="check the points; they are pixels of the upright photo",
        )


def _unaligned(photo: Tensor, size: tuple[int, int], align: str) -> tuple[Tensor, list[str]]:
    """The crop of a photo without landmarks, and what to remark about it."""
    height, width = photo.shape[1:]
    across, down = width / size[1], height / size[0]
    if align == "auto" and abs(across / down - 1) <= _ASPECT_TOLERANCE:
        align = "stretch"
    if align == "stretch":
        return _middle(photo, size, across, down), []
    if align == "whole":
        return _middle(photo, size, max(across, down), max(across, down)), []
    scale = min(across, down)
    matrix = _middle(photo, size, scale, scale)
    if align == "center":
        return matrix, []
    return matrix, [
        f"is {width}x{height} pixels and was cut to the {scale * size[1]:.0f}x"
        f"{scale * size[0]:.0f} in its middle, though generators know aligned images only; a face "
        "is aligned by `landmarks` or a `landmark_detector`, for anything else crop the photo to "
        "the object, or choose `align`"
    ]


def _middle(photo: Tensor, size: tuple[int, int], across: float, down: float) -> Tensor:
    """The upright crop around the photo's middle, with so many of its pixels to one."""
    x = (photo.shape[2] - across * size[1]) / 2
    y = (photo.shape[1] - down * size[0]) / 2
    return torch.tensor([[across, 0, x], [0, down, y]], dtype=torch.float64)


def _enlargement(matrix: Tensor) -> list[str]:
    enlarged = 1 / float(matrix[:, :2].norm(dim=0).min())
    if enlarged <= _MOST_ENLARGED:
        return []
    return [f"was enlarged {enlarged:.1f} times, which blurs it; use a larger photo"]
