"""The clusterer by scikit-learn-intelex: what it does beyond the contract of all clusterers."""

from __future__ import annotations

import logging

import pytest

from covary import StyleSummary
from covary.testing.data import blobs, overlapping
from covary_plugins.clusterers.intelex import Intelex
from covary_plugins.clusterers.sklearn import Sklearn

pytest.importorskip("sklearnex")


def paths(caplog, fit):
    """What sklearnex says that it ran."""
    with caplog.at_level(logging.INFO, logger="sklearnex"):
        fit()
    return [record.message for record in caplog.records if "KMeans.fit" in record.message]


def test_onedal_runs_from_given_centres_and_from_its_own(caplog):
    summary, start = overlapping(1)
    (own,) = paths(caplog, lambda: Intelex(k=5).fit(summary))
    assert "running accelerated version on CPU" in own
    caplog.clear()
    (given,) = paths(caplog, lambda: Intelex(k=5).fit_from(summary, start))
    assert "running accelerated version on CPU" in given


@pytest.mark.parametrize("k", [1, 4])
def test_scikit_learn_runs_for_one_cluster_and_for_as_many_as_pixels(caplog, k):
    summary = StyleSummary(overlapping(1)[0].data[:4], (2, 2))
    (message,) = paths(caplog, lambda: Intelex(k=k).fit(summary))
    assert "fallback to original Scikit-learn" in message


def test_the_tolerance_means_what_it_means_to_scikit_learn():
    summary, start = overlapping(2)
    for tol in (1e-1, 1e-2, 1e-3):
        ours = Intelex(k=5, tol=tol).fit_from(summary, start)
        theirs = Sklearn(k=5, tol=tol).fit_from(summary, start)
        assert abs(ours.iterations - theirs.iterations) <= 1
        assert ours.inertia == pytest.approx(theirs.inertia, rel=2e-3)


def test_scikit_learn_is_not_patched():
    import sklearn.cluster

    Intelex(k=3).fit(blobs(0, 3)[0])
    assert sklearn.cluster.KMeans.__module__ == "sklearn.cluster._kmeans"
