"""Which results are good enough for a data set."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError

__all__ = ["Filters"]


@dataclass(frozen=True, slots=True)
class Filters:
    """What a pair has to fulfil to be in a data set; the reason of each that does not is kept.

    Raises:
        InputError: a share outside 0..1, or a smallest area above the largest.
    """

    require_foreground: bool = True
    """Leave out what has no confident foreground; else its mask is background all over."""
    min_area: float = 0.0
    """Smallest share of the image that the foreground may take, in 0..1."""
    max_area: float = 1.0
    """Largest share of the image that the foreground may take, in 0..1."""
    min_confidence: float = 0.0
    """Smallest confidence of the foreground, in 0..1.

    The mean over the pixels of the foreground of 2 s - 1, cut off at 0, where s is the soft mask:
    the share of the nearest foreground centre in the mixture with the nearest background centre
    (``covary.soft_mask``), or what refiners made of it. 0 is half-way between the two centres, 1
    at the foreground's own.
    """

    def __post_init__(self) -> None:
        for name in ("min_area", "max_area", "min_confidence"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError(f"filter {name}", expected="a share in 0..1", got=repr(value))
        if self.min_area > self.max_area:
            raise InputError(
                "filters",
                expected="min_area of at most max_area",
                got=f"{self.min_area:g} and {self.max_area:g}",
            )

    def reason(self, found: bool, area: float, confidence: float | None) -> str:
        """Why a result is left out, or an empty string.

        Args:
            found: whether it has a confident foreground.
            area: the foreground's share of the image.
            confidence: as ``min_confidence``; None without a foreground.
        """
        if not found:
            return "no confident foreground" if self.require_foreground else ""
        if area < self.min_area:
            return f"area {area:.4f} is below {self.min_area:g}"
        if area > self.max_area:
            return f"area {area:.4f} is above {self.max_area:g}"
        if confidence is not None and confidence < self.min_confidence:
            return f"confidence {confidence:.4f} is below {self.min_confidence:g}"
        return ""
