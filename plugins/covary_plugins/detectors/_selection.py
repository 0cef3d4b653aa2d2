"""Parameters by which every detector that finds many boxes keeps some of them."""

from __future__ import annotations

from pydantic import Field

import covary

__all__ = ["EXPAND", "Selection"]

EXPAND: float = Field(
    0.0,
    ge=0,
    le=1,
    description="Share of a box's width and height that is added on each side. Rules that look at "
    "the border, such as `border`, then see what surrounds the object.",
)


class Selection(covary.Params):
    """Which of the candidates are kept; each detector has defaults of its own."""

    threshold: float = Field(0.0, ge=0, le=1, description="Score below which a box is left out.")
    min_size: float = Field(
        0.0,
        ge=0,
        description="Shorter side below which a box is left out: in pixels, or below 1 as a share "
        "of the image's shorter side.",
    )
    nms: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Non-maximum suppression: of two boxes of one class whose intersection over "
        "union is above this, the surer one stays. 1 keeps both.",
    )
    most: int | None = Field(
        None, ge=1, description="Boxes a class at most, the surest; unset: all."
    )
    expand: float = EXPAND
