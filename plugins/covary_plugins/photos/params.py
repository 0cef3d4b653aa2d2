"""How a photo is fitted to a generator: the parameters that photo sources share."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

import covary
from covary import Spec

__all__ = ["PhotoParams"]


class PhotoParams(covary.Params):
    """Base of the parameters of every source that starts from a photo."""

    align: Literal["auto", "face", "center", "whole", "stretch"] = Field(
        "auto",
        description="How the photo is cut. face: as FFHQ's images were, by landmarks; center: the "
        "largest middle part of the generator's aspect; whole: all of it, margins mirrored; "
        "stretch: all of it, aspect changed. auto: face where there are landmarks, else all of a "
        "photo that has the generator's aspect, else center.",
    )
    landmarks: Path | None = Field(
        None,
        description="JSON file of the face's points [[x, y], ...], 5 or 68 of them, in pixels of "
        "the upright photo; or a folder that holds NAME.json for each photo NAME.",
    )
    landmark_detector: Spec | None = Field(
        None, description="Component that finds the landmarks, e.g. yunet."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [name for name in ("landmarks", "landmark_detector") if getattr(self, name)]
        if len(given) == 2:
            raise ValueError("only one of landmarks and landmark_detector")
        if self.align == "face" and not given:
            raise ValueError("landmarks or landmark_detector with align='face'")
        if self.align not in ("auto", "face") and given:
            raise ValueError(f"no {given[0]} with align={self.align!r}, which does not use it")
        return self
