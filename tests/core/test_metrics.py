"""Metrics against torchmetrics, brute force, and erosion by scikit-image and OpenCV."""

from __future__ import annotations

import math
import runpy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import distance_transform_edt
from skimage.morphology import dilation, disk
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_jaccard_index,
)

from covary import InputError
from covary.metrics import (
    boundary,
    boundary_distance,
    boundary_iou,
    class_boundaries,
    confusion_matrix,
    iou,
    mean_iou,
    pixel_accuracy,
    trimap_band,
)
from covary.provenance import iou as mask_iou

CLASSES = 4
SIDES = st.integers(1, 12)


@st.composite
def maps(draw: st.DrawFn, count: int = 2, highest: int = CLASSES - 1) -> list[torch.Tensor]:
    """Maps of classes of one size, often with classes that are in one or in none of them."""
    shape = draw(st.tuples(SIDES, SIDES))
    kinds = st.integers(0, draw(st.integers(0, highest)))
    arrays = [draw(hnp.arrays(np.uint8, shape, elements=kinds)) for _ in range(count)]
    return [torch.from_numpy(array) for array in arrays]


def masks(count: int = 1) -> st.SearchStrategy[list[torch.Tensor]]:
    return maps(count, 1).map(lambda drawn: [one.bool() for one in drawn])


def near_another_class(labels: np.ndarray, width: float, ignore: int | None = None) -> np.ndarray:
    """The definition of the trimap, by all pairs of pixels."""
    places, values = np.argwhere(np.ones(labels.shape, bool)), labels.ravel()
    close = ((places[:, None] - places) ** 2).sum(2) <= width**2
    other = values[:, None] != values
    if ignore is not None:
        other &= (values[:, None] != ignore) & (values != ignore)
    return (close & other).any(1).reshape(labels.shape)


class TestConfusionMatrix:
    @given(maps())
    def test_is_that_of_torchmetrics(self, drawn: list[torch.Tensor]) -> None:
        prediction, truth = drawn
        matrix = confusion_matrix(prediction, truth, CLASSES)
        assert matrix.dtype == torch.int64
        expected = multiclass_confusion_matrix(prediction.int(), truth.int(), CLASSES)
        assert torch.equal(matrix, expected)

    @given(maps(), st.integers(0, CLASSES - 1))
    def test_leaves_out_what_is_to_be_ignored(self, drawn: list[torch.Tensor], ignore: int) -> None:
        prediction, truth = drawn
        matrix = confusion_matrix(prediction, truth, CLASSES, ignore=ignore)
        expected = multiclass_confusion_matrix(
            prediction.int(), truth.int(), CLASSES, ignore_index=ignore
        )
        assert torch.equal(matrix, expected)
        assert int(matrix.sum()) == int((truth != ignore).sum())

    def test_ignores_a_value_that_is_no_class(self) -> None:
        truth = torch.tensor([[0, 255, 1]], dtype=torch.uint8)
        matrix = confusion_matrix(torch.tensor([[0, 1, 0]]), truth, 2, ignore=255)
        assert matrix.tolist() == [[1, 0], [1, 0]]

    def test_counts_masks(self) -> None:
        one, other = torch.tensor([True, False, True]), torch.tensor([True, True, False])
        assert confusion_matrix(one, other, 2).tolist() == [[0, 1], [1, 1]]

    @pytest.mark.parametrize(
        ("prediction", "truth", "words"),
        [
            (torch.zeros(2, 3).int(), torch.zeros(3, 2).int(), r"\(3, 2\), got \(2, 3\)"),
            (torch.zeros(2, 3), torch.zeros(2, 3).int(), "prediction.*float32"),
            (torch.full((1, 1), 2), torch.zeros(1, 1).int(), r"prediction.*0\.\.1.*2\.\.2"),
            (torch.zeros(1, 1).int(), torch.full((1, 1), -1), r"truth.*0\.\.1.*-1"),
            (np.zeros((2, 2)), torch.zeros(2, 2).int(), "prediction.*ndarray"),
        ],
    )
    def test_refuses(self, prediction: Any, truth: Any, words: str) -> None:
        with pytest.raises(InputError, match=words):
            confusion_matrix(prediction, truth, 2)


class TestFigures:
    @given(maps())
    def test_are_those_of_torchmetrics(self, drawn: list[torch.Tensor]) -> None:
        prediction, truth = (one.int() for one in drawn)
        matrix = confusion_matrix(prediction, truth, CLASSES)
        # torchmetrics calls the IoU of a class that neither has 0, and leaves it out of the mean.
        each = multiclass_jaccard_index(prediction, truth, CLASSES, average="none")
        torch.testing.assert_close(iou(matrix).nan_to_num(0.0).float(), each)
        mean = multiclass_jaccard_index(prediction, truth, CLASSES, average="macro")
        assert mean_iou(matrix) == pytest.approx(float(mean), abs=1e-6)
        accuracy = multiclass_accuracy(prediction, truth, CLASSES, average="micro")
        assert pixel_accuracy(matrix) == pytest.approx(float(accuracy), abs=1e-6)

    @given(st.lists(maps(), min_size=1, max_size=4))
    def test_of_a_set_are_those_of_all_its_pixels(self, drawn: list[list[torch.Tensor]]) -> None:
        total = sum(confusion_matrix(*pair, CLASSES) for pair in drawn)
        prediction, truth = (torch.cat([pair[i].reshape(-1) for pair in drawn]) for i in (0, 1))
        mean = multiclass_jaccard_index(prediction.int(), truth.int(), CLASSES, average="macro")
        assert isinstance(total, torch.Tensor)
        assert mean_iou(total) == pytest.approx(float(mean), abs=1e-6)

    @given(masks(2))
    def test_of_masks_are_those_of_their_sets(self, drawn: list[torch.Tensor]) -> None:
        prediction, truth = drawn
        background, foreground = iou(confusion_matrix(prediction, truth, 2)).tolist()
        if bool((prediction | truth).any()):
            assert foreground == pytest.approx(mask_iou(prediction, truth))
        else:
            assert math.isnan(foreground)
        if not bool((prediction & truth).all()):
            assert background == pytest.approx(mask_iou(~prediction, ~truth))

    def test_a_class_that_neither_has_is_undefined(self) -> None:
        matrix = confusion_matrix(torch.zeros(2, 2).int(), torch.zeros(2, 2).int(), 2)
        assert iou(matrix)[0] == 1
        assert math.isnan(iou(matrix)[1])
        assert mean_iou(matrix) == 1

    def test_a_class_that_one_has_counts_as_nothing(self) -> None:
        matrix = confusion_matrix(torch.zeros(1, 4).int(), torch.tensor([[0, 0, 0, 1]]), 3)
        assert iou(matrix)[:2].tolist() == [0.75, 0]
        assert mean_iou(matrix) == 0.375

    def test_without_pixels_nothing_is_defined(self) -> None:
        nothing = torch.zeros(2, 2, dtype=torch.int64)
        assert math.isnan(mean_iou(nothing))
        assert math.isnan(pixel_accuracy(nothing))


class TestTrimap:
    @given(maps(1), st.sampled_from([0.5, 1, 1.5, 2, 2.9, 3, 5]))
    def test_is_its_definition(self, drawn: list[torch.Tensor], width: float) -> None:
        (labels,) = drawn
        expected = near_another_class(labels.numpy(), width)
        assert np.array_equal(trimap_band(labels, width).numpy(), expected)

    @given(maps(1), st.integers(0, CLASSES - 1))
    def test_ignored_pixels_make_no_boundary(self, drawn: list[torch.Tensor], ignore: int) -> None:
        (labels,) = drawn
        expected = near_another_class(labels.numpy(), 2, ignore)
        assert np.array_equal(trimap_band(labels, 2, ignore=ignore).numpy(), expected)

    def test_reaches_three_pixels_to_either_side(self) -> None:
        truth = torch.zeros(4, 20, dtype=torch.bool)
        truth[:, 10:] = True
        assert trimap_band(truth)[0].nonzero().flatten().tolist() == list(range(7, 13))

    def test_is_rounder_than_a_square(self) -> None:
        truth = torch.zeros(9, 9, dtype=torch.bool)
        truth[4, 4] = True
        band = trimap_band(truth)
        assert np.array_equal(band[1:-1, 1:-1].numpy(), disk(3).astype(bool))

    @pytest.mark.parametrize("width", [3, 11.5, 300])
    def test_is_that_of_distance_transforms(self, width: float) -> None:
        """At a size at which the definition itself would take too long."""
        draw = torch.Generator().manual_seed(1)
        scores = torch.nn.functional.interpolate(
            torch.rand(1, 3, 9, 12, generator=draw), size=(300, 180), mode="bicubic"
        )
        labels = scores[0].argmax(0)
        labels[40:60, 50:70] = 7
        distances = np.zeros(labels.shape)
        for value in labels.unique().tolist():
            mask = (labels == value).numpy()
            distances[mask] = distance_transform_edt(mask)[mask]
        assert np.array_equal(trimap_band(labels, width).numpy(), distances <= width)

    @pytest.mark.parametrize("width", [0, -1, math.nan, math.inf])
    def test_refuses_a_width(self, width: float) -> None:
        with pytest.raises(InputError, match="width of the trimap"):
            trimap_band(torch.zeros(2, 2).bool(), width)

    @pytest.mark.parametrize("truth", [torch.zeros(2), torch.zeros(2, 2), torch.zeros(0, 3).int()])
    def test_refuses_what_is_no_map(self, truth: torch.Tensor) -> None:
        with pytest.raises(InputError, match=r"truth.*\(H, W\)"):
            trimap_band(truth)


class TestBoundary:
    @given(masks(), st.integers(1, 5))
    def test_is_what_erosion_by_a_disk_takes(self, drawn: list[torch.Tensor], d: int) -> None:
        (mask,) = drawn
        outside = dilation(np.pad(~mask.numpy(), d, constant_values=True), disk(d))[d:-d, d:-d]
        assert np.array_equal(boundary(mask, d).numpy(), mask.numpy() & outside)

    @given(masks(), st.integers(1, 5))
    def test_lies_within_the_published_one(self, drawn: list[torch.Tensor], d: int) -> None:
        """The published code erodes d times by a square of 3 x 3, whose corners reach further."""
        (mask,) = drawn
        padded = np.pad(mask.numpy().astype(np.uint8), 1)
        eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=d)[1:-1, 1:-1]
        published = mask.numpy() & (eroded == 0)
        ours = boundary(mask, d).numpy()
        assert not (ours & ~published).any()
        if d == 1:
            # At one pixel the two differ by diagonal neighbours alone.
            straight = cv2.erode(padded, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
            assert np.array_equal(ours, mask.numpy() & (straight[1:-1, 1:-1] == 0))

    def test_equals_the_published_one_along_straight_contours(self) -> None:
        mask = torch.zeros(40, 40, dtype=torch.bool)
        mask[:, 12:30] = True
        padded = np.pad(mask.numpy().astype(np.uint8), 1)
        eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=4)[1:-1, 1:-1]
        assert np.array_equal(boundary(mask, 4).numpy(), mask.numpy() & (eroded == 0))

    def test_the_border_of_the_image_is_a_contour(self) -> None:
        assert boundary(torch.ones(7, 7, dtype=torch.bool), 2)[3].tolist() == (
            [True] * 2 + [False] * 3 + [True] * 2
        )

    @given(maps(1), st.integers(1, 4))
    def test_of_classes_are_those_of_their_masks(self, drawn: list[torch.Tensor], d: int) -> None:
        (labels,) = drawn
        found = class_boundaries(labels, d)
        for value in range(CLASSES):
            assert torch.equal(found & (labels == value), boundary(labels == value, d))

    @given(masks(2), st.integers(1, 4))
    def test_iou_is_that_of_the_two(self, drawn: list[torch.Tensor], d: int) -> None:
        one, other = (boundary(mask, d) for mask in drawn)
        found = boundary_iou(*drawn, d)
        if bool((one | other).any()):
            assert found == pytest.approx(mask_iou(one, other))
        else:
            assert math.isnan(found)

    @given(masks(2))
    def test_far_enough_it_is_the_iou_of_masks(self, drawn: list[torch.Tensor]) -> None:
        found = boundary_iou(*drawn, distance=100)
        if bool((drawn[0] | drawn[1]).any()):
            assert found == pytest.approx(mask_iou(*drawn))
        else:
            assert math.isnan(found)

    def test_is_two_per_cent_of_the_diagonal(self) -> None:
        assert boundary_distance((300, 400)) == 10
        assert boundary_distance((1, 1)) == 1
        truth = torch.zeros(300, 400, dtype=torch.bool)
        truth[100:200, 100:300] = True
        moved = truth.roll(5, 1)
        assert boundary_iou(moved, truth) == boundary_iou(moved, truth, 10)
        assert boundary_iou(moved, truth) < mask_iou(moved, truth)

    @pytest.mark.parametrize(
        ("mask", "distance", "words"),
        [
            (torch.zeros(2, 2).int(), 1, "mask.*bool"),
            (torch.zeros(2, 2).bool(), 0, "boundary distance"),
        ],
    )
    def test_refuses(self, mask: torch.Tensor, distance: float, words: str) -> None:
        with pytest.raises(InputError, match=words):
            boundary(mask, distance)


def test_the_page_is_made_from_the_committed_figures() -> None:
    docs = Path(__file__).parents[2] / "docs"
    made = runpy.run_path(str(docs / "make_tables.py"))["MADE"]["metrics"]()
    page = docs / "explanation" / "metrics.md"
    assert page.read_text(encoding="utf-8") == made, "run: python docs/make_tables.py"
