"""The bundled encoder of avatars: how it is trained, and that it does what its preset needs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import covary
from covary._registry import registry
from covary.provenance import file_sha256
from covary.testing import worlds
from covary_bench.avatars import encoder, photos
from covary_bench.avatars.export_encoder import export_encoder
from covary_plugins.restyle import load_inverter
from covary_plugins.stylegan2 import load_generator


@pytest.fixture(scope="module")
def decoder():
    return load_generator(covary.checkpoint_path("avatars-64"))


def test_pairs_share_their_structure_and_nothing_else() -> None:
    pairs = encoder.render_pairs(6, torch.Generator().manual_seed(3))
    assert pairs.dtype == torch.uint8
    assert pairs.shape == (6, 2, 3, 64, 64)
    again = encoder.render_pairs(6, torch.Generator().manual_seed(3))
    assert torch.equal(pairs, again)

    def edges(image: torch.Tensor) -> torch.Tensor:
        return image.float().mean(dim=0).diff(dim=1).abs().flatten()

    def likeness(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(torch.corrcoef(torch.stack([edges(a), edges(b)]))[0, 1])

    own = [likeness(first, second) for first, second in pairs]
    other = [likeness(pairs[i, 0], pairs[i - 1, 1]) for i in range(6)]
    assert min(own) > max(other)
    assert all(not torch.equal(first, second) for first, second in pairs)


def test_distance_is_zero_for_the_same_image_only() -> None:
    image = torch.rand(2, 3, 16, 16)
    assert encoder.distance(image, image) == 0
    assert encoder.distance(image, image + 0.1) > 0


def test_training_resumes_as_if_never_stopped(decoder, tmp_path: Path) -> None:
    whole = encoder.Trainer(decoder, seed=0)
    whole.step(0.0)
    torch.save(whole.state(), tmp_path / "checkpoint.pt")
    expected = whole.step(0.6)
    resumed = encoder.Trainer(decoder, seed=1)
    resumed.restore(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    assert resumed.step(0.6) == pytest.approx(expected, rel=1e-3)
    assert set(expected) >= {"own0", "own1"}, "the second half refines twice"


def test_what_is_exported_is_an_inverter(decoder, tmp_path: Path) -> None:
    trainer = encoder.Trainer(decoder, seed=0)
    torch.save(trainer.state(), tmp_path / "checkpoint.pt")
    digest = export_encoder(tmp_path / "checkpoint.pt", tmp_path / "encoder.safetensors")
    assert digest == file_sha256(tmp_path / "encoder.safetensors")
    inverter = load_inverter(tmp_path / "encoder.safetensors", decoder=decoder)
    x = torch.randn(2, 6, 64, 64)
    with torch.inference_mode():
        expected = trainer.average(x)
        difference = (inverter.encoder(x) - expected).abs().max()
    # float16 has 11 significant bits.
    assert difference < 0.01 * expected.abs().max()


def test_the_bundled_file_is_small_and_what_the_catalogue_says() -> None:
    path = covary.checkpoint_path("avatars-encoder")
    entry = registry().checkpoint("avatars-encoder")
    assert path.stat().st_size == entry.bytes
    assert file_sha256(path) == entry.sha256
    assert path.stat().st_size <= 6_000_000
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["license"] == "Apache-2.0"
    card = (path.parent / "README.md").read_text(encoding="utf-8")
    assert entry.sha256 in card
    assert f"{entry.bytes:,}" in card


def test_pictures_of_avatars_are_segmented(tmp_path: Path) -> None:
    row = photos.measure(covary.Pipeline.preset("avatars-photo"), range(3000, 3006), tmp_path)
    assert row["found"] == 6
    assert row["miou"] >= 0.85


def test_masks_come_back_in_the_pixels_of_a_larger_photo(tmp_path: Path) -> None:
    scene = worlds.get("avatars").scene(3010, (200, 200))
    covary.write_png(scene.images(0, 1)[0], tmp_path / "large.png")
    result = covary.Pipeline.preset("avatars-photo")(tmp_path / "large.png")
    assert result.mask.shape == (64, 64)
    assert result.photo_mask.shape == (200, 200)
    truth = scene.truth.foreground[0]
    assert photos.score(result.photo_mask, truth).miou >= 0.85


@pytest.mark.acceptance
def test_pictures_of_avatars_reach_the_goal(tmp_path: Path) -> None:
    """mIoU of 200 rendered avatars that neither the training nor the choices saw."""
    row = photos.measure(covary.Pipeline.preset("avatars-photo"), range(2000, 2200), tmp_path)
    assert row["miou"] >= 0.85
