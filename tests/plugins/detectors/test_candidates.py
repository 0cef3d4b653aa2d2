"""Which candidates are kept: compared with a plain-Python account of the rules."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from covary import Box, Detection, InputError
from covary_plugins.detectors._candidates import clipped, overlaps, pick
from covary_plugins.detectors._selection import Selection

SIZE = (24, 32)

Corners = tuple[int, int, int, int]


def boxes_of(corners: list[Corners]) -> torch.Tensor:
    return torch.tensor(corners, dtype=torch.int64).reshape(-1, 4)


def picked(
    corners: list[Corners], scores: list[float], names: list[str], **selection: float | None
) -> list[Detection]:
    return pick(
        boxes_of(corners), torch.tensor(scores, dtype=torch.float64), names,
        Selection(**selection), SIZE, "boxes",
    )  # fmt: skip


def pixels(box: Corners) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}


def expected(
    corners: list[Corners], scores: list[float], names: list[str], selection: Selection
) -> list[int]:
    """The rules one after the other, overlaps by counting pixels, in exact arithmetic."""
    least = Fraction(selection.min_size)
    if least < 1:
        least *= min(SIZE)
    left = [
        i
        for i, (x0, y0, x1, y1) in enumerate(corners)
        if min(x1 - x0, y1 - y0) >= max(least, 1) and scores[i] >= selection.threshold
    ]
    kept: list[int] = []
    for i in sorted(left, key=lambda i: (-scores[i], i)):
        same = [k for k in kept if names[k] == names[i]]
        here = pixels(corners[i])
        ratios = [
            Fraction(len(here & pixels(corners[k])), len(here | pixels(corners[k]))) for k in same
        ]
        if any(ratio > Fraction(selection.nms) for ratio in ratios):
            continue
        if selection.most is None or len(same) < selection.most:
            kept.append(i)
    return kept


corner_pairs = st.tuples(
    st.integers(0, 30), st.integers(0, 22), st.integers(0, 12), st.integers(0, 12)
).map(lambda b: (b[0], b[1], min(b[0] + b[2], 32), min(b[1] + b[3], 24)))
candidates = st.lists(
    st.tuples(
        corner_pairs,
        st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.5000000001, 1.0]),
        st.sampled_from(["sofa", "coffee table"]),
    ),
    max_size=12,
)
# Sizes and ratios that floats hold exactly, so that both sides compare the same numbers.
selections = st.builds(
    Selection,
    threshold=st.sampled_from([0.0, 0.125, 0.5]),
    min_size=st.sampled_from([0.0, 0.125, 1.0, 3.0]),
    nms=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    most=st.sampled_from([None, 1, 2]),
)


@settings(max_examples=300, deadline=None)
@given(found=candidates, selection=selections)
def test_keeps_what_the_rules_say(
    found: list[tuple[Corners, float, str]], selection: Selection
) -> None:
    corners, scores, names = ([each[part] for each in found] for part in range(3))
    got = picked(corners, scores, names, **selection.model_dump())
    assert got == [
        Detection(Box(*corners[i]), names[i], scores[i])
        for i in expected(corners, scores, names, selection)
    ]


@settings(max_examples=100, deadline=None)
@given(a=corner_pairs, b=corner_pairs)
def test_overlaps_count_pixels(a: Corners, b: Corners) -> None:
    here, there = pixels(a), pixels(b)
    if not here | there:
        return
    ratio = float(overlaps(boxes_of([a])[0], boxes_of([b]))[0])
    assert ratio == len(here & there) / len(here | there)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 4), max_size=5))
def test_clips_and_rounds_to_pixel_edges(boxes: list[tuple[float, ...]]) -> None:
    got = clipped(torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4), SIZE, "boxes")
    ends = (32, 24, 32, 24)
    assert got.tolist() == [
        [min(max(math.floor(box[i] + 0.5), 0), ends[i]) for i in range(4)] for box in boxes
    ]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none(bad: float) -> None:
    with pytest.raises(InputError, match="boxes: expected finite scores, got 1 of 2"):
        picked([(0, 0, 3, 3)] * 2, [0.5, bad], ["", ""])
    with pytest.raises(InputError, match="finite coordinates, got 1 of 4"):
        clipped(torch.tensor([[0, 0, bad, 4.0]]), SIZE, "boxes")


@pytest.mark.parametrize("bad", [-0.1, 1.5])
def test_scores_that_are_no_confidences(bad: float) -> None:
    with pytest.raises(InputError, match=r"scores in 0\.\.1"):
        picked([(0, 0, 3, 3)], [bad], [""])


def test_no_candidates_are_no_detections() -> None:
    assert picked([], [], []) == []


def test_the_same_boxes_twice_are_one_detection() -> None:
    box = (2, 3, 9, 9)
    assert len(picked([box] * 5, [0.5] * 5, ["a"] * 5, nms=0.5)) == 1
    assert len(picked([box] * 5, [0.5] * 5, list("abcde"), nms=0.5)) == 5


def test_thousands_of_boxes() -> None:
    """As many as there are places, so that nothing is suppressed and every pair is compared."""
    corners = [(x, y, x + 1, y + 1) for y in range(72) for x in range(72)]
    boxes, scores = boxes_of(corners), torch.rand(72 * 72, generator=torch.Generator())
    found = pick(boxes, scores, ["dot"] * 72 * 72, Selection(nms=0.5), (72, 72), "boxes")
    assert len(found) == 72 * 72
    assert [each.score for each in found] == sorted(scores.double().tolist(), reverse=True)
