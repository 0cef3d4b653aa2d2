"""The foreground rules against loops over pixels."""

from __future__ import annotations

import json
from math import floor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from covary import (
    Box,
    ClusterMap,
    Detection,
    Detector,
    Foreground,
    ForegroundRule,
    InputError,
    ParamsError,
    Spec,
    SupportsRegions,
)
from covary_plugins.foreground.box import BoxRule
from covary_plugins.foreground.corner import Corner
from covary_plugins.foreground.saliency import Saliency

several = settings(max_examples=40, deadline=None)
label_maps = arrays(
    np.int64,
    st.tuples(st.integers(2, 9), st.integers(2, 9)),
    elements=st.integers(0, 3),
)
CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")


def cluster_map(labels, k=4):
    labels = torch.as_tensor(np.asarray(labels))
    return ClusterMap.from_labels(
        labels, torch.zeros(k, 3), size=tuple(labels.shape), inertia=0, iterations=1
    )


def image_for(clusters):
    return torch.zeros((3, *clusters.size), dtype=torch.uint8)


def select(rule, clusters):
    return rule.select(clusters, image_for(clusters))


# --- corner ----------------------------------------------------------------------------------


def corner_pixels(labels, corner, b):
    height, width = labels.shape
    ys = range(b) if "top" in corner else range(height - b, height)
    xs = range(b) if "left" in corner else range(width - b, width)
    return [int(labels[y, x]) for y in ys for x in xs]


@several
@given(
    labels=label_maps,
    b=st.integers(1, 9),
    theta=st.floats(0.01, 1),
    corners=st.lists(st.sampled_from(CORNERS), min_size=1, max_size=4),
)
def test_corner_minority_by_brute_force(labels, b, theta, corners):
    b = min(b, *labels.shape)
    clusters = cluster_map(labels)
    found = select(Corner(b=b, theta_corner=theta, corners=corners), clusters)
    threshold = max(1, floor(theta * b * b + 0.5))
    for cluster in range(4):
        held = [corner_pixels(clusters.labels.numpy(), name, b).count(cluster) for name in corners]
        present = bool((clusters.labels == cluster).any())
        assert bool(found.clusters[cluster]) == (present and max(held) < threshold)
        score = 1 - max(held) / b**2 if present else 0
        assert float(found.scores[cluster]) == pytest.approx(score, abs=1e-6)
    union = np.isin(clusters.labels.numpy(), np.flatnonzero(found.clusters.numpy()))
    assert found.found == (0 < union.sum() < union.size)
    assert (found.mask.numpy() == (union & found.found)).all()


def disc(side=32):
    y, x = np.mgrid[:side, :side]
    return ((x - side / 2) ** 2 + (y - side / 2) ** 2 < (side / 3) ** 2).astype(int)


def test_a_disc_stands_out_of_its_background_at_any_size():
    for side in (8, 33, 200):
        clusters = cluster_map(disc(side), 2)
        found = select(Corner(), clusters)
        assert found.found
        assert (found.mask.numpy() == disc(side).astype(bool)).all()


def test_upper_corners_let_shoulders_fill_the_lower_ones():
    labels = disc()
    labels[20:] = 1
    clusters = cluster_map(labels, 2)
    assert not select(Corner(), clusters).found
    upper = select(Corner(corners="upper"), clusters)
    assert (upper.mask.numpy() == labels.astype(bool)).all()
    by_name = select(Corner(corners=["top-left", "top-right"]), clusters)
    assert torch.equal(by_name.mask, upper.mask)


def test_half_a_pixel_counts_up():
    # theta * b^2 = 2.5: three pixels make a background, two do not; round() would say two.
    labels = np.zeros((8, 8), int)
    labels[0, :2] = 1
    rule = Corner(b=5, theta_corner=0.1)
    assert bool(select(rule, cluster_map(labels, 2)).clusters[1])
    labels[0, 2] = 1
    assert not bool(select(rule, cluster_map(labels, 2)).clusters[1])


def test_nothing_left_over_is_reported():
    found = select(Corner(), cluster_map(np.zeros((16, 16), int), 1))
    assert not found.found
    assert not bool(found.mask.any())
    assert "no cluster qualifies" in found.reason


def test_corners_larger_than_the_image_are_refused():
    with pytest.raises(InputError, match=r"at most 6.*got 7"):
        select(Corner(b=7), cluster_map(np.zeros((6, 9), int)))


@pytest.mark.parametrize(
    "params",
    [{"corners": "left"}, {"corners": []}, {"theta_corner": 0}, {"theta_corner": 1.1}, {"b": 0}],
)
def test_corner_parameters(params):
    with pytest.raises(ParamsError):
        Corner(**params)


@pytest.mark.parametrize("rule", [Corner(), Saliency()])
def test_the_image_must_be_the_one_that_was_clustered(rule):
    clusters = cluster_map(np.zeros((6, 9), int))
    with pytest.raises(InputError, match=r"\(6, 9\).*got \(9, 6\)"):
        rule.select(clusters, torch.zeros((3, 9, 6), dtype=torch.uint8))
    with pytest.raises(InputError, match="uint8"):
        rule.select(clusters, torch.zeros((3, 6, 9)))


# --- saliency --------------------------------------------------------------------------------


def brute_force_saliency(labels, saliency, theta):
    chosen, scores = [], []
    for cluster in range(4):
        values = [
            float(saliency[y, x])
            for y in range(labels.shape[0])
            for x in range(labels.shape[1])
            if labels[y, x] == cluster
        ]
        scores.append(sum(values) / len(values) if values else 0.0)
        chosen.append(bool(values) and scores[-1] > theta)
    return chosen, scores


@several
@given(
    labels=label_maps,
    theta=st.floats(0, 1),
    mean=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    sigma=st.floats(0.05, 2),
)
def test_gaussian_saliency_by_brute_force(labels, theta, mean, sigma):
    clusters = cluster_map(labels)
    height, width = clusters.size
    saliency = np.array(
        [
            [
                np.exp(
                    -0.5
                    * (
                        (((x + 0.5) / width - mean[0]) / sigma) ** 2
                        + (((y + 0.5) / height - mean[1]) / sigma) ** 2
                    )
                )
                for x in range(width)
            ]
            for y in range(height)
        ]
    )
    found = select(Saliency(theta_saliency=theta, mean=mean, sigma=sigma), clusters)
    chosen, scores = brute_force_saliency(clusters.labels.numpy(), saliency, theta)
    assert found.scores.tolist() == pytest.approx(scores, abs=1e-5)
    if all(abs(score - theta) > 1e-5 for score in scores):
        assert found.clusters.tolist() == chosen


def test_a_full_covariance_is_the_density_of_scipy():
    from scipy.stats import multivariate_normal

    covariance = ((0.05, 0.02), (0.02, 0.03))
    heat = Saliency(mean=(0.4, 0.7), covariance=covariance).heat_map((10, 14)).numpy()
    y, x = np.mgrid[:10, :14]
    where = np.stack([(x + 0.5) / 14, (y + 0.5) / 10], axis=-1)
    density = multivariate_normal((0.4, 0.7), covariance)
    np.testing.assert_allclose(heat, density.pdf(where) / density.pdf((0.4, 0.7)), rtol=1e-5)


def test_sigma_is_a_round_covariance():
    round_one = Saliency(covariance=((0.09, 0), (0, 0.09))).heat_map((7, 5))
    torch.testing.assert_close(Saliency(sigma=0.3).heat_map((7, 5)), round_one)


def test_the_centre_is_salient_at_any_size():
    for size in ((1, 1), (64, 64), (1000, 30)):
        heat = Saliency().heat_map(size)
        assert tuple(heat.shape) == size
        assert float(heat.max()) == pytest.approx(1, abs=0.01)
        assert float(heat[size[0] // 2, size[1] // 2]) == pytest.approx(float(heat.max()))


smooth = np.outer(np.linspace(0, 1, 12), np.linspace(1, 0.2, 20))


def test_a_map_is_resized_as_pillow_does(tmp_path):
    np.save(tmp_path / "map.npy", smooth)
    rule = Saliency(map=tmp_path / "map.npy")
    for size in ((12, 20), (24, 40), (30, 25), (6, 7)):
        picture = Image.fromarray(smooth.astype(np.float32))
        reference = np.array(picture.resize(size[::-1], Image.Resampling.BILINEAR))
        np.testing.assert_allclose(rule.heat_map(size).numpy(), reference, atol=1e-5)


def test_a_map_in_every_form_gives_the_same(tmp_path):
    grey = np.round(smooth * 255).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "map.png")
    np.save(tmp_path / "map.npy", grey)
    np.savez(tmp_path / "map.npz", anything=(grey / 255).astype(np.float64))
    clusters = cluster_map((smooth > 0.3).astype(int), 2)
    rules = [Saliency(map=tmp_path / name) for name in ("map.png", "map.npy", "map.npz")]
    rules += [Saliency.from_array(grey), Saliency.from_array(torch.from_numpy(grey / 255))]
    scores = [select(rule, clusters).scores for rule in rules]
    for other in scores[1:]:
        torch.testing.assert_close(scores[0], other)


def test_an_array_is_recorded_by_its_digest():
    rule = Saliency.from_array(smooth, theta_saliency=0.6)
    again = Saliency.from_array(smooth.copy())
    assert rule.params.theta_saliency == 0.6
    assert rule.params.array_sha256 == again.params.array_sha256
    assert rule.params.array_sha256 != Saliency.from_array(smooth / 2).params.array_sha256
    rebuilt = Saliency(**rule.params.model_dump())
    with pytest.raises(InputError, match="from_array"):
        rebuilt.heat_map((4, 4))


def test_an_array_changed_afterwards_does_not_change_the_rule():
    array = smooth.astype(np.float32)
    rule = Saliency.from_array(array)
    before = rule.heat_map(array.shape).clone()
    array[:] = 0
    assert torch.equal(rule.heat_map(array.shape), before)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((4, 4), np.nan), "finite"),
        (np.full((4, 4), 1.5), r"0\.\.1.*scale"),
        (np.full((4, 4), -0.1), r"0\.\.1"),
        (np.zeros((4, 4, 3)), r"\(H, W\).*\(4, 4, 3\)"),
        (np.zeros((0, 4)), r"\(H, W\)"),
        (np.zeros((4, 4), np.int64), "int64"),
        (np.zeros((4, 4), complex), "complex"),
    ],
)
def test_maps_that_are_not_maps(tmp_path, array, message):
    with pytest.raises(InputError, match=message):
        Saliency.from_array(array)
    np.save(tmp_path / "map.npy", array)
    with pytest.raises(InputError, match=message):
        Saliency(map=tmp_path / "map.npy").heat_map((4, 4))


def test_map_files_that_cannot_be_used(tmp_path):
    def complaint(name):
        with pytest.raises(InputError) as error:
            Saliency(map=tmp_path / name).heat_map((4, 4))
        return str(error.value)

    assert "no such file" in complaint("missing.npy")
    assert "no such file" in complaint("missing.png")
    (tmp_path / "text.npy").write_text("not numbers")
    assert "save it again" in complaint("text.npy")
    (tmp_path / "text.npz").write_bytes(b"PK\x03\x04 not a zip")
    assert "save it again" in complaint("text.npz")
    np.savez(tmp_path / "two.npz", a=smooth, b=smooth)
    assert "got a, b" in complaint("two.npz")
    colours = np.random.default_rng(0).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "colour.png")
    assert "greyscale" in complaint("colour.png")
    np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
    assert "numbers" in complaint("object.npy")


@pytest.mark.parametrize(
    "params",
    [
        {"mean": (0.5, 1.2)},
        {"mean": (0.5,)},
        {"sigma": 0},
        {"covariance": ((1, 2), (2, 1))},
        {"covariance": ((1, 0.1), (0.2, 1))},
        {"theta_saliency": 1.5},
    ],
)
def test_saliency_parameters(params):
    with pytest.raises(ParamsError):
        Saliency(**params)


def test_no_cluster_or_all_clusters_salient_is_reported():
    clusters = cluster_map(disc(), 2)
    none = select(Saliency(theta_saliency=1), clusters)
    every = select(Saliency(theta_saliency=0), clusters)
    assert not none.found
    assert "no cluster" in none.reason
    assert not every.found
    assert "every pixel" in every.reason


# --- box -------------------------------------------------------------------------------------

PICTURE = torch.zeros((3, 40, 60), dtype=torch.uint8)


class Left(ForegroundRule):
    """Chooses the cluster of the top-left pixel."""

    def select(self, clusters, image, ctx=None):
        chosen = torch.arange(clusters.k) == clusters.labels[0, 0]
        return Foreground.from_clusters(clusters, chosen, chosen.float(), "left")


class Halves(Detector):
    """Two boxes, whatever the image."""

    def detect(self, image, ctx=None):
        self.stage = ctx.stage
        width = image.shape[2]
        return [Detection(Box(0, 0, 30, 40)), Detection(Box(30, 0, width, 40), "right", 0.5)]


@pytest.fixture
def registered(monkeypatch):
    """Names that Spec.create resolves without the registry."""
    made = {"left": Left(), "halves": Halves()}
    made["halves"].id = "test/halves"
    kinds = {"left": "foreground", "halves": "detector"}

    def create(self, kind):
        assert kinds[self.use] == kind
        return made[self.use]

    monkeypatch.setattr(Spec, "create", create)
    return made


def test_boxes_as_numbers():
    rule = BoxRule(boxes=[(1, 2, 30, 40), (0.4, 0.6, 59.7, 39.5)])
    assert isinstance(rule, SupportsRegions)
    assert rule.regions(PICTURE) == [Box(1, 2, 30, 40), Box(0, 1, 60, 40)]


FILES = {
    "list.json": json.dumps([[1, 2, 30, 40], [0, 0, 5.2, 6]]),
    "objects.json": json.dumps(
        [
            {"x0": 1, "y0": 2, "x1": 30, "y1": 40, "label": "cat", "score": 0.5},
            {"x0": 0, "y0": 0, "x1": 5, "y1": 6},
        ]
    ),
    "results.json": json.dumps(
        [
            {"image_id": 7, "bbox": [1, 2, 29, 38], "score": 0.9},
            {"image_id": 7, "bbox": [0, 0, 5, 6], "score": 0.8},
        ]
    ),
    "coco.json": json.dumps(
        {"images": [{"id": 1}], "annotations": [{"bbox": [1, 2, 29, 38]}, {"bbox": [0, 0, 5, 6]}]}
    ),
    "plain.csv": "x0,y0,x1,y1\n1,2,30,40\n0,0,5,6\n",
    "more.csv": "\ufefflabel, x0, y0, x1, y1, score\ncat, 1, 2, 30, 40, .9\ndog, 0, 0, 5, 6, .8\n",
}


@pytest.mark.parametrize("name", FILES)
def test_boxes_from_a_file(tmp_path, name):
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    assert BoxRule(file=tmp_path / name).regions(PICTURE) == [Box(1, 2, 30, 40), Box(0, 0, 5, 6)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "[[1, 2, 3]]", "3 numbers, not 4"),
        ("a.json", "[[1, 2, 3, null]]", "list of x0, y0, x1, y1"),
        ("a.json", "{", "list of x0, y0, x1, y1"),
        ("a.json", "7", "list of x0"),
        ("a.json", "[]", "at least one box"),
        ("a.json", '[{"bbox": [0, 0, 1, 1], "image_id": 1}, {"image_id": 2}]', "2 images"),
        ("a.json", '[{"x0": 1}]', "y0"),
        ("a.json", "[[0, 0, 1e400, 5]]", "box 0.*finite"),
        ("a.json", "[[0, 0, 4, 4], [0, 0, 99, 4]]", "box 1 in .*<= 60.*99"),
        ("a.csv", "a,b\n1,2\n", "x0"),
        ("a.csv", "x0,y0,x1,y1\n1,2\n", "list of x0"),
        ("a.csv", "", "at least one box"),
        ("a.txt", "1 2 3 4", r"\.json or \.csv"),
    ],
)
def test_files_that_hold_no_boxes(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        BoxRule(file=tmp_path / name).regions(PICTURE)


def test_a_file_of_boxes_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        BoxRule(file=tmp_path / "none.json").regions(PICTURE)


@pytest.mark.parametrize(
    "box",
    [(-1, 0, 5, 5), (0, 0, 61, 5), (0, 0, 5, 41), (5, 0, 5, 5), (9, 0, 3, 5), (0, 3.1, 5, 3.2)],
)
def test_boxes_outside_the_image_or_without_pixels(box):
    numbers = ", ".join(f"{number:g}" for number in box)
    with pytest.raises(InputError, match=rf"box 1: expected 0 <= x0 .*got \({numbers}\)"):
        BoxRule(boxes=[(0, 0, 5, 5), box]).regions(PICTURE)


@pytest.mark.parametrize(
    "params", [{}, {"boxes": []}, {"boxes": [(0, 0, 1, 1)], "file": "a.json"}, {"boxes": [(1, 2)]}]
)
def test_exactly_one_origin_of_boxes(params):
    with pytest.raises(ParamsError):
        BoxRule(**params)


def test_boxes_from_a_detector(registered):
    rule = BoxRule(detector="halves")
    assert rule.regions(PICTURE) == [Box(0, 0, 30, 40), Box(30, 0, 60, 40)]
    assert registered["halves"].stage == "detector:test/halves"
    with pytest.raises(InputError, match="inside the image"):
        rule.regions(torch.zeros((3, 20, 60), dtype=torch.uint8))


def test_the_inner_rule_judges(registered):
    clusters = cluster_map(disc(), 2)
    found = select(BoxRule(boxes=[(0, 0, 9, 9)], rule="left"), clusters)
    assert found.reason == "left"
    assert (found.mask.numpy() == ~disc().astype(bool)).all()


def test_parameters_survive_the_way_through_json(tmp_path):
    rules = [
        BoxRule(boxes=[(0, 0, 5, 5)], rule=("saliency", {"sigma": 0.2})),
        BoxRule(file=tmp_path / "a.json"),
        BoxRule(detector={"use": "halves", "n": 3}),
        Corner(corners=["top-left"]),
        Saliency(map=tmp_path / "a.png", covariance=((1, 0), (0, 1))),
    ]
    for rule in rules:
        data = json.loads(rule.params.model_dump_json())
        assert type(rule)(**data).params == rule.params
