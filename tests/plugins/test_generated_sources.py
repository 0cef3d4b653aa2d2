"""The sources that make their images from a seed: ``worlds`` and ``stylegan2``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import covary
from covary.testing import worlds
from covary_plugins.stylegan2 import Architecture, Generator, save_safetensors, to_uint8

SMALL = Architecture(mapping_widths=(16,) * 3, channels=(8, 8, 8, 4), use_noise=True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random 32x32 generator with a mean latent, as a user's file would be."""
    torch.manual_seed(0)
    generator = Generator(SMALL).eval()
    with torch.no_grad():
        # Fresh networks have no bias and hardly react to their latents.
        for parameter in generator.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        generator.mapping.w_avg.normal_()
    generator.mapping.has_w_avg = True
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_safetensors(generator, path, {}, dtype=torch.float32)
    return path


def opened(source: covary.VariantSource, seed: int, run_seed: int = 0) -> covary.Variants:
    ctx = covary.RunContext(seed=run_seed).at("source", source.id)
    return source.open(covary.Query(seed=seed), ctx)


def stack(variants: covary.Variants) -> torch.Tensor:
    return torch.cat([batch.images for batch in variants.batches])


@pytest.mark.parametrize("world", ["avatars", "rooms"])
def test_worlds_keeps_structure_and_changes_appearance(world: str) -> None:
    source = covary.create("worlds", world=world, resolution=64, n=9)
    variants = opened(source, seed=5)
    images = stack(variants)
    assert images.shape == (9, 3, 64, 64)
    assert len({image.numpy().tobytes() for image in images}) == 9
    labels = worlds.get(world).scene(5, (64, 64)).truth.labels[0]
    # Where one large part is, colours hardly differ inside a variant; between variants they do.
    part = labels == labels.flatten().mode().values
    colours = images[:, :, part].float().mean(dim=2)
    assert colours.std(dim=0).mean() > 15


def test_worlds_image_belongs_to_the_query_and_variants_to_the_run() -> None:
    source = covary.create("worlds", resolution=32, n=3)
    first, again, other = (opened(source, 5, run) for run in (1, 1, 2))
    assert torch.equal(first.image, other.image)
    one, two, three = stack(first), stack(again), stack(other)
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert not torch.equal(first.image, opened(source, 6).image)


def test_stylegan2_seeds_follow_the_published_convention(checkpoint: Path) -> None:
    source = covary.create("stylegan2", checkpoint=str(checkpoint), c=3, psi=0.6, n=2)
    from covary_plugins.stylegan2 import load_generator

    generator = load_generator(checkpoint)
    z = torch.from_numpy(np.random.RandomState(42).randn(1, 16)).float()
    expected = to_uint8(generator.synthesis(generator.mapping(z, psi=0.6)))[0]
    assert torch.equal(opened(source, 42).image, expected)


@pytest.mark.parametrize("c", [0, 1, 4, 8])
def test_stylegan2_variants_equal_mixing_without_the_shared_prefix(
    checkpoint: Path, c: int
) -> None:
    source = covary.create("stylegan2", checkpoint=str(checkpoint), c=c, psi=1.0, n=5)
    from covary_plugins.stylegan2 import load_generator

    generator = load_generator(checkpoint)
    ctx = covary.RunContext(seed=9).at("source", source.id)
    images = stack(source.open(covary.Query(seed=1), ctx))
    z = torch.from_numpy(np.random.RandomState(1).randn(1, 16)).float()
    styles = torch.randn(5, 16, generator=ctx.generator())
    ws = generator.mapping(styles)
    ws[:, :c] = generator.mapping(z)[:, :c]
    expected = to_uint8(generator.synthesis(ws))
    # One grey level: rounding may differ with the batch size.
    assert (images.int() - expected.int()).abs().max() <= 1
    same = [torch.equal(image, images[0]) for image in images]
    assert all(same) == (c == generator.num_ws)


def test_stylegan2_refuses_a_cutoff_beyond_its_layers(checkpoint: Path) -> None:
    source = covary.create("stylegan2", checkpoint=str(checkpoint), c=9)
    with pytest.raises(covary.ParamsError, match=r"0\.\.8"):
        opened(source, 0)


def test_stylegan2_knows_its_size_and_memory(checkpoint: Path) -> None:
    pipe = covary.Pipeline(
        ("stylegan2", {"checkpoint": str(checkpoint), "n": 4}), "rgb", "lloyd", "corner"
    )
    plan = pipe.plan()
    assert plan.size == (32, 32)
    assert plan.summary_bytes == 32 * 32 * 12
    assert plan.fits


def test_stylegan2_records_the_checkpoint(checkpoint: Path) -> None:
    pipe = covary.Pipeline(
        ("stylegan2", {"checkpoint": str(checkpoint), "n": 4}), "rgb", ("lloyd", {"k": 2}), "corner"
    )
    from hashlib import sha256

    inputs = pipe(seed=0).provenance["inputs"]
    assert inputs == {str(checkpoint): sha256(checkpoint.read_bytes()).hexdigest()}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"<!DOCTYPE html><html><body>quota exceeded</body></html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "LFS"),
        (b"\x80\x04\x95pickle", "pickle"),
        (b"", "empty"),
    ],
)
def test_stylegan2_names_what_is_not_a_checkpoint(
    tmp_path: Path, content: bytes, word: str
) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    source = covary.create("stylegan2", checkpoint=str(path))
    with pytest.raises(covary.CheckpointError, match=word):
        opened(source, 0)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
def test_stylegan2_refuses_truncated_files(checkpoint: Path, tmp_path: Path, share: float) -> None:
    path = tmp_path / "cut.safetensors"
    whole = checkpoint.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    source = covary.create("stylegan2", checkpoint=str(path))
    with pytest.raises(covary.CheckpointError, match=r"cut off|damaged"):
        opened(source, 0)


@pytest.mark.parametrize("name", ["worlds", "stylegan2"])
def test_generated_sources_refuse_files(name: str, tmp_path: Path) -> None:
    pipe = covary.Pipeline(name, "rgb", "lloyd", "corner")
    with pytest.raises(covary.InputError, match="expected a seed"):
        pipe(tmp_path)
