"""The source ``restyle``: photos in, variants with the reconstruction's structure out."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import covary
from covary.cli import cli
from covary.images import write_png
from covary.testing import worlds
from covary_plugins.restyle import load_inverter
from covary_plugins.sources.restyle import ReStyle
from covary_plugins.stylegan2 import Architecture, Generator, save_safetensors, to_uint8


def opened(source: ReStyle, *paths: Path, **ctx: Any) -> covary.Variants:
    source.id = "covary/restyle"
    run = covary.RunContext(**ctx).at("source", source.id)
    return source.open(covary.Query(paths=paths), run)


def stack(variants: covary.Variants) -> torch.Tensor:
    return torch.cat([batch.images for batch in variants.batches])


@pytest.fixture(scope="module")
def photo(e4e: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photo at the generator's own size, so that X_0 is known to the bit."""
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    with Image.open(e4e.photo) as image:
        image.resize((64, 64), Image.Resampling.BOX).save(path)
    return path


def restyle(checkpoint: Path, **params: Any) -> ReStyle:
    return ReStyle(**({"checkpoint": str(checkpoint), "n": 3, "n_iters": 2} | params))


class TestVariants:
    def test_everything_follows_from_the_inversion(self, e4e_file: Path, photo: Path) -> None:
        variants = opened(restyle(e4e_file, c=3, psi=0.6, n_iters=3), photo, seed=4)
        image = covary.read_image(photo)
        assert torch.equal(variants.image, image)
        inverter = load_inverter(e4e_file)
        inversion = inverter.invert(image[None], 3)
        last = inversion.images[-1][0]
        shown = (((last + 1) / 2).clamp(0, 1) * 255).to(torch.uint8)
        assert variants.reconstruction is not None
        assert torch.equal(variants.reconstruction, shown)
        error = (image.double() / 255 - shown.double() / 255).square().mean()
        assert variants.metrics["mse"] == pytest.approx(float(error))

        ctx = covary.RunContext(seed=4).at("source", "covary/restyle")
        z = torch.randn(3, inverter.decoder.z_dim, generator=ctx.generator())
        mean = inverter.decoder.mapping.w_avg
        ws = mean + 0.6 * (inverter.decoder.mapping(z) - mean)
        ws[:, :3] = inversion.codes[-1][:, :3]
        expected = to_uint8(inverter.decoder.synthesis(ws))
        # One grey level: rounding may differ with the batch size.
        assert (stack(variants).int() - expected.int()).abs().max() <= 1

    def test_keeping_all_layers_gives_the_reconstruction(self, e4e_file: Path, photo: Path) -> None:
        variants = opened(restyle(e4e_file, c=10), photo)
        assert variants.reconstruction is not None
        difference = (stack(variants).int() - variants.reconstruction.int()).abs()
        assert difference.max() <= 2  # NVIDIA's rule and ReStyle's differ by half a level

    def test_what_was_read_is_recorded(self, e4e_file: Path, photo: Path) -> None:
        variants = opened(restyle(e4e_file), photo)
        wanted = {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in (e4e_file, photo)
        }
        assert dict(variants.inputs) == wanted

    def test_the_photo_is_kept_for_the_mask(self, e4e_file: Path, e4e: Any) -> None:
        crop = opened(restyle(e4e_file), e4e.photo).crop
        assert crop is not None
        assert torch.equal(crop.photo, e4e.images[0])
        mask = torch.zeros(64, 64, dtype=torch.bool)
        mask[16:32, 8:40] = True
        placed = crop.place(mask)
        rows, columns = placed.any(dim=1).nonzero(), placed.any(dim=0).nonzero()
        assert (int(rows.min()), int(rows.max())) == (64, 127)
        assert (int(columns.min()), int(columns.max())) == (32, 159)

    def test_a_bad_reconstruction_is_said(self, e4e_file: Path, photo: Path) -> None:
        variants = opened(restyle(e4e_file), photo)
        assert variants.metrics["mse"] > 0.02  # the encoder is random
        assert any("reconstruction" in warning for warning in variants.warnings)

    def test_the_checkpoint_says_how_many_steps(
        self, e4e: Any, photo: Path, tmp_path: Path
    ) -> None:
        torch.save(e4e.checkpoint(opts=e4e.opts | {"n_iters_per_batch": 1}), tmp_path / "one.pt")
        of_the_file, once, twice = (
            opened(restyle(tmp_path / "one.pt", n_iters=steps), photo).reconstruction
            for steps in (None, 1, 2)
        )
        assert of_the_file is not None
        assert once is not None
        assert twice is not None
        assert torch.equal(of_the_file, once)
        assert not torch.equal(of_the_file, twice)

    def test_steps_are_reported(self, e4e_file: Path, photo: Path) -> None:
        calls: list[tuple[int, int, str]] = []
        opened(restyle(e4e_file), photo, progress=lambda *call: calls.append(call))
        assert ((2, 2, "inverting")) in calls

    def test_a_source_can_be_opened_again_and_copied(self, e4e_file: Path, photo: Path) -> None:
        source = restyle(e4e_file)
        first = stack(opened(source, photo))
        assert torch.equal(stack(opened(source, photo)), first)
        assert torch.equal(stack(opened(copy.deepcopy(source), photo)), first)
        assert not torch.equal(stack(opened(source, photo, seed=1)), first)

    def test_size_and_memory_are_known_before(self, e4e_file: Path) -> None:
        pipe = covary.Pipeline(restyle(e4e_file), "rgb", "lloyd", "corner")
        plan = pipe.plan()
        assert (plan.size, plan.variants) == ((64, 64), 3)
        needed = {stage.stage: stage.bytes for stage in plan.stages}["source"]
        assert needed is not None
        # At least the first layer's output: 12 channels of 128x128 in float32.
        assert needed >= 12 * 128**2 * 4


class TestCars:
    @pytest.fixture
    def car_file(self, e4e: Any, tmp_path: Path) -> Path:
        torch.save(e4e.checkpoint(opts=e4e.opts | {"dataset_type": "cars_encode"}), tmp_path / "c")
        return tmp_path / "c"

    def test_only_the_rows_with_the_picture(self, car_file: Path, e4e: Any, tmp_path: Path) -> None:
        with Image.open(e4e.photo) as image:
            image.crop((0, 0, 256, 192)).save(tmp_path / "car.png")
        source = restyle(car_file, c=4)
        assert source.size() == (48, 64)
        variants = opened(source, tmp_path / "car.png")
        assert variants.image.shape == (3, 48, 64)
        assert not any("cut" in warning for warning in variants.warnings)
        inverter = load_inverter(car_file)
        codes = inverter.invert(variants.image[None], 2).codes[-1]
        ctx = covary.RunContext().at("source", "covary/restyle")
        styles = torch.randn(3, inverter.decoder.z_dim, generator=ctx.generator())
        ws = inverter.decoder.style_mix(codes, inverter.decoder.mapping(styles, psi=0.7), 4)
        expected = to_uint8(inverter.decoder.synthesis(ws))[:, :, 8:56]
        images = stack(variants)
        assert images.shape == (3, 3, 48, 64)
        assert (images.int() - expected.int()).abs().max() <= 1

    def test_through_the_pipeline(self, car_file: Path, e4e: Any) -> None:
        pipe = covary.Pipeline(restyle(car_file), "rgb", ("lloyd", {"k": 2}), "corner")
        result = pipe(e4e.photo)
        assert result.mask.shape == (48, 64)
        assert result.photo_mask.shape == (256, 256)


def rgba(path: Path, pixels: np.ndarray) -> None:
    opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    Image.fromarray(np.concatenate([pixels, opaque], axis=2)).save(path)


def turned(path: Path, pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(np.ascontiguousarray(np.rot90(pixels))).save(path, exif=exif)


def grey(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels[..., 0]).save(path)


def grey_16(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(path)


class TestPhotos:
    @pytest.mark.parametrize("write", [rgba, turned, grey, grey_16])
    def test_kinds_of_photos(
        self, e4e_file: Path, photo: Path, tmp_path: Path, write: Callable[..., None]
    ) -> None:
        pixels = covary.read_image(photo).permute(1, 2, 0).numpy()
        write(tmp_path / "photo.png", pixels)
        image = opened(restyle(e4e_file, n_iters=1), tmp_path / "photo.png").image
        wanted = pixels if write in (rgba, turned) else pixels[..., :1].repeat(3, axis=2)
        assert (image.permute(1, 2, 0).numpy() == wanted).all()

    def test_another_aspect_is_cut_and_said(self, e4e_file: Path, tmp_path: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "wide.png")
        variants = opened(restyle(e4e_file, n_iters=1), tmp_path / "wide.png")
        assert (variants.image.permute(1, 2, 0).numpy() == pixels[:, 32:96]).all()
        assert any("wide.png" in words and "landmarks" in words for words in variants.warnings)

    def test_a_file_that_is_no_photo(self, e4e_file: Path) -> None:
        with pytest.raises(covary.InputError, match=r"e4e\.pt.*whole image"):
            opened(restyle(e4e_file), e4e_file)

    def test_several_files_or_a_seed(self, e4e_file: Path, photo: Path) -> None:
        source = restyle(e4e_file)
        with pytest.raises(covary.InputError, match="one photo, got 2 paths"):
            opened(source, photo, photo)
        with pytest.raises(covary.InputError, match="one photo, got a seed"):
            source.open(covary.Query(seed=1), covary.RunContext())
        with pytest.raises(covary.InputError, match="seed 1"):
            covary.Pipeline(source, "rgb", "lloyd", "corner")(seed=1)


class TestDecoders:
    @pytest.fixture
    def alone(self, e4e: Any, tmp_path: Path) -> tuple[Path, Path]:
        """An encoder without its generator, and the generator."""
        inverter = load_inverter(e4e.checkpoint())
        save_safetensors(inverter.decoder, tmp_path / "decoder.safetensors")
        state = {n: t for n, t in e4e.state.items() if n.startswith("encoder.")}
        torch.save(e4e.checkpoint(state_dict=state), tmp_path / "encoder.pt")
        return tmp_path / "encoder.pt", tmp_path / "decoder.safetensors"

    def test_one_in_a_file_of_its_own(
        self, alone: tuple[Path, Path], e4e_file: Path, photo: Path
    ) -> None:
        encoder, decoder = alone
        variants = opened(restyle(encoder, decoder=str(decoder)), photo)
        assert set(variants.inputs) == {str(encoder), str(decoder), str(photo)}
        digest = hashlib.sha256(decoder.read_bytes()).hexdigest()
        assert variants.inputs[str(decoder)] == digest
        inside = opened(restyle(e4e_file), photo)
        assert (stack(variants).int() - stack(inside).int()).abs().max() <= 1

    def test_none_at_all(self, alone: tuple[Path, Path], photo: Path) -> None:
        with pytest.raises(covary.CheckpointError, match=r"encoder\.pt.*as `decoder`"):
            opened(restyle(alone[0]), photo)

    def test_one_named_in_the_options(
        self, alone: tuple[Path, Path], photo: Path, e4e: Any, tmp_path: Path
    ) -> None:
        state = {n: t for n, t in e4e.state.items() if n.startswith("encoder.")}
        opts = e4e.opts | {"decoder": "avatars-64"}  # of other codes
        torch.save(e4e.checkpoint(state_dict=state, opts=opts), tmp_path / "named.pt")
        with pytest.raises(covary.CheckpointError, match=r"24 numbers in a code.*got 64"):
            opened(restyle(tmp_path / "named.pt"), photo)
        variants = opened(restyle(tmp_path / "named.pt", decoder=str(alone[1])), photo)
        assert str(alone[1]) in variants.inputs

    def test_one_of_another_size(self, alone: tuple[Path, Path], photo: Path) -> None:
        save_safetensors(Generator(Architecture((24, 24), (4,) * 4)), alone[1])
        with pytest.raises(covary.CheckpointError, match=r"10 styles.*got 8"):
            opened(restyle(alone[0], decoder=str(alone[1])), photo)

    def test_a_generator_given_as_the_encoder(self, alone: tuple[Path, Path], photo: Path) -> None:
        with pytest.raises(covary.CheckpointError, match=r"without an encoder.*`stylegan2`"):
            opened(restyle(alone[1]), photo)

    def test_a_cutoff_beyond_the_layers(self, e4e_file: Path, photo: Path) -> None:
        with pytest.raises(covary.ParamsError, match=r"0\.\.10.*got 11"):
            opened(restyle(e4e_file, c=11), photo)

    def test_parameters_outside_their_range(self) -> None:
        for wrong in ({"n_iters": 0}, {"n": 0}, {"psi": 1.1}, {"c": -1}, {"iters": 3}):
            with pytest.raises(covary.ParamsError):
                ReStyle(**wrong)

    def test_no_memory(self, e4e_file: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = restyle(e4e_file)
        source.size()
        assert source._inverter is not None

        def exhausted(*_: Any) -> Any:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

        monkeypatch.setattr(source._inverter.encoder, "forward", exhausted)
        with pytest.raises(covary.MemoryBudgetError, match=r"2\.00 GiB"):
            opened(source, photo)


def test_the_bundled_encoder_knows_its_generator(tmp_path: Path) -> None:
    world = worlds.get("avatars")
    avatars = [world.scene(70_000 + i, (64, 64)).images(i)[0] for i in range(6)]
    write_png(avatars[3], tmp_path / "avatar.png")
    variants = opened(ReStyle(n=2), tmp_path / "avatar.png")
    assert {"avatars-encoder", "avatars-64"} <= variants.inputs.keys()
    assert variants.reconstruction is not None
    shown = variants.reconstruction.float()
    errors = [float((avatar.float() - shown).square().mean()) for avatar in avatars]
    assert errors[3] < min(errors[:3] + errors[4:]) / 4


def test_from_a_photo_to_its_mask(e4e_file: Path, e4e: Any, tmp_path: Path) -> None:
    params = {"checkpoint": str(e4e_file), "n": 8, "n_iters": 2, "c": 4}
    pipe = covary.Pipeline(("restyle", params), "lab", ("lloyd", {"k": 3}), "corner")
    result = pipe(e4e.photo)
    assert result.image.shape == (3, 64, 64)
    assert result.photo_mask.shape == (256, 256)
    assert result.provenance["image"]["metrics"]["mse"] > 0
    assert len(result.provenance["inputs"]) == 2
    result.save(tmp_path / "out")
    assert {"image.png", "reconstruction.png", "photo-overlay.png"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_from_the_command_line(e4e_file: Path, e4e: Any, tmp_path: Path) -> None:
    params = {"checkpoint": str(e4e_file), "n": 4, "n_iters": 1}
    pipe = covary.Pipeline(("restyle", params), "rgb", ("lloyd", {"k": 2}), "corner")
    pipe.save(tmp_path / "photo.toml")
    out = tmp_path / "out"
    done = CliRunner().invoke(
        cli, ["run", str(tmp_path / "photo.toml"), str(e4e.photo), "-o", str(out), "--json"]
    )
    assert done.exit_code == 0, done.output
    written = json.loads((out / "photo" / "provenance.json").read_text())
    assert written["recipe"]["source"]["use"] == "covary/restyle"
    assert "reconstruction" in done.stderr  # the warning
    with Image.open(out / "photo" / "reconstruction.png") as image:
        assert image.size == (64, 64)
