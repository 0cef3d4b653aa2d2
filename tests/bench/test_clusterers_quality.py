"""The data, the reference and the figures of the clusterer benchmark, against plain numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import covary
from covary.testing import worlds
from covary.testing.data import overlapping
from covary.testing.reference import float64_lloyd
from covary.testing.strategies import seeds
from covary_bench.clusterers import quality, reference
from covary_bench.clusterers.data import Dataset, check_settings, prepare
from covary_bench.clusterers.schema import Setting

SETTING = Setting(world="avatars", size=32, variants=6, k=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare(SETTING, tmp_path_factory.mktemp("data"))


@given(seeds(), st.integers(1, 6), st.booleans())
def test_the_reference_is_lloyds_algorithm(seed: int, k: int, half: bool) -> None:
    summary, start = overlapping(seed, k=k)
    x = summary.data.numpy()
    if half:
        x, start = x.astype(np.float16), start.half().float()
    labels, iterations = reference.lloyd(x.T, start.numpy())
    expected, centers, inertia = float64_lloyd(x, start.numpy())
    assert iterations >= 1
    np.testing.assert_array_equal(labels, expected)
    found, means = quality.inertia_and_means(x.T, labels, k)
    assert found == pytest.approx(inertia, rel=1e-12)
    np.testing.assert_allclose(means, centers, rtol=1e-9, atol=1e-12)


def test_the_reference_refills_an_empty_cluster() -> None:
    x = np.array([[0.0, 1.0, 10.0, 11.0, 30.0]])
    labels, _ = reference.lloyd(x, np.array([[0.0], [1000.0], [2000.0]]))
    assert len(set(labels.tolist())) == 3
    assert quality.inertia_and_means(x, labels, 3)[0] == pytest.approx(1.0)


def test_the_reference_leaves_clusters_empty_where_pixels_are_equal() -> None:
    labels, _ = reference.lloyd(np.ones((2, 9)), np.zeros((3, 2)))
    assert quality.inertia_and_means(np.ones((2, 9)), labels, 3)[0] == 0


@given(seeds())
def test_initial_centres_are_distinct_pixels_and_spread(seed: int) -> None:
    summary, _ = overlapping(seed)
    x = summary.data.numpy()
    centers = reference.kmeans_plus_plus(x.T, 5, np.random.default_rng(seed))
    rows = {tuple(row) for row in x.astype(np.float64)}
    assert {tuple(row) for row in centers} <= rows
    assert len({tuple(row) for row in centers}) == 5
    again = reference.kmeans_plus_plus(x.T, 5, np.random.default_rng(seed))
    np.testing.assert_array_equal(centers, again)


def test_random_centres_are_different_pixels() -> None:
    x = np.arange(30.0).reshape(1, 30)
    for seed in range(20):
        centers = reference.random_pixels(x, 30, np.random.default_rng(seed))
        assert sorted(centers[:, 0]) == list(range(30))
    assert centers[:, 0].tolist() != sorted(centers[:, 0])


def test_each_start_has_a_reference_of_its_own(data: Dataset, tmp_path: Path) -> None:
    random = SETTING.model_copy(update={"start": "random"})
    first, second = (reference.reference(data, one, tmp_path) for one in (SETTING, random))
    assert not np.array_equal(first.start, second.start)
    assert len(list(tmp_path.iterdir())) == 2


def test_initial_centres_find_far_groups() -> None:
    x = np.repeat(np.array([[0.0, 100.0, 200.0, 300.0]]), 50, axis=1)
    x += np.random.default_rng(0).normal(size=x.shape) * 0.01
    for seed in range(20):
        centers = reference.kmeans_plus_plus(x, 4, np.random.default_rng(seed))
        assert sorted(np.round(centers[:, 0] / 100)) == [0, 1, 2, 3]


def test_data_are_what_a_pipeline_stores(data: Dataset) -> None:
    pipe = covary.Pipeline(
        ("worlds", {"resolution": 32, "n": 6}), "lab", "lloyd", "corner", device="cpu"
    )
    summary = pipe.summarise(seed=0)
    planes = data.planes()
    assert planes.dtype == np.float16
    assert planes.flags.c_contiguous
    np.testing.assert_array_equal(planes, summary.data.T.numpy())
    truth = worlds.get("avatars").scene(0, (32, 32)).truth
    np.testing.assert_array_equal(data.regions(), truth.labels[0].numpy())
    np.testing.assert_array_equal(data.foreground(), truth.foreground[0].numpy())


def test_the_reference_is_kept_and_a_damaged_one_made_again(data: Dataset, tmp_path: Path) -> None:
    first = reference.reference(data, SETTING, tmp_path)
    (path,) = tmp_path.iterdir()
    moment = path.stat().st_mtime_ns
    again = reference.reference(data, SETTING, tmp_path)
    assert path.stat().st_mtime_ns == moment
    np.testing.assert_array_equal(first.labels, again.labels)
    assert again.inertia == first.inertia
    path.write_bytes(path.read_bytes()[:50])
    assert reference.reference(data, SETTING, tmp_path).inertia == first.inertia


def judged(data: Dataset, labels: np.ndarray, tmp_path: Path) -> quality.Quality:
    found = reference.reference(data, SETTING, tmp_path)
    return quality.judge(data, SETTING, labels, found, iterations=7, converged=True)


def test_the_reference_itself_is_perfect(data: Dataset, tmp_path: Path) -> None:
    found = reference.reference(data, SETTING, tmp_path)
    figures = judged(data, found.labels.reshape(32, 32), tmp_path)
    assert figures.reference_ratio == pytest.approx(1, abs=1e-12)
    assert figures.ari_reference == 1
    assert figures.iterations == 7
    assert figures.converged


def test_the_truth_has_its_own_score(data: Dataset, tmp_path: Path) -> None:
    figures = judged(data, data.foreground().astype(np.int64), tmp_path)
    assert figures.iou == 1
    assert 0 < figures.ari_truth < 1
    assert figures.reference_ratio is not None
    assert figures.reference_ratio > 1


def test_one_cluster_is_no_foreground(data: Dataset, tmp_path: Path) -> None:
    figures = judged(data, np.zeros((32, 32), np.int32), tmp_path)
    assert figures.iou == 0
    assert figures.ari_reference == 0
    x = data.planes().astype(np.float64)
    assert figures.inertia == pytest.approx(((x - x.mean(axis=1, keepdims=True)) ** 2).sum())


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros((31, 32), np.int32),
        np.zeros(1024, np.int32),
        np.zeros((32, 32), np.float32),
        np.full((32, 32), 3, np.int32),
        np.full((32, 32), -1, np.int32),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    data: Dataset, labels: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(covary.InputError, match="labels"):
        judged(data, labels, tmp_path)


def test_settings_that_cannot_be_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(covary.InputError, match="at most 256 clusters"):
        check_settings([SETTING, SETTING.model_copy(update={"size": 16, "k": 257})])
    with pytest.raises(covary.InputError, match="resolution"):
        check_settings([SETTING.model_copy(update={"size": 4096})])
    with pytest.raises(covary.UnknownNameError):
        check_settings([SETTING.model_copy(update={"space": "labb"})])
    monkeypatch.setattr(covary.RunContext, "available_memory", lambda self: 2**29)
    with pytest.raises(covary.MemoryBudgetError, match="2048x2048 with 50 variants"):
        check_settings([SETTING.model_copy(update={"size": 2048, "variants": 50})])


def test_rooms_are_judged_by_their_own_corners(tmp_path: Path) -> None:
    setting = Setting(world="rooms", size=32, variants=4, k=2)
    room = prepare(setting, tmp_path)
    found = reference.reference(room, setting, tmp_path)
    corners = np.zeros((32, 32), np.int64)
    corners[8:24, 8:24] = 1
    figures = quality.judge(room, setting, corners, found, iterations=1, converged=True)
    truth = torch.from_numpy(room.foreground())
    mask = torch.from_numpy(corners).bool()
    assert figures.iou == pytest.approx(int((mask & truth).sum()) / int((mask | truth).sum()))
    room.delete()
    assert not room.folder.exists()
