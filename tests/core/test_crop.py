"""Where an image was cut from a photo: masks put back into the photo's own pixels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import covary

SIDES = st.integers(1, 9)


def affine(scale: float, degrees: float, x: float, y: float, stretch: float = 1.0) -> torch.Tensor:
    """Turn, scale (x by ``stretch`` more) and shift, in this order."""
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = scale * turn.double() @ torch.tensor([stretch, 1.0]).double().diag()
    return torch.cat([linear, torch.tensor([[x], [y]]).double()], dim=1)


def value_at(mask: np.ndarray, x: float, y: float) -> float | None:
    """``mask`` interpolated at (x, y), where pixel (i, j) has its middle at (j + .5, i + .5).

    None outside; the outermost pixels reach to the edge.
    """
    height, width = mask.shape
    if not (0 <= x <= width and 0 <= y <= height):
        return None
    across = min(max(x - 0.5, 0), width - 1)
    down = min(max(y - 0.5, 0), height - 1)
    j, i = min(int(across), width - 2), min(int(down), height - 2)
    j, i = max(j, 0), max(i, 0)
    right, below = min(j + 1, width - 1), min(i + 1, height - 1)
    u, v = across - j, down - i
    upper = mask[i, j] * (1 - u) + mask[i, right] * u
    lower = mask[below, j] * (1 - u) + mask[below, right] * u
    return float(upper * (1 - v) + lower * v)


@given(
    data=st.data(),
    photo=st.tuples(SIDES, SIDES),
    size=st.tuples(SIDES, SIDES),
    scale=st.floats(0.3, 4),
    stretch=st.sampled_from([1.0, 0.5, 1.7]),
    degrees=st.sampled_from([0, 90, 180, 270]) | st.floats(-180, 180),
    x=st.floats(-6, 9),
    y=st.floats(-6, 9),
)
def test_place_looks_every_pixel_up(
    data: st.DataObject,
    photo: tuple[int, int],
    size: tuple[int, int],
    scale: float,
    stretch: float,
    degrees: float,
    x: float,
    y: float,
) -> None:
    cells = data.draw(st.lists(st.booleans(), min_size=size[0] * size[1], max_size=81))
    mask = np.array(cells[: size[0] * size[1]]).reshape(size)
    matrix = affine(scale, degrees, x, y, stretch)
    crop = covary.Crop(torch.zeros(3, *photo, dtype=torch.uint8), matrix)
    placed = crop.place(torch.from_numpy(mask))
    assert placed.dtype == torch.bool
    assert placed.shape == photo
    back = np.linalg.inv(np.vstack([matrix.numpy(), [0, 0, 1]]))
    for row in range(photo[0]):
        for column in range(photo[1]):
            u, v, _ = back @ [column + 0.5, row + 0.5, 1]
            edge = min(abs(u), abs(u - size[1]), abs(v), abs(v - size[0]))
            value = value_at(mask.astype(float), u, v)
            if edge < 1e-6 or (value is not None and abs(value - 0.5) < 1e-4):
                continue  # rounding decides there, here as there
            assert bool(placed[row, column]) == (value is not None and value > 0.5)


@given(data=st.data(), size=st.tuples(SIDES, SIDES))
def test_the_whole_photo_in_its_own_size_keeps_its_mask(
    data: st.DataObject, size: tuple[int, int]
) -> None:
    cells = data.draw(st.lists(st.booleans(), min_size=81, max_size=81))
    mask = torch.tensor(cells[: size[0] * size[1]]).view(size)
    photo = torch.zeros(3, *size, dtype=torch.uint8)
    assert torch.equal(covary.Crop.whole(photo, size).place(mask), mask)


@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    corner=st.tuples(st.integers(-4, 8), st.integers(-4, 8)),
    factor=st.sampled_from([1, 2, 3]),
)
def test_a_full_mask_fills_exactly_its_box(
    size: tuple[int, int], corner: tuple[int, int], factor: int
) -> None:
    y, x = corner
    expected = torch.zeros(7, 10, dtype=torch.bool)
    rows = slice(max(0, y), max(0, y + factor * size[0]))
    columns = slice(max(0, x), max(0, x + factor * size[1]))
    expected[rows, columns] = True
    crop = covary.Crop(torch.zeros(3, 7, 10, dtype=torch.uint8), affine(factor, 0, x, y))
    assert torch.equal(crop.place(torch.ones(size, dtype=torch.bool)), expected)


def test_a_tall_photo_is_placed_alike_across_the_bands_it_is_cut_into() -> None:
    torch.manual_seed(0)
    mask = torch.rand(8, 8) > 0.5
    expected = torch.nn.functional.interpolate(
        mask[None, None].double(), (2000, 6), mode="bilinear", align_corners=False
    )[0, 0]
    sure = (expected - 0.5).abs() > 1e-3
    placed = covary.Crop.whole(torch.zeros(3, 2000, 6, dtype=torch.uint8), (8, 8)).place(mask)
    assert torch.equal(placed[sure], (expected > 0.5)[sure])


@pytest.mark.parametrize(
    ("matrix", "word"),
    [
        (torch.zeros(2, 3), "invertible"),
        (torch.eye(3), "finite"),
        (torch.tensor([[1.0, 0, float("nan")], [0, 1, 0]]), "finite"),
    ],
)
def test_a_matrix_that_cannot_be_turned_around_is_refused(matrix: torch.Tensor, word: str) -> None:
    with pytest.raises(covary.InputError, match=word):
        covary.Crop(torch.zeros(3, 4, 4, dtype=torch.uint8), matrix)


def test_a_photo_of_another_dtype_is_refused() -> None:
    with pytest.raises(covary.InputError, match="uint8"):
        covary.Crop(torch.zeros(3, 4, 4), affine(1, 0, 0, 0))


def test_placing_in_a_big_photo_works_in_bands() -> None:
    photo = torch.zeros(3, 1, 1, dtype=torch.uint8).expand(3, 4000, 3000)
    crop = covary.Crop(photo, affine(40, 12, 300, 200))
    biggest = _largest_tensor(lambda: crop.place(torch.ones(64, 64, dtype=torch.bool)))
    # float64 coordinates (x, y) of all pixels would be 192 MB.
    assert biggest < 40e6


def _largest_tensor(work: Callable[[], object]) -> int:
    """Bytes of the largest allocation that torch makes while ``work`` runs."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        work()
    sizes = [event.cpu_memory_usage for event in profile.events()]
    return max(sizes)
