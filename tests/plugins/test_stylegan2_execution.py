"""Number formats, remembered weights and smaller images: all of it changes speed, not meaning."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from covary.errors import InputError
from covary_bench import naive
from covary_plugins.stylegan2 import Architecture, Generator
from covary_plugins.stylegan2.execution import FP32, Execution
from covary_plugins.stylegan2.ops import activate, fold, folded_upconv, upconv

CPU = torch.device("cpu")
ARCHITECTURE = Architecture((16, 16), (24, 24, 16, 12))


def _generator(architecture: Architecture = ARCHITECTURE, *, strength: float = 0.3) -> Generator:
    torch.manual_seed(1)
    generator = Generator(architecture)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(strength * torch.randn_like(parameter))
    return Generator.from_state_dict(generator.state_dict(), architecture.init_kwargs())


@pytest.fixture(scope="module")
def generator() -> Generator:
    return _generator()


@pytest.fixture(scope="module")
def ws(generator: Generator) -> Tensor:
    torch.manual_seed(2)
    return torch.randn(3, generator.num_ws, generator.w_dim)


def _loss(state: Mapping[str, Tensor], ws: Tensor) -> Tensor:
    return naive.synthesis(state, ws).square().sum()


def _error(image: Tensor, exact: Tensor) -> float:
    """Root mean square difference over that of the image."""
    return float((image - exact).norm() / exact.norm())


class TestFolding:
    @given(k=st.integers(2, 7), height=st.integers(1, 5), seed=st.integers(0, 99))
    @settings(max_examples=30, deadline=None)
    def test_one_convolution_does_what_two_did(self, k: int, height: int, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        f = torch.rand(k, k, generator=random)  # not symmetric: an orientation would show
        weight = torch.randn(5, 3, 3, 3, generator=random)
        x = torch.randn(2, 3, height, 4, generator=random)
        folded = folded_upconv(x, fold(weight, f))
        torch.testing.assert_close(folded, upconv(x, weight, f), atol=1e-4, rtol=1e-5)

    @pytest.mark.parametrize("batch", [1, 3])
    def test_images_stay(self, generator: Generator, ws: Tensor, batch: int) -> None:
        some = ws[:batch]
        folded = generator.synthesis(some, how=Execution(folded=True))
        torch.testing.assert_close(folded, generator.synthesis(some), atol=1e-4, rtol=1e-5)


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("folded", [False, True])
    @pytest.mark.parametrize("batch", [1, 3])
    def test_errors_are_of_the_size_of_the_format(
        self, generator: Generator, ws: Tensor, dtype: torch.dtype, folded: bool, batch: int
    ) -> None:
        how = Execution(dtype, 8, 256.0, folded=folded)
        image = generator.synthesis(ws[:batch], how=how)
        assert image.dtype == torch.float32
        expected = naive.synthesis(generator.state_dict(), ws[:batch].double()).float()
        error = _error(image, expected)
        assert 0 < error < 8 * torch.finfo(dtype).eps  # other roundings, but not many

    def test_large_weights_and_styles_do_not_overflow_float16(self, ws: Tensor) -> None:
        # Demodulation divides both out again: only the published normalisation keeps the
        # products on the way within 65504.
        state = _generator().state_dict()
        for name in state:
            if ".conv" in name and name.endswith(("v0.weight", "v1.weight")):
                state[name] = state[name] * 3000
            if ".conv" in name and ".affine." in name:
                state[name] = state[name] * 3000
        huge = Generator.from_state_dict(state)
        exact = huge.synthesis(ws)
        image = huge.synthesis(ws, how=Execution(torch.float16, 8, 256.0))
        assert image.isfinite().all()
        assert _error(image, exact) < 0.01

    def test_clamp_of_the_execution_holds_where_the_network_has_none(self, ws: Tensor) -> None:
        how = Execution(torch.bfloat16, 8, clamp=0.01)
        clamped = _generator().synthesis(ws, how=how)
        low = _generator().synthesis(ws, how=Execution(torch.bfloat16, 8), max_resolution=4)
        # 4x4 computes in float32 and is not clamped; three resolutions add at most 0.01 each.
        bound = low.abs().amax() + 0.03
        assert clamped.abs().max() <= bound * 1.01
        own = _generator(Architecture((16, 16), (24, 24, 16, 12), conv_clamp=4.0))
        assert torch.equal(
            own.synthesis(ws, how=how), own.synthesis(ws, how=Execution(torch.bfloat16, 8))
        )

    def test_low_resolutions_stay_exact(self, generator: Generator, ws: Tensor) -> None:
        how = Execution(torch.bfloat16, 32)
        low = generator.synthesis(ws, how=how, max_resolution=16)
        assert torch.equal(low, generator.synthesis(ws, max_resolution=16))
        assert not torch.equal(generator.synthesis(ws, how=how), generator.synthesis(ws))

    def test_prefix_remembers_how(self, generator: Generator, ws: Tensor) -> None:
        how = Execution(torch.bfloat16, 8)
        prefix = generator.prefix(ws[:1], 4, how=how)
        mixed = generator.style_mix(ws[:1], ws[1:], 4)
        image = generator.synthesis(mixed, prefix=prefix)
        assert _error(image, generator.synthesis(mixed, how=how)) < 0.02
        with pytest.raises(InputError, match="prefix was made with"):
            generator.synthesis(mixed, prefix=prefix, how=FP32)

    def test_rgb_is_summed_in_float32(self, generator: Generator, ws: Tensor) -> None:
        prefix = generator.prefix(ws[:1], 6, how=Execution(torch.bfloat16))
        assert prefix.x.dtype == torch.bfloat16
        assert prefix.image.dtype == torch.float32


class TestChoice:
    @pytest.mark.parametrize(
        ("resolution", "num_fp16_res", "lowest"),
        [(1024, 4, 128), (1024, 0, 128), (1024, 2, 512), (256, 4, 32), (32, 4, 8), (8, 4, 8)],
    )
    def test_published_rule(self, resolution: int, num_fp16_res: int, lowest: int) -> None:
        channels = (16,) * (resolution.bit_length() - 2)
        architecture = Architecture((8, 8), channels, num_fp16_res=num_fp16_res)
        assert Execution.choose(architecture, CPU, "bf16").lowest == lowest

    def test_narrow_networks_stay_in_float32_on_a_cpu(self) -> None:
        assert Execution.choose(ARCHITECTURE, CPU).dtype == torch.float32

    def test_wide_networks_follow_the_processor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wide = Architecture((8, 8), (512, 512))
        for able, dtype in [(True, torch.bfloat16), (False, torch.float32)]:
            monkeypatch.setattr(
                torch.cpu, "get_capabilities", lambda able=able: {"amx_bf16": able}, raising=False
            )
            assert Execution.choose(wide, CPU).dtype == dtype

    @pytest.mark.parametrize(
        ("num_fp16_res", "clamp", "capability", "dtype"),
        [
            (4, 256.0, (9, 0), torch.float16),
            (0, None, (9, 0), torch.bfloat16),
            (4, None, (9, 0), torch.bfloat16),
            (0, None, (7, 5), torch.float16),
        ],
    )
    def test_cuda_takes_float16_where_it_was_trained(
        self,
        monkeypatch: pytest.MonkeyPatch,
        num_fp16_res: int,
        clamp: float | None,
        capability: tuple[int, int],
        dtype: torch.dtype,
    ) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
        architecture = Architecture((8, 8), (64, 64), conv_clamp=clamp, num_fp16_res=num_fp16_res)
        how = Execution.choose(architecture, torch.device("cuda"))
        assert how.dtype == dtype
        assert how.folded
        # Never float16 without a limit: the network's, or the published one.
        assert dtype != torch.float16 or how.clamp == 256

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"precision": "fp16"}, "CUDA"),
            ({"compiled": True}, "CUDA"),
            ({"precision": "int8"}, "fp32"),
        ],
    )
    def test_what_a_cpu_cannot(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(InputError, match=words):
            Execution.choose(ARCHITECTURE, CPU, **options)


class TestMaxResolution:
    @pytest.mark.parametrize("resolution", [4, 8, 16, 32])
    def test_stops_early(self, generator: Generator, ws: Tensor, resolution: int) -> None:
        image = generator.synthesis(ws, max_resolution=resolution)
        assert image.shape == (3, 3, resolution, resolution)
        # The same as a network that has no more blocks.
        kept = {
            name: value
            for name, value in generator.state_dict().items()
            if not any(name.startswith(f"synthesis.b{r}.") for r in (8, 16, 32) if r > resolution)
        }
        expected = naive.synthesis(kept, ws.double()).float()
        torch.testing.assert_close(image, expected, atol=1e-4, rtol=1e-5)

    def test_with_a_prefix(self, generator: Generator, ws: Tensor) -> None:
        for c in range(generator.num_ws + 1):
            prefix = generator.prefix(ws[:1], c, max_resolution=16)
            mixed = generator.style_mix(ws[:1], ws[1:], c)
            image = generator.synthesis(mixed, prefix=prefix, max_resolution=16)
            expected = generator.synthesis(mixed, max_resolution=16)
            torch.testing.assert_close(image, expected, atol=1e-4, rtol=1e-5)
        with pytest.raises(InputError, match="beyond"):
            generator.synthesis(ws, prefix=generator.prefix(ws[:1], 8), max_resolution=16)

    @pytest.mark.parametrize("resolution", [0, 2, 24, 64])
    def test_sizes_that_are_not_there(
        self, generator: Generator, ws: Tensor, resolution: int
    ) -> None:
        with pytest.raises(InputError, match="4, 8, 16, 32"):
            generator.synthesis(ws, max_resolution=resolution)

    @pytest.mark.parametrize("kind", ["resnet", "orig"])
    def test_kinds_without_rgb_on_the_way(self, kind: Any) -> None:
        generator = Generator(Architecture((8, 8), (8, 8), kind=kind))
        ws = torch.zeros(1, generator.num_ws, 8)
        assert generator.synthesis(ws, max_resolution=8).shape[-1] == 8
        with pytest.raises(InputError, match=kind):
            generator.synthesis(ws, max_resolution=4)


HOWS = [
    FP32,
    Execution(torch.bfloat16, 8),
    Execution(folded=True),
    Execution(torch.float16, 8, 9.0),
]


class TestRemembered:
    """What is kept between calls must never outlive the weights that it was made of."""

    @pytest.mark.parametrize("how", HOWS, ids=str)
    @pytest.mark.parametrize(
        "name",
        [
            "b16.conv0.weight",
            "b16.conv1.affine.weight",
            "b8.conv1.affine.bias",
            "b8.torgb.weight",
            "b32.conv1.noise_strength",
        ],
    )
    def test_changed_in_place(self, ws: Tensor, how: Execution, name: str) -> None:
        generator = _generator()
        before = generator.synthesis(ws, how=how)
        with torch.no_grad():
            generator.synthesis.get_parameter(name).add_(1.0)
        after = generator.synthesis(ws, how=how)
        assert not torch.equal(after, before)
        fresh = Generator.from_state_dict(generator.state_dict())
        assert torch.equal(after, fresh.synthesis(ws, how=how))

    @pytest.mark.parametrize("how", HOWS, ids=str)
    @pytest.mark.parametrize("assign", [False, True])
    def test_loaded_anew(self, ws: Tensor, how: Execution, assign: bool) -> None:
        generator, other = _generator(), _generator(strength=0.6)
        generator.synthesis(ws, how=how)
        generator.load_state_dict(other.state_dict(), assign=assign)
        assert torch.equal(generator.synthesis(ws, how=how), other.synthesis(ws, how=how))

    def test_converted(self, ws: Tensor) -> None:
        generator = _generator()
        before = generator.synthesis(ws)
        after = generator.to(torch.bfloat16).to(torch.float32).synthesis(ws)
        assert not torch.equal(after, before)
        fresh = Generator.from_state_dict(generator.state_dict())
        assert torch.equal(after, fresh.synthesis(ws))

    @pytest.mark.parametrize("again", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))])
    @pytest.mark.parametrize("how", HOWS, ids=str)
    def test_copies_are_on_their_own(self, ws: Tensor, how: Execution, again: Any) -> None:
        generator = _generator()
        before = generator.synthesis(ws, how=how)
        other = again(generator)
        with torch.no_grad():
            for parameter in generator.parameters():
                parameter.mul_(1.1)
        assert torch.equal(other.synthesis(ws, how=how), before)

    def test_copies_carry_no_memories(self, ws: Tensor) -> None:
        generator = _generator()
        size = len(pickle.dumps(generator))
        generator.synthesis(ws, how=HOWS[1])
        assert len(pickle.dumps(generator)) == size

    def test_made_in_inference_mode_and_used_with_gradients(self, ws: Tensor) -> None:
        generator = _generator()
        with torch.inference_mode():
            generator.synthesis(ws)
        code = ws.clone().requires_grad_()
        (grad,) = torch.autograd.grad(generator.synthesis(code).sum(), code)
        assert (grad != 0).any(dim=2).all()  # every code of every layer matters

    @pytest.mark.parametrize("batch", [1, 3])
    def test_gradients_are_those_of_the_formulas(self, ws: Tensor, batch: int) -> None:
        generator = _generator()
        code = ws[:batch].clone().requires_grad_()
        (grad,) = torch.autograd.grad(generator.synthesis(code).square().sum(), code)
        exact = ws[:batch].double().requires_grad_()
        (expected,) = torch.autograd.grad(_loss(generator.state_dict(), exact), exact)
        torch.testing.assert_close(grad, expected.float(), atol=1e-3, rtol=1e-3)

    def test_training_follows_the_formulas(self, ws: Tensor) -> None:
        generator = _generator().requires_grad_(True)
        generator.synthesis(ws.clone()).square().sum().backward()
        state = {
            name: value.double().requires_grad_()
            for name, value in generator.state_dict().items()
            if name.startswith("synthesis.")
        }
        _loss(state, ws.double()).backward()
        for name, parameter in generator.synthesis.named_parameters():
            found, expected = parameter.grad, state[f"synthesis.{name}"].grad
            assert found is not None
            assert expected is not None
            assert _error(found, expected.float()) < 1e-4, name


def test_what_is_compiled_is_one_graph() -> None:
    """A break would leave the arithmetic after each convolution unfused."""
    y = torch.randn(2, 4, 6, 6).contiguous(memory_format=torch.channels_last)
    scale, bias, noise = torch.rand(2, 4), torch.randn(4), torch.randn(6, 6)
    with torch.inference_mode():
        expected = activate(y.clone(), scale, bias, noise, 1.0)
        whole = torch.compile(activate, backend="eager", fullgraph=True)
        assert torch.equal(whole(y, scale, bias, noise, 1.0), expected)
