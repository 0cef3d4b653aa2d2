"""Generators from files as the public codes write them, against the fixtures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from covary.errors import CheckpointError
from covary_plugins.stylegan2 import Generator, load_generator
from covary_plugins.stylegan2.reader import read_snapshot
from plugins.checkpoints import writers

FIXTURES = Path(__file__).parents[2] / "fixtures" / "stylegan2"
ADA = "nvidia_ada/ada_r32_map2"
ROSINALITY = "rosinality/rosi_r32_mlp2"
TF = "tf_legacy/tf_r32"
SETTINGS = {"conv_clamp": None, "num_fp16_res": 0, "lr_multiplier": 0.01, "img_resolution": 32}


def tensors(name: str) -> dict[str, Tensor]:
    return load_file(FIXTURES / f"{name}.safetensors")


def facts(stem: str) -> dict[str, Any]:
    return json.loads((FIXTURES / f"{stem}.json").read_text())


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def ada(**kwargs: Any) -> writers.Persistent:
    given = {"init_kwargs": facts(ADA)["init_kwargs"], "settings": SETTINGS, **kwargs}
    return writers.nvidia_network(tensors(f"{ADA}.state"), **given)


def tf(**kwargs: Any) -> writers.Network:
    given = {"static_kwargs": facts(TF)["static_kwargs"], **kwargs}
    return writers.tf_network(tensors(f"{TF}.vars"), **given)


def check(generator: Generator, stem: str) -> None:
    io = tensors(f"{stem}.io")
    for psi, key in ((1.0, "img_const"), (0.7, "img_psi0.7_const")):
        if key in io:
            image = generator.synthesis(generator.mapping(io["z"], psi))
            torch.testing.assert_close(image, io[key], atol=1e-4, rtol=0.0)


class TestNvidia:
    @pytest.mark.parametrize("protocol", writers.PROTOCOLS)
    def test_snapshot(self, tmp_path: Path, protocol: int) -> None:
        snapshot = writers.nvidia_snapshot(ada(), G=ada(), D=discriminator())
        check(load_generator(write(tmp_path / "n.pkl", writers.dumps(snapshot, protocol))), ADA)
        assert not writers.EXECUTED

    @pytest.mark.parametrize("zipped", [True, False])
    def test_snapshot_by_torch_save(self, tmp_path: Path, zipped: bool) -> None:
        snapshot = writers.nvidia_snapshot(ada())
        check(load_generator(writers.torch_save(snapshot, tmp_path / "n.pt", zipped=zipped)), ADA)
        assert not writers.EXECUTED

    @pytest.mark.parametrize("wrap", [lambda g: g, lambda g: (g, g, g)], ids=["alone", "tuple"])
    def test_generator_outside_a_snapshot(self, tmp_path: Path, wrap: Any) -> None:
        check(load_generator(write(tmp_path / "n.pkl", writers.dumps(wrap(ada())))), ADA)

    def test_settings_are_those_of_the_layers(self, tmp_path: Path) -> None:
        # The constructor's arguments leave out what was default in the release that wrote them.
        network = ada(
            init_kwargs={"z_dim": 32, "synthesis_kwargs": {"conv_clamp": 9.0, "num_fp16_res": 0}},
            settings=SETTINGS | {"conv_clamp": 0.5, "num_fp16_res": 2, "lr_multiplier": 0.02},
        )
        path = write(tmp_path / "n.pkl", writers.dumps(writers.nvidia_snapshot(network)))
        kwargs = read_snapshot(path).init_kwargs
        assert kwargs["mapping_kwargs"]["lr_multiplier"] == 0.02
        assert kwargs["synthesis_kwargs"]["conv_clamp"] == 0.5
        assert kwargs["synthesis_kwargs"]["num_fp16_res"] == 2
        assert kwargs["synthesis_kwargs"]["architecture"] == "skip"
        image = load_generator(path).synthesis(tensors(f"{ADA}.io")["ws"])
        assert image.abs().max() <= 0.5 * 4 + 1e-6  # one clamped ToRGB at each of 4 resolutions

    def test_arguments_of_the_constructor_where_the_layers_are_silent(self, tmp_path: Path) -> None:
        kwargs = {"synthesis_kwargs": {"conv_clamp": 0.5}, "mapping_kwargs": {"num_layers": 2}}
        network = ada(init_kwargs=kwargs, settings=None)
        path = write(tmp_path / "n.pkl", writers.dumps(writers.nvidia_snapshot(network)))
        assert read_snapshot(path).init_kwargs["synthesis_kwargs"] == {"conv_clamp": 0.5}

    def test_layers_that_disagree(self, tmp_path: Path) -> None:
        network = ada()
        block = network.state["_modules"]["synthesis"].state["_modules"]["b8"]
        block.state["_modules"]["conv1"].state["conv_clamp"] = 3.0
        path = write(tmp_path / "n.pkl", writers.dumps(writers.nvidia_snapshot(network)))
        with pytest.raises(CheckpointError, match="one value of conv_clamp"):
            load_generator(path)

    def test_weights_stored_in_another_order(self, tmp_path: Path) -> None:
        state = {
            name: tensor.contiguous(memory_format=torch.channels_last)
            if tensor.ndim == 4
            else tensor
            for name, tensor in tensors(f"{ADA}.state").items()
        }
        network = writers.nvidia_network(state, settings=SETTINGS)
        path = write(tmp_path / "n.pkl", writers.dumps(writers.nvidia_snapshot(network)))
        check(load_generator(path), ADA)

    def test_the_generator_of_training_is_the_last_choice(self, tmp_path: Path) -> None:
        path = write(tmp_path / "n.pkl", writers.dumps({"G": ada(), "D": None}))
        with pytest.warns(UserWarning, match=r"n\.pkl: it holds no G_ema"):
            check(load_generator(path), ADA)

    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "step": 3}])
    def test_state_dict(self, tmp_path: Path, zipped: bool, wrap: Any) -> None:
        state = wrap(tensors(f"{ADA}.state"))
        check(load_generator(writers.torch_save(state, tmp_path / "n.pt", zipped=zipped)), ADA)


class TestTensorFlow:
    @pytest.mark.parametrize("protocol", writers.PROTOCOLS)
    def test_networks(self, tmp_path: Path, protocol: int) -> None:
        content = writers.dumps((tf(), discriminator_tf(), tf()), protocol)
        check(load_generator(write(tmp_path / "t.pkl", content)), TF)
        assert not writers.EXECUTED

    def test_every_tensor(self, tmp_path: Path) -> None:
        path = write(tmp_path / "t.pkl", writers.dumps((tf(), None, tf(version=5))))
        state, expected = read_snapshot(path).state, tensors(f"{TF}.as_nvidia.state")
        filters = {name for name in expected if name.endswith("resample_filter")}
        assert state.keys() == expected.keys() - filters
        for name, tensor in state.items():
            assert torch.equal(tensor, expected[name]), name

    def test_settings(self, tmp_path: Path) -> None:
        given = facts(TF)["static_kwargs"] | {
            "conv_clamp": 256,
            "num_fp16_res": 4,
            "mapping_lrmul": 0.02,
            "resample_kernel": [1, 2, 1],
        }
        path = write(tmp_path / "t.pkl", writers.dumps((None, None, tf(static_kwargs=given))))
        kwargs = read_snapshot(path).init_kwargs
        assert kwargs["mapping_kwargs"] == {"num_layers": 2, "lr_multiplier": 0.02}
        assert kwargs["synthesis_kwargs"] == {
            "conv_clamp": 256,
            "num_fp16_res": 4,
            "resample_filter": [1, 2, 1],
        }

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"version": 3}, "StyleGAN1 or older"),
            ({"variables": {"synthesis/ToRGB_lod0/weight": torch.zeros(1, 1, 2, 3)}}, "configs A"),
            ({"variables": {"synthesis/4x4/Const/StyleMod/weight": torch.zeros(2, 2)}}, "GAN1"),
            ({"variables": {"4x4/Dense1/weight": torch.zeros(2, 2)}}, "no synthesis"),
            ({"variables": {"synthesis/4x4/Odd/weight": torch.zeros(2, 2)}}, "'synthesis/4x4/Odd"),
            ({"variables": {"synthesis/4x4/Conv/weight": torch.zeros(2, 2)}}, "4 dimensions"),
        ],
    )
    def test_other_networks_are_named(
        self, tmp_path: Path, change: dict[str, Any], words: str
    ) -> None:
        network = writers.tf_network(
            change.get("variables", tensors(f"{TF}.vars")),
            facts(TF)["static_kwargs"],
            change.get("version", 4),
        )
        path = write(tmp_path / "t.pkl", writers.dumps((network, network, network)))
        with pytest.raises(CheckpointError, match=words):
            load_generator(path)

    def test_discriminator(self, tmp_path: Path) -> None:
        path = write(tmp_path / "t.pkl", writers.dumps(discriminator_tf()))
        with pytest.raises(CheckpointError, match=r"a discriminator \(D_stylegan2\)"):
            load_generator(path)


class TestRosinality:
    @pytest.mark.parametrize("zipped", [True, False])
    def test_converted(self, tmp_path: Path, zipped: bool) -> None:
        mean = tensors(f"{ROSINALITY}.io")["latent_avg"]
        saved = {"g_ema": tensors(f"{ROSINALITY}.state"), "latent_avg": mean}
        check(
            load_generator(writers.torch_save(saved, tmp_path / "r.pt", zipped=zipped)), ROSINALITY
        )

    @pytest.mark.parametrize("zipped", [True, False])
    def test_training(self, tmp_path: Path, zipped: bool) -> None:
        saved = writers.rosinality_training(tensors(f"{ROSINALITY}.state"))
        generator = load_generator(writers.torch_save(saved, tmp_path / "r.pt", zipped=zipped))
        io = tensors(f"{ROSINALITY}.io")
        image = generator.synthesis(generator.mapping(io["z"]))
        torch.testing.assert_close(image, io["img_const"], atol=1e-4, rtol=0.0)

    def test_noise_maps_that_early_files_lack(self, tmp_path: Path) -> None:
        state = tensors(f"{ROSINALITY}.state")
        few = {name: value for name, value in state.items() if not name.startswith("noises.")}
        assert len(few) < len(state)
        mean = tensors(f"{ROSINALITY}.io")["latent_avg"]
        path = writers.torch_save({"g_ema": few, "latent_avg": mean}, tmp_path / "r.pt")
        generator, again = load_generator(path), load_generator(path)
        io = tensors(f"{ROSINALITY}.io")
        ws = generator.mapping(io["z"])
        image = generator.synthesis(ws, noise="none")
        torch.testing.assert_close(image, io["img_none"], atol=1e-4, rtol=0.0)
        assert torch.equal(generator.synthesis(ws), again.synthesis(ws))
        assert not torch.equal(generator.synthesis(ws), image)

    def test_a_missing_mean_code_is_estimated(self, tmp_path: Path) -> None:
        saved = {"g_ema": tensors(f"{ROSINALITY}.state")}
        path = writers.torch_save(saved, tmp_path / "r.pt")
        generator, again = load_generator(path), load_generator(path)
        codes = generator.mapping(torch.randn(20_000, generator.z_dim))[:, 0]
        spread = codes.std(dim=0)
        assert ((generator.mapping.w_avg - codes.mean(dim=0)).abs() < 0.1 * spread).all()
        assert torch.equal(generator.mapping.w_avg, again.mapping.w_avg)

    def test_the_generator_of_training_is_the_last_choice(self, tmp_path: Path) -> None:
        path = writers.torch_save({"g": tensors(f"{ROSINALITY}.state")}, tmp_path / "r.pt")
        with pytest.warns(UserWarning, match="no g_ema, so g is used"):
            load_generator(path)


class TestOtherContent:
    @pytest.mark.parametrize(
        ("value", "words"),
        [
            ({"G_ema": writers.Persistent("Discriminator", {})}, "called 'Discriminator'"),
            ({"state_dict": {"encoder.a": torch.ones(1), "decoder.b": torch.ones(1)}}, "restyle"),
            ({"b4.mbstd.x": torch.ones(1)}, "a discriminator"),
            ({"model.diffusion_model.x": torch.ones(1)}, "diffusion_model"),
            ({"epoch": 3, "model": {"a": torch.ones(1)}}, "a dictionary of 'epoch', 'model'"),
            ({"g_ema": 3}, "'g_ema': int"),
            ({"g_ema": {"input.input": torch.ones(1, 2, 4, 4, dtype=torch.int64)}}, "int64"),
            ([1, 2], "list"),
            ("text", "str"),
            ({}, "nothing"),
        ],
    )
    def test_is_named(self, tmp_path: Path, value: Any, words: str) -> None:
        path = write(tmp_path / "x.pkl", writers.dumps(value))
        with pytest.raises(CheckpointError, match=words) as caught:
            load_generator(path)
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize("name", ["input.weight", "L0_36_512.weight"])
    def test_stylegan3_is_named(self, tmp_path: Path, name: str) -> None:
        network = writers.nvidia_network(
            {"mapping.fc0.weight": torch.ones(4, 4), f"synthesis.{name}": torch.ones(4, 4)}
        )
        path = write(tmp_path / "x.pkl", writers.dumps(writers.nvidia_snapshot(network)))
        with pytest.raises(CheckpointError, match="alias-free StyleGAN3"):
            load_generator(path)

    def test_a_module_saved_whole(self, tmp_path: Path) -> None:
        path = writers.torch_save(torch.nn.Linear(2, 2), tmp_path / "x.pt")
        with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear"):
            load_generator(path)

    @pytest.mark.parametrize("size", [(3, 3), (), (2, 0)])
    def test_shapes_that_no_generator_has(self, tmp_path: Path, size: tuple[int, ...]) -> None:
        state = {name: torch.ones(size) for name in tensors(f"{ADA}.state")}
        path = writers.torch_save(state, tmp_path / "x.pt")
        with pytest.raises(CheckpointError, match=r"x\.pt"):
            load_generator(path)

    @pytest.mark.parametrize(
        "kwargs",
        [
            {"img_resolution": "32"},
            {"synthesis_kwargs": {"conv_clamp": "tight"}},
            {"mapping_kwargs": {"lr_multiplier": True}},
            {"synthesis_kwargs": {"resample_filter": ["a"]}},
        ],
    )
    def test_settings_of_other_types(self, tmp_path: Path, kwargs: dict[str, Any]) -> None:
        state, path = tensors(f"{ADA}.state"), tmp_path / "x.safetensors"
        save_file(state, path, {"init_kwargs": json.dumps(kwargs)})
        with pytest.raises(CheckpointError, match="setting"):
            load_generator(path)


def discriminator() -> writers.Persistent:
    return writers.nvidia_network({"b4.out.weight": torch.ones(1, 8)}, "Discriminator")


def discriminator_tf() -> writers.Network:
    network = writers.tf_network({"4x4/Dense0/weight": torch.ones(2, 2)}, {"resolution": 32})
    network.state["build_func_name"] = "D_stylegan2"
    return network
