"""The benchmarks of parts and of the choice of k: their arithmetic, and what the results claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import covary
from covary.testing import worlds
from covary_bench import auto, parts, quality

ROOT = Path(__file__).parents[2]
NAMES = list(parts.PARTS)


def committed(name: str) -> dict[str, Any]:
    text = (ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


# --- arithmetic ------------------------------------------------------------------------------


def test_every_part_of_the_world_has_one_name() -> None:
    given = [part for members in parts.PARTS.values() for part in members]
    assert sorted(given) == sorted(worlds.get("avatars").parts)


def test_exact_parts_by_a_loop() -> None:
    world = worlds.get("avatars")
    found, labels = parts.exact(5, 32), world.scene(5, (32, 32)).truth.labels[0]
    for y in range(32):
        for x in range(32):
            assert world.parts[int(labels[y, x])] in parts.PARTS[NAMES[int(found[y, x])]]


def test_names_ious_and_the_majority_by_hand() -> None:
    labels = torch.tensor([[0, 0, 0], [1, 1, 2]])
    clusters = covary.ClusterMap.from_labels(
        labels, torch.zeros(3, 1), size=(2, 3), inertia=0, iterations=1
    )
    chosen = torch.tensor([True, False, False])
    found = covary.Foreground.from_clusters(
        clusters, chosen, torch.zeros(3), "", names=("hair", "", "beard")
    )
    index = parts.named(clusters, found, ["skin", "hair"])
    assert index.tolist() == [[1, 1, 1], [-1, -1, -1]]
    truth = torch.tensor([[1, 1, 0], [0, 0, 1]])
    assert parts.ious(index, truth, ["skin", "hair"]) == pytest.approx({"skin": 0, "hair": 2 / 4})
    assert parts.majority(clusters, truth).tolist() == [[1, 1, 1], [0, 0, 1]]


def test_the_summary_of_parts_by_hand() -> None:
    rows = {3: {"a": 1.0, "b": 0.5}, 4: {"a": 0.5, "b": 0.0}}
    found = parts.summarise_parts(rows)
    assert found["mean_iou"] == pytest.approx(0.5)
    assert found["worst"] == {"4": 0.25, "3": 0.75}
    assert (found["parts"]["b"]["iou"], found["parts"]["b"]["missed"]) == (0.25, 1)
    assert found["parts"]["a"]["missed"] == 0


def test_a_few_seeds_of_parts() -> None:
    rows = parts.run(range(2), 48, 8, [6, 8])
    assert [(row["k"], row["names"]) for row in rows] == [
        (k, how) for k in (6, 8) for how in ("parts", "oracle")
    ]
    for row in rows:
        assert row["seeds"] == 2
        assert row["parts"]["background"]["iou"] > 0.9
    # The oracle is right on most pixels of each cluster; not for each part's IoU, but for these.
    assert rows[1]["parts"]["hair"]["iou"] > 0.7


def test_a_few_seeds_of_the_sheet() -> None:
    rows = auto.run(range(2), 64, 8, [4, "auto"])
    assert [row["k"] for row in rows] == [4, "auto"]
    for row in rows:
        assert row["things"]["avatars"]["miou"] > 0.9
        objects = [one["miou"] for name, one in row["things"].items() if name != "avatars"]
        mean = sum(objects) / len(objects)
        assert row["objects"] == pytest.approx(mean)
        assert row["sheet"] == pytest.approx((row["things"]["avatars"]["miou"] + mean) / 2)
    assert rows[0]["things"]["avatars"]["chosen"] == {"4": 2}
    assert all(2 <= int(k) <= 8 for k in rows[1]["things"]["avatars"]["chosen"])


def test_costs_are_ratios_on_the_same_image() -> None:
    rows = {row["k"]: row for row in auto.costs(range(2), 32, 4)}
    assert rows[4]["times_k_4"]["min"] == rows[4]["times_k_4"]["max"] == 1
    assert rows["auto"]["seconds"]["runs"] == 2


def test_a_rule_that_never_finds_anything_has_no_mean_over_what_it_found() -> None:
    none = quality.Score(False, 0.0, 0.8)
    assert quality.summarise([none, none])["miou_found"] is None
    assert quality.number("auto") == "auto"
    assert quality.number("7") == 7


# --- what the committed results claim ----------------------------------------------------------


def by_k(data: dict[str, Any]) -> dict[Any, dict[str, Any]]:
    return {row["k"]: row for row in data["rows"]}


def test_auto_beats_every_fixed_k_on_the_worlds_sheet() -> None:
    rows = by_k(committed("worlds-auto"))
    fixed = {k: row["sheet"] for k, row in rows.items() if k != "auto"}
    assert rows["auto"]["sheet"] > max(fixed.values()) + 0.01
    assert rows["auto"]["things"]["avatars"]["miou"] >= 0.985
    assert all(one["seeds"] >= 190 for one in rows["auto"]["things"].values())


def test_avatars_parts_and_the_generator_reach_what_was_asked() -> None:
    rows = {
        (row["space"], row["k"], row["rule"]): row for row in committed("worlds-avatars")["rows"]
    }
    assert rows["lab", "auto", "border, upper"]["miou"] >= 0.985
    assert rows["lab", 8, "border, upper"]["miou"] > rows["lab", 8, "corner, upper"]["miou"] + 0.1
    named = {(row["k"], row["names"]): row for row in committed("worlds-parts")["rows"]}
    preset = covary.Pipeline.preset("worlds-parts").recipe.clusterer.params["k"]
    assert named[preset, "parts"]["mean_iou"] >= 0.85
    generator = {(r["c"], r["k"], r["rule"]): r for r in committed("avatars-generator")["masks"]}
    assert generator[4, "auto", "border, upper"]["miou"] >= 0.93
    assert generator[4, "auto", "border, upper"]["iou_foreground"] >= 0.93


def test_the_changelog_quotes_the_results() -> None:
    text = " ".join((ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split())
    rows = by_k(committed("worlds-auto"))
    best = max(row["sheet"] for k, row in rows.items() if k != "auto")
    (named,) = (
        row
        for row in committed("worlds-parts")["rows"]
        if (row["k"], row["names"]) == (10, "parts")
    )
    assert f"reaches {best:.3f} at best, `auto` {rows['auto']['sheet']:.3f}" in text
    assert f"a mean IoU of {named['mean_iou']:.3f}" in text
