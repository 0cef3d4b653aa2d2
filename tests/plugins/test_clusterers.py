"""The contract of all clusterers: against a float64 Lloyd, and properties of k-means."""

from __future__ import annotations

import random
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
from gpu_stand_ins import on_cuda, plain_cupy, stand_in
from kmeans_oracle import (
    SEEDS,
    as_they_are,
    blobs,
    canonical,
    correlated,
    distances,
    numpy_lloyd,
    overlapping,
)


@dataclass(frozen=True)
class Backend:
    """How the contract runs a clusterer."""

    name: str
    """The registered name."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """Parameters by which it finds the optimum of separated blobs: enough restarts."""
    exact: Mapping[str, Any] | None = None
    """What more it takes to iterate until no label changes; None: it is not Lloyd's algorithm."""
    space: Callable[[Any], Any] = as_they_are
    """The vectors (N, D) that it clusters and measures in, of the pixels (N, D)."""
    accuracy: float = 1e-5
    """Relative error of the inertia that the dtype in which it keeps those vectors allows."""
    create: Callable[..., Clusterer] = covary.create
    """Called with the name and the parameters."""

    def __call__(self, k: int, **more: Any) -> Clusterer:
        return self.create(self.name, **self.given, **more, k=k)

    def missing(self) -> str:
        """The packages that it would need to run here."""
        if self.create is not covary.create:
            return ""
        return ", ".join(find(self.name, "clusterer").missing())


# A new backend is one line here.
BACKENDS = {
    "lloyd": Backend("lloyd", exact={"tol": 0}),
    "faiss": Backend("faiss", {"nredo": 30}, exact={"niter": 200}),
    "sklearn": Backend("sklearn", exact={"tol": 0}),
    "elkan": Backend("sklearn", {"algorithm": "elkan"}, exact={"tol": 0}),
    "sklearn-minibatch": Backend("sklearn", {"algorithm": "minibatch"}),
    "opencv": Backend("opencv", exact={"tol": 0}),
    "intelex": Backend("intelex", exact={"tol": 0}),
    "torch": Backend("torch", {"n_init": 30}, exact={"tol": 0}),
    "minibatch": Backend("minibatch"),
    "spherical": Backend("spherical", exact={"tol": 0}, space=correlated, accuracy=1e-3),
    "cupy-emulated": Backend("cupy", exact={"tol": 0}, create=stand_in),
    "cupy-plain": Backend("cupy", exact={"tol": 0}, create=plain_cupy),
    "cuml-stand-in": Backend("cuml", exact={"tol": 0}, create=stand_in),
    "flash-stand-in": Backend("flash", {"n_init": 30}, exact={"tol": 0}, create=stand_in),
    "faiss-gpu-stand-in": Backend("faiss", {"nredo": 30}, exact={"niter": 200}, create=stand_in),
    "cupy": Backend("cupy", exact={"tol": 0}, create=on_cuda),
    "cuml": Backend("cuml", exact={"tol": 0}, create=on_cuda),
    "flash": Backend("flash", {"n_init": 30}, exact={"tol": 0}, create=on_cuda),
    "faiss-gpu": Backend("faiss", {"nredo": 30}, exact={"niter": 200}, create=on_cuda),
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
# Those that compare the pixels' values as they are.
euclidean = backends(lambda backend: backend.space is as_they_are)


# --- what is found ---------------------------------------------------------------------------


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
    labels, _, inertia = numpy_lloyd(make.space(summary.data), make.space(start))
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
    labels = found.labels.reshape(-1).numpy()
    every = distances(summary, found.centers, make.space)
    own = every[np.arange(300), labels]
    assert found.inertia == pytest.approx(own.sum(), rel=make.accuracy)
    assert (own <= every.min(axis=1) * (1 + 10 * make.accuracy)).all()
    if make.exact is None:  # its centres follow samples
        return
    vectors = make.space(summary.data)
    near = {"rtol": 0.02, "atol": 0.0025 * np.ptp(vectors)}
    for label in range(4):
        mean = vectors[labels == label].mean(axis=0)
        np.testing.assert_allclose(found.centers[label].double(), mean, **near)


# --- invariances -----------------------------------------------------------------------------


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
    if make.create is on_cuda and make(4).determinism == "numeric":
        assert a.inertia == pytest.approx(b.inertia, rel=1e-4)
        assert (a.labels == b.labels).double().mean() > 0.99
        return
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


# --- hard cases ------------------------------------------------------------------------------


@every
def test_more_clusters_than_distinct_pixels_are_refused(make):
    data = torch.tensor([[1.0, 2.0, 5.0], [1.0, 2.0, 5.0], [3.0, 9.0, 4.0]]).repeat(4, 1)
    summary = StyleSummary(data, (3, 4))
    assert make(2).fit(summary).inertia == pytest.approx(0, abs=1e-6)
    with pytest.raises(InputError, match=r"at most 2.*distinct.*got 3.*lower k"):
        make(3).fit(summary)
    with pytest.raises(InputError, match="at most 2"):
        make(3).fit_from(summary, torch.zeros(3, 3))


@every
@pytest.mark.parametrize("size", [(1, 1), (6, 7)])
def test_a_constant_image_has_one_cluster(make, size):
    summary = StyleSummary(torch.full((size[0] * size[1], 3), 7, dtype=torch.uint8), size)
    found = make(1).fit(summary)
    # A running mean of equal numbers rounds.
    allowed = 1e-6 if make.exact is None else 0
    assert found.inertia <= allowed
    np.testing.assert_allclose(found.centers, make.space([[7, 7, 7]]), rtol=allowed)
    assert make(1).fit_from(summary, found.centers + 1).inertia <= allowed
    with pytest.raises(InputError, match="distinct"):
        make(2).fit(summary)


@euclidean
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
def test_more_clusters_than_pixels_are_refused(make):
    data = torch.randn((4, 3), generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match=r"k = 5.*at most 4"):
        make(5).fit(StyleSummary(data, (2, 2)))


@exact
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_as_many_clusters_as_pixels_fit_perfectly(make, dtype):
    data = torch.tensor([[9, 0, 0, 1], [0, 9, 0, 2], [0, 0, 9, 3], [9, 9, 0, 4]]).to(dtype)
    found = make(4).fit(StyleSummary(data, (2, 2)))
    assert found.labels.tolist() == [[0, 1], [2, 3]]
    assert found.inertia == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(found.centers, make.space(data), atol=1e-3)


@every
@settings(max_examples=8)
@given(seed=SEEDS, far=st.sampled_from([0.0, 1e2, 1e4]))
def test_initial_centres_that_attract_no_pixel(make, seed, far):
    summary, start = overlapping(seed)
    start = start[:1].repeat(5, 1)
    start[1:] += far * torch.arange(1, 10)
    found = make(5).fit_from(summary, start)
    assert bool(torch.isfinite(found.centers).all())
    assert int(found.counts.sum()) == summary.pixels
    assert int(found.counts.min()) > 0
    own = distances(summary, found.centers, make.space).min(axis=1)
    assert found.inertia == pytest.approx(own.sum(), rel=1e-4)


@every
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@settings(max_examples=10)
@given(seed=SEEDS, k=st.integers(1, 5), spare=st.integers(0, 2))
def test_hardly_more_colours_than_clusters(make, seed, k, spare):
    rng = np.random.default_rng(seed)
    colours = rng.permutation(256)[: 4 * (k + spare)].reshape(-1, 4)
    picks = np.concatenate([np.arange(k + spare), rng.integers(0, k + spare, 60 - k - spare)])
    summary = StyleSummary.from_matrix(colours[picks].astype(np.uint8), (6, 10))
    beyond = 300.0 + torch.arange(k)[:, None] * torch.arange(1, 5)
    for found in (make(k).fit(summary), make(k).fit_from(summary, beyond)):
        assert bool(torch.isfinite(found.centers).all())
        assert int(found.counts.sum()) == 60
        own = distances(summary, found.centers, make.space)[range(60), found.labels.reshape(-1)]
        assert found.inertia == pytest.approx(own.sum(), rel=1e-2, abs=1e-2)


@every
@settings(max_examples=6)
@given(seed=SEEDS, dtype=st.sampled_from([torch.uint8, torch.float16, torch.float32]))
def test_the_layout_of_the_summary_does_not_matter(make, seed, dtype):
    values = np.random.default_rng(seed).integers(0, 200, (7 * 9, 5))
    pixel_major = torch.from_numpy(values).to(dtype)
    layouts = (
        pixel_major,
        pixel_major.T.contiguous().T,
        torch.cat((pixel_major, pixel_major), dim=1)[:, 5:],
        torch.stack((pixel_major, pixel_major), dim=2)[..., 0],
        pixel_major.repeat_interleave(2, dim=0)[::2],
    )
    first, *others = (make(3).fit(StyleSummary(data, (7, 9))) for data in layouts)
    for other in others:
        assert torch.equal(first.labels, other.labels)
        torch.testing.assert_close(first.centers, other.centers)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every
def test_initial_centres_on_another_device_are_brought_over(make):
    summary, start = overlapping(1)
    there = make(5).fit_from(summary, start.cuda())
    assert torch.equal(there.labels, make(5).fit_from(summary, start).labels)


@every
def test_ctrl_c_passes_through(make):
    summary, _ = blobs(0, 3)

    class Interrupted(StyleSummary):
        """Whoever reads it, in whichever way, is interrupted."""

        interrupting = False

        @property
        def data(self):
            if self.interrupting:
                raise KeyboardInterrupt
            return self.kept

        @data.setter
        def data(self, data):
            self.kept = data

    interrupted = Interrupted(summary.data, summary.size)
    interrupted.interrupting = True
    with pytest.raises(KeyboardInterrupt):
        make(3).fit(interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(3).fit_from(interrupted, summary.data[:3])


# --- abilities -------------------------------------------------------------------------------


@every
def test_abilities(make):
    assert isinstance(make(2), SupportsInitialCenters)
    assert isinstance(make(2), SupportsMemoryEstimate)
    assert make(2).memory((64, 64), 30) > 64 * 64


@every
def test_no_random_state_but_its_own_is_touched(make):
    summary, _ = blobs(0, 3)
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    make(3).fit(summary)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]
