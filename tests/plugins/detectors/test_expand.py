"""Boxes with some of their surroundings."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import covary
from covary_plugins.detectors._candidates import expanded

SIZE = (40, 60)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    x0, y0 = draw(st.integers(0, SIZE[1] - 1)), draw(st.integers(0, SIZE[0] - 1))
    return x0, y0, draw(st.integers(x0 + 1, SIZE[1])), draw(st.integers(y0 + 1, SIZE[0]))


@given(boxes(), st.floats(0, 1))
def test_every_side_moves_outwards_by_its_share_or_to_the_border(
    box: tuple[int, int, int, int], share: float
) -> None:
    x0, y0, x1, y1 = expanded(torch.tensor([box]), share, SIZE)[0].tolist()
    across, down = (box[2] - box[0]) * share, (box[3] - box[1]) * share
    assert x0 == 0 or abs(box[0] - across - x0) <= 0.5
    assert y0 == 0 or abs(box[1] - down - y0) <= 0.5
    assert x1 == SIZE[1] or abs(box[2] + across - x1) <= 0.5
    assert y1 == SIZE[0] or abs(box[3] + down - y1) <= 0.5
    assert 0 <= x0 <= box[0]
    assert 0 <= y0 <= box[1]
    assert box[2] <= x1 <= SIZE[1]
    assert box[3] <= y1 <= SIZE[0]


def test_no_boxes_stay_none() -> None:
    assert expanded(torch.zeros(0, 4, dtype=torch.int64), 0.5, SIZE).shape == (0, 4)


@pytest.mark.parametrize("use", ["file", "worlds"])
def test_detectors_expand_what_they_find(use: str) -> None:
    ctx = covary.RunContext(query=covary.Query(seed=3))
    source = covary.create("worlds", kind="source", world="rooms", resolution=64)
    image = source.open(covary.Query(seed=3), ctx).image
    params = {"file": {"boxes": [(20, 10, 40, 50)]}, "worlds": {"world": "rooms"}}[use]
    tight = covary.create(use, kind="detector", **params).detect(image, ctx)
    wide = covary.create(use, kind="detector", **params, expand=0.1).detect(image, ctx)
    assert [one.label for one in wide] == [one.label for one in tight]
    numbers = torch.tensor([one.box.corners for one in tight])
    assert [list(one.box.corners) for one in wide] == expanded(numbers, 0.1, (64, 64)).tolist()


def test_candidates_are_chosen_before_they_are_expanded() -> None:
    """Neighbours whose surroundings overlap are still two."""
    neighbours = [(0, 0, 10, 10), (10, 0, 20, 10)]
    detector = covary.create("file", kind="detector", boxes=neighbours, nms=0.1, expand=0.5)
    found = detector.detect(torch.zeros(3, *SIZE, dtype=torch.uint8))
    assert [one.box.corners for one in found] == [(0, 0, 15, 15), (5, 0, 25, 15)]
