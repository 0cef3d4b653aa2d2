"""Objects of rendered rooms: what is measured is what the preset does."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import covary
from covary.recipe import Spec
from covary.testing import worlds
from covary_bench import rooms

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "rooms.json"
SIDE, VARIANTS, SEED = 64, 8, 3
LABELS = tuple(worlds.get("rooms").objects)


@pytest.fixture(scope="module")
def room() -> rooms.Room:
    return rooms.Room.of(SEED, SIDE, VARIANTS, ("lab", "rgb"))


def test_boxes_hold_the_masks_and_nothing_to_spare(room: rooms.Room) -> None:
    for label, box in room.boxes.items():
        ys, xs = room.masks[label].nonzero(as_tuple=True)
        assert box.corners == (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)


def test_no_pixel_belongs_to_two_objects(room: rooms.Room) -> None:
    assert int(torch.stack(list(room.masks.values())).sum(dim=0).max()) == 1


@pytest.mark.parametrize("label", LABELS)
def test_the_presets_row_is_the_presets_mask(label: str, room: rooms.Room) -> None:
    """The benchmark crops, clusters and judges on its own; the pipeline must come to the same."""
    source = ("worlds", {"world": "rooms", "resolution": SIDE, "n": VARIANTS})
    found = covary.Pipeline.preset("rooms", device="cpu").replace(source=source)(seed=SEED)
    region = next(one for one in found.regions if one.label == label)
    whole = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    whole[region.box.slices] = region.mask
    tight = room.boxes[label].slices
    expected = rooms.score(whole[tight], room.masks[label][tight], region.found)
    assert room.judge(label, rooms.of_preset(label))[0] == expected


def test_one_cluster_more_is_the_only_change() -> None:
    first = rooms.of_preset("sofa")
    more = first.with_k(9)
    assert more.k == 9
    assert {**more.clusterer.params, "k": first.k} == first.clusterer.params
    assert replace(more, what=first.what, clusterer=first.clusterer) == first


@pytest.mark.parametrize("label", LABELS)
def test_settings_are_different(label: str) -> None:
    some = rooms.settings(label)
    assert some[0] == rooms.of_preset(label)
    assert len({one.what for one in some}) == len(some)
    rows = [{**one.row(), "setting": ""} for one in some]
    assert all(row not in rows[:i] for i, row in enumerate(rows))


def test_a_mask_without_found_counts_as_empty(room: rooms.Room) -> None:
    nothing = replace(
        rooms.of_preset("sofa"), foreground=Spec.parse(("saliency", {"theta_saliency": 1.0}))
    )
    found, best = room.judge("sofa", nothing)
    assert (found.found, found.foreground) == (False, 0.0)
    assert best.foreground > 0.5


def test_instances_are_scored_over_the_whole_image() -> None:
    pipe = rooms.pipelines(SIDE, VARIANTS)[rooms.PRESET]
    figures = dict(rooms.instances(pipe, SEED, SIDE))
    assert set(figures) == set(LABELS)
    seg = pipe(seed=SEED)
    masks, _ = rooms.exact(SEED, SIDE)
    for number, region in enumerate(seg.regions, start=1):
        mask, truth = seg.instances == number, masks[region.label]
        both, either = int((mask & truth).sum()), int((mask | truth).sum())
        assert figures[region.label]["resolved"] == pytest.approx(both / either)


def test_a_run_has_a_row_for_everything() -> None:
    rows, whole = rooms.evaluate([SEED], 32, 4)
    wanted = {(label, one.what) for label in LABELS for one in rooms.settings(label)}
    assert {(row["object"], row["setting"]) for row in rows} == wanted
    everyone = {(label, what) for label in LABELS for what in rooms.pipelines(32, 4)}
    assert {(row["object"], row["setting"]) for row in whole} == everyone
    assert all(row["seeds"] == 1 for row in (*rows, *whole))


def test_the_committed_figures_are_the_presets_and_reach_the_goal() -> None:
    data = json.loads(RESULT.read_text(encoding="utf-8"))
    preset = {row["object"]: row for row in data["settings"] if row["setting"] == rooms.PRESET}
    for label, row in preset.items():
        made = rooms.of_preset(label).row()
        assert {key: row[key] for key in made} == made
        assert row["seeds"] == 200
    assert preset["sofa"]["miou"] >= 0.93
    assert preset["coffee table"]["miou"] >= 0.80


def test_the_page_is_made_from_the_committed_figures() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))["MADE"]["objects"]()
    page = ROOT / "docs" / "explanation" / "objects.md"
    assert page.read_text(encoding="utf-8") == made, "run: python docs/make_tables.py"
