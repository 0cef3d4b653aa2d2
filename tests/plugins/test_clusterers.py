"""lloyd, faiss and sklearn against an independent float64 Lloyd and properties of k-means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from covary import (
    InputError,
    ParamsError,
    RunContext,
    StyleSummary,
    SupportsInitialCenters,
    SupportsMemoryEstimate,
    SupportsPredict,
)
from covary_plugins.clusterers import _pixels
from covary_plugins.clusterers.faiss import Faiss
from covary_plugins.clusterers.lloyd import Lloyd
from covary_plugins.clusterers.sklearn import Sklearn

faiss = pytest.importorskip("faiss")
sklearn_cluster = pytest.importorskip("sklearn.cluster")

SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=15, deadline=None)

# Enough restarts for every backend to find the optimum of separated blobs.
ROBUST = {
    "lloyd": lambda k: Lloyd(k=k),
    "faiss": lambda k: Faiss(k=k, nredo=30),
    "sklearn": lambda k: Sklearn(k=k),
    "elkan": lambda k: Sklearn(k=k, algorithm="elkan"),
}
# Iterated until no label changes.
EXACT = {
    "lloyd": lambda k: Lloyd(k=k, tol=0),
    "faiss": lambda k: Faiss(k=k, niter=200),
    "sklearn": lambda k: Sklearn(k=k, tol=0),
}
robust = pytest.mark.parametrize("make", ROBUST.values(), ids=ROBUST)
exact = pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)


def canonical(labels):
    """Ids by falling size, ties by first pixel, in plain Python."""
    flat = np.asarray(labels).reshape(-1).tolist()
    order = sorted(set(flat), key=lambda label: (-flat.count(label), flat.index(label)))
    return np.array([order.index(label) for label in flat]).reshape(np.shape(labels))


def blobs(seed, k, size=(12, 15), features=6, spread=0.3):
    """Clusters much farther apart than wide, in float32, and which pixel is of which."""
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(k), rng.integers(0, k, size[0] * size[1] - k)])
    rng.shuffle(truth)
    centers = 20.0 * np.stack([np.roll(np.eye(features)[i % features], 0) for i in range(k)])
    centers += 40.0 * (np.arange(k) // features)[:, None]
    data = centers[truth] + spread * rng.standard_normal((len(truth), features))
    return StyleSummary.from_matrix(data.astype(np.float32), size), truth.reshape(size)


def overlapping(seed, size=(20, 24), features=9, k=5):
    """A mixture that Lloyd's algorithm needs many passes for, and centres to start from."""
    rng = np.random.default_rng(seed)
    count = size[0] * size[1]
    data = rng.standard_normal((k, features))[rng.integers(0, k, count)] * 1.5
    data = (data + rng.standard_normal((count, features))).astype(np.float32)
    start = data[rng.choice(count, k, replace=False)]
    return StyleSummary.from_matrix(data, size), torch.from_numpy(start)


def numpy_lloyd(x, centers):
    """Lloyd's algorithm in float64 until no label changes: labels, centres, inertia."""
    x, centers = np.asarray(x, np.float64), np.asarray(centers, np.float64)
    labels = None
    while True:
        distances = ((x[:, None] - centers[None]) ** 2).sum(axis=2)
        new = distances.argmin(axis=1)
        if labels is not None and (new == labels).all():
            return labels, centers, distances.min(axis=1).sum()
        labels = new
        centers = np.stack([x[labels == i].mean(axis=0) for i in range(len(centers))])


def distances(summary, centers):
    x = summary.data.double().numpy()
    return ((x[:, None] - centers.double().numpy()[None]) ** 2).sum(axis=2)


class Spy(StyleSummary):
    """Notes how much of it is asked for at once."""

    def __init__(self, data, size):
        super().__init__(data, size)
        self.asked = []

    def rows(self, start, stop):
        self.asked.append(stop - start)
        return super().rows(start, stop)

    def matrix(self, dtype=torch.float32):
        raise AssertionError("the whole was asked for")


# --- what is found ---------------------------------------------------------------------------


@robust
@settings(max_examples=6, deadline=None)
@given(seed=SEEDS, k=st.integers(1, 5))
def test_separated_blobs_are_found_exactly(make, seed, k):
    summary, truth = blobs(seed, k)
    found = make(k).fit(summary, RunContext(seed=seed % 100))
    assert (found.labels.numpy() == canonical(truth)).all()
    assert found.converged


@exact
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_same_partition_as_a_float64_lloyd_from_the_same_centres(make, seed):
    summary, start = overlapping(seed)
    labels, _, inertia = numpy_lloyd(summary.data.numpy(), start)
    found = make(len(start)).fit_from(summary, start)
    assert found.inertia == pytest.approx(inertia, rel=1e-4)
    assert (found.labels.numpy().reshape(-1) == canonical(labels)).mean() > 0.99


@few
@given(seed=SEEDS)
def test_the_tolerance_means_what_it_means_to_scikit_learn(seed):
    summary, start = overlapping(seed)
    theirs = sklearn_cluster.KMeans(5, init=start.numpy(), n_init=1, tol=1e-3)
    theirs.fit(summary.data.numpy())
    ours = Lloyd(k=5, tol=1e-3).fit_from(summary, start)
    # They count updates, we count passes, and the last pass may only assign.
    assert ours.iterations - theirs.n_iter_ in (0, 1)
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-5)


@pytest.mark.parametrize("far", [1e3, 1e5])
def test_data_far_from_zero_lose_nothing_but_their_own_rounding(far):
    summary, start = overlapping(3)
    moved = StyleSummary(summary.data + far, summary.size)
    labels, _, inertia = numpy_lloyd(moved.data.numpy(), start + far)
    found = Lloyd(k=len(start), tol=0).fit_from(moved, start + far)
    assert found.inertia == pytest.approx(inertia, rel=1e-4)
    assert (found.labels.numpy().reshape(-1) == canonical(labels)).mean() > 0.99


@robust
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


def test_inertia_of_tight_clusters_far_apart_is_not_lost_to_rounding():
    rng = np.random.default_rng(0)
    truth = np.arange(400) % 2
    data = (truth[:, None] * 1e4 + 1e-2 * rng.standard_normal((400, 3))).astype(np.float32)
    summary = StyleSummary.from_matrix(data, (20, 20))
    found = Lloyd(k=2).fit(summary)
    own = distances(summary, found.centers).min(axis=1).sum()
    assert found.inertia == pytest.approx(own, rel=1e-2)


@pytest.mark.parametrize("world", ["avatars", "rooms"])
def test_lloyd_is_as_good_as_scikit_learn_on_rendered_scenes(world):
    from covary.testing import worlds

    scene = worlds.get(world).scene(4, (48, 48))
    images = scene.images(4, 12)
    summary = StyleSummary(images.reshape(36, -1).T, (48, 48))
    theirs = [
        sklearn_cluster.KMeans(4, random_state=seed).fit(summary.matrix().numpy()).inertia_
        for seed in range(4)
    ]
    assert Lloyd().fit(summary).inertia <= np.median(theirs) * (1 + 1e-3)


# --- the coarse start ------------------------------------------------------------------------


def test_coarse_start_reaches_the_optimum_of_all_pixels():
    rng = np.random.default_rng(1)
    size = (150, 170)
    y, x = np.mgrid[: size[0], : size[1]]
    regions = (x > 60).astype(int) + (y > 80) + (x + y > 250)
    data = np.eye(4)[regions.reshape(-1)] @ rng.standard_normal((4, 6)) * 5
    data = (data + rng.standard_normal(data.shape)).astype(np.float16)
    summary = StyleSummary.from_matrix(data, size)
    coarse = Lloyd(tol=0).fit(summary)
    full = Lloyd(tol=0, coarse=1).fit(summary)
    assert coarse.inertia == pytest.approx(full.inertia, rel=1e-5)
    _, _, inertia = numpy_lloyd(data, coarse.centers)
    assert coarse.inertia == pytest.approx(inertia, rel=1e-5)


def test_colours_that_the_coarse_grid_misses_are_still_told_apart():
    data = torch.zeros((160 * 160, 3), dtype=torch.uint8)
    data[1], data[161 * 7], data[-1] = 50, 120, 255
    found = Lloyd(k=4).fit(StyleSummary(data, (160, 160)))
    assert found.counts.tolist() == [160 * 160 - 3, 1, 1, 1]
    assert found.inertia == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("coarse", [1, 2, 5, 1000])
def test_any_stride_is_accepted(coarse):
    summary, truth = blobs(2, 3)
    found = Lloyd(k=3, coarse=coarse).fit(summary)
    assert (found.labels.numpy() == canonical(truth)).all()


# --- invariances -----------------------------------------------------------------------------


@robust
@settings(max_examples=5, deadline=None)
@given(seed=SEEDS)
def test_order_of_the_variants_does_not_matter(make, seed):
    summary, _ = blobs(seed, 4, features=9)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(9))
    permuted = StyleSummary(summary.data[:, order], summary.size)
    assert torch.equal(make(4).fit(summary).labels, make(4).fit(permuted).labels)


@few
@given(seed=SEEDS, power=st.integers(-12, 12))
def test_scaling_by_a_power_of_two_changes_no_label(seed, power):
    summary, _ = overlapping(seed)
    scaled = StyleSummary(summary.data * 2.0**power, summary.size)
    a, b = Lloyd(k=5).fit(summary), Lloyd(k=5).fit(scaled)
    assert torch.equal(a.labels, b.labels)
    assert torch.equal(a.centers * 2.0**power, b.centers)


@robust
@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, shift=st.floats(-500, 500))
def test_translation_changes_no_label(make, seed, shift):
    summary, _ = blobs(seed, 3)
    moved = StyleSummary(summary.data + shift, summary.size)
    assert torch.equal(make(3).fit(summary).labels, make(3).fit(moved).labels)


@robust
@settings(max_examples=6, deadline=None)
@given(seed=SEEDS, k=st.integers(1, 6), side=st.integers(3, 9))
def test_labels_are_canonical_and_in_range(make, seed, k, side):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((side * side, 4)).astype(np.float32)
    found = make(k).fit(StyleSummary.from_matrix(matrix, (side, side)))
    assert found.labels.dtype == torch.int32
    assert tuple(found.labels.shape) == (side, side)
    assert tuple(found.centers.shape) == (k, 4)
    assert (found.labels.numpy() == canonical(found.labels.numpy())).all()


@robust
def test_same_seed_same_result_to_the_bit(make):
    summary, _ = overlapping(11)
    a, b = (make(4).fit(summary, RunContext(seed=9)) for _ in range(2))
    assert torch.equal(a.labels, b.labels)
    assert torch.equal(a.centers, b.centers)
    assert a.inertia == b.inertia


def test_the_seed_matters():
    summary, _ = overlapping(11)
    one = Lloyd(k=5, n_init=1, max_iter=1)
    inertias = {one.fit(summary, RunContext(seed=seed)).inertia for seed in range(4)}
    assert len(inertias) > 1


@robust
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_the_summary_is_left_unchanged(make, dtype):
    data = (torch.rand((200, 5), generator=torch.Generator().manual_seed(1)) * 99).to(dtype)
    summary = StyleSummary(data.clone(), (10, 20))
    make(3).fit(summary)
    assert torch.equal(summary.data, data)


# --- hard cases ------------------------------------------------------------------------------


@robust
def test_more_clusters_than_distinct_pixels_are_refused(make):
    data = torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]]).repeat(4, 1)
    summary = StyleSummary(data, (3, 4))
    assert make(2).fit(summary).inertia == pytest.approx(0, abs=1e-6)
    with pytest.raises(InputError, match=r"at most 2.*distinct.*got 3.*lower k"):
        make(3).fit(summary)
    with pytest.raises(InputError, match="at most 2"):
        make(3).fit_from(summary, torch.zeros(3, 2))


@robust
@pytest.mark.parametrize("size", [(1, 1), (6, 7)])
def test_a_constant_image_has_one_cluster(make, size):
    summary = StyleSummary(torch.full((size[0] * size[1], 3), 7, dtype=torch.uint8), size)
    found = make(1).fit(summary)
    assert found.inertia == 0
    assert found.centers.tolist() == [[7, 7, 7]]
    with pytest.raises(InputError, match="distinct"):
        make(2).fit(summary)


@few
@given(seed=SEEDS, k=st.integers(1, 8))
def test_as_many_clusters_as_distinct_pixels_fit_perfectly(seed, k):
    rng = np.random.default_rng(seed)
    colours = rng.choice(256**2, k, replace=False)
    picks = np.concatenate([np.arange(k), rng.integers(0, k, 40 - k)])
    pixels = np.stack([colours[picks] // 256, colours[picks] % 256], axis=1).astype(np.uint8)
    found = Lloyd(k=k).fit(StyleSummary.from_matrix(pixels, (5, 8)))
    assert found.inertia == pytest.approx(0, abs=1e-6)
    assert (found.labels.numpy().reshape(-1) == canonical(picks)).all()


@few
@given(seed=SEEDS)
def test_empty_clusters_are_given_pixels(seed):
    summary, start = overlapping(seed)
    start = start[:1].repeat(5, 1)
    start[1:] += 1e4
    found = Lloyd(k=5).fit_from(summary, start)
    assert int(found.counts.min()) > 0
    assert bool(torch.isfinite(found.centers).all())
    assert found.converged


def test_pixels_equal_up_to_rounding_give_no_nan():
    data = torch.full((36, 2), 1.0)
    data[0], data[1], data[2] = 1e-10, 2e-10, 3e-10
    found = Lloyd(k=4, max_iter=20).fit(StyleSummary(data, (6, 6)))
    assert np.isfinite(found.inertia)
    assert bool(torch.isfinite(found.centers).all())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value):
    data = torch.zeros(9, 2)
    data[4, 1] = value
    with pytest.raises(InputError, match=r"finite.*pixel 4"):
        Lloyd(k=1).fit(StyleSummary(data, (3, 3)))


@pytest.mark.parametrize("make", [lambda: Lloyd(k=2), lambda: Sklearn(k=2)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_values_too_large_for_float32_distances_are_refused(make):
    data = torch.tensor([[1e30, 0.0], [-1e30, 5.0], [3e30, 1.0], [2e29, 9.0]])
    with pytest.raises(InputError, match=r"squared distances.*scale the data"):
        make().fit(StyleSummary(data, (2, 2)))


@pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)
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


def test_the_iteration_limit_is_reported_and_labels_still_belong_to_the_centres():
    summary, start = overlapping(2)
    found = Lloyd(k=5, max_iter=1, tol=0).fit_from(summary, start)
    assert not found.converged
    every = distances(summary, found.centers)
    assert (every.argmin(axis=1) == found.labels.reshape(-1).numpy()).mean() > 0.999


def test_ctrl_c_passes_through():
    summary, _ = blobs(0, 3)

    class Interrupted(StyleSummary):
        def rows(self, start, stop):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Lloyd(k=3).fit(Interrupted(summary.data, summary.size))


@pytest.mark.parametrize("params", [{"k": 0}, {"n_init": 0}, {"tol": -1}, {"coarse": 0}])
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(ParamsError):
        Lloyd(**params)


# --- abilities -------------------------------------------------------------------------------


def test_abilities():
    for component in (Lloyd(), Faiss(), Sklearn()):
        assert isinstance(component, SupportsInitialCenters)
        assert isinstance(component, SupportsMemoryEstimate)
    assert isinstance(Lloyd(), SupportsPredict)


@few
@given(seed=SEEDS)
def test_predict_gives_the_nearest_centre_as_numbered(seed):
    summary, start = overlapping(seed)
    labels = Lloyd(k=2).predict(summary, start)
    assert labels.dtype == torch.int32
    assert tuple(labels.shape) == summary.size
    assert (labels.reshape(-1).numpy() == distances(summary, start).argmin(axis=1)).all()


def test_predict_with_the_found_centres_gives_the_found_labels():
    summary, _ = overlapping(8)
    found = Lloyd(k=5).fit(summary)
    assert torch.equal(Lloyd().predict(summary, found.centers), found.labels)
    with pytest.raises(InputError, match=r"\(K, 9\)"):
        Lloyd().predict(summary, torch.zeros(5, 8))


def test_lloyd_streams():
    side, features = 160, 150
    planar = torch.randint(0, 9, (features, side * side), dtype=torch.uint8)
    planar[:, : side * side // 2] += 90
    spy = Spy(planar.T, (side, side))
    assert Lloyd(k=2).fit(spy).counts.tolist() == [side * side // 2] * 2
    assert max(spy.asked) * features * 4 <= 4 * 2**20
    assert sum(spy.asked) >= 2 * side * side


def test_blocks_change_nothing(monkeypatch):
    summary, start = overlapping(6)
    whole = Lloyd(k=5, tol=0).fit_from(summary, start)
    monkeypatch.setattr(_pixels, "_BLOCK_BYTES", 7 * 4 * summary.features)
    monkeypatch.setattr(_pixels, "_KEEP_BYTES", 0)
    spy = Spy(summary.data, summary.size)
    blocks = Lloyd(k=5, tol=0).fit_from(spy, start)
    assert spy.asked.count(7) > 100
    assert torch.equal(whole.labels, blocks.labels)
    assert blocks.inertia == pytest.approx(whole.inertia, rel=1e-6)


def test_promised_memory_at_full_size():
    assert Lloyd().memory((1024, 1024), 150) <= 150 * 10**6


# --- faiss -----------------------------------------------------------------------------------


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
    own = distances(summary, subset.centers).min(axis=1).sum()
    assert subset.inertia == pytest.approx(own, rel=1e-5)
    assert subset.inertia > whole.inertia


@pytest.mark.skipif(faiss.get_num_gpus() > 0, reason="there is a GPU")
def test_faiss_on_a_gpu_that_is_not_there():
    summary, _ = blobs(0, 3)
    with pytest.raises(InputError, match="GPU build of faiss"):
        Faiss(k=3, gpu=True).fit(summary)
