"""StyleGAN2 against the outputs of the public implementations, and its checkpoint reader."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from covary.errors import CheckpointError, InputError, OutputError
from covary_plugins.stylegan2 import (
    Architecture,
    Generator,
    load_generator,
    read_metadata,
    save_safetensors,
    to_uint8,
)
from covary_plugins.stylegan2.ops import upconv, upsample

FIXTURES = Path(__file__).parents[1] / "fixtures" / "stylegan2"
ADA = "nvidia_ada/ada_r32_map2"
ROSINALITY = "rosinality/rosi_r32_mlp2"
TF = "tf_legacy/tf_r32"
TOLERANCE = {"atol": 1e-4, "rtol": 0.0}


def _read(name: str) -> dict[str, Tensor]:
    return load_file(FIXTURES / f"{name}.safetensors")


def _facts(stem: str) -> dict[str, Any]:
    return json.loads((FIXTURES / f"{stem}.json").read_text())


def _state(stem: str) -> dict[str, Any]:
    """The fixture's checkpoint as its family ships it."""
    if stem == ADA:
        return _read(f"{stem}.state")
    return {"g_ema": _read(f"{stem}.state"), "latent_avg": _read(f"{stem}.io")["latent_avg"]}


@pytest.fixture(scope="module", params=[ADA, ROSINALITY])
def known(request: pytest.FixtureRequest) -> tuple[Generator, dict[str, Tensor], list[int]]:
    facts = _facts(request.param)
    generator = Generator.from_state_dict(_state(request.param), facts["init_kwargs"])
    return generator, _read(f"{request.param}.io"), facts["cutoffs"]


@pytest.fixture(scope="module")
def ada() -> Generator:
    return Generator.from_state_dict(_read(f"{ADA}.state"))


@pytest.fixture
def ada_file(tmp_path: Path) -> Path:
    return Path(shutil.copy(FIXTURES / f"{ADA}.state.safetensors", tmp_path / "ada.safetensors"))


class TestKnownAnswers:
    def test_mapping_and_truncation(self, known: Any) -> None:
        generator, io, _ = known
        torch.testing.assert_close(generator.mapping(io["z"]), io["ws"], **TOLERANCE)
        torch.testing.assert_close(
            generator.mapping(io["z"], psi=0.7), io["ws_psi0.7"], **TOLERANCE
        )
        if "ws_psi0.5_cut4" in io:
            ws = generator.mapping(io["z"], psi=0.5, cutoff=4)
            torch.testing.assert_close(ws, io["ws_psi0.5_cut4"], **TOLERANCE)

    def test_synthesis(self, known: Any) -> None:
        generator, io, _ = known
        for key, psi, noise in [
            ("img_const", 1.0, "const"),
            ("img_none", 1.0, "none"),
            ("img_psi0.7_const", 0.7, "const"),
        ]:
            image = generator.synthesis(generator.mapping(io["z"], psi), noise=noise)
            torch.testing.assert_close(image, io[key], **TOLERANCE)

    def test_bytes(self, known: Any) -> None:
        generator, io, _ = known
        ours = to_uint8(generator.synthesis(io["ws"])).permute(0, 2, 3, 1).int()
        difference = (ours - io["img_const_u8"].int()).abs()
        assert difference.max() <= 1  # truncation may fall either way of a whole number
        assert (difference > 0).float().mean() < 1e-3

    @pytest.mark.parametrize("with_prefix", [False, True])
    def test_style_mixing(self, known: Any, with_prefix: bool) -> None:
        generator, io, cutoffs = known
        for c in cutoffs:
            ws = generator.style_mix(io["ws"][:1], io["ws"][1:], c)
            torch.testing.assert_close(ws, io[f"mix_c{c}_ws"], **TOLERANCE)
            prefix = generator.prefix(io["ws"][0], c) if with_prefix else None
            image = generator.synthesis(ws, prefix=prefix)
            torch.testing.assert_close(image, io[f"mix_c{c}_img_const"], **TOLERANCE)

    @pytest.mark.parametrize("layout", ["as_nvidia", "as_rosinality"])
    def test_converted_from_tensorflow(self, layout: str) -> None:
        io = _read(f"{TF}.io")
        state = _read(f"{TF}.{layout}.state")
        if layout == "as_rosinality":
            state["latent_avg"] = _read(f"{TF}.as_nvidia.state")["mapping.w_avg"]
        generator = Generator.from_state_dict(state)
        torch.testing.assert_close(generator.mapping(io["z"]), io["ws"], **TOLERANCE)
        image = generator.synthesis(generator.mapping(io["z"], 0.7))
        torch.testing.assert_close(image, io["img_psi0.7_const"], **TOLERANCE)


class TestGenerator:
    def test_sizes_are_read_from_the_shapes(self, ada: Generator) -> None:
        facts = _facts(ADA)
        kwargs = facts["init_kwargs"]
        assert (ada.num_ws, ada.w_dim) == (facts["num_ws"], facts["w_dim"])
        assert (ada.resolution, ada.z_dim) == (kwargs["img_resolution"], kwargs["z_dim"])

    @given(c=st.integers(0, 8), noise=st.sampled_from(["const", "none"]))
    @settings(max_examples=12, deadline=None)
    def test_prefix_changes_nothing(self, ada: Generator, c: int, noise: Any) -> None:
        ws = ada.mapping(torch.randn(3, ada.z_dim, generator=torch.Generator().manual_seed(c)))
        mixed = ada.style_mix(ws[:1], ws[1:], c)
        prefix = ada.prefix(ws[:1], c, noise)
        plain = ada.synthesis(mixed, noise)
        torch.testing.assert_close(ada.synthesis(mixed, noise, prefix), plain, atol=1e-5, rtol=0)
        # What the prefix holds must not be read again from the codes.
        mixed[:, :c] = float("nan")
        torch.testing.assert_close(ada.synthesis(mixed, noise, prefix), plain, atol=1e-5, rtol=0)

    def test_random_noise_is_fresh(self, ada: Generator) -> None:
        ws = ada.mapping(torch.randn(1, ada.z_dim))
        first, second = ada.synthesis(ws, "random"), ada.synthesis(ws, "random")
        assert not torch.equal(first, second)

    def test_truncation_to_nothing_is_the_mean_code(self, ada: Generator) -> None:
        ws = ada.mapping(torch.randn(2, ada.z_dim), psi=0.0)
        torch.testing.assert_close(ws, ada.mapping.w_avg.expand_as(ws))

    def test_clamp_limits_every_layer(self) -> None:
        state = _read(f"{ADA}.state")
        clamped = Generator.from_state_dict(state, {"synthesis_kwargs": {"conv_clamp": 0.01}})
        image = clamped.synthesis(clamped.mapping(torch.randn(2, clamped.z_dim)))
        assert image.abs().max() <= 0.01 * 4 + 1e-6  # one clamped ToRGB at each of 4 resolutions

    def test_lr_multiplier_is_used(self) -> None:
        state, z = _read(f"{ADA}.state"), torch.randn(2, 32)
        as_is = Generator.from_state_dict(state).mapping(z)
        other = Generator.from_state_dict(state, {"mapping_kwargs": {"lr_multiplier": 0.02}})
        assert not torch.allclose(other.mapping(z), as_is)

    def test_weights_changed_after_a_call_are_used(self) -> None:
        generator = Generator.from_state_dict(_read(f"{ADA}.state"))
        ws = generator.mapping(torch.randn(1, generator.z_dim))
        before = generator.synthesis(ws)
        with torch.no_grad():
            generator.synthesis.b16.conv1.weight.mul_(3)  # demodulated: no effect on the image
        torch.testing.assert_close(generator.synthesis(ws), before, atol=1e-4, rtol=0)

    def test_the_state_dict_is_not_shared(self) -> None:
        state = _read(f"{ADA}.state")
        generator = Generator.from_state_dict(state)
        state["synthesis.b4.const"].zero_()
        assert generator.synthesis.b4.const.abs().sum() > 0

    def test_gradients_reach_every_parameter(self) -> None:
        generator = Generator(Architecture((8, 8, 8), (8, 8, 4)))
        ws = generator.mapping(torch.randn(2, 8))
        generator.synthesis(ws, "random").square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())

    @pytest.mark.parametrize("c", [-1, 9, 2.0, True])
    def test_cutoff_outside_the_layers(self, ada: Generator, c: Any) -> None:
        ws = torch.zeros(2, ada.num_ws, ada.w_dim)
        with pytest.raises(InputError, match=r"0\.\.8"):
            ada.style_mix(ws[:1], ws, c)
        with pytest.raises(InputError, match=r"0\.\.8"):
            ada.prefix(ws[0], c)

    def test_wrong_shapes_and_values(self, ada: Generator) -> None:
        ws = torch.zeros(2, ada.num_ws, ada.w_dim)
        with pytest.raises(InputError, match="shape"):
            ada.mapping(torch.zeros(2, 7))
        with pytest.raises(InputError, match="cutoff"):
            ada.mapping(torch.zeros(2, ada.z_dim), 0.5, cutoff=99)
        with pytest.raises(InputError, match="shape"):
            ada.synthesis(ws[:, 1:])
        with pytest.raises(InputError, match="'const'"):
            ada.synthesis(ws, "loud")
        with pytest.raises(InputError, match="one structure"):
            ada.style_mix(ws, ws, 2)
        with pytest.raises(InputError, match="prefix"):
            ada.synthesis(ws, "none", ada.prefix(ws[0], 2, "const"))


class TestResampling:
    """Against the definition: insert zeros, convolve with the filter, crop."""

    @given(
        k=st.integers(2, 6),
        size=st.integers(1, 5),
        seed=st.integers(0, 99),
    )
    @settings(max_examples=25, deadline=None)
    def test_upsample_is_zero_insertion_and_convolution(self, k: int, size: int, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        x, f = torch.randn(size, size, generator=random), torch.rand(k, k, generator=random)
        padded = _insert_zeros(x, before=(k + 1) // 2, after=(k - 2) // 2)
        expected = _convolve(padded, f * 4)
        torch.testing.assert_close(upsample(x[None, None], f)[0, 0], expected)

    @given(k=st.integers(2, 6), seed=st.integers(0, 99))
    @settings(max_examples=15, deadline=None)
    def test_upconv_with_a_centre_tap_is_upsampling(self, k: int, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        x, f = torch.randn(1, 1, 6, 6, generator=random), torch.rand(k, k, generator=random)
        weight = torch.zeros(1, 1, 3, 3)
        weight[0, 0, 1, 1] = 1
        # Away from the border the identity convolution leaves plain upsampling by f.
        inner = (..., slice(4, -4), slice(4, -4))
        torch.testing.assert_close(upconv(x, weight, f)[inner], upsample(x, f)[inner])


def _insert_zeros(x: Tensor, before: int, after: int) -> Tensor:
    n = 2 * x.shape[0]
    out = torch.zeros(before + n + after, before + n + after)
    out[before : before + n : 2, before : before + n : 2] = x
    return out


def _convolve(x: Tensor, f: Tensor) -> Tensor:
    """True convolution without padding, written out."""
    k, n = f.shape[0], x.shape[0] - f.shape[0] + 1
    out = torch.zeros(n, n)
    for i in range(k):
        for j in range(k):
            out += f[i, j] * x[k - 1 - i : k - 1 - i + n, k - 1 - j : k - 1 - j + n]
    return out


class TestLayouts:
    def test_missing_filters_are_derived(self) -> None:
        state = _read(f"{ADA}.state")
        bare = {k: v for k, v in state.items() if not k.endswith("resample_filter")}
        io = _read(f"{ADA}.io")
        image = Generator.from_state_dict(bare).synthesis(io["ws"])
        torch.testing.assert_close(image, io["img_const"], **TOLERANCE)

    def test_a_stored_filter_is_used(self) -> None:
        state = _read(f"{ADA}.state")
        state["synthesis.b8.conv0.resample_filter"] = torch.full((4, 4), 1 / 16)
        io = _read(f"{ADA}.io")
        image = Generator.from_state_dict(state).synthesis(io["ws"])
        assert not torch.allclose(image, io["img_const"], atol=1e-2)

    def test_half_precision_is_upcast(self) -> None:
        half = {k: v.half() for k, v in _read(f"{ADA}.state").items()}
        generator = Generator.from_state_dict(half)
        assert {p.dtype for p in generator.parameters()} == {torch.float32}

    def test_truncating_without_a_mean_code(self) -> None:
        generator = Generator.from_state_dict(_read(f"{ROSINALITY}.state"))
        z = torch.zeros(1, generator.z_dim)
        assert generator.mapping(z).isfinite().all()
        with pytest.raises(CheckpointError, match="latent_avg"):
            generator.mapping(z, psi=0.7)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"mapping.embed.weight": torch.zeros(1)}, "mapping.embed.weight' unknown"),
            ({"mapping.embed.weight": torch.zeros(4, 2)}, "mapping.embed.bias' missing"),
            ({"synthesis.b8.skip.weight": torch.zeros(1)}, "b16.skip.weight.* missing"),
            ({"synthesis.b4.torgb.weight": None}, "b16.torgb.weight.* unknown"),
            ({"synthesis.b8.conv0.bias": None}, "b8.conv0.bias' missing"),
            ({"synthesis.b8.extra": torch.zeros(1)}, "b8.extra' unknown"),
            ({"synthesis.b8.conv0.bias": torch.zeros(3)}, r"shape \(32,\)"),
            ({"synthesis.b8.conv0.bias": torch.full((32,), float("nan"))}, "NaN"),
            ({"synthesis.b16.conv1.weight": None}, "without a gap"),
            ({"mapping.w_avg": "hello"}, "str"),
        ],
    )
    def test_other_networks_are_refused(self, change: dict[str, Any], words: str) -> None:
        state: dict[str, Any] = {**_read(f"{ADA}.state"), **change}
        state = {k: v for k, v in state.items() if v is not None}
        with pytest.raises(CheckpointError, match=words):
            Generator.from_state_dict(state)

    @pytest.mark.parametrize(
        ("state", "words"),
        [
            ({}, "nothing"),
            ({"b4.conv.weight": torch.zeros(1)}, "b4.conv.weight"),
            ({"synthesis.input.weight": torch.zeros(1)}, "StyleGAN3"),
            ({"input.input": torch.zeros(1, 4, 4, 4), "final.bias": torch.zeros(1)}, "final.bias"),
        ],
    )
    def test_unknown_layouts_are_named(self, state: dict[str, Any], words: str) -> None:
        with pytest.raises(CheckpointError, match=words):
            Generator.from_state_dict(state)

    @pytest.mark.parametrize(
        ("kwargs", "words"),
        [
            ({"c_dim": 10}, "c_dim"),
            ({"img_resolution": 64}, "32"),
            ({"synthesis_kwargs": {"architecture": "resnet"}}, "skip"),
            ({"synthesis_kwargs": {"conv_clmp": 1}}, "conv_clamp"),
        ],
    )
    def test_arguments_that_do_not_fit(self, kwargs: dict[str, Any], words: str) -> None:
        with pytest.raises(CheckpointError, match=words):
            Generator.from_state_dict(_read(f"{ADA}.state"), kwargs)


class TestReader:
    @pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 0.0), (torch.float16, 0.05)])
    def test_round_trip(self, tmp_path: Path, dtype: torch.dtype, atol: float) -> None:
        kwargs = {"synthesis_kwargs": {"conv_clamp": 2.0}}
        generator = Generator.from_state_dict(_read(f"{ADA}.state"), kwargs)
        path = tmp_path / "g.safetensors"
        save_safetensors(generator, path, {"license": "Apache-2.0"}, dtype)
        again = load_generator(path)
        assert again.architecture == generator.architecture
        assert read_metadata(path)["license"] == "Apache-2.0"
        ws = generator.mapping(torch.randn(2, generator.z_dim))
        torch.testing.assert_close(
            again.synthesis(ws), generator.synthesis(ws), atol=atol, rtol=0.0
        )
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "empty"),
            (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
                "git lfs pull",
            ),
            (pickle.dumps({"g_ema": 1}), "moving average of the generator"),
            (pickle.dumps({"g_ema": 1}, protocol=2), "moving average of the generator"),
            (b"PK\x03\x04" + bytes(60), "zip archive that is cut off"),
            (bytes(range(100, 200)), "something else"),
        ],
    )
    def test_other_files_are_named(self, tmp_path: Path, content: bytes, words: str) -> None:
        path = tmp_path / "g.safetensors"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=words) as caught:
            load_generator(path)
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize("keep", [9, 600, 5000, 200_000])
    def test_cut_off_files(self, ada_file: Path, keep: int) -> None:
        ada_file.write_bytes(ada_file.read_bytes()[:keep])
        with pytest.raises(CheckpointError, match=r"(?i)again"):
            load_generator(ada_file)

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="No such file"):
            load_generator(tmp_path / "none.safetensors")

    def test_safetensors_of_something_else(self, tmp_path: Path) -> None:
        save_file({"unet.weight": torch.zeros(2)}, tmp_path / "u.safetensors")
        with pytest.raises(CheckpointError, match=r"u\.safetensors.*unet\.weight"):
            load_generator(tmp_path / "u.safetensors")

    def test_metadata_that_is_no_json(self, tmp_path: Path) -> None:
        save_file(_read(f"{ADA}.state"), tmp_path / "g.safetensors", {"init_kwargs": "import os"})
        with pytest.raises(CheckpointError, match="JSON"):
            load_generator(tmp_path / "g.safetensors")

    def test_values_too_large_for_half_precision(self, tmp_path: Path) -> None:
        generator = Generator.from_state_dict(_read(f"{ADA}.state"))
        generator.mapping.w_avg[0] = 1e6
        with pytest.raises(CheckpointError, match="w_avg"):
            save_safetensors(generator, tmp_path / "g.safetensors", dtype=torch.float16)
        assert not list(tmp_path.iterdir())

    def test_nowhere_to_write(self, ada: Generator, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="missing"):
            save_safetensors(ada, tmp_path / "missing" / "g.safetensors")
