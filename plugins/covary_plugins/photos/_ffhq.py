"""The crop of the FFHQ data set, in which its generators expect a face."""

from __future__ import annotations

import torch
from torch import Tensor

from covary import InputError

__all__ = ["ffhq_matrix"]

# Rows of iBUG 300-W's 68 points, left as seen in the image.
_LEFT_EYE, _RIGHT_EYE = slice(36, 42), slice(42, 48)
_LEFT_MOUTH, _RIGHT_MOUTH = 48, 54


def ffhq_matrix(points: Tensor, size: tuple[int, int]) -> Tensor:
    """The affine map from the aligned image to the photo, as `covary.Crop` wants it.

    A square around the face, turned with it: its axis x is ``eye_to_eye - rot90(eye_to_mouth)``,
    half its side max(2 |eye_to_eye|, 1.8 |eye_to_mouth|), its centre a tenth of the way from the
    eyes to the mouth (Karras et al. 2019, appendix A). For an image that is not square the crop
    grows along the longer side.

    Args:
        points: (68, 2) in the order of iBUG 300-W, or (5, 2): left eye, right eye, nose, left and
            right corner of the mouth; left as seen in the image. x and y in pixels of the photo,
            (0, 0) being the middle of its first pixel, as dlib and OpenCV count.
        size: (H, W) of the aligned image.

    Returns:
        float64 (2, 3).

    Raises:
        InputError: another number of points, or eyes and mouth that are no face's.
    """
    left_eye, right_eye, left_mouth, right_mouth = _features(points)
    eyes = (left_eye + right_eye) / 2
    eye_to_eye = right_eye - left_eye
    eye_to_mouth = (left_mouth + right_mouth) / 2 - eyes
    # Positive where the mouth lies below the eyes as seen along the face's own axes.
    if float(eye_to_eye[0] * eye_to_mouth[1] - eye_to_eye[1] * eye_to_mouth[0]) <= 0:
        raise InputError(
            "landmarks",
            expected="left before right as seen in the image, and the mouth below the eyes",
            got=f"eyes {_show(left_eye)} and {_show(right_eye)}, "
            f"corners of the mouth {_show(left_mouth)} and {_show(right_mouth)}",
            fix="mirrored photos need their landmarks reordered, not only mirrored",
        )
    axis = eye_to_eye - _rot90(eye_to_mouth)
    half = max(2 * float(eye_to_eye.norm()), 1.8 * float(eye_to_mouth.norm()))
    x = axis / axis.norm() * half
    y = _rot90(x)
    height, width = size
    per_pixel = 2 / min(height, width)
    linear = torch.stack([x, y], dim=1) * per_pixel
    # A pixel's middle is at one half where covary counts.
    centre = eyes + 0.1 * eye_to_mouth + 0.5
    offset = centre - linear @ torch.tensor([width / 2, height / 2], dtype=torch.float64)
    return torch.cat([linear, offset[:, None]], dim=1)


def _features(points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both eyes and both corners of the mouth, float64 (2,) each."""
    points = points.detach().cpu().double()
    if points.shape == (5, 2):
        return points[0], points[1], points[3], points[4]
    if points.shape == (68, 2):
        left, right = points[_LEFT_EYE].mean(dim=0), points[_RIGHT_EYE].mean(dim=0)
        return left, right, points[_LEFT_MOUTH], points[_RIGHT_MOUTH]
    raise InputError("landmarks", expected="shape (5, 2) or (68, 2)", got=str(tuple(points.shape)))


def _rot90(vector: Tensor) -> Tensor:
    """``vector`` a quarter turned, from x to y."""
    return torch.stack([-vector[1], vector[0]])


def _show(point: Tensor) -> str:
    return f"({float(point[0]):g}, {float(point[1]):g})"
