"""The OpenCV clusterer: what it does beyond the contract of all clusterers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from covary import ParamsError, RunContext
from covary.testing.data import blobs, overlapping
from covary.testing.reference import distances
from covary.testing.strategies import seeds
from covary_plugins.clusterers.opencv import OpenCV

cv2 = pytest.importorskip("cv2")


def next_shift(summary, found):
    """Squared distance by which one more update would move the found centres."""
    centers = found.centers.double().numpy()
    labels = distances(summary.data, found.centers).argmin(axis=1)
    means = [summary.data[labels == label].double().mean(dim=0) for label in range(found.k)]
    return ((np.stack(means) - centers) ** 2).sum()


@settings(max_examples=25)
@given(seed=seeds(), passes=st.sampled_from([2, 3, 5, 100]), tol=st.sampled_from([1e-2, 1e-4]))
def test_converged_means_that_another_update_would_change_little(seed, passes, tol):
    summary, start = overlapping(seed)
    found = OpenCV(k=5, max_iter=passes, tol=tol).fit_from(summary, start)
    allowed = tol * summary.data.double().var(dim=0, correction=0).mean()
    shift = next_shift(summary, found)
    assume(abs(shift - allowed) > 1e-3 * allowed)
    assert found.converged == (shift <= allowed)


def test_a_hundred_passes_converge_and_two_do_not():
    summary, start = overlapping(3)
    assert OpenCV(k=5).fit_from(summary, start).converged
    assert not OpenCV(k=5, max_iter=2).fit_from(summary, start).converged


def test_a_tighter_tolerance_is_never_worse():
    summary, start = overlapping(5)
    inertias = [OpenCV(k=5, tol=tol).fit_from(summary, start).inertia for tol in (1, 1e-2, 0)]
    assert inertias == sorted(inertias, reverse=True)
    assert inertias[0] > inertias[-1]


@pytest.mark.parametrize("passes", [1, 101])
def test_passes_that_opencv_would_silently_change_are_refused(passes):
    with pytest.raises(ParamsError, match="max_iter"):
        OpenCV(max_iter=passes)


def test_the_seed_matters():
    summary, _ = overlapping(11)
    one = OpenCV(k=5, n_init=1, max_iter=2)
    assert len({one.fit(summary, RunContext(seed=seed)).inertia for seed in range(4)}) > 1


def test_the_random_numbers_of_the_caller_go_on_as_if_nothing_had_happened():
    summary, _ = blobs(0, 3)

    def draws(between):
        cv2.setRNGSeed(5)
        first = cv2.randu(np.zeros((1, 4), np.float32), 0, 1)
        between()
        return first.tolist(), cv2.randu(np.zeros((1, 4), np.float32), 0, 1).tolist()

    assert draws(lambda: OpenCV(k=3).fit(summary)) == draws(lambda: None)


@pytest.mark.parametrize("fails", [False, True])
def test_threads_are_those_of_torch_and_the_setting_is_put_back(monkeypatch, fails):
    summary, _ = blobs(0, 3)
    kmeans, seen = cv2.kmeans, []

    def noting(*args):
        seen.append(cv2.getNumThreads())
        if fails:
            raise MemoryError
        return kmeans(*args)

    monkeypatch.setattr(cv2, "kmeans", noting)
    before, threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(3)
    torch.set_num_threads(2)
    try:
        if fails:
            with pytest.raises(MemoryError):
                OpenCV(k=3).fit(summary)
        else:
            OpenCV(k=3).fit(summary)
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)
        torch.set_num_threads(threads)
    assert seen == [2]
