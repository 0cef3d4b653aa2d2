"""Foreground inside detector boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Self, cast

from pydantic import Field, model_validator

import covary
from covary import Detector, ForegroundRule, Spec, SupportsInputs

if TYPE_CHECKING:
    import torch

    from covary import Box, ClusterMap, Foreground, RunContext

__all__ = ["BoxRule"]

Corners = tuple[float, float, float, float]


class BoxRule(ForegroundRule):
    """The pipeline inside each box, the masks placed back (paper Sec. 3.3).

    Boxes come as numbers, from a file, or from a detector component; each is cropped, clustered
    and judged by ``rule`` on its own, so that several objects of one image are found. Fractions
    of a pixel, which detectors give, are rounded to the nearest pixel edge; a box that reaches
    outside the image is refused, not clipped.

    The detector ``file`` describes the formats of files; here the order is the file's.
    """

    class Params(covary.Params):
        boxes: Annotated[tuple[Corners, ...], Field(min_length=1)] | None = Field(
            None, description="List of (x0, y0, x1, y1) in pixels, ends exclusive."
        )
        file: Path | None = Field(None, description="File of boxes, .json or .csv.")
        detector: Spec | None = Field(None, description="Detector component that finds the boxes.")
        rule: Spec = Field(
            Spec(use="saliency"), description="Foreground rule inside each box, by name."
        )

        @model_validator(mode="after")
        def _one_origin(self) -> Self:
            given = [name for name in ("boxes", "file", "detector") if getattr(self, name)]
            if len(given) != 1:
                raise ValueError(f"exactly one of boxes, file and detector, not {len(given)}")
            return self

    params: Params

    _file: Mapping[str, str] = MappingProxyType({})

    def inputs(self) -> Mapping[str, str]:
        """The file of boxes, and what the detector and the rule inside read."""
        found = dict(self._file)
        for part in (self._detector, self._rule):
            if isinstance(part, SupportsInputs):
                found |= part.inputs()
        return found

    def regions(self, image: torch.Tensor, ctx: RunContext | None = None) -> Sequence[Box]:
        """The boxes to work in; empty where a detector finds nothing.

        Raises:
            InputError: a box outside the image or without pixels, or a file that holds no boxes.
        """
        from covary import RunContext, check_image

        from ..detectors._files import pixel_box, read_detections

        size = (int(check_image(image).shape[1]), int(image.shape[2]))
        if self._detector is not None:
            ctx = ctx or RunContext(device=image.device)
            found = self._detector.detect(image, ctx.at("detector", self._detector.id))
            return [detection.box.inside(size) for detection in found]
        if self.params.file is not None:
            from covary.files import file_sha256

            listed = read_detections(self.params.file, size, ctx.query if ctx else None)
            self._file = {str(self.params.file.resolve()): file_sha256(self.params.file)}
            return [detection.box for detection in listed]
        corners = enumerate(self.params.boxes or ())
        return [pixel_box(numbers, size, f"box {i}") for i, numbers in corners]

    def select(
        self, clusters: ClusterMap, image: torch.Tensor, ctx: RunContext | None = None
    ) -> Foreground:
        """What ``rule`` chooses inside one box.

        Args:
            clusters: of the pixels inside the box.
            image: the part of X_0 inside the box.
            ctx: as for the rule.
        """
        return self._rule.select(clusters, image, ctx)

    @cached_property
    def _rule(self) -> ForegroundRule:
        return cast(ForegroundRule, self.params.rule.create("foreground"))

    @cached_property
    def _detector(self) -> Detector | None:
        spec = self.params.detector
        return None if spec is None else cast(Detector, spec.create("detector"))
