"""How a photo is fitted to a generator: the parameters that photo sources share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, cast

from pydantic import Field, model_validator

import covary
from covary import Spec

if TYPE_CHECKING:
    from ._prepare import PreparedPhoto

__all__ = ["PhotoParams", "PhotoSource"]


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
            raise ValueError("landmarks or landmark_detector, not both")
        if self.align == "face" and not given:
            raise ValueError("landmarks or landmark_detector beside align='face'")
        if self.align not in ("auto", "face") and given:
            raise ValueError(f"no {given[0]} beside align={self.align!r}, which does not use it")
        return self


class PhotoSource(covary.VariantSource):
    """Base of the sources that start from one photo, fitted to a generator by `PhotoParams`."""

    params: PhotoParams
    accepts = frozenset({"files"})

    _detector: covary.LandmarkDetector | None = None

    def prepared(
        self, query: covary.Query, size: tuple[int, int], ctx: covary.RunContext
    ) -> PreparedPhoto:
        """The query's photo as an image (H, W) = ``size``; the landmark detector is kept.

        Raises:
            InputError: not exactly one photo, or one that cannot be read or aligned.
        """
        from ._prepare import one_photo, prepare

        path = one_photo(query, self.id)
        spec = self.params.landmark_detector
        if spec is not None and self._detector is None:
            self._detector = cast(covary.LandmarkDetector, spec.create("landmarks"))
        return prepare(path, size, self.params, ctx, self._detector)
