"""The default clusterer: what it promises beyond the contract of all clusterers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from covary import InputError, ParamsError, RunContext, StyleSummary, SupportsPredict
from covary.testing.data import blobs, overlapping
from covary.testing.reference import canonical, distances, float64_lloyd
from covary.testing.strategies import seeds
from covary_plugins.clusterers import _pixels
from covary_plugins.clusterers.lloyd import Lloyd
from spy import Spy

few = settings(max_examples=15)


@pytest.fixture(params=["numba", "torch"])
def engine(request):
    """What does the arithmetic on a processor; triton has tests of its own."""
    if request.param == "numba":
        pytest.importorskip("numba")
    return request.param


@few
@given(seed=seeds())
def test_the_tolerance_means_what_it_means_to_scikit_learn(engine, seed):
    sklearn_cluster = pytest.importorskip("sklearn.cluster")
    summary, start = overlapping(seed)
    theirs = sklearn_cluster.KMeans(5, init=start.numpy(), n_init=1, tol=1e-3)
    theirs.fit(summary.data.numpy())
    ours = Lloyd(engine=engine, k=5, tol=1e-3).fit_from(summary, start)
    # They count updates, we count passes, and the last pass may only assign.
    assert ours.iterations - theirs.n_iter_ in (0, 1)
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-5)


@pytest.mark.parametrize("far", [1e3, 1e5])
def test_data_far_from_zero_lose_nothing_but_their_own_rounding(engine, far):
    summary, start = overlapping(3)
    moved = StyleSummary(summary.data + far, summary.size)
    labels, _, inertia = float64_lloyd(moved.data.numpy(), start + far)
    found = Lloyd(engine=engine, k=len(start), tol=0).fit_from(moved, start + far)
    assert found.inertia == pytest.approx(inertia, rel=1e-4)
    assert (found.labels.numpy().reshape(-1) == canonical(labels)).mean() > 0.99


def test_inertia_of_tight_clusters_far_apart_is_not_lost_to_rounding(engine):
    rng = np.random.default_rng(0)
    truth = np.arange(400) % 2
    data = (truth[:, None] * 1e4 + 1e-2 * rng.standard_normal((400, 3))).astype(np.float32)
    summary = StyleSummary.from_matrix(data, (20, 20))
    found = Lloyd(engine=engine, k=2).fit(summary)
    own = distances(summary.data, found.centers).min(axis=1).sum()
    assert found.inertia == pytest.approx(own, rel=1e-2)


@pytest.mark.parametrize("world", ["avatars", "rooms"])
def test_lloyd_is_as_good_as_scikit_learn_on_rendered_scenes(engine, world):
    sklearn_cluster = pytest.importorskip("sklearn.cluster")
    from covary.testing import worlds

    scene = worlds.get(world).scene(4, (48, 48))
    images = scene.images(4, 12)
    summary = StyleSummary(images.reshape(36, -1).T, (48, 48))
    theirs = [
        sklearn_cluster.KMeans(4, random_state=seed).fit(summary.matrix().numpy()).inertia_
        for seed in range(4)
    ]
    assert Lloyd(engine=engine).fit(summary).inertia <= np.median(theirs) * (1 + 1e-3)


def test_coarse_start_reaches_the_optimum_of_all_pixels(engine):
    rng = np.random.default_rng(1)
    size = (150, 170)
    y, x = np.mgrid[: size[0], : size[1]]
    regions = (x > 60).astype(int) + (y > 80) + (x + y > 250)
    data = np.eye(4)[regions.reshape(-1)] @ rng.standard_normal((4, 6)) * 5
    data = (data + rng.standard_normal(data.shape)).astype(np.float16)
    summary = StyleSummary.from_matrix(data, size)
    coarse = Lloyd(engine=engine, tol=0).fit(summary)
    full = Lloyd(engine=engine, tol=0, coarse=1).fit(summary)
    assert coarse.inertia == pytest.approx(full.inertia, rel=1e-5)
    _, _, inertia = float64_lloyd(data, coarse.centers)
    assert coarse.inertia == pytest.approx(inertia, rel=1e-5)


def test_colours_that_the_coarse_grid_misses_are_still_told_apart(engine):
    data = torch.zeros((160 * 160, 3), dtype=torch.uint8)
    data[1], data[161 * 7], data[-1] = 50, 120, 255
    found = Lloyd(engine=engine, k=4).fit(StyleSummary(data, (160, 160)))
    assert found.counts.tolist() == [160 * 160 - 3, 1, 1, 1]
    assert found.inertia == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("coarse", [1, 2, 5, 1000])
def test_any_stride_is_accepted(engine, coarse):
    summary, truth = blobs(2, 3)
    found = Lloyd(engine=engine, k=3, coarse=coarse).fit(summary)
    assert (found.labels.numpy() == canonical(truth)).all()


@few
@given(seed=seeds(), power=st.integers(-12, 12))
def test_scaling_by_a_power_of_two_changes_no_label(engine, seed, power):
    summary, _ = overlapping(seed)
    scaled = StyleSummary(summary.data * 2.0**power, summary.size)
    a, b = Lloyd(engine=engine, k=5).fit(summary), Lloyd(engine=engine, k=5).fit(scaled)
    assert torch.equal(a.labels, b.labels)
    assert torch.equal(a.centers * 2.0**power, b.centers)


def test_the_seed_matters(engine):
    summary, _ = overlapping(11)
    one = Lloyd(engine=engine, k=5, n_init=1, max_iter=1)
    inertias = {one.fit(summary, RunContext(seed=seed)).inertia for seed in range(4)}
    assert len(inertias) > 1


@few
@given(seed=seeds(), k=st.integers(1, 8))
def test_as_many_clusters_as_distinct_pixels_fit_perfectly(engine, seed, k):
    rng = np.random.default_rng(seed)
    colours = rng.choice(256**2, k, replace=False)
    picks = np.concatenate([np.arange(k), rng.integers(0, k, 40 - k)])
    pixels = np.stack([colours[picks] // 256, colours[picks] % 256], axis=1).astype(np.uint8)
    found = Lloyd(engine=engine, k=k).fit(StyleSummary.from_matrix(pixels, (5, 8)))
    assert found.inertia == pytest.approx(0, abs=1e-6)
    assert (found.labels.numpy().reshape(-1) == canonical(picks)).all()


@few
@given(seed=seeds())
def test_empty_clusters_are_given_pixels(engine, seed):
    summary, start = overlapping(seed)
    start = start[:1].repeat(5, 1)
    start[1:] += 1e4
    found = Lloyd(engine=engine, k=5).fit_from(summary, start)
    assert int(found.counts.min()) > 0
    assert bool(torch.isfinite(found.centers).all())
    assert found.converged


def test_pixels_equal_up_to_rounding_give_no_nan(engine):
    data = torch.full((36, 2), 1.0)
    data[0], data[1], data[2] = 1e-10, 2e-10, 3e-10
    found = Lloyd(engine=engine, k=4, max_iter=20).fit(StyleSummary(data, (6, 6)))
    assert np.isfinite(found.inertia)
    assert bool(torch.isfinite(found.centers).all())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value):
    data = torch.zeros(9, 2)
    data[4, 1] = value
    with pytest.raises(InputError, match=r"finite.*pixel 4"):
        Lloyd(k=1).fit(StyleSummary(data, (3, 3)))


def test_the_iteration_limit_is_reported_and_labels_still_belong_to_the_centres(engine):
    summary, start = overlapping(2)
    found = Lloyd(engine=engine, k=5, max_iter=1, tol=0).fit_from(summary, start)
    assert not found.converged
    every = distances(summary.data, found.centers)
    assert (every.argmin(axis=1) == found.labels.reshape(-1).numpy()).mean() > 0.999


def test_ctrl_c_passes_through_torch():
    summary, _ = blobs(0, 3)

    class Interrupted(StyleSummary):
        def rows(self, start, stop):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Lloyd(k=3, engine="torch").fit(Interrupted(summary.data, summary.size))


@pytest.mark.parametrize("params", [{"k": 0}, {"n_init": 0}, {"tol": -1}, {"coarse": 0}])
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(ParamsError):
        Lloyd(**params)


@few
@given(seed=seeds())
def test_predict_gives_the_nearest_centre_as_numbered(engine, seed):
    summary, start = overlapping(seed)
    labels = Lloyd(engine=engine, k=2).predict(summary, start)
    assert labels.dtype == torch.int32
    assert tuple(labels.shape) == summary.size
    assert (labels.reshape(-1).numpy() == distances(summary.data, start).argmin(axis=1)).all()


def test_predict_with_the_found_centres_gives_the_found_labels(engine):
    summary, _ = overlapping(8)
    found = Lloyd(engine=engine, k=5).fit(summary)
    assert torch.equal(Lloyd(engine=engine).predict(summary, found.centers), found.labels)
    with pytest.raises(InputError, match=r"\(K, 9\)"):
        Lloyd(engine=engine).predict(summary, torch.zeros(5, 8))


def test_torch_streams():
    side, features = 160, 150
    planar = torch.randint(0, 9, (features, side * side), dtype=torch.uint8)
    planar[:, : side * side // 2] += 90
    spy = Spy(planar.T, (side, side))
    assert Lloyd(k=2, engine="torch").fit(spy).counts.tolist() == [side * side // 2] * 2
    assert max(spy.asked) * features * 4 <= 4 * 2**20
    assert sum(spy.asked) >= 2 * side * side


def test_blocks_change_nothing(monkeypatch):
    summary, start = overlapping(6)
    whole = Lloyd(k=5, tol=0, engine="torch").fit_from(summary, start)
    monkeypatch.setattr(_pixels, "_BLOCK_BYTES", 7 * 4 * summary.features)
    monkeypatch.setattr(_pixels, "_KEEP_BYTES", 0)
    spy = Spy(summary.data, summary.size)
    blocks = Lloyd(k=5, tol=0, engine="torch").fit_from(spy, start)
    assert spy.asked.count(7) > 100
    assert torch.equal(whole.labels, blocks.labels)
    assert blocks.inertia == pytest.approx(whole.inertia, rel=1e-6)


def test_promised_memory_at_full_size():
    assert Lloyd().memory((1024, 1024), 150) <= 150 * 10**6


def test_it_predicts():
    assert isinstance(Lloyd(), SupportsPredict)
