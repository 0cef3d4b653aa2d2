"""The benchmark of data sets: what its rows say, and that the page is made from them."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

import covary
from covary_bench import generation

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pipe() -> covary.Pipeline:
    source = ("worlds", {"resolution": 16, "n": 3})
    return covary.Pipeline(source, "rgb", ("lloyd", {"k": 3}), "border", device="cpu")


def test_cost() -> None:
    # An hour at one pair a second makes 3,600 pairs.
    assert generation.cost(1.0, 0.36) == pytest.approx(1.0)
    assert generation.cost(2.0, 0.36) == pytest.approx(0.5)


def test_queries_together(pipe: covary.Pipeline) -> None:
    one, three = generation.together(pipe, range(1000, 1004), [1, 3], 2, price=1.0)
    assert (one["together"], three["together"]) == (1, 3)
    assert one["pairs_per_second"]["runs"] == 2
    assert one["images_per_second"] == pytest.approx(4 * one["pairs_per_second"]["median"])
    assert one["planned_bytes"] == pipe.plan().peak_bytes


def test_whole_runs_and_their_stages(pipe: covary.Pipeline) -> None:
    (row,) = generation.runs(
        pipe, range(1000, 1012), [1], ["local"], together=1, shard_size=4, price=1.0
    )
    assert (row["on"], row["workers"], row["seeds"]) == ("local", 1, 12)
    assert row["efficiency"] == 1
    assert 0 < row["start_up_seconds"] < row["seconds"]
    assert row["pairs_per_second"] * (row["seconds"] - row["start_up_seconds"]) == pytest.approx(12)
    assert row["cost_per_10000"] == generation.cost(row["pairs_per_second"], 1.0)
    assert row["bytes_per_pair"] > 100
    found = generation.stages(pipe, range(1000, 1004), 1.0)
    assert {"source", "features", "clusterer", "foreground", "soft", "files"} <= set(found)
    assert sum(found.values()) == pytest.approx(1000)


def test_the_page_is_made_from_the_committed_results() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))["MADE"]["cluster"]()
    page = ROOT / "docs" / "how-to" / "cluster.md"
    assert page.read_text(encoding="utf-8") == made, "run: python docs/make_tables.py"


def test_the_committed_results_are_of_seeds_that_chose_nothing() -> None:
    path = ROOT / "benchmarks" / "results" / "generation.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    assert "--first-seed" not in data["command"]
    assert {row["on"] for row in data["runs"]} == {"local", "ray"}
    assert [row["together"] for row in data["together"]] == [1, 2, 4, 8, 16]
