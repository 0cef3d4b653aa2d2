"""The refiners, against brute force that shares no code with them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import covary
from covary.testing import worlds
from covary_plugins.refiners.cleanup import Cleanup
from covary_plugins.refiners.guided import Guided

Array = np.ndarray[Any, Any]


# --- guided ----------------------------------------------------------------------------------


def guided_in_float64(soft: Array, image: Array, radius: int, eps: float) -> Array:
    """The guided filter of He et al. (2010), eqs. 14 to 16, window by window.

    Windows reach over the border into a copy of the outermost pixels.
    """
    height, width = soft.shape
    colours = np.pad(
        image.astype(float) / 255, [(0, 0), (radius, radius), (radius, radius)], "edge"
    )
    shares = np.pad(soft.astype(float), radius, "edge")
    slopes, offsets = np.zeros((height, width, 3)), np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            part = slice(y, y + 2 * radius + 1), slice(x, x + 2 * radius + 1)
            i, p = colours[:, part[0], part[1]].reshape(3, -1), shares[part].ravel()
            covariance = np.cov(i, bias=True) + eps * np.eye(3)
            together = (i * p).mean(axis=1) - i.mean(axis=1) * p.mean()
            slopes[y, x] = np.linalg.solve(covariance, together)
            offsets[y, x] = p.mean() - slopes[y, x] @ i.mean(axis=1)
    edge = [(radius, radius), (radius, radius)]
    slopes, offsets = np.pad(slopes, [*edge, (0, 0)], "edge"), np.pad(offsets, edge, "edge")
    found = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            part = slice(y, y + 2 * radius + 1), slice(x, x + 2 * radius + 1)
            slope, offset = slopes[part].mean(axis=(0, 1)), offsets[part].mean()
            found[y, x] = slope @ (image[:, y, x] / 255) + offset
    return found.clip(0, 1)


@pytest.mark.parametrize(("size", "radius"), [((20, 14), 1), ((13, 22), 3)])
def test_guided_is_the_guided_filter(size: tuple[int, int], radius: int) -> None:
    rng = np.random.default_rng(radius)
    image = rng.integers(0, 256, (3, *size)).astype(np.uint8)
    soft = rng.random(size).astype(np.float32)
    refiner = Guided(radius=radius / min(size), eps=0.01)
    found = refiner.refine(torch.from_numpy(soft), torch.from_numpy(image))
    expected = guided_in_float64(soft, image, radius, 0.01)
    assert np.allclose(found.numpy(), expected, atol=2e-4)


def scene(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A rendered avatar and how much of each pixel is the person."""
    drawn = worlds.get("avatars").scene(3, (side, side))
    inks = [part in drawn.world.foreground for part in drawn.world.inks.values()]
    return drawn.images(3)[0], drawn.layout.weights[0, torch.tensor(inks)].float().sum(dim=0)


def test_guided_makes_a_step_where_the_image_has_one() -> None:
    image = torch.full((3, 60, 60), 40, dtype=torch.uint8)
    image[:, :, 33:] = 200  # the mask's own border is four pixels off
    soft = ((torch.arange(60.0) - 24) / 10).clamp(0, 1).expand(60, 60).contiguous()
    refined = Guided(radius=0.1).refine(soft, image)
    steps = refined.diff(dim=1)
    assert bool((steps.argmax(dim=1) == 32).all())
    assert float(steps.max()) > 4 * float(soft.diff(dim=1).max())


def test_a_coarse_grid_gives_nearly_the_same() -> None:
    image, exact = scene(203)  # no multiple of the grid's step
    fine, coarse = (
        Guided(radius=radius, eps=1e-2).refine(exact.clamp(0, 1), image)
        for radius in (7.4 / 203, 8 / 203)
    )
    assert coarse.shape == exact.shape
    assert (fine - coarse).abs().mean() < 0.01


# --- cleanup ---------------------------------------------------------------------------------


def regions(mask: Array, diagonal: bool) -> Iterator[set[tuple[int, int]]]:
    """Sets of touching pixels, by walking from each that was not yet seen."""
    steps = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    steps += [(-1, -1), (-1, 1), (1, -1), (1, 1)] if diagonal else []
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    while left:
        start = min(left)
        left.remove(start)
        region, queue = {start}, deque([start])
        while queue:
            y, x = queue.popleft()
            for dy, dx in steps:
                if (near := (y + dy, x + dx)) in left:
                    left.remove(near)
                    region.add(near)
                    queue.append(near)
        yield region


def cleaned(mask: Array, min_area: float, max_hole: float) -> Array:
    """What should be left of a mask."""
    clean = mask.copy()
    found = list(regions(mask, diagonal=True))
    largest = max(map(len, found), default=0)
    for region in found:
        # Of several that are largest the first stays.
        if len(region) < min_area * mask.size and region is not next(
            one for one in found if len(one) == largest
        ):
            for pixel in region:
                clean[pixel] = False
    height, width = mask.shape
    for hole in regions(~clean, diagonal=False):
        inside = all(0 < y < height - 1 and 0 < x < width - 1 for y, x in hole)
        if inside and len(hole) < max_hole * mask.size:
            for pixel in hole:
                clean[pixel] = True
    return clean


masks = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda size: hnp.arrays(np.bool_, size)
)
shares = st.sampled_from([0.0, 0.03, 0.07, 0.2, 1.0])


@settings(deadline=None)
@given(mask=masks, min_area=shares, max_hole=shares)
def test_cleanup_leaves_what_walking_finds(mask: Array, min_area: float, max_hole: float) -> None:
    image = torch.zeros(3, *mask.shape, dtype=torch.uint8)
    soft = torch.from_numpy(mask).float() * 0.6 + 0.2
    refined = Cleanup(min_area=min_area, max_hole=max_hole).refine(soft, image)
    expected = cleaned(mask, min_area, max_hole)
    assert np.array_equal((refined > 0.5).numpy(), expected)
    changed = mask != expected
    assert np.array_equal(refined.numpy()[changed], expected[changed].astype(np.float32))


def test_cleanup_takes_the_fringe_of_a_speck_along() -> None:
    soft = torch.zeros(40, 40)
    soft[5:25, 5:25] = 1
    soft[5:25, 25] = 0.3  # the fringe of what stays
    soft[33, 33], soft[32, 33], soft[34, 34] = 0.9, 0.4, 0.2
    soft[10, 10], soft[10, 11], soft[11, 10] = 0.1, 0.7, 0.3
    refined = Cleanup(min_area=0.01, max_hole=0.01).refine(soft, torch.zeros(3, 40, 40).byte())
    expected = torch.zeros(40, 40)
    expected[5:25, 5:25] = 1
    expected[5:25, 25] = 0.3
    assert torch.equal(refined, expected)


def test_cleanup_keeps_the_largest_region_however_small() -> None:
    soft = torch.zeros(20, 20)
    soft[3, 3] = soft[9, 9] = soft[9, 10] = 1.0
    refined = Cleanup(min_area=1).refine(soft, torch.zeros(3, 20, 20, dtype=torch.uint8))
    assert (refined > 0.5).nonzero().tolist() == [[9, 9], [9, 10]]


def test_cleanup_says_how_to_install_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covary._registry._installed", lambda module: module != "skimage")
    with pytest.raises(covary.MissingPackageError, match=r"pip install 'covary\[masks\]'"):
        covary.create("cleanup")
    assert covary.create("guided").params.radius == 0.01
