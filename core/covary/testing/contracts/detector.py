"""The contract of detectors: boxes inside the image, with labels and scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from hypothesis import given

from covary import Box, Detection, Query, RunContext
from covary.testing.contracts._base import examples, require
from covary.testing.contracts._image_contract import FinderContract
from covary.testing.contracts._rules import check_inside
from covary.testing.strategies import images

__all__ = ["DetectorContract"]


class DetectorContract(FinderContract):
    """What a detector keeps to: detections that fit the image, and clean manners."""

    kind = "detector"
    _call = "detect"

    # --- what a subclass may override ---------------------------------------------------------

    def query_of(self, image: torch.Tensor) -> Query | None:
        """The query that an image answers, for a detector that goes by it; None says nothing."""
        return None

    # --- for checks ---------------------------------------------------------------------------

    def work(self, component: Any, sample: Any, ctx: RunContext | None) -> Any:
        """The detections."""
        if isinstance(sample, torch.Tensor) and (query := self.query_of(sample)):
            ctx = replace(ctx or RunContext(device=sample.device), query=query)
        return component.detect(sample, ctx)

    def checked(self, result: Any, sample: Any) -> Any:
        """A list of detections with a box each."""
        found = self.listed(result, "covary.Detection")
        for each in found:
            require(
                isinstance(each, Detection) and isinstance(each.box, Box),
                "what detect returned",
                expected="a list of covary.Detection, each with a covary.Box",
                got=f"a list with {each!r}",
                fix="return [Detection(Box(x0, y0, x1, y1), label, score), ...]",
            )
        return found

    def values(self, result: Any) -> Mapping[str, Any]:
        """Boxes, labels and scores."""
        corners = [[box.x0, box.y0, box.x1, box.y1] for box in (each.box for each in result)]
        return {
            "set of boxes": torch.tensor(corners).reshape(-1, 4),
            "set of labels": [each.label for each in result],
            "set of scores": torch.tensor([float(each.score) for each in result]),
        }

    # --- rules --------------------------------------------------------------------------------

    @examples(10)
    @given(image=images(40))
    def test_returns_detections(self, image: torch.Tensor) -> None:
        """It gives a list of covary.Detection for any image."""
        self.run(self.create(), image.to(self.device))

    @examples(10)
    @given(image=images(40))
    def test_boxes_lie_inside_the_image(self, image: torch.Tensor) -> None:
        """No box reaches beyond the image."""
        for one in (image.to(self.device), self.sample(0)):
            for found in self.run(self.create(), one):
                check_inside(found.box, one, f"the box of {found.label or 'a detection'}")

    def test_labels_are_text(self) -> None:
        """A label is text, empty where there is nothing to say."""
        for found in self.run(self.create(), self.sample(0)):
            require(
                isinstance(found.label, str),
                "a label",
                expected="text",
                got=repr(found.label),
                fix="give the class's name, not its number",
            )

    def test_scores_are_confidences(self) -> None:
        """A score is a number in 0..1."""
        for seed in range(3):
            for found in self.run(self.create(), self.sample(seed)):
                good = isinstance(found.score, (int, float)) and math.isfinite(found.score)
                require(
                    good and 0 <= found.score <= 1,
                    "a score",
                    expected="a Python number in 0..1",
                    got=repr(found.score),
                    fix="map what the model gives into 0..1, e.g. by a sigmoid, and use .item()",
                )

    def test_works_in_a_pipeline(self) -> None:
        """A pipeline with it segments inside its boxes and keeps their names and scores."""
        detector = self.create()
        segmentation = self.in_pipeline(detector=detector)
        found = self.run(self.create(), segmentation.image.to(self.device))
        got = [Detection(each.box, each.label, each.score) for each in segmentation.regions]
        if detector.determinism == "none":
            self.skip("it declares no determinism")
        require(
            _alike(got, found),
            "the regions of a pipeline",
            expected=f"what it finds in X_0, {found}",
            got=str(got),
            fix="let what it finds follow from the image, its parameters and ctx alone",
        )

    def test_serves_the_box_rule(self) -> None:
        """A pipeline whose box rule asks it segments inside its boxes."""
        entry = self.entry()
        if entry is None:
            self.skip("the box rule finds detectors by their registered name")
        detector = {"use": entry.id, **self.params}
        one = ("lloyd", {"k": 1})  # a box may hold a single colour
        boxed = self.in_pipeline(clusterer=one, foreground=("box", {"detector": detector}))
        expected = self.in_pipeline(clusterer=one, detector=self.create())
        if self.create().determinism == "none":
            self.skip("it declares no determinism")
        require(
            [region.box for region in boxed.regions] == [region.box for region in expected.regions],
            "the regions of a pipeline with the box rule",
            expected="the boxes that it finds",
            got=", ".join(str(region.box) for region in boxed.regions) or "none",
            fix="let what it finds follow from the image, its parameters and ctx alone",
        )


def _alike(one: Sequence[Detection], other: Sequence[Detection]) -> bool:
    """Whether these are the same detections, up to the rounding of scores."""
    return len(one) == len(other) and all(
        (a.box, a.label) == (b.box, b.label) and math.isclose(a.score, b.score, abs_tol=1e-4)
        for a, b in zip(one, other, strict=True)
    )
