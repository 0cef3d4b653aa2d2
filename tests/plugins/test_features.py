"""The colour spaces against scikit-image in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.color import rgb2lab

from covary import VariantBatch
from covary_plugins.features import lab
from covary_plugins.features.lab import LAB
from covary_plugins.features.rgb import RGB

images = arrays(
    np.uint8,
    st.tuples(st.integers(1, 3), st.just(3), st.integers(1, 6), st.integers(1, 6)),
    elements=st.integers(0, 255),
)
several = settings(max_examples=40, deadline=None)


def batch(array):
    return VariantBatch(torch.from_numpy(np.ascontiguousarray(array)))


def float16_half_step(values):
    """Half the distance between neighbouring float16 numbers at each value."""
    return np.spacing(np.abs(values).astype(np.float16)).astype(np.float64) / 2


@several
@given(images)
def test_rgb_is_the_image_itself(array):
    features = RGB().encode(batch(array))
    assert features.dtype == torch.uint8
    assert (features.numpy() == array).all()


@several
@given(images)
def test_lab_agrees_with_skimage_up_to_float16(array):
    reference = np.moveaxis(rgb2lab(np.moveaxis(array / 255.0, 1, -1)), -1, 1)
    features = LAB().encode(batch(array))
    assert features.dtype == torch.float16
    assert features.shape == array.shape
    error = np.abs(features.numpy().astype(np.float64) - reference)
    # kornia computes in float32 with its own digits of the white point.
    assert (error <= float16_half_step(reference) * 1.01 + 5e-3).all()


def test_lab_of_all_greys_has_no_colour():
    grey = np.tile(np.arange(256, dtype=np.uint8), (1, 3, 1, 1))
    lightness, a, b = LAB().encode(batch(grey)).float()[0, :, 0]
    assert lightness[0] == 0
    assert lightness[-1] == pytest.approx(100, abs=0.01)
    assert bool((lightness.diff() > 0).all())
    assert float(a.abs().max()) < 0.02
    assert float(b.abs().max()) < 0.02


@pytest.mark.parametrize("strip", [1, 5, 17, 40, 1000])
def test_strips_change_nothing_but_rounding(monkeypatch, strip):
    array = np.random.default_rng(0).integers(0, 256, (3, 3, 9, 5), dtype=np.uint8)
    whole = LAB().encode(batch(array))
    monkeypatch.setattr(lab, "_STRIP_PIXELS", strip)
    # torch's powers differ in the last bit between vectorised and left-over elements.
    torch.testing.assert_close(LAB().encode(batch(array)), whole, rtol=2**-10, atol=1e-4)


def test_no_more_than_a_strip_is_converted_at_once(monkeypatch):
    from kornia import color

    seen = []
    convert = color.rgb_to_lab
    monkeypatch.setattr(color, "rgb_to_lab", lambda x: seen.append(x.numel()) or convert(x))
    LAB().encode(VariantBatch(torch.zeros((2, 3, 700, 300), dtype=torch.uint8)))
    assert sum(seen) == 2 * 3 * 700 * 300
    assert max(seen) <= 3 * 2**16


def test_images_without_memory_of_their_own():
    array = np.random.default_rng(1).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    strided = torch.from_numpy(array).permute(0, 3, 1, 2)
    copied = LAB().encode(VariantBatch(strided.contiguous()))
    assert torch.equal(LAB().encode(VariantBatch(strided)), copied)
