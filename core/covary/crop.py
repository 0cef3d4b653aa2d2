"""Where an image was cut from a photo, so that its mask can be put back into the photo."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import torch
import torch.nn.functional as F

from .errors import InputError

__all__ = ["Crop"]

_ROWS = 512


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """The photo that X_0 was cut from, and where in it X_0 lies.

    Both images use coordinates in which pixel (row i, column j) covers the square from (x, y) =
    (j, i) to (j + 1, i + 1).
    """

    photo: torch.Tensor
    """uint8 (3, H, W), RGB, upright."""
    matrix: torch.Tensor
    """float64 (2, 3): takes (x, y, 1) in X_0 to (x, y) in the photo; invertible."""

    def __post_init__(self) -> None:
        from .types import check_image

        check_image(self.photo, "photo")
        matrix = torch.as_tensor(self.matrix, dtype=torch.float64)
        if tuple(matrix.shape) != (2, 3) or not bool(matrix.isfinite().all()):
            raise InputError("crop matrix", expected="a finite (2, 3)", got=f"{matrix.tolist()}")
        if abs(float(torch.linalg.det(matrix[:, :2]))) < 1e-12:
            raise InputError("crop matrix", expected="an invertible one", got=f"{matrix.tolist()}")
        object.__setattr__(self, "matrix", matrix.cpu())

    @classmethod
    def whole(cls, photo: torch.Tensor, size: tuple[int, int]) -> Crop:
        """The whole ``photo``, scaled to ``size`` (H, W)."""
        height, width = photo.shape[-2:]
        scale = torch.tensor([width / size[1], height / size[0]], dtype=torch.float64)
        return cls(photo, torch.cat([scale.diag(), torch.zeros(2, 1).double()], dim=1))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the photo."""
        return int(self.photo.shape[1]), int(self.photo.shape[2])

    def place(self, mask: torch.Tensor) -> torch.Tensor:
        """``mask`` bool (h, w) of X_0 in the photo's own pixels, bool (H, W); False outside X_0.

        Interpolated linearly and cut at one half, so that outlines stay smooth when enlarged.
        """
        top, bottom, left, right = self._extent(mask)
        inverse = torch.linalg.inv(self.matrix[:, :2])
        step_x, step_y = inverse[:, 0], inverse[:, 1]
        origin = -inverse @ self.matrix[:, 2]
        # grid_sample takes coordinates in which the image spans [-1, 1].
        to_unit = torch.tensor([2 / mask.shape[1], 2 / mask.shape[0]], dtype=torch.float64)
        columns = torch.arange(left, right, dtype=torch.float64)[None, :, None] + 0.5
        source = mask.cpu().float()[None, None]
        placed = torch.zeros(self.size, dtype=torch.bool)
        for first in range(top, bottom, _ROWS):
            last = min(first + _ROWS, bottom)
            rows = torch.arange(first, last, dtype=torch.float64)[:, None, None] + 0.5
            grid = ((origin + columns * step_x + rows * step_y) * to_unit - 1)[None]
            inside = (grid.abs() <= 1).all(dim=-1)[0]
            # "border", because a mask that reaches X_0's edge must not fade out there.
            sampled = F.grid_sample(
                source, grid.float(), mode="bilinear", padding_mode="border", align_corners=False
            )
            placed[first:last, left:right] = (sampled[0, 0] >= 0.5) & inside
        return placed

    def _extent(self, mask: torch.Tensor) -> tuple[int, int, int, int]:
        """Rows and columns of the photo that X_0 reaches: first and end of each."""
        height, width = mask.shape
        corners = torch.tensor([[0, width, 0, width], [0, 0, height, height]], dtype=torch.float64)
        x, y = self.matrix[:, :2] @ corners + self.matrix[:, 2:]
        return *_span(y, self.size[0]), *_span(x, self.size[1])


def _span(ends: torch.Tensor, length: int) -> tuple[int, int]:
    """The pixels of 0..length that ``ends`` enclose, none rather than a negative number."""
    first = max(0, floor(float(ends.min())))
    return first, max(first, min(length, ceil(float(ends.max()))))
