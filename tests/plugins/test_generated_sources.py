"""The sources that make their images from a seed: ``worlds`` and ``stylegan2``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import covary
from covary.testing import worlds
from covary_plugins.stylegan2 import (
    Architecture,
    Generator,
    Synthesis,
    save_safetensors,
    to_uint8,
)

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
    source = covary.create("worlds", kind="source", world=world, resolution=64, n=9)
    variants = opened(source, seed=5)
    images = stack(variants)
    assert images.shape == (9, 3, 64, 64)
    assert len({image.numpy().tobytes() for image in images}) == 9
    labels = worlds.get(world).scene(5, (64, 64)).truth.labels[0]
    # Where one large part is, colours hardly differ inside a variant; between variants they do.
    part = labels == labels.flatten().mode().values
    colours = images[:, :, part].float().mean(dim=2)
    assert colours.std(dim=0).mean() > 15


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


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random 16x16 generator of three classes."""
    torch.manual_seed(1)
    architecture = Architecture((16, 16), (8, 8, 8), c_dim=3, embed_features=8)
    generator = Generator(architecture).eval()
    path = tmp_path_factory.mktemp("weights") / "classes.safetensors"
    save_safetensors(generator, path)
    return path


def test_stylegan2_draws_one_class(classes: Path) -> None:
    from covary_plugins.stylegan2 import load_generator

    generator = load_generator(classes)
    for label in range(3):
        source = covary.create("stylegan2", checkpoint=str(classes), c=2, n=3, psi=1.0, label=label)
        ctx = covary.RunContext(seed=4).at("source", source.id)
        variants = source.open(covary.Query(seed=1), ctx)
        z = torch.from_numpy(np.random.RandomState(1).randn(1, 16)).float()
        structure = generator.mapping(z, label=label)
        assert torch.equal(variants.image, to_uint8(generator.synthesis(structure))[0])
        styles = torch.randn(3, 16, generator=ctx.generator())
        mixed = generator.style_mix(structure, generator.mapping(styles, label=label), 2)
        expected = to_uint8(generator.synthesis(mixed)).int()
        assert (stack(variants).int() - expected).abs().max() <= 1


@pytest.mark.parametrize("label", [None, 3])
def test_stylegan2_wants_a_class_where_there_are_some(classes: Path, label: int | None) -> None:
    source = covary.create("stylegan2", checkpoint=str(classes), c=2, label=label)
    with pytest.raises(covary.ParamsError, match=r"'label'.*0\.\.2"):
        opened(source, 0)


def test_stylegan2_wants_no_class_where_there_are_none(checkpoint: Path) -> None:
    source = covary.create("stylegan2", checkpoint=str(checkpoint), label=0)
    with pytest.raises(covary.ParamsError, match="no classes"):
        opened(source, 0)


@pytest.mark.parametrize("c", [0, 3, 7, 8])
def test_stylegan2_stops_at_a_smaller_size(checkpoint: Path, c: int) -> None:
    from covary_plugins.stylegan2 import load_generator

    options = {"checkpoint": str(checkpoint), "c": c, "n": 3, "psi": 1.0, "max_resolution": 16}
    source = covary.create("stylegan2", **options)
    assert source.size() == (16, 16)
    ctx = covary.RunContext(seed=9).at("source", source.id)
    variants = source.open(covary.Query(seed=1), ctx)
    assert variants.image.shape == (3, 16, 16)
    generator = load_generator(checkpoint)
    z = torch.from_numpy(np.random.RandomState(1).randn(1, 16)).float()
    styles = generator.mapping(torch.randn(3, 16, generator=ctx.generator()))
    mixed = generator.style_mix(generator.mapping(z), styles, c)
    expected = to_uint8(generator.synthesis(mixed, max_resolution=16)).int()
    assert (stack(variants).int() - expected).abs().max() <= 1


@pytest.mark.parametrize("size", [1, 24, 64])
def test_stylegan2_knows_its_sizes(checkpoint: Path, size: int) -> None:
    source = covary.create("stylegan2", checkpoint=str(checkpoint), max_resolution=size)
    with pytest.raises(covary.InputError, match="4, 8, 16, 32"):
        source.size()
    with pytest.raises(covary.InputError, match="4, 8, 16, 32"):
        opened(source, 0)


def test_stylegan2_half_precision_changes_little(checkpoint: Path) -> None:
    options = {"checkpoint": str(checkpoint), "c": 3, "n": 4}
    exact, rounded = (
        opened(covary.create("stylegan2", **options, precision=precision), 3)
        for precision in ("fp32", "bf16")
    )
    assert torch.equal(exact.image, rounded.image)  # X_0 is not a variant
    difference = (stack(exact).int() - stack(rounded).int()).abs().float()
    assert 0 < difference.mean() < 2


@pytest.mark.parametrize(("memory", "sizes"), [(None, [5]), (0, [1] * 5)])
def test_stylegan2_batches_fit_the_memory(
    checkpoint: Path, memory: int | None, sizes: list[int]
) -> None:
    source = covary.create("stylegan2", checkpoint=str(checkpoint), n=5)
    ctx = covary.RunContext(seed=0, memory=memory).at("source", source.id)
    batches = [batch.images for batch in source.open(covary.Query(seed=0), ctx).batches]
    assert [len(images) for images in batches] == sizes


def test_stylegan2_halves_its_batches_where_memory_runs_out(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = covary.create("stylegan2", checkpoint=str(checkpoint), n=7)
    expected = stack(opened(source, 2))
    inner = Synthesis.forward

    def forward(self: Synthesis, ws: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if len(ws) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return inner(self, ws, *args, **kwargs)

    monkeypatch.setattr(Synthesis, "forward", forward)
    batches = [batch.images for batch in opened(source, 2).batches]
    assert [len(images) for images in batches] == [1] * 7  # 7, 3, then 1
    assert (torch.cat(batches).int() - expected.int()).abs().max() <= 1


def test_stylegan2_says_when_not_one_image_fits(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = opened(covary.create("stylegan2", checkpoint=str(checkpoint), n=2), 2)

    def forward(*_: Any, **__: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Synthesis, "forward", forward)
    with pytest.raises(covary.MemoryBudgetError, match="max_resolution"):
        list(variants.batches)


def test_stylegan2_asks_for_cuda_before_it_works(checkpoint: Path) -> None:
    for options in ({"precision": "fp16"}, {"compile": True}):
        source = covary.create("stylegan2", checkpoint=str(checkpoint), **options)
        with pytest.raises(covary.InputError, match="expected a CUDA device, got cpu"):
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


def test_x0_that_does_not_fit_is_one_message(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")

    monkeypatch.setattr("covary_plugins.stylegan2.synthesis.Synthesis.forward", full)
    source = covary.create("stylegan2", checkpoint=str(checkpoint), c=1)
    with pytest.raises(covary.MemoryBudgetError, match=r"9\.00 GiB"):
        source.open(covary.Query(seed=1), covary.RunContext())
