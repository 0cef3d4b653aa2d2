"""The contract of landmark detectors: 5 or 68 points of each face, in pixels of the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from hypothesis import given

from covary import RunContext
from covary.testing.contracts._base import describe_shape, examples, require
from covary.testing.contracts._image_contract import FinderContract
from covary.testing.strategies import images

__all__ = ["LandmarkDetectorContract"]

_COUNTS = (5, 68)


class LandmarkDetectorContract(FinderContract):
    """What a landmark detector keeps to: points that fit the image, and clean manners."""

    kind = "landmarks"
    _call = "landmarks"

    # --- for checks ---------------------------------------------------------------------------

    def work(self, component: Any, sample: Any, ctx: RunContext | None) -> Any:
        """The faces' points."""
        return component.landmarks(sample, ctx)

    def checked(self, result: Any, sample: Any) -> Any:
        """A list of tensors float32 (5, 2) or (68, 2)."""
        faces = self.listed(result, "tensors, one for each face")
        for points in faces:
            require(
                isinstance(points, torch.Tensor)
                and points.dtype == torch.float32
                and points.ndim == 2
                and points.shape[0] in _COUNTS
                and points.shape[1] == 2,
                "the points of a face",
                expected="float32 (68, 2) in the order of iBUG 300-W, or (5, 2)",
                got=describe_shape(points),
                fix="return one tensor for each face: x, y in pixels of the image",
            )
        return [points.cpu() for points in faces]

    def values(self, result: Any) -> Mapping[str, Any]:
        """All points."""
        return {"set of points": torch.cat([torch.zeros(0, 2), *result])}

    # --- rules --------------------------------------------------------------------------------

    @examples(10)
    @given(image=images(40))
    def test_returns_points(self, image: torch.Tensor) -> None:
        """It gives a list of float32 (68, 2) or (5, 2), one for each face, for any image."""
        self.run(self.create(), image.to(self.device))

    def test_points_lie_near_the_image(self) -> None:
        """Points are finite and lie inside the image, or beside it where a face is cut off."""
        for seed in range(3):
            image = self.sample(seed)
            sides = torch.tensor([image.shape[2], image.shape[1]])
            for points in self.run(self.create(), image):
                outside = ~((points >= -sides) & (points <= 2 * sides))  # NaN is outside, too
                require(
                    not bool(outside.any()),
                    "the points of a face",
                    expected=f"pixels of the image of {tuple(image.shape[1:])}, at most one side "
                    "beyond its edge",
                    got=str(points[outside.any(dim=1)][:1].tolist()),
                    fix="scale them back to the image that was given, and give x before y",
                )

    def test_points_of_a_face_are_apart(self) -> None:
        """The points of a face are not all at one place."""
        for points in self.run(self.create(), self.sample(0)):
            require(
                bool((points - points[0]).any()),
                "the points of a face",
                expected="different places",
                got=f"all at {points[0].tolist()}",
                fix="leave faces out that have no points",
            )
