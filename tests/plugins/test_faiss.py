"""The faiss clusterer: what it does beyond the contract of all clusterers."""

from __future__ import annotations

import numpy as np
import pytest

from covary import InputError, StyleSummary
from covary.testing.data import blobs, overlapping
from covary.testing.reference import distances
from covary_plugins.clusterers.faiss import Faiss

faiss = pytest.importorskip("faiss")


def test_faiss_prints_nothing(capfd):
    data = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    faiss.Kmeans(3, 4).train(data)
    assert "WARNING" in capfd.readouterr().err, "faiss no longer warns: nothing to suppress"
    summary = StyleSummary.from_matrix(data, (10, 10))
    for component in (Faiss(), Faiss(max_points_per_centroid=2), Faiss(k=100), Faiss(k=99)):
        component.fit(summary)
    captured = capfd.readouterr()
    assert captured.err == captured.out == ""


def test_faiss_trained_on_a_subset_labels_all_pixels_and_is_worse():
    summary, _ = overlapping(4, size=(40, 40))
    subset = Faiss(k=5, max_points_per_centroid=3).fit(summary)
    whole = Faiss(k=5, nredo=3).fit(summary)
    assert int(subset.counts.sum()) == 1600
    own = distances(summary.data, subset.centers).min(axis=1).sum()
    assert subset.inertia == pytest.approx(own, rel=1e-5)
    assert subset.inertia > whole.inertia


@pytest.mark.skipif(faiss.get_num_gpus() > 0, reason="there is a GPU")
def test_faiss_on_a_gpu_that_is_not_there():
    summary, _ = blobs(0, 3)
    with pytest.raises(InputError, match="GPU build of faiss"):
        Faiss(k=3, gpu=True).fit(summary)
