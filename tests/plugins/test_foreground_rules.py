"""The rules beyond the paper (border, vote, parts) and the confidence of all, against loops."""

from __future__ import annotations

import json
from math import exp, inf, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import covary
from covary import (
    ClusterMap,
    Foreground,
    ForegroundRule,
    InputError,
    ParamsError,
    Spec,
    SupportsParts,
)
from covary.testing import worlds
from covary_plugins.foreground._confidence import confidence, probability
from covary_plugins.foreground.border import Border
from covary_plugins.foreground.corner import Corner
from covary_plugins.foreground.parts import Part, Parts
from covary_plugins.foreground.saliency import Saliency
from covary_plugins.foreground.vote import Vote

several = settings(max_examples=40, deadline=None)
label_maps = arrays(
    np.int64, st.tuples(st.integers(2, 9), st.integers(2, 9)), elements=st.integers(0, 3)
)
SIDES = ("top", "left", "right", "bottom")


def cluster_map(labels, k=4):
    labels = torch.as_tensor(np.asarray(labels))
    return ClusterMap.from_labels(
        labels, torch.zeros(k, 3), size=tuple(labels.shape), inertia=0, iterations=1
    )


def select(rule, clusters):
    return rule.select(clusters, torch.zeros((3, *clusters.size), dtype=torch.uint8))


def portrait(side=32):
    """0 background, 1 a head, 2 shoulders that stand on the lower side."""
    y, x = np.mgrid[:side, :side] / side
    labels = ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.05).astype(int)
    labels[(y >= 0.75) & (abs(x - 0.5) < 0.42)] = 2
    return labels


# --- confidence ------------------------------------------------------------------------------


@given(e=st.floats(0, 1), t=st.floats(0.001, 0.999), limit=st.sampled_from([1.0, 4.0, inf]))
def test_a_probability_by_odds(e, t, limit):
    scale = 1 if limit == inf else limit
    e, t = e * scale, t * scale
    odds = [value if limit == inf else value / (limit - value) if value < limit else inf
            for value in (e, t)]  # fmt: skip
    expected = 1.0 if odds[0] == inf else odds[0] / (odds[0] + odds[1])
    found = float(probability(torch.tensor([e], dtype=torch.float64), t, limit))
    assert found == pytest.approx(expected, abs=1e-9)


def test_half_at_the_threshold_and_where_nothing_is_known():
    e = torch.tensor([0.0, 0.3, 1.0])
    assert probability(e, 0.3, limit=1).tolist() == pytest.approx([0, 0.5, 1], abs=1e-6)
    assert probability(e, 1.0, limit=1)[2] == 0.5
    assert probability(e, 0.0, limit=1)[0] == 0.5
    assert probability(e, 0.0)[0] == 0.5
    clusters = cluster_map([[0, 0, 1]], k=3)
    chosen = torch.tensor([True, False, False])
    sure = confidence(clusters, chosen, torch.tensor([0.9, 0.2, 0.0], dtype=torch.float64))
    assert sure.dtype == torch.float32
    assert sure.tolist() == pytest.approx([0.9, 0.8, 0.5])


RULES = {
    "border": Border(),
    "upper border": Border(sides="upper", theta_border=1.3),
    "corner": Corner(),
    "corner of few": Corner(theta_corner=0.01, corners="upper"),
    "saliency": Saliency(),
    "all salient": Saliency(theta_saliency=0),
    "none salient": Saliency(theta_saliency=1),
    "parts": Parts(parts=[Part(name="it", mean=(0.5, 0.5)), Part(name="background", mean=(0, 0))]),
    "no background": Parts(parts=[Part(name="it", mean=(0.5, 0.5), sigma=0.01)], background=[]),
    "vote": Vote(),
}


@pytest.mark.parametrize("name", RULES)
@several
@given(labels=label_maps)
def test_a_verdict_is_never_less_sure_than_its_opposite(name, labels):
    clusters = cluster_map(labels)
    found = select(RULES[name], clusters)
    assert (found.confidence >= 0.5).all()
    assert (found.confidence <= 1).all()
    assert (found.confidence[clusters.counts == 0] == 0.5).all()


def test_confidence_falls_towards_the_threshold():
    """A cluster that moves into a corner: sure, less sure, the other verdict, surer again."""
    held = []
    for columns in (0, 1, 2, 6, 8):
        labels = np.zeros((16, 16), int)
        labels[4:12, 4:12] = 1
        labels[:1, :columns] = 1
        found = select(Corner(b=8, theta_corner=1 / 16), cluster_map(labels, 2))
        held.append((bool(found.clusters[1]), float(found.confidence[1])))
    assert [chosen for chosen, _ in held] == [False] * 5  # 16 of its pixels are in the corner
    labels = np.zeros((16, 16), int)
    labels[7:9, 7:9] = 1
    sure = []
    for row in range(4):
        labels[row, :8] = 1
        found = select(Corner(b=8, theta_corner=0.3), cluster_map(labels, 2))
        sure.append((bool(found.clusters[1]), float(found.confidence[1])))
    assert [chosen for chosen, _ in sure] == [True, True, False, False]
    assert sure[0][1] > sure[1][1]
    assert sure[2][1] < sure[3][1]


def test_what_lies_at_the_threshold_could_be_either():
    labels = np.zeros((20, 20), int)
    labels[:5, :5] = 1  # ten on the border, by the root of 25: 2
    clusters = cluster_map(labels, 2)
    assert float(select(Border(theta_border=2), clusters).confidence[1]) == 0.5
    assert not bool(select(Border(theta_border=2), clusters).clusters[1])
    assert float(select(Border(theta_border=6), clusters).confidence[1]) == pytest.approx(0.75)
    assert float(select(Border(theta_border=1), clusters).confidence[1]) == pytest.approx(2 / 3)


# --- border ----------------------------------------------------------------------------------


@several
@given(
    labels=label_maps,
    theta=st.floats(0.05, 5),
    sides=st.lists(st.sampled_from(SIDES), min_size=1, max_size=4),
)
def test_boundary_connectivity_by_brute_force(labels, theta, sides):
    clusters = cluster_map(labels)
    found = select(Border(theta_border=theta, sides=sides), clusters)
    grid = clusters.labels.tolist()
    lines = {
        "top": grid[0],
        "bottom": grid[-1],
        "left": [row[0] for row in grid],
        "right": [row[-1] for row in grid],
    }
    for cluster in range(4):
        area = sum(row.count(cluster) for row in grid)
        length = sum(lines[side].count(cluster) for side in set(sides))
        connectivity = length / sqrt(area) if area else 0
        if abs(connectivity - theta) > 1e-9:
            assert bool(found.clusters[cluster]) == (area > 0 and connectivity < theta)
        score = theta / (theta + connectivity) if area else 0
        assert float(found.scores[cluster]) == pytest.approx(score, abs=1e-6)


def test_a_portrait_stands_on_the_lower_side():
    for side in (16, 32, 128):
        clusters = cluster_map(portrait(side), 3)
        upper = select(Border(sides="upper"), clusters)
        assert (upper.mask.numpy() == (portrait(side) > 0)).all()
        assert (select(Border(), clusters).mask.numpy() == (portrait(side) == 1)).all()
        by_name = select(Border(sides=["right", "top", "left", "top"]), clusters)
        assert torch.equal(by_name.mask, upper.mask)


@several
@given(labels=label_maps, times=st.integers(2, 4))
def test_the_size_of_the_image_does_not_matter(labels, times):
    larger = np.kron(labels, np.ones((times, times), int))
    one, other = select(Border(), cluster_map(labels)), select(Border(), cluster_map(larger))
    torch.testing.assert_close(one.scores, other.scores)


@several
@given(labels=label_maps)
def test_turned_sides_of_a_turned_image(labels):
    """A quarter turn of the image turns left to bottom, bottom to right, ..."""
    turned = dict(zip(("left", "bottom", "right", "top"), ("bottom", "right", "top", "left"),
                      strict=True))  # fmt: skip
    for side, new in turned.items():
        one = select(Border(sides=[side]), cluster_map(labels))
        other = select(Border(sides=[new]), cluster_map(np.rot90(labels).copy()))
        # Canonical ids may change where sizes are equal; the mask may not.
        assert one.found == other.found
        assert torch.equal(torch.rot90(one.mask), other.mask)


def test_a_background_in_pieces_is_background():
    """Cut into bands, as more clusters than colours cut a gradient: corner loses the middle."""
    labels = portrait(48) + 5
    labels[labels == 5] = (np.mgrid[:48, :48][0] // 10)[labels == 5]
    clusters = cluster_map(labels, 8)
    truth = torch.from_numpy(portrait(48) > 0)
    assert torch.equal(select(Border(sides="upper"), clusters).mask, truth)
    assert not torch.equal(select(Corner(corners="upper"), clusters).mask, truth)


@pytest.mark.parametrize(
    "params", [{"theta_border": 0}, {"sides": "lower"}, {"sides": []}, {"theta": 1}]
)
def test_border_parameters(params):
    with pytest.raises(ParamsError):
        Border(**params)


# --- vote ------------------------------------------------------------------------------------


class Says(ForegroundRule):
    """A verdict and a confidence that are given."""

    class Params(covary.Params):
        chosen: tuple[bool, ...]
        sure: tuple[float, ...]

    def select(self, clusters, image, ctx=None):
        chosen, sure = torch.tensor(self.params.chosen), torch.tensor(self.params.sure)
        return Foreground.from_clusters(clusters, chosen, sure, "as told", sure)


@pytest.fixture
def says(monkeypatch):
    """A vote of rules that say what they are told, (chosen, sure) each."""

    def create(self, kind):
        assert kind == "foreground"
        return Says(**self.params)

    monkeypatch.setattr(Spec, "create", create)

    def vote(*opinions, weights=None):
        rules = [("says", {"chosen": chosen, "sure": sure}) for chosen, sure in opinions]
        return Vote(rules=rules, weights=weights)

    return vote


opinion = st.tuples(
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.lists(st.floats(0.5, 1, width=32), min_size=4, max_size=4),
)
FOUR = [[0, 1], [2, 3]]


def test_votes_by_hand(says):
    clusters = cluster_map(FOUR)
    found = select(
        says(([1, 1, 0, 0], [0.9, 0.6, 0.9, 0.9]), ([1, 0, 1, 0], [0.6, 0.9, 0.8, 1.0])), clusters
    )
    assert found.scores.tolist() == pytest.approx([0.75, 0.35, 0.45, 0.05], abs=1e-6)
    assert found.clusters.tolist() == [True, False, False, False]
    assert found.confidence.tolist() == pytest.approx([0.75, 0.65, 0.55, 0.95], abs=1e-6)


@several
@given(
    opinions=st.lists(opinion, min_size=1, max_size=4),
    data=st.data(),
    scale=st.sampled_from([0.5, 3.0]),
)
def test_votes_by_brute_force(opinions, data, scale):
    weights = data.draw(st.lists(st.integers(1, 4), min_size=len(opinions),
                                 max_size=len(opinions)))  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Spec, "create", lambda self, kind: Says(**self.params))
        rules = [("says", {"chosen": chosen, "sure": sure}) for chosen, sure in opinions]
        clusters = cluster_map(FOUR)
        found = select(Vote(rules=rules, weights=weights), clusters)
        scaled = select(Vote(rules=rules, weights=[w * scale for w in weights]), clusters)
        order = data.draw(st.permutations(range(len(rules))))
        shuffled = select(
            Vote(rules=[rules[i] for i in order], weights=[weights[i] for i in order]), clusters
        )
    voting = [(o, w) for o, w in zip(opinions, weights, strict=True) if 0 < sum(o[0]) < 4]
    for cluster in range(4):
        if not voting:
            assert not found.found
            assert found.scores.tolist() == [0] * 4
            continue
        believed = sum(
            w * (sure[cluster] if chosen[cluster] else 1 - sure[cluster])
            for (chosen, sure), w in voting
        ) / sum(w for _, w in voting)
        assert float(found.scores[cluster]) == pytest.approx(believed, abs=1e-6)
        if abs(believed - 0.5) > 1e-6:
            assert bool(found.clusters[cluster]) == (believed > 0.5)
            assert scaled.clusters[cluster] == found.clusters[cluster]
            assert shuffled.clusters[cluster] == found.clusters[cluster]


@several
@given(labels=label_maps)
def test_one_rule_alone_is_itself(labels):
    clusters = cluster_map(labels)
    alone, vote = select(Border(), clusters), select(Vote(rules=["border"]), clusters)
    assert alone.found == vote.found
    assert torch.equal(alone.mask, vote.mask)
    if alone.found:
        torch.testing.assert_close(alone.confidence, vote.confidence)


@several
@given(labels=label_maps, repeats=st.integers(2, 3))
def test_rules_that_agree_keep_their_verdict(labels, repeats):
    clusters = cluster_map(labels)
    one = select(Saliency(), clusters)
    more = select(Vote(rules=["saliency"] * repeats), clusters)
    assert torch.equal(one.mask, more.mask)


def test_an_abstention_changes_nothing(says):
    clusters = cluster_map(FOUR)
    sure = ([1, 0, 0, 1], [0.8, 0.7, 0.6, 0.9])
    nothing, everything = ([0] * 4, [1.0] * 4), ([1] * 4, [1.0] * 4)
    alone = select(says(sure), clusters)
    with_them = select(says(nothing, sure, everything, weights=[9, 1, 9]), clusters)
    assert torch.equal(alone.mask, with_them.mask)
    assert torch.equal(alone.confidence, with_them.confidence)
    assert with_them.reason.count("abstains") == 2
    none = select(says(nothing, everything), clusters)
    assert not none.found
    assert "no cluster qualifies" in none.reason


def test_at_one_half_the_weights_decide(says):
    clusters = cluster_map(FOUR)
    toss_up = [0.5] * 4
    votes = (([1, 1, 0, 0], toss_up), ([1, 0, 1, 0], toss_up))
    assert select(says(*votes), clusters).clusters.tolist() == [True, False, False, False]
    heavier = select(says(*votes, weights=[1, 2]), clusters)
    assert heavier.clusters.tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    "params",
    [
        {"rules": []},
        {"weights": [1]},
        {"rules": ["border"], "weights": [0]},
        {"rules": ["border"], "weights": [inf]},
        {"rules": ["import.path:Rule"]},
    ],
)
def test_vote_parameters(params):
    with pytest.raises(ParamsError):
        Vote(**params)


def test_a_rule_with_boxes_of_its_own_has_no_vote():
    rule = Vote(rules=["border", ("box", {"boxes": [(0, 0, 2, 2)]})])
    with pytest.raises(InputError, match=r"'box'.*boxes of its own.*box with rule = vote"):
        select(rule, cluster_map(FOUR))


# --- parts -----------------------------------------------------------------------------------

FACE = (
    Part(name="head", mean=(0.5, 0.4), sigma=(0.15, 0.15)),
    Part(name="shoulders", mean=(0.5, 0.9), sigma=(0.4, 0.1)),
    Part(name="wall", mean=(0.1, 0.3), sigma=(0.2, 0.3)),
    Part(name="wall", mean=(0.9, 0.3), sigma=(0.2, 0.3), weight=0.9),
)


def test_names_of_a_portrait_at_any_size_and_for_any_ids():
    rule = Parts(parts=FACE, background=["wall"])
    assert isinstance(rule, SupportsParts)
    assert rule.part_names() == ("head", "shoulders", "wall")
    for side in (16, 33, 100):
        labels = portrait(side)
        for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
            clusters = cluster_map(np.array(order)[labels], 3)
            found = select(rule, clusters)
            for truth, name in enumerate(("wall", "head", "shoulders")):
                here = {found.names[i] for i in clusters.labels[labels == truth].tolist()}
                assert here == {name}
            assert (found.mask.numpy() == (labels > 0)).all()


def brute_force_map(parts, name, size):
    height, width = size
    values = np.zeros(size)
    for y in range(height):
        for x in range(width):
            px, py = (x + 0.5) / width, (y + 0.5) / height
            for part in parts:
                if part.name == name:
                    (mx, my), ((xx, xy), (_, yy)) = part.moments()
                    inverse = np.linalg.inv([[xx, xy], [xy, yy]])
                    d = np.array([px - mx, py - my])
                    value = part.weight * exp(-float(d @ inverse @ d) / 2)
                    values[y, x] = max(values[y, x], value)
    return values


@settings(max_examples=15, deadline=None)
@given(labels=label_maps)
def test_overlaps_and_names_by_brute_force(labels):
    tilted = Part(name="tilted", mean=(0.3, 0.6), covariance=((0.05, 0.02), (0.02, 0.04)))
    parts = (*FACE, tilted)
    rule = Parts(parts=parts, background=["wall", "shoulders"])
    clusters = cluster_map(labels)
    found, names = select(rule, clusters), rule.part_names()
    assert names == ("head", "tilted", "shoulders", "wall")
    maps = {name: brute_force_map(parts, name, clusters.size) for name in names}
    for cluster in range(4):
        own = clusters.labels.numpy() == cluster
        dice = {
            name: 2 * float(m[own].sum()) / (own.sum() + float((m**2).sum()))
            for name, m in maps.items()
        }
        for i, name in enumerate(names):
            assert float(rule.overlaps(clusters)[cluster, i]) == pytest.approx(dice[name], abs=1e-5)
        if not own.any():
            assert found.names[cluster] == ""
            assert not found.clusters[cluster]
            continue
        content, rest = max(dice["head"], dice["tilted"]), max(dice["shoulders"], dice["wall"])
        assert float(found.scores[cluster]) == pytest.approx(content / (content + rest), abs=1e-4)
        if abs(content - rest) > 1e-5:
            assert bool(found.clusters[cluster]) == (content > rest)
            best = max(dice.values())
            assert dice[found.names[cluster]] == pytest.approx(best, abs=1e-5)


def test_size_counts_as_well_as_place():
    """A mouth-sized cluster in the middle of a face is the mouth, the face around it is not."""
    y, x = np.mgrid[:64, :64] / 64
    labels = ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.09).astype(int)
    labels[30:34, 27:37] = 2
    parts = [
        Part(name="face", mean=(0.5, 0.5), sigma=0.2),
        Part(name="mouth", mean=(0.5, 0.5), sigma=(0.06, 0.03), weight=0.5),
        Part(name="background", mean=(0.5, 0), sigma=(0.5, 0.1)),
    ]
    found = select(Parts(parts=parts), clusters := cluster_map(labels, 3))
    assert found.names[int(clusters.labels[32, 32])] == "mouth"
    assert found.names[int(clusters.labels[25, 32])] == "face"


def test_what_lies_nowhere_near_has_no_name():
    labels = np.zeros((40, 40), int)
    labels[-1, -1] = 1
    rule = Parts(parts=[Part(name="dot", mean=(0, 0), sigma=0.01)], background=[])
    found = select(rule, clusters := cluster_map(labels, 2))
    assert found.names[int(clusters.labels[-1, -1])] == ""
    assert not found.clusters[int(clusters.labels[-1, -1])]
    assert float(found.confidence[int(clusters.labels[-1, -1])]) == 0.5


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"parts": []},
        {"parts": [{"name": "", "mean": (0.5, 0.5)}], "background": []},
        {"parts": [{"name": "it", "mean": (0.5, 1.5)}], "background": []},
        {"parts": [{"name": "it", "mean": (0.5, 0.5), "sigma": 0}], "background": []},
        {"parts": [{"name": "it", "mean": (0.5, 0.5), "weight": 1.1}], "background": []},
        {"parts": [{"name": "it", "mean": (0, 0), "covariance": ((1, 2), (2, 1))}],
         "background": []},
        {"parts": [{"name": "it", "mean": (0.5, 0.5)}]},
        {"parts": [{"name": "it", "mean": (0.5, 0.5)}], "background": ["it"]},
    ],
)  # fmt: skip
def test_parts_parameters(params):
    with pytest.raises(ParamsError):
        Parts(**params)


def test_parameters_survive_the_way_through_json():
    rules = [
        Border(sides=["top"], theta_border=1.5),
        Vote(rules=["border", ("corner", {"corners": "upper"})], weights=[1, 0.5]),
        Parts(parts=FACE, background=["wall"]),
    ]
    for rule in rules:
        data = json.loads(rule.params.model_dump_json())
        assert type(rule)(**data).params == rule.params


# --- presets ---------------------------------------------------------------------------------


def preset_rule(name):
    return covary.Pipeline.preset(name).foreground


def test_the_presets_of_avatars_have_the_same_maps():
    assert preset_rule("worlds-parts").params == preset_rule("avatars-parts").params


def test_names_are_the_same_from_image_to_image():
    """Exact parts as clusters: a mouth is called a mouth whatever the avatar."""
    rule, world = preset_rule("worlds-parts"), worlds.get("avatars")
    wanted = {"hair": "hair", "head": "skin", "clothes": "clothes", "mouth": "mouth",
              "background": "background", "stripes": "background"}  # fmt: skip
    right = total = 0
    for seed in range(20):
        labels = world.scene(seed, (96, 96)).truth.labels[0]
        clusters = cluster_map(labels, len(world.parts))
        found = select(rule, clusters)
        for part, name in wanted.items():
            own = labels == world.parts.index(part)
            if bool(own.any()):
                total += 1
                right += found.names[int(clusters.labels[own][0])] == name
    assert right >= 0.95 * total


def test_ffhqs_eyes_and_mouth_are_where_its_alignment_puts_them():
    """A face whose proportions satisfy both of the crop's rules, 2 |eyes| = 1.8 |eyes to mouth|."""
    from covary_plugins.photos import _ffhq

    apart = 100.0
    down = 2 * apart / 1.8
    eyes = [(300.0, 200.0), (300.0 + apart, 200.0)]
    mouth = (300.0 + apart / 2, 200.0 + down)
    points = torch.tensor(
        [*eyes, (350.0, 260.0), (mouth[0] - 25, mouth[1]), (mouth[0] + 25, mouth[1])],
        dtype=torch.float64,
    )
    matrix = _ffhq.ffhq_matrix(points, (1024, 1024)).numpy()
    full = np.vstack([matrix, [0, 0, 1]])
    there = [np.linalg.inv(full) @ [x + 0.5, y + 0.5, 1] / 1024 for x, y in (*eyes, mouth)]
    parts = {}
    for part in preset_rule("ffhq-parts").params.parts:
        parts.setdefault(part.name, []).append(part.mean)
    found = [*sorted(parts["eyes"]), *parts["mouth"]]
    for expected, mean in zip(there, found, strict=True):
        np.testing.assert_allclose(mean, expected[:2], atol=0.002)
