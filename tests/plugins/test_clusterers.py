"""The contract of all clusterers: against a float64 Lloyd, and properties of k-means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import covary
from covary import (
    Clusterer,
    InputError,
    RunContext,
    StyleSummary,
    SupportsInitialCenters,
    SupportsMemoryEstimate,
)
from covary._registry import find
from kmeans_oracle import SEEDS, blobs, canonical, distances, numpy_lloyd, overlapping


@dataclass(frozen=True)
class Backend:
    """How the contract runs a clusterer."""

    name: str
    """The registered name."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """Parameters by which it finds the optimum of separated blobs: enough restarts."""
    exact: Mapping[str, Any] | None = None
    """What more it takes to iterate until no label changes; None: it is not Lloyd's algorithm."""
    create: Callable[..., Clusterer] = covary.create
    """Called with the name and the parameters."""

    def __call__(self, k: int, **more: Any) -> Clusterer:
        return self.create(self.name, **self.given, **more, k=k)

    def missing(self) -> str:
        """The packages that it would need to run here."""
        return ", ".join(find(self.name, "clusterer").missing())


# A new backend is one line here.
BACKENDS = {
    "lloyd": Backend("lloyd", exact={"tol": 0}),
    "faiss": Backend("faiss", {"nredo": 30}, exact={"niter": 200}),
    "sklearn": Backend("sklearn", exact={"tol": 0}),
    "elkan": Backend("sklearn", {"algorithm": "elkan"}, exact={"tol": 0}),
}


def backends(chosen: Callable[[Backend], Any] = lambda backend: True) -> pytest.MarkDecorator:
    """Runs a test with every chosen backend as ``make``; those not installed are skipped."""
    return pytest.mark.parametrize(
        "make",
        [
            pytest.param(one, id=name, marks=_skip_missing(one))
            for name, one in BACKENDS.items()
            if chosen(one)
        ],
    )


def _skip_missing(backend: Backend) -> pytest.MarkDecorator:
    missing = backend.missing()
    return pytest.mark.skipif(bool(missing), reason=f"needs {missing}")


every = backends()
exact = backends(lambda backend: backend.exact is not None)


@every
@settings(max_examples=6)
@given(seed=SEEDS, k=st.integers(1, 5))
def test_separated_blobs_are_found_exactly(make, seed, k):
    summary, truth = blobs(seed, k)
    found = make(k).fit(summary, RunContext(seed=seed % 100))
    assert (found.labels.numpy() == canonical(truth)).all()
    assert found.converged


@exact
@settings(max_examples=8)
@given(seed=SEEDS)
def test_same_partition_as_a_float64_lloyd_from_the_same_centres(make, seed):
    summary, start = overlapping(seed)
    labels, _, inertia = numpy_lloyd(summary.data.numpy(), start)
    found = make(len(start), **make.exact).fit_from(summary, start)
    assert found.inertia == pytest.approx(inertia, rel=1e-4)
    assert (found.labels.numpy().reshape(-1) == canonical(labels)).mean() > 0.99


@every
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_labels_centres_and_inertia_belong_together(make, dtype):
    rng = np.random.default_rng(5)
    planar = torch.from_numpy(rng.integers(0, 200, (7, 300)).astype(np.float32)).to(dtype)
    summary = StyleSummary(planar.T, (15, 20))
    found = make(4).fit(summary)
    every = distances(summary, found.centers)
    own = every[np.arange(300), found.labels.reshape(-1).numpy()]
    assert found.inertia == pytest.approx(own.sum(), rel=1e-5)
    assert (own <= every.min(axis=1) * (1 + 1e-4)).all()
    for label in range(4):
        mean = summary.data[found.labels.reshape(-1) == label].double().mean(dim=0)
        torch.testing.assert_close(found.centers[label].double(), mean, rtol=0.02, atol=0.5)


@every
@settings(max_examples=5)
@given(seed=SEEDS)
def test_order_of_the_variants_does_not_matter(make, seed):
    summary, _ = blobs(seed, 4, features=9)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(9))
    permuted = StyleSummary(summary.data[:, order], summary.size)
    assert torch.equal(make(4).fit(summary).labels, make(4).fit(permuted).labels)


@every
@settings(max_examples=5)
@given(seed=SEEDS, shift=st.floats(-500, 500))
def test_translation_changes_no_label(make, seed, shift):
    summary, _ = blobs(seed, 3)
    moved = StyleSummary(summary.data + shift, summary.size)
    assert torch.equal(make(3).fit(summary).labels, make(3).fit(moved).labels)


@every
@settings(max_examples=6)
@given(seed=SEEDS, k=st.integers(1, 6), side=st.integers(3, 9))
def test_labels_are_canonical_and_in_range(make, seed, k, side):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((side * side, 4)).astype(np.float32)
    found = make(k).fit(StyleSummary.from_matrix(matrix, (side, side)))
    assert found.labels.dtype == torch.int32
    assert tuple(found.labels.shape) == (side, side)
    assert tuple(found.centers.shape) == (k, 4)
    assert (found.labels.numpy() == canonical(found.labels.numpy())).all()


@every
def test_same_seed_same_result_to_the_bit(make):
    summary, _ = overlapping(11)
    a, b = (make(4).fit(summary, RunContext(seed=9)) for _ in range(2))
    assert torch.equal(a.labels, b.labels)
    assert torch.equal(a.centers, b.centers)
    assert a.inertia == b.inertia


@every
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_the_summary_is_left_unchanged(make, dtype):
    data = (torch.rand((200, 5), generator=torch.Generator().manual_seed(1)) * 99).to(dtype)
    summary = StyleSummary(data.clone(), (10, 20))
    make(3).fit(summary)
    assert torch.equal(summary.data, data)


@every
def test_more_clusters_than_distinct_pixels_are_refused(make):
    data = torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]]).repeat(4, 1)
    summary = StyleSummary(data, (3, 4))
    assert make(2).fit(summary).inertia == pytest.approx(0, abs=1e-6)
    with pytest.raises(InputError, match=r"at most 2.*distinct.*got 3.*lower k"):
        make(3).fit(summary)
    with pytest.raises(InputError, match="at most 2"):
        make(3).fit_from(summary, torch.zeros(3, 2))


@every
@pytest.mark.parametrize("size", [(1, 1), (6, 7)])
def test_a_constant_image_has_one_cluster(make, size):
    summary = StyleSummary(torch.full((size[0] * size[1], 3), 7, dtype=torch.uint8), size)
    found = make(1).fit(summary)
    assert found.inertia == 0
    assert found.centers.tolist() == [[7, 7, 7]]
    with pytest.raises(InputError, match="distinct"):
        make(2).fit(summary)


@every
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_values_too_large_for_float32_distances_are_refused(make):
    data = torch.tensor([[1e30, 0.0], [-1e30, 5.0], [3e30, 1.0], [2e29, 9.0]])
    with pytest.raises(InputError, match=r"squared distances.*scale the data"):
        make(2).fit(StyleSummary(data, (2, 2)))


@every
@pytest.mark.parametrize(
    ("centers", "message"),
    [
        (torch.zeros(3, 6), r"shape \(4, 6\).*got \(3, 6\)"),
        (torch.zeros(4, 5), r"shape \(4, 6\).*got \(4, 5\)"),
        (torch.zeros(24), r"shape \(4, 6\).*got \(24,\)"),
        (torch.full((4, 6), float("nan")), "finite"),
    ],
)
def test_initial_centres_that_do_not_fit_are_refused(make, centers, message):
    summary, _ = blobs(0, 4)
    with pytest.raises(InputError, match=message):
        make(4).fit_from(summary, centers)


@every
def test_abilities(make):
    assert isinstance(make(2), SupportsInitialCenters)
    assert isinstance(make(2), SupportsMemoryEstimate)
