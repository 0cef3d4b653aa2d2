"""The bundled segmenter of rendered worlds: its skill, its weights, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import covary
from covary import CheckpointError, UnknownNameError
from covary.files import file_sha256
from covary.provenance import iou
from covary.testing import SegmenterContract, worlds
from covary_plugins.segmenters.worlds_unet import WORLDS

ROOT = Path(__file__).parents[3]


class TestAvatars(SegmenterContract):
    name = "worlds-unet"


class TestRooms(SegmenterContract):
    name = "worlds-unet"
    params = {"world": "rooms"}


def segmenter(world: str, **params: Any) -> covary.Segmenter:
    made = covary.create("worlds-unet", kind="segmenter", world=world, **params)
    assert isinstance(made, covary.Segmenter)
    return made


def scenes(world: str, size: tuple[int, int], seeds: range) -> tuple[Tensor, Tensor]:
    """Images as the source draws them, and their exact foreground."""
    drawn = [(seed, worlds.get(world).scene(seed, size)) for seed in seeds]
    images = torch.stack([scene.images(seed)[0] for seed, scene in drawn])
    return images, torch.stack([scene.truth.foreground[0] for _, scene in drawn])


@pytest.mark.parametrize(
    ("world", "size"), [("avatars", (64, 64)), ("avatars", (160, 128)), ("rooms", (128, 128))]
)
def test_it_finds_what_the_renderer_drew(world: str, size: tuple[int, int]) -> None:
    images, truth = scenes(world, size, range(1000, 1004))
    found = segmenter(world).segment(images)
    scores = [iou(a > 0, b) for a, b in zip(found, truth, strict=True)]
    assert min(scores) > 0.9, scores
    assert len(found.unique()) > 4


def test_it_still_knows_them_when_they_are_blurred_and_mirrored() -> None:
    images, truth = scenes("avatars", (64, 64), range(1000, 1004))
    softer = torch.nn.functional.avg_pool2d(images.float(), 3, stride=1, padding=1)
    found = segmenter("avatars").segment(softer.to(torch.uint8).flip(3))
    assert min(iou(a > 0, b) for a, b in zip(found.flip(2), truth, strict=True)) > 0.9


@pytest.mark.parametrize("world", WORLDS)
def test_the_bundled_weights_are_those_of_the_catalogue(world: str) -> None:
    with open(ROOT / "registry.toml", "rb") as file:
        entries = {entry["name"]: entry for entry in tomllib.load(file)["checkpoint"]}
    entry = entries[f"worlds-unet-{world}"]
    path = covary.checkpoint_path(entry["name"])
    assert file_sha256(path) == entry["sha256"]
    assert path.stat().st_size == entry["bytes"] < 2**20
    with safe_open(path, framework="np") as opened:
        metadata = opened.metadata()
    assert tuple(metadata["classes"].split(", ")) == WORLDS[world].classes
    assert int(metadata["size"]) == WORLDS[world].side
    assert metadata["license"] == entry["weights_license"] == "Apache-2.0"


def test_the_weights_that_were_used_are_named() -> None:
    used = segmenter("avatars")
    assert used.inputs() == {}  # type: ignore[attr-defined]
    used.segment(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    path = covary.checkpoint_path("worlds-unet-avatars")
    assert used.inputs() == {"worlds-unet-avatars": file_sha256(path)}  # type: ignore[attr-defined]


def test_a_result_has_its_place_in_long_and_small_images() -> None:
    for size in ((1, 1), (3, 200), (700, 20)):
        images = torch.full((2, 3, *size), 128, dtype=torch.uint8)
        assert segmenter("avatars").segment(images).shape == (2, *size)


def refused(path: Path, says: str, world: str = "avatars") -> None:
    with pytest.raises(CheckpointError, match=says):
        segmenter(world, checkpoint=str(path)).segment(torch.zeros(1, 3, 64, 64).byte())


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    tensors = load_file(covary.checkpoint_path("worlds-unet-avatars"))
    name = next(name for name, value in tensors.items() if value.ndim == 4)
    path = tmp_path / "weights.safetensors"

    path.write_bytes(b"<html>not found</html>")
    refused(path, "a web page")
    save_file({name: tensors[name]}, path)
    refused(path, "missing.*covary_bench.segmenters.train")
    save_file({**tensors, name: tensors[name] * float("nan")}, path)
    refused(path, r"weights\.safetensors: .*finite values")
    save_file({**tensors, name: tensors[name][:1]}, path)
    refused(path, "expected shape")
    whole = covary.checkpoint_path("worlds-unet-avatars").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "weights.safetensors")
    with pytest.raises(UnknownNameError):
        segmenter("avatars", checkpoint="worlds-unet-avatar").segment(
            torch.zeros(1, 3, 8, 8).byte()
        )
