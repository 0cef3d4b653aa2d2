"""Soft masks and confidences, against plain numpy in float64 that solves for the shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import covary
from covary import (
    ClusterMap,
    Foreground,
    InputError,
    StyleSummary,
    pixel_confidence,
    processes,
    soft_mask,
)
from covary.testing.data import blobs, overlapping
from covary.testing.strategies import summaries

Array = np.ndarray[Any, Any]


def nearest(summary: StyleSummary, centers: Array) -> ClusterMap:
    """Labels of the nearest centre, in float64."""
    pixels = summary.matrix().double().cpu().numpy()
    labels = ((pixels[:, None] - centers[None]) ** 2).sum(axis=2).argmin(axis=1)
    return ClusterMap.from_labels(
        torch.from_numpy(labels), torch.from_numpy(centers).float(),
        size=summary.size, inertia=0.0, iterations=1,
    )  # fmt: skip


def chosen(clusters: ClusterMap, verdicts: list[bool]) -> Foreground:
    verdict = torch.tensor(verdicts)
    return Foreground.from_clusters(clusters, verdict, verdict.float(), "as the test says")


def share(pixel: Array, one: Array, other: Array) -> float:
    """The weight of ``one`` in the mixture of both that is nearest to ``pixel``, in 0..1."""
    solved = np.linalg.lstsq((one - other)[:, None], pixel - other, rcond=None)[0]
    return float(np.clip(solved[0], 0, 1))


def distances(summary: StyleSummary, clusters: ClusterMap) -> tuple[Array, Array, Array]:
    pixels = summary.matrix().double().numpy()
    centers = clusters.centers[clusters.counts > 0].double().numpy()
    return pixels, centers, ((pixels[:, None] - centers[None]) ** 2).sum(axis=2)


@given(seed=st.integers(0, 10_000), k=st.integers(2, 5), bits=st.integers(1, 30))
def test_the_soft_mask_is_the_share_of_the_nearest_foreground_centre(
    seed: int, k: int, bits: int
) -> None:
    verdicts = [bool(bits >> i & 1) for i in range(k)]
    assume(any(verdicts) and not all(verdicts))
    summary, start = overlapping(seed, size=(5, 6), features=4, k=k)
    clusters = nearest(summary, start.double().numpy())
    foreground = chosen(clusters, verdicts)
    assume(foreground.found)
    soft = soft_mask(summary, clusters, foreground)
    pixels, centers, apart = distances(summary, clusters)
    inside = np.array(verdicts)[(clusters.counts > 0).numpy()]
    for pixel, row, got in zip(pixels, apart, soft.reshape(-1).tolist(), strict=True):
        one = centers[np.where(inside, row, np.inf).argmin()]
        other = centers[np.where(inside, np.inf, row).argmin()]
        assert got == pytest.approx(share(pixel, one, other), abs=1e-4)
    assert soft.dtype == torch.float32
    assert tuple(soft.shape) == summary.size


@given(summary=summaries(), seed=st.integers(0, 10_000))
def test_above_one_half_lies_the_mask_of_nearest_centres(summary: StyleSummary, seed: int) -> None:
    rng = np.random.default_rng(seed)
    clusters = nearest(summary, rng.integers(0, 256, (4, summary.features)).astype(np.float64))
    foreground = chosen(clusters, [True, False, True, False])
    assume(foreground.found)
    soft = soft_mask(summary, clusters, foreground)
    assert float(soft.min()) >= 0
    assert float(soft.max()) <= 1
    decided = (soft - 0.5).abs() > 1e-4
    assert torch.equal((soft > 0.5)[decided], foreground.mask[decided])


@given(seed=st.integers(0, 10_000), k=st.integers(2, 5))
def test_confidence_is_the_margin_of_the_two_nearest_centres(seed: int, k: int) -> None:
    summary, start = overlapping(seed, size=(5, 6), features=4, k=k)
    clusters = nearest(summary, start.double().numpy())
    assume(int((clusters.counts > 0).sum()) > 1)
    found = pixel_confidence(summary, clusters).reshape(-1).tolist()
    pixels, centers, apart = distances(summary, clusters)
    for pixel, row, got in zip(pixels, apart, found, strict=True):
        first, second = row.argsort()[:2]
        assert got == pytest.approx(2 * share(pixel, centers[first], centers[second]) - 1, abs=2e-4)


def test_what_is_the_same_for_both_centres_cancels() -> None:
    line = torch.tensor([[0.0, 9.0], [2.5, -40.0], [5.0, 0.0], [7.5, 3.0], [10.0, 77.0]])
    summary = StyleSummary.from_matrix(line, (1, 5))
    centers = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    clusters = ClusterMap.from_labels(
        torch.tensor([0, 0, 0, 1, 1]), centers, size=(1, 5), inertia=0.0, iterations=1
    )
    soft = soft_mask(summary, clusters, chosen(clusters, [False, True]))
    assert soft.tolist() == [[0.0, 0.25, 0.5, 0.75, 1.0]]
    assert pixel_confidence(summary, clusters).tolist() == [[1.0, 0.5, 0.0, 0.5, 1.0]]


def test_centres_far_from_the_origin_lose_nothing() -> None:
    summary, truth = blobs(3, 3, features=300, spread=4)
    moved = StyleSummary.from_matrix(summary.matrix() + 2000, summary.size)
    centers = np.stack([summary.matrix().numpy()[truth.ravel() == i].mean(0) for i in range(3)])
    near, far = nearest(summary, centers), nearest(moved, centers + 2000)
    one = soft_mask(summary, near, chosen(near, [True, False, False]))
    other = soft_mask(moved, far, chosen(far, [True, False, False]))
    assert torch.allclose(one, other, atol=1e-3)


def test_clusters_without_pixels_count_for_nothing() -> None:
    summary = StyleSummary.from_matrix(torch.tensor([[0.0], [10.0]]), (1, 2))
    centers = torch.tensor([[0.0], [10.0], [float("nan")]])
    clusters = ClusterMap.from_labels(
        torch.tensor([0, 1]), centers, size=(1, 2), inertia=0.0, iterations=1
    )
    soft = soft_mask(summary, clusters, chosen(clusters, [False, True, True]))
    assert soft.tolist() == [[0.0, 1.0]]
    assert pixel_confidence(summary, clusters).tolist() == [[1.0, 1.0]]


def test_equal_centres_share_a_pixel() -> None:
    summary = StyleSummary.from_matrix(torch.tensor([[1.0], [1.0]]), (1, 2))
    clusters = ClusterMap.from_labels(
        torch.tensor([0, 1]), torch.ones(2, 1), size=(1, 2), inertia=0.0, iterations=1
    )
    assert soft_mask(summary, clusters, chosen(clusters, [True, False])).tolist() == [[0.5, 0.5]]
    assert pixel_confidence(summary, clusters).tolist() == [[0.0, 0.0]]


def test_one_cluster_has_no_rival_and_no_foreground() -> None:
    summary, _ = blobs(1, 1)
    clusters = nearest(summary, np.zeros((1, summary.features)))
    assert bool((pixel_confidence(summary, clusters) == 1).all())
    assert not bool(soft_mask(summary, clusters, chosen(clusters, [True])).any())


def test_the_summary_is_read_in_chunks() -> None:
    ended, sizes = processes.call("peaks:soft_masks", 2048, timeout=120)
    assert ended.status == "ok", ended.reason
    peak, whole = sizes
    assert peak < whole / 4


def test_what_does_not_belong_together_is_refused() -> None:
    summary, truth = blobs(1, 2)
    centers = np.stack([summary.matrix().numpy()[truth.ravel() == i].mean(0) for i in range(2)])
    clusters = nearest(summary, centers)
    foreground = chosen(clusters, [True, False])
    with pytest.raises(InputError, match=r"crop the summary to the region's box"):
        soft_mask(summary.crop(covary.Box(0, 0, 5, 5)), clusters, foreground)
    fewer = StyleSummary.from_matrix(summary.matrix()[:, :3], summary.size)
    with pytest.raises(InputError, match="centres with 3 features"):
        pixel_confidence(fewer, clusters)
    three = nearest(summary, np.concatenate([centers, centers[:1] + 500]))
    with pytest.raises(InputError, match="a verdict on each of the 2 clusters"):
        soft_mask(summary, clusters, chosen(three, [True, False, False]))
