"""X_0, its control map, and how they are fitted to each other and to the photo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.feature import canny as skimage_canny

import covary
from covary.testing import worlds
from covary_plugins.sources._controlnet.structure import (
    canny,
    of_map,
    of_photo,
    resized,
    working_size,
)

CANNY = (100.0, 200.0, 0.0)


def write(path: Path, height: int, width: int) -> Path:
    """A photo with structure, of any size."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    inside = (rows > height // 3) & (columns > width // 3)
    image = torch.stack([inside * 200, rows * 255 // height, columns * 255 // width])
    covary.write_png(image.to(torch.uint8), path)
    return path


def step_image(height: float) -> torch.Tensor:
    """A vertical step of so many grey levels in the middle, uint8 (3, 24, 24)."""
    image = torch.full((3, 24, 24), 60, dtype=torch.uint8)
    image[:, :, 12:] = int(60 + height)
    return image


@pytest.mark.parametrize(("height", "found"), [(20, False), (45, False), (55, True), (150, True)])
def test_canny_thresholds_are_sobel_gradients_in_grey_levels(height: int, found: bool) -> None:
    # The Sobel filter answers a step of h grey levels by 4h, and an edge starts above 200.
    edges = canny(step_image(height), *CANNY)
    columns = (edges[0, 2:-2] > 0).all(dim=0).nonzero().flatten().tolist()
    assert columns in ([[11], [12]] if found else [[]])
    assert set(edges.unique().tolist()) == ({0, 255} if found else {0})


def test_canny_keeps_weak_edges_that_touch_strong_ones() -> None:
    # Steps that fade from 100 grey levels to 31: all above the lower threshold of 25, and the
    # last ones below the upper threshold of 50.
    image = step_image(0)
    heights = torch.arange(100, 28, -3)[:, None]
    image[:, :, 12:] += heights.to(torch.uint8)
    assert (canny(image, *CANNY)[0] > 0).any(dim=1)[2:-2].all()
    assert not canny(image, 100, 500, 0.0).any()


def test_canny_agrees_with_scikit_image() -> None:
    image = worlds.get("avatars").scene(5, (128, 128)).images(0)[0]
    ours = (canny(image, 60, 120, 1.0)[0] > 0).numpy()
    grey = (image.double() * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0).numpy()
    # It takes its gradients from scipy's Sobel filter, which is not normalised either.
    theirs = skimage_canny(grey, sigma=1.0, low_threshold=60, high_threshold=120)
    assert 0.005 < theirs.mean() < 0.3

    def near(edges: np.ndarray) -> np.ndarray:
        return ndimage.binary_dilation(edges, iterations=1)

    assert (ours & near(theirs)).sum() / ours.sum() > 0.9
    assert (theirs & near(ours)).sum() / theirs.sum() > 0.9


def test_canny_blur_removes_specks_and_fits_tiny_images() -> None:
    noisy = step_image(120)
    noisy[:, 5, 5] = 255
    assert canny(noisy, *CANNY)[0, 3:8, 3:8].any()
    assert not canny(noisy, 100, 200, 1.5)[0, 3:8, 3:8].any()
    assert canny(step_image(120)[:, :8, 8:16], 1, 2, 20.0).shape == (3, 8, 8)


@given(st.integers(8, 900), st.integers(8, 900), st.integers(1, 128))
def test_working_size_is_in_multiples_of_eight_near_the_aspect(
    height: int, width: int, eighths: int
) -> None:
    side = 8 * eighths
    size = working_size(torch.zeros(3, height, width), side, "photo")
    assert min(size) == side
    assert all(length % 8 == 0 for length in size)
    for length, original in zip(size, (height, width), strict=True):
        assert abs(length - original * side / min(height, width)) <= 4


def test_resized_keeps_means_and_smooths_what_shrinks() -> None:
    stripes = torch.zeros(3, 64, 64, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    small = resized(stripes, (16, 16))
    assert small.dtype == torch.uint8
    inner = small[:, 2:-2, 2:-2].int()
    assert (inner - 128).abs().max() <= 4
    assert resized(stripes, (64, 64)) is stripes


def test_a_photo_of_its_working_size_is_x0_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "photo.png", 32, 48)
    found = of_photo([path], 32, None, CANNY)
    assert torch.equal(found.image, covary.read_image(path))
    mask = torch.zeros(32, 48, dtype=torch.bool)
    mask[3:9, 20:31] = True
    assert torch.equal(found.crop.place(mask), mask)


def test_a_mask_comes_back_in_the_photos_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "photo.png", 45, 100)
    found = of_photo([path], 48, None, CANNY)
    assert found.image.shape == (3, 48, 104)
    assert found.control.shape == found.image.shape
    assert found.crop.size == (45, 100)
    assert torch.equal(found.crop.photo, covary.read_image(path))
    inside = found.image[0] > 100
    truth = covary.read_image(path)[0] > 100
    assert (found.crop.place(inside) != truth).float().mean() < 0.04


@pytest.mark.parametrize("shape", [(45, 100), (90, 200), (180, 401), (48, 104)])
def test_a_map_in_proportion_is_resized(tmp_path: Path, shape: tuple[int, int]) -> None:
    photo = write(tmp_path / "photo.png", 45, 100)
    depth = write(tmp_path / "depth.png", *shape)
    found = of_photo([photo], 48, depth, CANNY)
    assert found.control.shape == (3, 48, 104)
    assert set(found.inputs) == {str(photo), str(depth)}
    edges = of_photo([photo], 48, None, CANNY).control
    assert not torch.equal(found.control, edges)


def test_a_map_of_another_aspect_is_refused(tmp_path: Path) -> None:
    photo = write(tmp_path / "photo.png", 45, 100)
    depth = write(tmp_path / "depth.png", 45, 98)
    with pytest.raises(covary.InputError, match=r"45x100 pixels or in proportion, got 45x98"):
        of_photo([photo], 48, depth, CANNY)


def test_maps_in_a_folder_are_chosen_by_name(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    write(tmp_path / "maps" / "other.png", 32, 32)
    mine = write(tmp_path / "maps" / "photo.webp", 32, 40)
    photo = write(tmp_path / "photo.png", 32, 40)
    found = of_photo([photo], 32, tmp_path / "maps", CANNY)
    assert str(mine) in found.inputs
    mine.unlink()
    with pytest.raises(covary.InputError, match=r"one image called 'photo'.*got 0"):
        of_photo([photo], 32, tmp_path / "maps", CANNY)


def test_a_map_alone_gives_the_size(tmp_path: Path) -> None:
    found = of_map(write(tmp_path / "map.png", 30, 60), 16)
    assert found.image is None
    assert found.control.shape == (3, 16, 32)
    with pytest.raises(covary.InputError, match="a seed chooses none"):
        of_map(tmp_path, 16)


def test_a_photo_without_edges_gets_a_warning(tmp_path: Path) -> None:
    covary.write_png(torch.full((3, 32, 32), 99, dtype=torch.uint8), tmp_path / "flat.png")
    (warning,) = of_photo([tmp_path / "flat.png"], 32, None, CANNY).warnings
    assert "0.00% of the pixels" in warning
    assert "lower canny_low" in warning
    assert of_photo([write(tmp_path / "photo.png", 32, 32)], 32, None, CANNY).warnings == ()


@pytest.mark.parametrize(("height", "width"), [(7, 30), (30, 7), (1, 1)])
def test_tiny_photos_are_refused(tmp_path: Path, height: int, width: int) -> None:
    path = write(tmp_path / "photo.png", height, width)
    with pytest.raises(covary.InputError, match=rf"at least 8x8 pixels, got {height}x{width}"):
        of_photo([path], 32, None, CANNY)


def test_several_photos_or_a_folder_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "photo.png", 32, 32)
    for paths, got in (([path, path], "2 paths"), ([tmp_path], "the folder")):
        with pytest.raises(covary.InputError, match=rf"expected one photo, got {got}"):
            of_photo(paths, 32, None, CANNY)
