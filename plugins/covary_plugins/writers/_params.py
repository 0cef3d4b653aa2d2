"""What the built-in writers share: how pictures are stored."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

import covary
from covary import Writer

__all__ = ["PictureParams", "PictureWriter"]


class PictureParams(covary.Params):
    """Base of the parameters of every writer that stores images as files in a picture format."""

    image: Literal["png", "webp", "jpg"] = Field(
        "png",
        description="How images are stored: png and webp as they are, jpg smaller and changed. "
        "Masks are always png.",
    )
    png_level: int = Field(
        1, ge=0, le=9, description="Effort of PNG's compression; more is smaller and slower."
    )
    jpg_quality: int = Field(
        95, ge=1, le=100, description="Quality of jpg; colour keeps its full resolution."
    )


class PictureWriter(Writer):
    """Base of the built-in writers; all of them have the same parameters."""

    class Params(PictureParams):
        pass

    params: Params
