"""The source that projects a photo into a generator by optimisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import covary
from covary.images import write_png
from covary_plugins.sources._projection import Schedule, pyramid_loss, tune, tuning
from covary_plugins.stylegan2 import (
    Architecture,
    Generator,
    load_generator,
    save_safetensors,
    to_uint8,
)

SMALL = Architecture(mapping_widths=(16,) * 3, channels=(8, 8, 8), use_noise=True)
SIDE, LAYERS = 16, 6


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random 16x16 generator with its mean latent, as a user's file would be."""
    torch.manual_seed(0)
    generator = Generator(SMALL).eval()
    with torch.no_grad():
        # Fresh networks have no bias and hardly react to their latents.
        for parameter in generator.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        codes = generator.mapping(torch.randn(100, 16))
        generator.mapping.w_avg.copy_(codes[:, 0].mean(dim=0))
        # RGB is linear in these: images are to fill [-1, 1], not to leave it.
        largest = generator.synthesis(codes).abs().flatten().kthvalue(76_000).values
        for name, parameter in generator.named_parameters():
            if name.endswith(("torgb.weight", "torgb.bias")):
                parameter.div_(largest)
    generator.mapping.has_w_avg = True
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_safetensors(generator, path, {}, dtype=torch.float32)
    return path


@pytest.fixture(scope="module")
def photo(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image that the generator can make."""
    generator = load_generator(checkpoint)
    with torch.no_grad():
        z = torch.randn(1, 16, generator=torch.Generator().manual_seed(77))
        image = to_uint8(generator.synthesis(generator.mapping(z, psi=0.8)))[0]
    path = tmp_path_factory.mktemp("photos") / "own.png"
    write_png(image, path)
    return path


def source(checkpoint: Path, **params: Any) -> covary.VariantSource:
    given = {"checkpoint": str(checkpoint), "c": 3, "n": 3, "steps": 40, "starts": 20} | params
    return covary.create("project", kind="source", **given)  # type: ignore[return-value]


def opened(source: covary.VariantSource, photo: Path, **context: Any) -> covary.Variants:
    ctx = covary.RunContext(**context).at("source", source.id)
    return source.open(covary.Query(paths=(photo,)), ctx)


def stack(variants: covary.Variants) -> torch.Tensor:
    return torch.cat([batch.images for batch in variants.batches])


def test_an_image_of_the_generators_own_is_found_again(checkpoint: Path, photo: Path) -> None:
    variants = opened(source(checkpoint, steps=100), photo)
    target = covary.read_image(photo)
    assert torch.equal(variants.image, target)
    assert variants.reconstruction is not None
    mse = ((variants.reconstruction.float() - target.float()) / 255).square().mean()
    assert variants.metrics["mse"] == pytest.approx(float(mse), rel=1e-4)
    # The spread of the generator's own images is what a blind guess would miss by.
    generator = load_generator(checkpoint)
    others = to_uint8(generator.synthesis(generator.mapping(torch.randn(50, 16), psi=0.8)))
    guess = ((others.float() - target.float()) / 255).square().mean()
    assert mse < 0.02 * guess
    assert variants.warnings == ()


def test_layers_before_c_come_from_the_photo(checkpoint: Path, photo: Path) -> None:
    generator = load_generator(checkpoint)
    same = opened(source(checkpoint, c=generator.num_ws), photo)
    assert all(torch.equal(image, same.reconstruction) for image in stack(same))
    mixed = stack(opened(source(checkpoint, c=2), photo))
    assert mixed.shape == (3, 3, SIDE, SIDE)
    assert len({image.numpy().tobytes() for image in mixed}) == 3


def test_a_run_repeats_itself_and_depends_on_its_seed(checkpoint: Path, photo: Path) -> None:
    project = source(checkpoint, steps=15)
    one, two, other = (opened(project, photo, seed=seed) for seed in (1, 1, 2))
    assert one.reconstruction is not None
    assert two.reconstruction is not None
    assert (one.reconstruction.int() - two.reconstruction.int()).abs().max() <= 1
    first = stack(one)
    assert (first.int() - stack(two).int()).abs().max() <= 1
    assert (first.int() - stack(other).int()).abs().max() > 1


def test_crop_and_files_are_reported(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    halves = torch.zeros(3, 40, 80, dtype=torch.uint8)
    halves[:, 20:] = 255
    write_png(halves, path)
    variants = opened(source(checkpoint, steps=1), path)
    assert variants.crop is not None
    assert variants.crop.size == (40, 80)
    assert variants.inputs.keys() == {str(checkpoint), str(path)}
    cut, poor = variants.warnings
    assert "cut to the 40x40" in cut
    assert "reconstruction is far from the photo" in poor


def test_masks_come_back_in_the_photos_pixels(
    checkpoint: Path, photo: Path, tmp_path: Path
) -> None:
    enlarged = torch.nn.functional.interpolate(covary.read_image(photo)[None], scale_factor=3)[0]
    write_png(enlarged, tmp_path / "large.png")
    settings = {"checkpoint": str(checkpoint), "steps": 10, "starts": 5, "n": 4}
    pipe = covary.Pipeline(("project", settings), "rgb", ("lloyd", {"k": 2}), "saliency")
    result = pipe(tmp_path / "large.png")
    result.save(tmp_path / "out")
    assert covary.read_image(tmp_path / "out" / "photo-overlay.png").shape == (
        3,
        3 * SIDE,
        3 * SIDE,
    )
    assert result.provenance["image"]["metrics"]["mse"] > 0


def test_progress_is_told(checkpoint: Path, photo: Path) -> None:
    told: list[tuple[int, int, str]] = []
    opened(
        source(checkpoint, steps=8, tuning_steps=3, patience=99),
        photo,
        progress=lambda done, total, what: told.append((done, total, what)),
    )
    assert told[:8] == [(i + 1, 8, "projecting own") for i in range(8)]
    assert told[8:] == [(i + 1, 3, "tuning for own") for i in range(3)]


def test_tuning_comes_closer_and_leaves_the_generator_alone(checkpoint: Path, photo: Path) -> None:
    project = source(checkpoint, steps=15, c=LAYERS, n=1)
    tuned = source(checkpoint, steps=15, tuning_steps=30, c=LAYERS, n=1)
    before, after = opened(project, photo), opened(tuned, photo)
    assert after.metrics["mse"] < 0.7 * before.metrics["mse"]
    # With c = L the only variant is the reconstruction, by the tuned weights.
    assert torch.equal(stack(after)[0], after.reconstruction)
    again = opened(tuned, photo)
    assert again.metrics["mse"] == pytest.approx(after.metrics["mse"], rel=1e-2)


def test_tuning_holds_other_images_where_they_are(
    checkpoint: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = load_generator(checkpoint)
    target = covary.read_image(photo)[None].float() / 127.5 - 1
    pivot = generator.mapping.w_avg.expand(1, generator.num_ws, -1)
    others = generator.mapping(torch.randn(20, 16), psi=0.7)
    before = generator.synthesis(others).clone()

    def moved() -> float:
        schedule = Schedule(steps=25, rate=3e-3, patience=25)
        ctx = covary.RunContext()
        tuned = tune(generator, pivot, target, schedule, ctx, psi=0.7, progress=lambda *_: None)
        assert not any(weight.requires_grad for weight in tuned.parameters())
        return float((tuned.synthesis(others) - before).abs().mean())

    held = moved()
    monkeypatch.setattr(tuning, "_LOCALITY", 0.0)
    assert 0 < held < 0.8 * moved()
    assert torch.equal(generator.synthesis(others), before)


def test_a_schedule_rises_falls_and_stops_early() -> None:
    rates: list[float] = []
    told: list[tuple[int, int]] = []

    def stuck(rate: float) -> torch.Tensor:
        rates.append(rate)
        return torch.tensor(1.0)

    done = Schedule(steps=100, rate=2.0, patience=10).run(stuck, lambda *at: told.append(at))
    assert done == len(rates) == len(told)
    # Ten steps without progress, then a quarter of the steps to wind down.
    assert 34 <= done <= 38
    assert max(rates) == 2.0
    assert rates[0] < 1
    assert rates[-1] < 0.2
    assert told[-1] == (done, done)

    falling = iter(range(1000, 0, -1))
    rates.clear()
    full = Schedule(steps=100, rate=2.0, patience=10).run(
        lambda rate: torch.tensor(float(next(falling))), lambda *_: None
    )
    assert full == 100


def test_a_loss_that_blows_up_names_the_learning_rate() -> None:
    schedule = Schedule(steps=5, rate=1.0, patience=5)
    with pytest.raises(covary.InputError, match="lower learning_rate"):
        schedule.run(lambda rate: torch.tensor(float("nan")), lambda *_: None)


def test_the_loss_sees_colours_edges_and_how_far_things_are_off() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 32)
    assert pyramid_loss(image, image) == 0
    even = pyramid_loss(image, image + 0.1)
    assert even == pytest.approx(0.1, rel=1e-4)
    halves = torch.where(torch.arange(32) < 16, 0.1, -0.1)
    assert pyramid_loss(image, image + halves) > even

    def dot_at(x: int) -> torch.Tensor:
        picture = torch.zeros(1, 3, 32, 32)
        picture[..., 16:18, x : x + 2] = 1
        return picture

    # The mean difference of pixels is one and the same.
    near, far = pyramid_loss(dot_at(8), dot_at(10)), pyramid_loss(dot_at(8), dot_at(24))
    assert 0 < near < far


@pytest.mark.parametrize("paths", [2, 0])
def test_one_photo_at_a_time(checkpoint: Path, photo: Path, paths: int) -> None:
    query = covary.Query(paths=(photo,) * paths) if paths else covary.Query(seed=1)
    with pytest.raises(covary.InputError, match="expected one photo"):
        source(checkpoint).open(query, covary.RunContext())


def test_a_cutoff_beyond_the_layers_is_refused_before_the_work(
    checkpoint: Path, photo: Path
) -> None:
    with pytest.raises(covary.ParamsError, match=rf"0\.\.{LAYERS}"):
        opened(source(checkpoint, c=9, steps=10**9), photo)


def test_out_of_memory_is_one_message(
    checkpoint: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr("covary_plugins.sources._projection.inversion.pyramid_loss", full)
    with pytest.raises(covary.MemoryBudgetError, match="device='cpu'"):
        opened(source(checkpoint), photo)


def test_it_works_where_gradients_are_off(checkpoint: Path, photo: Path) -> None:
    with torch.inference_mode():
        inside = opened(source(checkpoint, steps=5, tuning_steps=2), photo)
    outside = opened(source(checkpoint, steps=5, tuning_steps=2), photo)
    assert inside.metrics["mse"] == pytest.approx(outside.metrics["mse"], rel=1e-3)


def test_photos_follow_each_other_on_one_source(checkpoint: Path, photo: Path) -> None:
    project = source(checkpoint, steps=5)
    stack(opened(project, photo))
    assert stack(opened(project, photo)).shape == (3, 3, SIDE, SIDE)


def test_the_plan_knows_size_and_memory(checkpoint: Path) -> None:
    settings = {"checkpoint": str(checkpoint), "n": 4}
    plan = covary.Pipeline(("project", settings), "rgb", "lloyd", "corner").plan()
    assert plan.size == (SIDE, SIDE)
    assert plan.fits
    from covary_plugins.sources._projection import training_bytes

    generator = load_generator(checkpoint)
    assert training_bytes(generator) >= _kept_for_backward(generator)


def _kept_for_backward(generator: Generator) -> int:
    """Bytes that autograd really keeps for one image."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in generator.parameters()}
    ws = generator.mapping(torch.randn(1, 16)).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        pyramid_loss(generator.synthesis(ws), torch.zeros(1, 3, SIDE, SIDE))
    return sum(size for pointer, size in kept.items() if pointer not in weights)
