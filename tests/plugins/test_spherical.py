"""k-means by correlation: what it does beyond the contract of all clusterers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from covary import StyleSummary
from covary.testing.data import blobs, overlapping
from covary.testing.reference import canonical
from covary.testing.strategies import seeds
from covary_plugins.clusterers.spherical import Spherical


@settings(max_examples=10)
@given(seed=seeds())
def test_lightness_and_contrast_of_each_pixel_do_not_matter(seed):
    summary, truth = blobs(seed, 4)
    rng = np.random.default_rng(seed)
    contrast, lightness = rng.uniform(0.2, 5, (180, 1)), rng.uniform(-90, 90, (180, 1))
    data = (summary.data.numpy() * contrast + lightness).astype(np.float32)
    found = Spherical(k=4).fit(StyleSummary.from_matrix(data, summary.size))
    assert (found.labels.numpy() == canonical(truth)).all()


@settings(max_examples=10)
@given(seed=seeds())
def test_the_inertia_is_that_of_correlations_inside_the_clusters(seed):
    summary, _ = overlapping(seed)
    found = Spherical(k=5, tol=0).fit(summary)
    correlation = np.corrcoef(summary.data.double().numpy())
    labels, total = found.labels.reshape(-1).numpy(), 0.0
    for label in range(5):
        inside = np.flatnonzero(labels == label)
        total += len(inside) * (1 - correlation[np.ix_(inside, inside)]).mean()
    assert found.inertia == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, 77.7])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_constant_pixels_make_a_cluster_of_their_own(value, dtype):
    summary, _ = blobs(1, 2)
    data = summary.data.to(dtype)
    data[:50] = value
    found = Spherical(k=3).fit(StyleSummary(data, summary.size))
    labels = found.labels.reshape(-1)
    constant = int(labels[0])
    assert bool((labels[:50] == constant).all())
    assert not bool((labels[50:] == constant).any())
    np.testing.assert_allclose(found.centers[constant], np.zeros(6), atol=1e-6)


def test_values_whose_squared_distances_float32_cannot_hold_are_no_matter():
    data = torch.tensor([[1e30, 0, 0], [3e30, 0, 0], [0, 2e30, 0], [0, 0, -1e30]])
    labels = Spherical(k=3).fit(StyleSummary(data, (2, 2))).labels
    assert labels.tolist() == [[0, 0], [1, 2]]


def test_given_centres_are_taken_as_pixels():
    summary, truth = blobs(3, 3)
    centers = torch.stack([summary.data[(truth == i).reshape(-1)][0] * 4 + 7 for i in range(3)])
    found = Spherical(k=3).fit_from(summary, centers)
    assert (found.labels.numpy() == canonical(truth)).all()
