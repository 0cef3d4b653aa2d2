"""Composition: what is taken, what is not, and that a soft border leaves no halo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from covary import InputError, compose, cut_out
from covary.composition import border_only, content_colours
from covary.testing.strategies import soft_masks

Array = np.ndarray[Any, Any]


def plain(value: int | tuple[int, int, int], size: tuple[int, int] = (24, 30)) -> torch.Tensor:
    colour = torch.tensor(value if isinstance(value, tuple) else (value,) * 3, dtype=torch.uint8)
    return colour[:, None, None].expand(3, *size).contiguous()


def disc(size: tuple[int, int] = (24, 30), radius: float = 8, fuzzy: float = 0.0) -> torch.Tensor:
    """A soft disc in the middle, whose border is so many pixels wide."""
    y, x = (torch.arange(side) - (side - 1) / 2 for side in size)
    distance = (y[:, None] ** 2 + x[None] ** 2).sqrt() - radius
    if not fuzzy:
        return (distance < 0).float()
    return (0.5 - distance / fuzzy).clamp(0, 1)


def noise(seed: int, size: tuple[int, int]) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, *size), generator=draw, dtype=torch.uint8)


@given(pair=soft_masks(12), seed=st.integers(0, 999))
def test_a_hard_mask_takes_each_pixel_from_one_of_the_two(
    pair: tuple[torch.Tensor, torch.Tensor], seed: int
) -> None:
    soft, content = pair
    mask, onto = soft > 0.5, noise(seed, tuple(soft.shape))
    mask[0, 0] = True
    expected = torch.where(mask, content, onto)
    assert torch.equal(compose(content, mask, onto), expected)
    assert torch.equal(compose(content, mask.float(), onto), expected)


@given(pair=soft_masks(12), seed=st.integers(0, 999), feather=st.floats(0, 3))
def test_any_mask_gives_a_picture_between_black_and_white(
    pair: tuple[torch.Tensor, torch.Tensor], seed: int, feather: float
) -> None:
    soft, content = pair
    soft[0, 0] = 1
    before = soft.clone(), content.clone()
    onto = noise(seed, tuple(soft.shape))
    composed = compose(content, soft, onto, feather=feather)
    assert composed.dtype == torch.uint8
    assert composed.shape == content.shape
    far = torch.from_numpy(ndimage.maximum_filter((soft > 0.5).numpy(), 3)).logical_not()
    if not feather:
        assert torch.equal(composed[:, far], onto[:, far])
    assert torch.equal(before[0], soft)
    assert torch.equal(before[1], content)


def mixed(top: torch.Tensor, bottom: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    return (share * top.float() + (1 - share) * bottom.float()).round().to(torch.uint8)


def test_a_soft_border_is_mixed_anew_without_the_old_background() -> None:
    share = disc(fuzzy=3)
    content, old, new = plain((200, 40, 60)), plain((30, 220, 40)), plain((20, 20, 250))
    photo, expected = mixed(content, old, share), mixed(content, new, share)
    soft = compose(photo, share, new, edge=2)
    halo = compose(photo, share > 0.5, new)
    assert (soft.int() - expected.int()).abs().max() <= 8
    assert (halo.int() - expected.int()).abs().max() > 80


def test_far_from_the_border_content_is_opaque_however_unsure_of_itself() -> None:
    share = disc()
    share[12, 15], share[2, 2] = 0.6, 0.4
    content, onto = plain(200), plain(10)
    composed = compose(content, share, onto)
    assert torch.equal(composed, torch.where(share > 0.5, content, onto))


@given(pair=soft_masks(12), edge=st.integers(0, 4))
def test_the_border_is_a_band(pair: tuple[torch.Tensor, torch.Tensor], edge: int) -> None:
    soft = pair[0]
    banded = border_only(soft, edge)
    hard = (soft > 0.5).numpy()
    window = 2 * edge + 1
    most, least = ndimage.maximum_filter(hard, window), ndimage.minimum_filter(hard, window)
    expected = np.where(most & ~least, soft.numpy(), hard)
    assert np.array_equal(banded.numpy(), expected)
    assert np.array_equal(banded.numpy() > 0.5, hard)


def test_content_colours_are_those_of_blur_fusion() -> None:
    """Forte's equations, twice, with scipy's correlation for the box filter."""
    image, alpha = noise(3, (9, 11)), torch.rand(9, 11, generator=torch.Generator().manual_seed(1))

    def mean(colours: Array, weight: Array) -> Array:
        kernel = np.ones((5, 5))
        total = ndimage.correlate(weight, kernel, mode="nearest")
        return np.stack(
            [ndimage.correlate(c * weight, kernel, mode="nearest") / total for c in colours]
        )

    colours, share = image.numpy().astype(float), alpha.numpy().astype(float)
    content = background = colours
    for _ in range(2):
        content, background = mean(content, share), mean(background, 1 - share)
        rest = colours - share * content - (1 - share) * background
        content = np.clip(content + share * rest, 0, 255)
    assert np.allclose(content_colours(image, alpha, 2).numpy(), content, atol=1e-2)


def test_feather_is_a_gaussian_blur_of_the_mask() -> None:
    mask = disc((40, 40), 9) > 0.5
    composed = compose(plain(255, (40, 40)), mask, plain(0, (40, 40)), feather=2)
    expected = ndimage.gaussian_filter(mask.numpy().astype(float), 2, mode="nearest", radius=6)
    assert np.abs(composed[0].numpy() / 255 - expected).max() < 0.005


def test_feathering_brings_no_old_background_along() -> None:
    mask = disc() > 0.5
    photo = torch.where(mask, plain((200, 40, 60)), plain((0, 255, 0)))
    composed = compose(photo, mask, plain((20, 20, 250)), feather=1.5)
    assert int(composed[1].max()) <= 41


def test_a_background_of_another_size_is_refused_or_fitted() -> None:
    content, mask = plain(9), disc() > 0.5
    onto = torch.zeros(3, 48, 100, dtype=torch.uint8)
    onto[:, :, 40:60] = 255  # narrow: remains in the middle
    with pytest.raises(InputError, match=r"24x30 pixels.*got 48x100.*fit='cover'"):
        compose(content, mask, onto)
    covered, stretched = (compose(content, mask, onto, fit=fit) for fit in ("cover", "stretch"))  # type: ignore[arg-type]
    assert covered.shape == stretched.shape == content.shape
    assert 9 <= int((covered[0, 0] > 127).sum()) <= 11  # 20 at half the size
    assert int((stretched[0, 0] > 127).sum()) == 6  # 20 at 30 / 100 of it


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (disc() * 255, r"values in 0\.\.1, got 0\.\.255"),
        ((disc() * 255).to(torch.uint8), "of grey levels 0..255 use mask > 127"),
        (disc().double(), "float32"),
        (disc()[None], "the size of the image"),
        (disc()[1:], "the size of the image"),
        (disc() * float("nan"), "values in 0..1"),
        (torch.zeros(24, 30), "at least one pixel of foreground"),
        (torch.zeros(24, 30, dtype=torch.bool), "ask a segmentation for `found`"),
    ],
)
def test_what_is_no_mask_is_refused(mask: torch.Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        compose(plain(1), mask, plain(2))
    with pytest.raises(InputError, match=words):
        cut_out(plain(1), mask)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"feather": -1.0}, "feather"),
        ({"feather": float("nan")}, "feather"),
        ({"edge": -1}, "edge"),
        ({"edge": 0.5}, "edge"),
        ({"fit": "contain"}, "fit"),
    ],
)
def test_other_wrong_arguments_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        compose(plain(1), disc() > 0.5, plain(2), **given)
    with pytest.raises(InputError, match="onto"):
        compose(plain(1), disc() > 0.5, plain(2).float())


def test_a_cut_out_over_any_ground_is_the_composition() -> None:
    share, content, old = disc(fuzzy=3), plain((200, 40, 60)), plain((30, 220, 40))
    photo = mixed(content, old, share)
    rgba = cut_out(photo, share, edge=2)
    opacity = rgba[3].float() / 255
    for ground in (plain((20, 20, 250)), plain(0), plain(255)):
        over = opacity * rgba[:3].float() + (1 - opacity) * ground.float()
        assert (over - compose(photo, share, ground, edge=2).float()).abs().max() <= 1.5
    assert not bool(rgba[:, rgba[3] == 0].any())


def test_a_hard_cut_out_keeps_every_pixel_as_it_is() -> None:
    content, mask = noise(1, (24, 30)), disc() > 0.5
    rgba = cut_out(content, mask)
    assert torch.equal(rgba[3], mask.to(torch.uint8) * 255)
    assert torch.equal(rgba[:3], torch.where(mask, content, 0))
