"""The benchmark of metrics compares ways that agree, and counts what it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.morphology import dilation, footprint_rectangle

from covary.metrics import trimap_band
from covary_bench import metrics


@pytest.mark.parametrize("classes", [1, 2, 7])
def test_the_ways_give_the_same_pixels(classes: int) -> None:
    truth = metrics.labels(classes, 50)
    assert len(truth.unique()) <= classes
    for width in (3.0, 9.0):
        # A transform without another class to measure to knows no distance.
        if classes > 1:
            assert torch.equal(metrics.transformed(truth, width), trimap_band(truth, width))


def test_squares_are_those_of_dilation() -> None:
    mask = metrics.labels(2, 40).bool()
    square = footprint_rectangle((7, 7))
    grown, other = (dilation(values, square) for values in (mask.numpy(), ~mask.numpy()))
    assert np.array_equal(metrics.square_near(mask, 3).numpy(), grown & other)


def test_writes_what_it_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_SHAPES", 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    metrics.main(["--size", "32", "--repeats", "2", "--resolution", "32", "--out", str(tmp_path)])
    data = json.loads((tmp_path / "metrics.json").read_text())
    assert {row["how"] for row in data["times"]} == {
        "covary", "torchmetrics", "a distance transform a class",
    }  # fmt: skip
    assert all(row["seconds"]["runs"] == 2 for row in data["times"])
    for row in data["definitions"]:
        assert 0 < row["straight"] <= row["square"]
        assert row["ratio"] == row["straight"] / row["square"]
