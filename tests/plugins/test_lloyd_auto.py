"""``k = "auto"`` of lloyd: how many clusters it chooses, and the merging beneath."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import ward

import covary
from covary import InputError, ParamsError, RunContext, StyleSummary
from covary.provenance import adjusted_rand_index
from covary.recipe import recipe_schema
from covary.testing import worlds
from covary.testing.data import blobs
from covary_plugins.clusterers._auto import merge
from covary_plugins.clusterers.lloyd import Lloyd


def squares(points: np.ndarray) -> float:
    """Sum of squared distances to the mean."""
    return float(((points - points.mean(axis=0)) ** 2).sum())


# --- merging ---------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(3, 12), quantile=st.floats(0, 1))
def test_points_merge_as_in_scipys_ward(seed: int, count: int, quantile: float) -> None:
    points = np.random.default_rng(seed).standard_normal((count, 4))
    # scipy's height of a union is the root of twice what it adds to the sum of squares.
    added = ward(points)[:, 2] ** 2 / 2
    dearest = float(np.quantile(added, quantile)) * 1.0001
    left = merge(torch.from_numpy(points), torch.ones(count), dearest)
    assert len(left) == max(2, count - int((added <= dearest).sum()))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), sizes=st.lists(st.integers(1, 9), min_size=3, max_size=3))
def test_the_cheapest_union_is_the_one_that_adds_least_squares(seed: int, sizes: list) -> None:
    rng = np.random.default_rng(seed)
    groups = [rng.standard_normal((size, 3)) + 4 * rng.standard_normal(3) for size in sizes]
    added = {
        (i, j): squares(np.concatenate([groups[i], groups[j]])) - squares(groups[i])
        - squares(groups[j])
        for i in range(3) for j in range(i)
    }  # fmt: skip
    i, j = min(added, key=added.__getitem__)
    (other,) = {0, 1, 2} - {i, j}
    union = np.concatenate([groups[i], groups[j]]).mean(axis=0)
    centers = torch.from_numpy(np.stack([group.mean(axis=0) for group in groups]))
    left = merge(centers, torch.tensor(sizes), dearest=added[i, j] * 1.0001)
    expected = {tuple(np.round(mean, 6)) for mean in (union, groups[other].mean(axis=0))}
    assert {tuple(np.round(row, 6)) for row in left.numpy()} == expected
    assert len(merge(centers, torch.tensor(sizes), dearest=added[i, j] * 0.9999)) == 3


def test_merging_leaves_its_input_alone_and_two_clusters() -> None:
    centers, counts = torch.tensor([[0.0], [1.0], [9.0]]).double(), torch.tensor([2, 2, 2])
    left = merge(centers, counts, dearest=1e9)
    assert left.tolist() == [[0.5], [9.0]]
    assert centers.tolist() == [[0.0], [1.0], [9.0]]
    assert counts.tolist() == [2, 2, 2]


# --- the number of clusters ------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize("k", [2, 3, 4, 6])
def test_distant_groups_are_counted(k: int, engine: str) -> None:
    for seed in range(3):
        summary, truth = blobs(seed, k, size=(30, 30), features=7)
        found = Lloyd(k="auto", engine=engine).fit(summary, RunContext(seed=seed))
        assert found.k == k
        assert adjusted_rand_index(found.labels, torch.from_numpy(truth)) == 1


def test_a_gradient_is_one_thing() -> None:
    """A background that shades into another colour is not cut up, where a fixed k cuts it."""
    scene = worlds.get("avatars").scene(3, (64, 64))
    summary = StyleSummary.from_images(scene.images(3, 30))
    person = scene.truth.foreground[0]
    found = Lloyd(k="auto").fit(summary)
    assert len(set(found.labels[~person].tolist())) <= 2
    background = int(found.labels[0, 0])
    assert float((found.labels[~person] == background).float().mean()) > 0.97
    cut = Lloyd(k=8).fit(summary)
    assert float((cut.labels[~person] == int(cut.labels[0, 0])).float().mean()) < 0.9


def test_what_is_too_small_to_explain_its_share_takes_a_lower_bar() -> None:
    rng = np.random.default_rng(0)
    picture = np.zeros((40, 40), int)
    picture[:, 20:] = 1
    picture[5:8, 5:8] = 2
    colours = np.array([[0.0, 0, 0], [30, 0, 0], [0, 30, 0]])
    data = colours[picture.ravel()] + rng.standard_normal((1600, 3)) / 10
    summary = StyleSummary.from_matrix(data, (40, 40))
    share = 9 * 900 / (squares(data))
    assert Lloyd(k="auto", k_gain=share * 1.2).fit(summary).k == 2
    assert Lloyd(k="auto", k_gain=share * 0.8).fit(summary).k == 3


def test_there_are_from_two_to_k_max() -> None:
    noise = torch.randn((900, 20), generator=torch.Generator().manual_seed(0))
    assert Lloyd(k="auto", k_gain=0.9).fit(StyleSummary(noise, (30, 30))).k == 2
    summary, _ = blobs(1, 6, size=(30, 30))
    for k_max in (2, 4, 6):
        assert Lloyd(k="auto", k_max=k_max).fit(summary).k == k_max


def test_no_more_than_there_are_colours() -> None:
    colours = torch.tensor([[1.0, 2.0], [5.0, 1.0], [9.0, 9.0]])
    for count in (1, 2, 3):
        data = colours[torch.arange(12) % count]
        found = Lloyd(k="auto").fit(StyleSummary(data, (3, 4)))
        assert found.k == count
        assert found.inertia == 0


def test_colours_that_the_grid_misses_are_found() -> None:
    """A subsampled grid of one colour, and a second colour between its pixels."""
    data = torch.zeros((20 * 20, 3), dtype=torch.uint8)
    data[::3] = 200
    data[1::3] = 200
    found = Lloyd(k="auto", coarse=7).fit(StyleSummary(data, (20, 20)))
    assert found.k == 2
    assert found.inertia == 0


def test_the_clusters_are_those_of_as_many_asked_for() -> None:
    """On the full data, converged: not the merged clusters of the grid."""
    images = worlds.get("avatars").scene(5, (150, 150)).images(5, 20)
    summary = StyleSummary.from_images(images)
    found = Lloyd(k="auto", tol=0).fit(summary)
    asked = Lloyd(k=found.k, tol=0).fit(summary)
    assert found.converged
    assert found.inertia == pytest.approx(asked.inertia, rel=1e-3)
    again = Lloyd(k=found.k, tol=0).fit_from(summary, found.centers)
    assert torch.equal(again.labels, found.labels)


def test_given_centres_say_how_many() -> None:
    summary, _ = blobs(0, 4)
    for k in (1, 3, 5):
        assert Lloyd(k="auto").fit_from(summary, summary.data[:k] + 0).k == k
    with pytest.raises(InputError, match=r"\(K, 6\)"):
        Lloyd(k="auto").fit_from(summary, torch.zeros(3, 5))


# --- how it is said --------------------------------------------------------------------------


def test_auto_in_parameters_files_and_schema() -> None:
    params = Lloyd(k="auto").params
    assert Lloyd(**json.loads(params.model_dump_json())).params == params
    recipe = {"source": "worlds", "features": "lab", "foreground": "border"}
    pipe = covary.Pipeline.from_recipe(
        covary.Recipe.parse({**recipe, "clusterer": {"use": "lloyd", "k": "auto"}})
    )
    assert pipe.clusterer.params.k == "auto"
    schema = recipe_schema()
    for k, good in (("auto", True), (3, True), ("many", False), (0, False)):
        data = {**recipe, "clusterer": {"use": "lloyd", "k": k}}
        assert jsonschema.Draft202012Validator(schema).is_valid(data) is good


@pytest.mark.parametrize("params", [{"k": "many"}, {"k": 0}, {"k_max": 1}, {"k_gain": 0}])
def test_parameters_that_are_refused(params: dict) -> None:
    with pytest.raises(ParamsError):
        Lloyd(**params)
