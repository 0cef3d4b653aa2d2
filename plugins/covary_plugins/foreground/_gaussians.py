"""The parameters of Gaussian maps, relative to the sides of the image or box."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

__all__ = ["Covariance", "Deviation", "Position"]

Row = tuple[float, float]


def _inside(value: Row) -> Row:
    if not all(0 <= number <= 1 for number in value):
        raise ValueError("two numbers in 0..1")
    return value


def _positive_definite(value: tuple[Row, Row]) -> tuple[Row, Row]:
    (xx, xy), (yx, yy) = value
    if not (xy == yx and xx > 0 and xx * yy - xy * xy > 0):
        raise ValueError("a symmetric positive definite 2x2 matrix")
    return value


Position = Annotated[Row, AfterValidator(_inside)]
"""(x, y) in 0..1 of width and height."""

Covariance = Annotated[tuple[Row, Row], AfterValidator(_positive_definite)]
"""((xx, xy), (xy, yy))."""

Deviation = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A standard deviation along one side."""
