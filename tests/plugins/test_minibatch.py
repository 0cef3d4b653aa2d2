"""Mini-batch k-means: what it does beyond the contract of all clusterers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from covary import StyleSummary
from covary.testing.data import overlapping
from covary.testing.reference import float64_lloyd
from covary.testing.strategies import seeds
from covary_plugins.clusterers import minibatch
from covary_plugins.clusterers.minibatch import MiniBatch


def sculley(batch, centers, seen):
    """One batch of Algorithm 1 as it is printed: pixel by pixel, each with its own rate."""
    nearest = ((batch[:, None] - centers[None]) ** 2).sum(axis=2).argmin(axis=1)
    centers, seen = centers.copy(), seen.copy()
    for pixel, label in zip(batch, nearest, strict=True):
        seen[label] += 1
        rate = 1 / seen[label]
        centers[label] = (1 - rate) * centers[label] + rate * pixel
    return centers, seen


@settings(max_examples=15)
@given(seed=seeds())
def test_a_batch_moves_the_centres_as_sculley_does(seed):
    rng = np.random.default_rng(seed)
    batch, centers = rng.standard_normal((60, 4)), rng.standard_normal((3, 4))
    seen = rng.integers(1, 50, 3)
    given = (torch.from_numpy(part) for part in (centers, seen, batch))
    found = minibatch._update(*given)
    expected = sculley(batch, centers, seen)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-10)
    assert found[1].tolist() == expected[1].tolist()


@settings(max_examples=10)
@given(seed=seeds())
def test_centres_end_near_an_optimum_of_all_pixels(seed):
    summary, _ = overlapping(seed, size=(80, 80))
    found = MiniBatch(k=5, batch_size=1000).fit(summary)
    _, _, inertia = float64_lloyd(summary.data, found.centers)
    assert inertia * (1 - 1e-6) <= found.inertia <= inertia * 1.002


def test_the_batches_are_all_that_is_read_before_the_labelling():
    class Noting(StyleSummary):
        picked = 0

        def gather(self, index):
            type(self).picked += len(index)
            return super().gather(index)

    summary, start = overlapping(1, size=(80, 80))
    noting = Noting(summary.data, summary.size)
    found = MiniBatch(k=5, batch_size=100, max_iter=7, tol=0).fit_from(noting, start)
    assert found.iterations == 7
    assert not found.converged
    assert noting.picked == 700


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_smaller_than_k(batch_size):
    summary, start = overlapping(2)
    for found in (
        MiniBatch(k=5, batch_size=batch_size).fit(summary),
        MiniBatch(k=5, batch_size=batch_size).fit_from(summary, start[:1].repeat(5, 1)),
    ):
        assert bool(torch.isfinite(found.centers).all())


def test_colours_that_a_batch_misses_are_still_told_apart():
    data = torch.zeros((100 * 100, 3), dtype=torch.uint8)
    data[1], data[777], data[-1] = 50, 120, 255
    found = MiniBatch(batch_size=20).fit(StyleSummary(data, (100, 100)))
    assert found.counts.tolist() == [9997, 1, 1, 1]
