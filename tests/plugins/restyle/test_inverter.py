"""ReStyle's refinement against the public implementation, and what surrounds it."""

from __future__ import annotations

import copy
import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from covary.errors import CheckpointError, InputError, MemoryBudgetError
from covary_plugins.restyle import Inversion, Inverter, load_inverter
from covary_plugins.restyle.encoders import Encoder, EncoderSizes, build_encoder
from covary_plugins.restyle.inverter import resized
from covary_plugins.stylegan2 import Architecture, Generator
from covary_plugins.stylegan2.names import load_plan

KEYS = sorted((Path(__file__).parents[2] / "fixtures" / "restyle_keys").iterdir())
TOLERANCE = {"atol": 1e-4, "rtol": 0.0}


@pytest.fixture(scope="module")
def inverter(e4e: Any) -> Inverter:
    return load_inverter(e4e.checkpoint())


@pytest.fixture(scope="module")
def inversion(inverter: Inverter, e4e: Any) -> Inversion:
    return inverter.invert(e4e.images)


def small(seed: int = 0, **sizes: Any) -> Inverter:
    """A random encoder and decoder of 32x32 images, in evaluation mode."""
    torch.manual_seed(seed)
    settings = {
        "backbone": "resnet",
        "progressive": False,
        "in_channels": 6,
        "widths": (4, 4, 6),
        "strides": (1, 2),
        "head_convs": 3,
        "styles": 8,
        "w_dim": 5,
    }
    encoder = Encoder(EncoderSizes(**(settings | sizes)))
    decoder = Generator(Architecture((5, 5), (4, 4, 4, 4)))
    for parameter in [*encoder.parameters(), *decoder.parameters()]:
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    for head in encoder.styles:  # small steps, as trained encoders take them
        head.linear.weight.data.mul_(0.1)
    mean = torch.randn(5)
    return Inverter(encoder, decoder, mean).eval().requires_grad_(False)


class TestKnownAnswers:
    def test_every_step_of_e4e_on_a_resnet(self, inversion: Inversion, e4e: Any) -> None:
        assert inversion.codes.shape == e4e.io["codes"].shape
        torch.testing.assert_close(inversion.codes, e4e.io["codes"], **TOLERANCE)
        torch.testing.assert_close(inversion.images[-1], e4e.io["final_native_img"], **TOLERANCE)

    def test_every_step_of_psp_on_ir_se(self, psp: Any) -> None:
        encoder = build_encoder(psp.part("encoder."), "BackboneEncoder")
        photo = psp.images.float() / 255 * 2 - 1
        before = [psp.io["latent_avg"][None], *psp.io["codes"]]
        shown = [psp.io["avg_image_native"], *psp.io["y_hat"]]
        for step, code in enumerate(psp.io["codes"]):
            # 32 to 256 pixels: adaptive pooling repeats each pixel eight times.
            seen = shown[step].repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
            ours = before[step] + encoder(torch.cat([photo, seen], dim=1))
            torch.testing.assert_close(ours, code, **TOLERANCE)

    @pytest.mark.parametrize("path", KEYS, ids=lambda path: path.name.split(".")[0])
    def test_names_and_shapes_of_the_published_sizes(self, path: Path) -> None:
        facts = json.loads(gzip.decompress(path.read_bytes()))
        keys = {name: tuple(shape) for name, shape in facts["keys"].items()}
        state = {
            name: torch.empty(shape, device="meta", dtype=torch.float32)
            for name, shape in keys.items()
        }
        parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "decoder": {}}
        for name, tensor in state.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        with torch.device("meta"):
            encoder = build_encoder(parts["encoder"], facts["encoder_type"])
            plan = load_plan(parts["decoder"], {})
            decoder = Generator(plan.architecture)
        ours = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
        assert ours == {name: tuple(tensor.shape) for name, tensor in parts["encoder"].items()}
        assert sum(p.numel() for p in encoder.parameters()) == facts["n_encoder_params"]
        assert encoder.sizes.styles == facts["n_styles"] == decoder.num_ws
        assert encoder.sizes.reduction * 2**encoder.sizes.head_convs == 256
        assert decoder.resolution == facts["output_size"]
        wanted = {n: tuple(t.shape) for n, t in decoder.state_dict().items() if "w_avg" not in n}
        found = {name: tuple(tensor.shape) for name, tensor in plan.tensors.items()}
        assert {n: s for n, s in wanted.items() if "resample_filter" not in n} == found


class TestRefinement:
    def test_fewer_steps_are_the_first_ones(
        self, inverter: Inverter, inversion: Inversion, e4e: Any
    ) -> None:
        short = inverter.invert(e4e.images, n_iters=2)
        assert short.codes.shape[0] == short.images.shape[0] == 2
        torch.testing.assert_close(short.codes, inversion.codes[:2])

    def test_the_trained_number_of_steps_is_the_default(self, e4e: Any) -> None:
        inverter = load_inverter(e4e.checkpoint(), {"n_iters_per_batch": 1})
        assert inverter.n_iters == 1
        assert len(inverter.invert(e4e.images).codes) == 1

    def test_images_of_a_batch_do_not_mix(self) -> None:
        inverter = small()
        images = torch.randint(0, 256, (11, 3, 32, 32), dtype=torch.uint8)
        together = inverter.invert(images)
        for i in (0, 7, 8, 10):
            alone = inverter.invert(images[i : i + 1])
            torch.testing.assert_close(together.codes[:, i : i + 1], alone.codes, **TOLERANCE)
            torch.testing.assert_close(together.images[:, i : i + 1], alone.images, **TOLERANCE)

    def test_progress_reaches_its_total_and_never_falls(self) -> None:
        calls: list[tuple[int, int, str]] = []
        images = torch.zeros(11, 3, 32, 32, dtype=torch.uint8)
        small().invert(images, n_iters=3, progress=lambda *call: calls.append(call))
        done = [call[0] for call in calls]
        assert done == sorted(done)
        assert calls[-1][:2] == (33, 33)

    def test_cars_are_cut_to_their_rows(self, e4e: Any) -> None:
        inverter = load_inverter(e4e.checkpoint(), {"dataset_type": "cars_encode"})
        assert inverter.is_car
        assert (inverter.input_size, inverter.image_size) == ((192, 256), (48, 64))
        photo = e4e.images[:, :, :192]
        result = inverter.invert(photo, n_iters=2)
        code, pixels = e4e.io["latent_avg"][None], photo.float() / 255 * 2 - 1
        shown = inverter.decoder.synthesis(code)
        for step in range(2):
            # Enlarged first and cut afterwards, the other order than ours.
            seen = F.interpolate(shown, scale_factor=4, mode="nearest")[:, :, 32:224]
            code = code + inverter.encoder(torch.cat([pixels, seen], dim=1))
            shown = inverter.decoder.synthesis(code)
            torch.testing.assert_close(result.codes[step], code, **TOLERANCE)
            torch.testing.assert_close(result.images[step], shown[:, :, 8:56], **TOLERANCE)

    def test_the_rows_of_published_cars(self) -> None:
        cars = Inverter(
            Encoder(small().encoder.sizes), small().decoder, torch.zeros(5), is_car=True
        )
        cars.decoder.resolution = 512
        rows = torch.arange(512).float().reshape(1, 1, 512, 1).expand(1, 3, 512, 512)
        cut = cars.picture_rows(rows)[0, 0, :, 0]
        assert (int(cut[0]), int(cut[-1]) + 1) == (64, 448)

    @pytest.mark.parametrize("through", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
    def test_copies_give_the_same(self, through: Any) -> None:
        inverter = small()
        images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
        again = through(inverter).to("cpu", torch.float32)
        assert again.input_size == inverter.input_size
        torch.testing.assert_close(again.invert(images).codes, inverter.invert(images).codes)

    def test_settings_of_cudnn_are_put_back(self) -> None:
        before = torch.backends.cudnn.allow_tf32
        small().invert(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
        assert torch.backends.cudnn.allow_tf32 == before

    def test_results_can_start_an_optimisation(self) -> None:
        inverter = small()
        code = inverter.invert(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).codes[-1]
        code.requires_grad_(True)
        inverter.decoder.synthesis(code).square().sum().backward()
        assert code.grad is not None


class TestMemory:
    @pytest.fixture
    def limited(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Makes an inverter that can hold so many photos at once."""

        def make(most: int) -> Inverter:
            inverter = small()
            forward = inverter.encoder.forward

            def run(x: Tensor) -> Tensor:
                if len(x) > most:
                    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
                return forward(x)

            monkeypatch.setattr(inverter.encoder, "forward", run)
            return inverter

        return make

    def test_smaller_batches_where_memory_runs_out(self, limited: Any) -> None:
        images = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8)
        torch.testing.assert_close(limited(2).invert(images).codes, small().invert(images).codes)

    def test_one_photo_that_does_not_fit(self, limited: Any) -> None:
        with pytest.raises(MemoryBudgetError, match="device='cpu'"):
            limited(0).invert(torch.zeros(3, 3, 32, 32, dtype=torch.uint8))


class TestImages:
    @settings(max_examples=25)
    @given(
        height=st.integers(1, 90),
        width=st.integers(1, 90),
        size=st.tuples(st.integers(4, 64), st.integers(4, 64)),
        seed=st.integers(0, 99),
    )
    def test_scaling_is_pils(
        self, height: int, width: int, size: tuple[int, int], seed: int
    ) -> None:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        wanted = np.array(
            Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        )
        images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        ours = resized(images, size)[0].permute(1, 2, 0).numpy()
        assert np.abs(ours.astype(int) - wanted.astype(int)).max() <= 1

    def test_photos_of_any_size_are_scaled(self) -> None:
        inverter = small()
        images = torch.randint(0, 256, (1, 3, 50, 70), dtype=torch.uint8)
        scaled = resized(images, inverter.input_size)
        torch.testing.assert_close(inverter.invert(images).codes, inverter.invert(scaled).codes)

    def test_pictures_are_clipped_and_truncated(self) -> None:
        values = torch.linspace(-1.3, 1.3, 3000).reshape(1, 1, 3, 10, 100)
        ours = Inversion(torch.zeros(1, 1, 1, 1), values).pictures()
        wanted = np.floor(np.clip((values.numpy() + 1) / 2, 0, 1) * 255)
        assert (ours.numpy() == wanted[0]).mean() > 0.999
        assert np.abs(ours.numpy() - wanted[0]).max() <= 1

    @pytest.mark.parametrize(
        ("images", "words"),
        [
            (torch.zeros(1, 3, 8, 8), "uint8.*float32"),
            (np.zeros((1, 3, 8, 8), np.uint8), "uint8.*ndarray"),
            (torch.zeros(3, 8, 8, dtype=torch.uint8), r"\(B, 3, H, W\)"),
            (torch.zeros(1, 4, 8, 8, dtype=torch.uint8), r"\(B, 3, H, W\)"),
            (torch.zeros(0, 3, 8, 8, dtype=torch.uint8), r"\(B, 3, H, W\)"),
        ],
    )
    def test_other_tensors(self, images: Any, words: str) -> None:
        with pytest.raises(InputError, match=words):
            small().invert(images)

    @pytest.mark.parametrize("n_iters", [0, -1, 2.0, True])
    def test_impossible_numbers_of_steps(self, n_iters: Any) -> None:
        with pytest.raises(InputError, match="at least 1"):
            small().invert(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), n_iters=n_iters)


class TestParts:
    def test_the_input_size_comes_from_the_depth(self) -> None:
        assert small().input_size == (32, 32)
        assert small(head_convs=4).input_size == (64, 64)
        assert small(backbone="ir-se", strides=(2, 2)).input_size == (32, 32)

    def test_a_smaller_input_size_can_be_asked_for(self) -> None:
        parts = small()
        inverter = Inverter(parts.encoder, parts.decoder, torch.zeros(5), input_size=20)
        assert inverter.input_size == (20, 20)
        inverter.invert(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
        with pytest.raises(CheckpointError, match=r"4\.\.32.*got 33"):
            Inverter(parts.encoder, parts.decoder, torch.zeros(5), input_size=33)

    def test_another_generators_encoder(self) -> None:
        parts = small()
        more_layers = Generator(Architecture((5, 5), (4,) * 5))
        with pytest.raises(CheckpointError, match=r"8 styles.*got 10 \(64x64"):
            Inverter(parts.encoder, more_layers, torch.zeros(5))
        wider = Generator(Architecture((5, 7), (4,) * 4))
        with pytest.raises(CheckpointError, match=r"5 numbers in a code.*got 7"):
            Inverter(parts.encoder, wider, torch.zeros(5))

    def test_one_mean_code_for_all_layers(self) -> None:
        parts = small()
        inverter = Inverter(parts.encoder, parts.decoder, torch.arange(5.0))
        assert torch.equal(inverter.latent_avg, torch.arange(5.0).expand(8, 5))
        for wrong in (torch.zeros(6), torch.zeros(7, 5), torch.zeros(2, 8, 5)):
            with pytest.raises(CheckpointError, match="latent_avg"):
                Inverter(parts.encoder, parts.decoder, wrong)
