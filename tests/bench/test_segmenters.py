"""Training and measuring the segmenter of rendered worlds, in small."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import covary
from covary.files import file_sha256
from covary.testing import worlds
from covary_bench.segmenters.data import exact, groups
from covary_bench.segmenters.measure import measure, skill, summarise
from covary_bench.segmenters.train import main

WORLD = worlds.get("avatars")


class Knows(covary.Segmenter):
    """Gives the exact classes of some scenes, whose images it compares."""

    def __init__(self, seeds: range, size: int) -> None:
        super().__init__()
        self.scenes = [exact(WORLD, seed, size) for seed in seeds]

    @property
    def classes(self) -> Sequence[str]:
        return tuple(groups(WORLD))

    def segment(self, images: torch.Tensor, ctx: Any = None) -> torch.Tensor:
        found = [labels for image in images for own, labels in self.scenes if own.equal(image)]
        return torch.stack(found)


def test_who_knows_the_scenes_makes_no_mistake() -> None:
    seeds = range(5, 30)  # more than a batch
    found = measure(Knows(seeds, 32), WORLD, seeds, 32, blurred=False)
    assert list(found) == list(seeds)
    assert {value for one in found.values() for value in one.values()} == {1.0}
    assert summarise(found)["mean_iou"] == 1.0


def test_classes_that_are_neither_there_nor_found_do_not_count() -> None:
    truth = torch.tensor([[0, 0, 1, 1]])
    found = torch.tensor([[0, 1, 1, 2]])
    scores = skill(found, truth, ("background", "a", "b", "c"))
    assert scores == {
        "foreground": pytest.approx(2 / 3),
        "background": pytest.approx(1 / 2),
        "a": pytest.approx(1 / 3),
        "b": 0.0,
    }
    summary = summarise({7: scores})
    assert summary["mean_iou"] == pytest.approx((1 / 2 + 1 / 3) / 3)
    assert summary["classes"]["b"]["images"] == 1
    assert summary["worst"] == {"7": summary["mean_iou"]}


def test_the_command_trains_and_writes_weights_that_serve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "mine.safetensors"
    small = ["--world", "avatars", "--scenes", "20", "--steps", "2", "--out", str(tmp_path)]
    main([*small, "--weights", str(weights)])
    assert file_sha256(weights) in capsys.readouterr().out
    with safe_open(weights, framework="np") as opened:
        assert opened.metadata()["steps"] == "2"
        assert opened.metadata()["scenes"] == "20"
    segmenter = covary.create("worlds-unet", kind="segmenter", checkpoint=str(weights))
    image, _ = exact(WORLD, 3, 64)
    assert segmenter.segment(image[None]).shape == (1, 64, 64)
