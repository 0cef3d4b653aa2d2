"""How well maps of classes agree with the truth: confusion matrix, IoU, trimap, boundary IoU.

Maps are integers (H, W), one class a pixel. Everything but the boundaries is counted in one
confusion matrix, so figures of many images together are those of the sum of their matrices::

    matrix = confusion_matrix(prediction, truth, classes=3)
    iou(matrix), mean_iou(matrix), pixel_accuracy(matrix)

A figure that is undefined, such as the IoU of a class that neither map has, is NaN and never
counted as 0 or 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from .errors import InputError, MissingPackageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Distances = npt.NDArray[np.float64]

__all__ = [
    "BOUNDARY_RATIO",
    "TRIMAP_WIDTH",
    "boundary",
    "boundary_distance",
    "boundary_iou",
    "boundary_overlap",
    "confusion_matrix",
    "iou",
    "mean_iou",
    "pixel_accuracy",
    "trimap_band",
]

TRIMAP_WIDTH = 3.0
"""How far the trimap reaches to either side of a boundary, in pixels."""

BOUNDARY_RATIO = 0.02
"""Width of a boundary as a share of the image's diagonal (Cheng et al. 2021)."""

_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def confusion_matrix(
    prediction: torch.Tensor, truth: torch.Tensor, classes: int, *, ignore: int | None = None
) -> torch.Tensor:
    """How many pixels of each class were given each class, int64 (C, C): [truth, prediction].

    Args:
        prediction: integers or bool of any shape, values in 0..C-1.
        truth: the same shape; values in 0..C-1, or ``ignore``.
        classes: C.
        ignore: a value of ``truth`` whose pixels are left out, e.g. 255.

    Raises:
        InputError: shapes that differ, no integers, or values outside 0..C-1.
    """
    _check_maps(prediction, truth)
    prediction, truth = prediction.reshape(-1), truth.reshape(-1)
    if ignore is not None:
        kept = truth != ignore
        prediction, truth = prediction[kept], truth[kept]
    for values, what in ((prediction, "prediction"), (truth, "truth")):
        _check_range(values, classes, what)
    # 32 bits hold every pair of 46,340 classes at half the memory of 64.
    pairs = truth.to(torch.int32) * classes + prediction.to(torch.int32)
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def iou(matrix: torch.Tensor) -> torch.Tensor:
    """Intersection over union of each class, float64 (C,); NaN for one that neither map has.

    Args:
        matrix: (C, C), of one image or the sum of several.
    """
    matrix = matrix.to(torch.float64)
    both = matrix.diagonal()
    return both / (matrix.sum(0) + matrix.sum(1) - both)


def mean_iou(matrix: torch.Tensor) -> float:
    """The mean IoU of the classes that the truth or the prediction has; NaN if there are none.

    A class that only one of the two has counts as 0, one that neither has is left out.

    Args:
        matrix: (C, C), of one image or the sum of several.
    """
    return float(iou(matrix).nanmean())


def pixel_accuracy(matrix: torch.Tensor) -> float:
    """The share of pixels whose class is right; NaN if there are no pixels.

    Args:
        matrix: (C, C), of one image or the sum of several.
    """
    return float(matrix.diagonal().sum().double() / matrix.sum().double())


def trimap_band(
    truth: torch.Tensor, width: float = TRIMAP_WIDTH, *, ignore: int | None = None
) -> torch.Tensor:
    """The pixels close to a boundary between two classes of the truth, bool (H, W).

    A pixel is in the band if the centre of some pixel of another class is at most ``width``
    pixels from its own centre, in a straight line. Along a straight horizontal or vertical
    boundary that is ``width`` pixels on either side. The image's border is no boundary.

    Metrics within the band, e.g. ``confusion_matrix(prediction[band], truth[band], C)``, judge
    the boundaries alone (Kohli, Ladicky and Torr, "Robust Higher Order Potentials for Enforcing
    Label Consistency", IJCV 82, 2009, who plot errors over the width of such bands).

    Args:
        truth: integers or bool (H, W).
        width: w > 0.
        ignore: a value whose pixels are never in the band and make no boundary.

    Raises:
        InputError: not such a map, or a width that is not positive.
        MissingPackageError: scipy is not installed.
    """
    _check_map(truth, "truth")
    if not 0 < width < math.inf:
        raise InputError("width of the trimap", expected="more than 0 pixels", got=str(width))
    band = torch.zeros(truth.shape, dtype=torch.bool)
    for value in truth.unique().tolist():
        if value == ignore:
            continue
        mask = truth == value
        # Ignored pixels hide what they are, so they are no other class.
        same = mask if ignore is None else mask | (truth == ignore)
        band |= (mask & _near_outside(same, width)).cpu()
    return band.to(truth.device)


def boundary_distance(size: tuple[int, int], ratio: float = BOUNDARY_RATIO) -> int:
    """The width of boundaries in an image (H, W): a share of its diagonal, 1 pixel at least."""
    return max(1, round(ratio * math.hypot(*size)))


def boundary(mask: torch.Tensor, distance: float) -> torch.Tensor:
    """The pixels of a mask close to its contour, bool (H, W): G_d ∩ G of Cheng et al. 2021.

    A pixel of the mask belongs to it if the centre of some pixel outside the mask is at most
    ``distance`` pixels from its own, in a straight line; what lies beyond the image's border is
    outside. It is what erosion by a disk of that radius takes away. The published code erodes by
    a square instead, whose diagonals reach further.

    Args:
        mask: bool (H, W).
        distance: d > 0, in pixels.

    Raises:
        InputError: not such a mask, or a distance that is not positive.
        MissingPackageError: scipy is not installed.
    """
    _check_map(mask, "mask", (torch.bool,))
    if not 0 < distance < math.inf:
        raise InputError("boundary distance", expected="more than 0 pixels", got=str(distance))
    padded = torch.nn.functional.pad(mask, (1, 1, 1, 1))
    return mask & _near_outside(padded, distance)[1:-1, 1:-1]


def boundary_iou(
    prediction: torch.Tensor, truth: torch.Tensor, distance: float | None = None
) -> float:
    """IoU of the boundaries of two masks; NaN where both are empty.

    Large objects have high IoU whatever their outlines; this does not forgive those (Cheng,
    Girshick, Dollar, Berg and Kirillov, "Boundary IoU", CVPR 2021).

    Args:
        prediction: bool (H, W).
        truth: bool (H, W).
        distance: width of the boundaries in pixels; None takes 2 % of the image's diagonal, as
            published.

    Raises:
        InputError: not such masks, or of different sizes.
        MissingPackageError: scipy is not installed.
    """
    both, either = boundary_overlap(prediction, truth, distance)
    return both / either if either else math.nan


def boundary_overlap(
    prediction: torch.Tensor, truth: torch.Tensor, distance: float | None = None
) -> tuple[int, int]:
    """Pixels in both boundaries, and in either; arguments and errors as :func:`boundary_iou`."""
    _check_maps(prediction, truth)
    _check_map(truth, "truth", (torch.bool,))
    if distance is None:
        distance = boundary_distance((truth.shape[0], truth.shape[1]))
    ours, theirs = boundary(prediction, distance), boundary(truth, distance)
    return int((ours & theirs).sum()), int((ours | theirs).sum())


def _near_outside(mask: torch.Tensor, distance: float) -> torch.Tensor:
    """The pixels of a mask at most ``distance`` from one outside it, bool (H, W)."""
    near = torch.zeros_like(mask)
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    if not len(rows) or bool(mask.all()):
        return near
    # Whatever is nearest outside, some pixel of the frame around the mask is no further.
    place = tuple(slice(max(0, int(found[0]) - 1), int(found[-1]) + 2) for found in (rows, columns))
    part = mask[place]
    close = torch.from_numpy(_distances(part) <= distance).to(mask.device)
    near[place] = part & close
    return near


def _distances(mask: torch.Tensor) -> Distances:
    """The Euclidean distance of each pixel of a mask to the nearest one outside, 0 outside."""
    try:
        from scipy.ndimage import distance_transform_edt
    except ImportError as error:
        raise MissingPackageError(
            "boundary metrics need scipy, which is not installed",
            fix="run: pip install 'covary[eval]'",
        ) from error
    found: Distances = distance_transform_edt(mask.cpu().numpy())
    return found


def _check_maps(prediction: torch.Tensor, truth: torch.Tensor) -> None:
    for values, what in ((prediction, "prediction"), (truth, "truth")):
        if not isinstance(values, torch.Tensor) or values.dtype not in _INTEGERS:
            got = f"{type(values).__name__} {getattr(values, 'dtype', '')}".rstrip()
            raise InputError(what, expected="a tensor of integers or bool", got=got)
    if prediction.shape != truth.shape:
        raise InputError(
            "prediction",
            expected=f"the shape of the truth, {tuple(truth.shape)}",
            got=str(tuple(prediction.shape)),
        )


def _check_map(
    values: torch.Tensor, what: str, dtypes: tuple[torch.dtype, ...] = _INTEGERS
) -> None:
    if (
        not isinstance(values, torch.Tensor)
        or values.dtype not in dtypes
        or values.ndim != 2
        or not values.numel()
    ):
        kind = "bool" if dtypes == (torch.bool,) else "integers or bool"
        got = f"{type(values).__name__} {getattr(values, 'dtype', '')}".rstrip()
        shape = tuple(getattr(values, "shape", ()))
        raise InputError(what, expected=f"{kind} of shape (H, W)", got=f"{got} {shape}")


def _check_range(values: torch.Tensor, classes: int, what: str) -> None:
    if not values.numel():
        return
    low, high = (int(end) for end in values.to(torch.int64).aminmax())
    if low < 0 or high >= classes:
        raise InputError(
            what, expected=f"classes in 0..{classes - 1}", got=f"values in {low}..{high}"
        )
