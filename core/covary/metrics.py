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

import numpy as np
import torch

from .errors import InputError

__all__ = [
    "BOUNDARY_RATIO",
    "TRIMAP_WIDTH",
    "boundary",
    "boundary_distance",
    "boundary_iou",
    "class_boundaries",
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
    """
    _check_map(truth, "truth")
    if not 0 < width < math.inf:
        raise InputError("width of the trimap", expected="more than 0 pixels", got=str(width))
    if ignore is None or not bool((ignored := truth == ignore).any()):
        return _near_another(truth, width)
    band = torch.zeros_like(ignored)
    for value in truth[~ignored].unique().tolist():
        # Ignored pixels hide what they are, so to no class they are another one.
        mask = truth == value
        band |= mask & _near_another(mask | ignored, width)
    return band


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
    """
    _check_map(mask, "mask", (torch.bool,))
    return mask & class_boundaries(mask, distance)


def class_boundaries(labels: torch.Tensor, distance: float) -> torch.Tensor:
    """The pixels close to the contour of their own class, bool (H, W).

    Those of class c among them are the :func:`boundary` of ``labels == c``.

    Args:
        labels: integers or bool (H, W).
        distance: d > 0, in pixels.

    Raises:
        InputError: not such a map, or a distance that is not positive.
    """
    _check_map(labels, "labels")
    if not 0 < distance < math.inf:
        raise InputError("boundary distance", expected="more than 0 pixels", got=str(distance))
    # One more row and column on each side, of a class that is none.
    wide = torch.int16 if labels.dtype in (torch.bool, torch.uint8, torch.int8) else torch.int64
    none = torch.iinfo(wide).min
    framed = torch.nn.functional.pad(labels.to(wide), (1, 1, 1, 1), value=none)
    return _near_another(framed, distance)[1:-1, 1:-1]


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
    """
    _check_maps(prediction, truth)
    _check_map(truth, "truth", (torch.bool,))
    if distance is None:
        distance = boundary_distance((truth.shape[0], truth.shape[1]))
    ours, theirs = boundary(prediction, distance), boundary(truth, distance)
    either = int((ours | theirs).sum())
    return int((ours & theirs).sum()) / either if either else math.nan


def _near_another(labels: torch.Tensor, distance: float) -> torch.Tensor:
    """The pixels at most ``distance`` from one of another value, bool (H, W).

    Of each pixel the nearest other value in its own column is found first. In a column dx away,
    the pixel of the same row either has another value itself, or the same one, and then what is
    nearest to it there is also nearest to the pixel there. So one pass a column offset answers for
    all values at once, exactly.
    """
    reach = math.floor(distance)
    vertical = _vertical(labels, reach)
    near = vertical <= reach
    for dx in range(1, min(reach, labels.shape[1] - 1) + 1):
        high = math.isqrt(math.floor(distance**2 - dx**2))
        differ = labels[:, dx:] != labels[:, :-dx]
        near[:, :-dx] |= differ | (vertical[:, dx:] <= high)
        near[:, dx:] |= differ | (vertical[:, :-dx] <= high)
    return near


def _vertical(labels: torch.Tensor, reach: int) -> torch.Tensor:
    """Rows to the nearest other value in the same column, at most ``reach`` + 1, (H, W)."""
    # Row by row in numpy: its and torch's running maxima take ten times as long.
    values, far = labels.cpu().numpy(), reach + 1
    changes = values[1:] != values[:-1]
    steps = np.full(values.shape, far, np.uint8 if far < 256 else np.int32)
    below = steps.copy()
    for row in range(1, len(values)):
        np.minimum(steps[row - 1], reach, out=steps[row])
        steps[row] += 1
        np.copyto(steps[row], 1, where=changes[row - 1])
    for row in range(len(values) - 2, -1, -1):
        np.minimum(below[row + 1], reach, out=below[row])
        below[row] += 1
        np.copyto(below[row], 1, where=changes[row])
    return torch.from_numpy(np.minimum(steps, below)).to(labels.device)


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
