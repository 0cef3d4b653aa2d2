"""FFHQ's crop from landmarks, and the resampling of photos."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, reject
from hypothesis import strategies as st
from PIL import Image

import covary
from covary.provenance import iou
from covary_plugins.photos import ffhq_matrix, resample

# A face as FFHQ shows it: eyes, nose and corners of the mouth in parts of the image's side.
# By FFHQ's rule the eyes' middle lies a tenth of its way to the mouth above the centre.
EYE, MOUTH = 0.25, 0.28
CANON = torch.tensor(
    [
        [0.5 - EYE / 2, 0.5 - 0.1 * MOUTH],
        [0.5 + EYE / 2, 0.5 - 0.1 * MOUTH],
        [0.5, 0.5 + 0.4 * MOUTH],
        [0.5 - 0.08, 0.5 + 0.9 * MOUTH],
        [0.5 + 0.08, 0.5 + 0.9 * MOUTH],
    ]
).double()


def as_68(five: torch.Tensor) -> torch.Tensor:
    """68 points of which only the six around each eye and the corners of the mouth are true."""
    points = torch.full((68, 2), -1e6).double()
    ring = torch.tensor([[math.cos(a), math.sin(a)] for a in torch.arange(6) * math.pi / 3])
    points[36:42] = five[0] + 3 * ring
    points[42:48] = five[1] + 3 * ring
    points[48], points[54] = five[3], five[4]
    return points


def smooth(height: int, width: int) -> torch.Tensor:
    """A photo of broad colour gradients, uint8 (3, H, W)."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 40 + y / 90), np.cos(y / 55), np.sin((x - 2 * y) / 120)]
    return torch.from_numpy(np.stack([127.5 + 120 * wave for wave in waves]).astype(np.uint8))


def quad(five: np.ndarray) -> np.ndarray:
    """FFHQ's quadrilateral in complex numbers: corners upper left, lower left, then right."""
    left, right, _, mouth_left, mouth_right = five[:, 0] + 1j * five[:, 1]
    eyes, across = (left + right) / 2, right - left
    down = (mouth_left + mouth_right) / 2 - eyes
    axis = across - 1j * down
    x = axis / abs(axis) * max(2 * abs(across), 1.8 * abs(down))
    y, centre = 1j * x, eyes + 0.1 * down
    corners = np.array([centre - x - y, centre - x + y, centre + x + y, centre + x - y])
    return np.stack([corners.real, corners.imag], axis=1)


faces = st.builds(
    lambda side, degrees, x, y: (side, degrees, x, y),
    st.floats(60, 300),
    st.floats(-60, 60),
    st.floats(150, 350),
    st.floats(150, 350),
)


def photographed(side: float, degrees: float, x: float, y: float) -> torch.Tensor:
    """The canonical face's points, turned about its centre, which lies at (x, y)."""
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return (CANON - 0.5) * side @ turn.double().T + torch.tensor([x, y]).double()


@given(face=faces, many=st.booleans())
def test_the_crop_is_ffhqs_quadrilateral(
    face: tuple[float, float, float, float], many: bool
) -> None:
    five = photographed(*face)
    matrix = ffhq_matrix(as_68(five) if many else five, (256, 256))
    corners = torch.tensor([[0, 0, 1], [0, 256, 1], [256, 256, 1], [256, 0, 1]]).double()
    # Landmarks count from the middle of the first pixel.
    assert np.allclose((corners @ matrix.T).numpy(), quad(five.numpy()) + 0.5, atol=1e-3)


@given(face=faces, size=st.sampled_from([(64, 64), (256, 256), (128, 192), (96, 64)]))
def test_faces_end_upright_in_ffhqs_place(
    face: tuple[float, float, float, float], size: tuple[int, int]
) -> None:
    matrix = ffhq_matrix(photographed(*face), size)
    inverse = torch.linalg.inv(matrix[:, :2])
    placed = (photographed(*face) + 0.5 - matrix[:, 2]) @ inverse.T
    side = min(size)
    # Half the side is the larger of twice the eyes' distance and 1.8 times the way to the mouth.
    scale = side / (2 * max(2 * EYE, 1.8 * MOUTH))
    middle = torch.tensor([size[1] / 2, size[0] / 2])
    assert torch.allclose(placed, (CANON - 0.5) * scale + middle, atol=1e-6 * side)


@pytest.mark.parametrize(("side", "degrees"), [(260, 0), (260, 25), (120, -40), (400, 10)])
def test_pixels_agree_with_pillows_quadrilateral(side: float, degrees: float) -> None:
    photo = smooth(700, 800)
    five = photographed(side, degrees, 380, 350)
    ours = resample(photo, ffhq_matrix(five, (128, 128)), (128, 128))
    picture = Image.fromarray(photo.permute(1, 2, 0).numpy())
    corners = (quad(five.numpy()) + 0.5).flatten()
    theirs = picture.transform((128, 128), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    difference = ours.permute(1, 2, 0).numpy().astype(float) - np.asarray(theirs, dtype=float)
    assert np.abs(difference).max() <= 4
    assert np.abs(difference).mean() < 1  # Pillow rounds down, half a level on average


@pytest.mark.parametrize("degrees", [0, 17, -75, 180])
def test_masks_go_to_the_image_and_back(degrees: float) -> None:
    y, x = torch.meshgrid(torch.arange(400), torch.arange(500), indexing="ij")
    truth = ((x - 240) / 60) ** 2 + ((y - 190) / 45) ** 2 < 1
    photo = (truth * 255).to(torch.uint8).expand(3, -1, -1).contiguous()
    matrix = ffhq_matrix(photographed(150, degrees, 240, 190), (256, 256))
    image = resample(photo, matrix, (256, 256))
    assert iou(covary.Crop(photo, matrix).place(image[0] >= 128), truth) > 0.98


@given(
    shift=st.tuples(st.floats(-300, 300), st.floats(-300, 300)),
    scale=st.floats(0.4, 9),
    degrees=st.sampled_from([0.0, 30.0]),
)
def test_a_plain_photo_stays_plain_wherever_it_is_cut(
    shift: tuple[float, float], scale: float, degrees: float
) -> None:
    photo = torch.tensor([200, 30, 90], dtype=torch.uint8)[:, None, None].repeat(1, 310, 320)
    angle = math.radians(degrees)
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    matrix = torch.tensor([[c, -s, shift[0]], [s, c, shift[1]]]).double()
    try:
        image = resample(photo, matrix, (24, 32))
    except covary.InputError:
        reject()  # the crop misses the photo
    assert image.shape == (3, 24, 32)
    assert (image.int() - photo[:, :1, :1].int()).abs().max() <= 1


def test_a_crop_that_misses_the_photo_is_refused() -> None:
    matrix = torch.tensor([[1.0, 0, 500], [0, 1, 0]]).double()
    with pytest.raises(covary.InputError, match=r"x 500\.\.564"):
        resample(smooth(100, 100), matrix, (64, 64))


@pytest.mark.parametrize("degrees", [0.0, 20.0])
@pytest.mark.parametrize("scale", [4.0, 7.3])
def test_fine_patterns_turn_grey_instead_of_aliasing(scale: float, degrees: float) -> None:
    board = (torch.arange(600)[:, None] + torch.arange(600)) % 2 * 255
    photo = board.to(torch.uint8).expand(3, -1, -1).contiguous()
    angle = math.radians(degrees)
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    matrix = torch.tensor([[c, -s, 150.0], [s, c, 80.0]]).double()
    image = resample(photo, matrix, (40, 40)).float()
    assert image.std() < 6
    assert abs(float(image.mean()) - 127.5) < 2


def test_whole_pixels_are_copied_unchanged() -> None:
    torch.manual_seed(0)
    photo = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
    matrix = torch.tensor([[1.0, 0, 7], [0, 1, 5]]).double()
    assert torch.equal(resample(photo, matrix, (32, 24)), photo[:, 5:37, 7:31])


def test_beyond_the_photo_it_is_mirrored_and_blurred() -> None:
    torch.manual_seed(0)
    photo = torch.randint(0, 256, (3, 200, 200), dtype=torch.uint8)
    photo[:, :, :20] = 250
    matrix = torch.tensor([[1.0, 0, -100], [0, 1, 0]]).double()
    image = resample(photo, matrix, (200, 200)).float()
    # The bright strip at the left edge, once as it is and once mirrored beside it.
    assert image[:, :, 105:119].min() > 240
    assert image[:, :, 84:99].mean() > 235
    noise = image[:, :, 125:195].std()
    assert image[:, :, 5:60].std() < 0.3 * noise


@pytest.mark.parametrize("count", [1, 4, 67])
def test_other_numbers_of_points_are_refused(count: int) -> None:
    with pytest.raises(covary.InputError, match=r"\(5, 2\) or \(68, 2\)"):
        ffhq_matrix(torch.zeros(count, 2), (64, 64))


@pytest.mark.parametrize("order", [[1, 0, 2, 4, 3], [3, 4, 2, 0, 1]])
def test_swapped_points_are_refused(order: list[int]) -> None:
    with pytest.raises(covary.InputError, match="left before right"):
        ffhq_matrix(CANON[order] * 100, (64, 64))


def test_points_in_one_place_are_refused() -> None:
    with pytest.raises(covary.InputError, match="landmarks"):
        ffhq_matrix(torch.full((5, 2), 30.0), (64, 64))
