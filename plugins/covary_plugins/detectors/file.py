"""Boxes that are known already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

import covary

from ._selection import Selection

if TYPE_CHECKING:
    import torch

    from covary import Detection, RunContext

__all__ = ["FileBoxes"]

Corners = tuple[float, float, float, float]


class _Origin(covary.Params):
    file: Path | None = Field(None, description="File of boxes, .json or .csv.")
    boxes: Annotated[tuple[Corners, ...], Field(min_length=1)] | None = Field(
        None, description="Instead: list of (x0, y0, x1, y1) in pixels, ends exclusive."
    )
    labels: tuple[str, ...] = Field(
        (), description="What is in each of `boxes`, in their order; unset: not said."
    )


class FileBoxes(covary.Detector):
    """Boxes from a file, or given as numbers.

    Fractions of a pixel are rounded to the nearest pixel edge; a box that reaches outside the
    image is refused, not clipped.

    ``.csv``: columns x0, y0, x1, y1 and, where there are, label and score; others are ignored.
    ``.json``: a list of ``[x0, y0, x1, y1]``; or of objects with those keys and, where there are,
    label and score; or COCO annotations or results (``"bbox": [x, y, width, height]``), whose
    categories give the labels. Crowds (``iscrowd``) are left out. Of a COCO file with several
    images, the boxes of the one that is named as the query's file is, its folder and suffix aside;
    an image with no boxes is then one in which nothing was found.
    """

    class Params(Selection, _Origin):
        @model_validator(mode="after")
        def _one_origin(self) -> Self:
            if (self.file is None) == (self.boxes is None):
                raise ValueError("either a file or boxes")
            if self.labels and len(self.labels) != len(self.boxes or ()):
                raise ValueError(f"a label for each of {len(self.boxes or ())} boxes")
            return self

    params: Params

    _inputs: Mapping[str, str] = MappingProxyType({})

    def inputs(self) -> Mapping[str, str]:
        """The file, once it was read."""
        return self._inputs

    def detect(self, image: torch.Tensor, ctx: RunContext | None = None) -> Sequence[Detection]:
        """The boxes that the thresholds leave, the surest first.

        Raises:
            InputError: a file that holds no boxes of this image, or a box or score that does not
                fit.
        """
        import torch

        from ._candidates import pick

        size = (int(covary.check_image(image).shape[1]), int(image.shape[2]))
        found = self._given(size, ctx)
        corners = [(box.x0, box.y0, box.x1, box.y1) for box in (one.box for one in found)]
        return pick(
            torch.tensor(corners, dtype=torch.int64).reshape(-1, 4),
            torch.tensor([one.score for one in found], dtype=torch.float64),
            [one.label for one in found],
            self.params,
            size,
            "boxes",
        )

    def _given(self, size: tuple[int, int], ctx: RunContext | None) -> list[Detection]:
        from ._files import pixel_box, read_detections

        params = self.params
        if params.file is None:
            boxes = params.boxes or ()
            labels = params.labels or ("",) * len(boxes)
            return [
                covary.Detection(pixel_box(numbers, size, f"box {i}"), label)
                for i, (numbers, label) in enumerate(zip(boxes, labels, strict=True))
            ]
        from covary.files import file_sha256

        found = read_detections(params.file, size, ctx.query if ctx else None)
        self._inputs = {str(params.file.resolve()): file_sha256(params.file)}
        return found
