"""The benchmarks run, and their figures mean what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from covary_bench import quality
from covary_bench.report import spread, write_results

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def test_score_counts_both_classes() -> None:
    truth = torch.tensor([[True, True, False, False]])
    mask = torch.tensor([[True, False, False, False]])
    found = quality.score(mask, truth)
    assert found.foreground == pytest.approx(1 / 2)
    assert found.background == pytest.approx(2 / 3)
    assert found.miou == pytest.approx(7 / 12)


def test_nothing_found_counts_as_an_empty_mask_or_is_left_out() -> None:
    truth = torch.tensor([[True, False]])
    empty = quality.score(torch.zeros_like(truth), truth, found=False)
    perfect = quality.score(truth, truth)
    row = quality.summarise([empty, perfect])
    assert row["found"] == 1
    assert row["miou_found"] == 1
    assert row["miou"] == pytest.approx((0.25 + 1) / 2)


def test_no_rule_beats_the_oracle_by_much() -> None:
    rows = quality.run([1, 2, 3], 32, 12, ["lab"], [4])
    best = {row["rule"]: row["iou_foreground"] for row in rows}
    assert max(best.values()) <= best[quality.ORACLE] + 0.02


def test_spread_orders_its_figures() -> None:
    found = spread([5.0, 1.0, 3.0, 2.0, 4.0])
    assert [found[key] for key in ("min", "q1", "median", "q3", "max")] == [1, 2, 3, 4, 5]
    assert found["runs"] == 5


def test_results_name_the_machine(tmp_path: Path) -> None:
    written = json.loads(write_results("one", {"rows": []}, tmp_path).read_text(encoding="utf-8"))
    assert written["machine"]["torch"]
    assert written["machine"]["cores"]


def test_every_committed_result_says_how_it_was_made() -> None:
    files = sorted(RESULTS.glob("*.json"))
    assert files
    for path in files:
        data = json.loads(path.read_text(encoding="utf-8"))
        assert data["method"], path.name
        assert data["command"].startswith(("python -m covary_bench.", "covary bench ")), path.name
        assert data["machine"]["torch"], path.name


@pytest.mark.acceptance
def test_rendered_avatars_reach_the_goal() -> None:
    """Mean foreground IoU over 200 seeds, LAB, k = 4, upper corners."""
    rows = quality.run(range(1000, 1200), 64, 50, ["lab"], [4])
    (row,) = [row for row in rows if row["rule"] == "corner, upper"]
    assert row["iou_foreground"] >= 0.95
    assert row["miou"] >= 0.95
