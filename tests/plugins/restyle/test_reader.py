"""ReStyle's checkpoints in every layout, and the files that are mistaken for them."""

from __future__ import annotations

import argparse
import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import covary
from covary.errors import CheckpointError
from covary_plugins.restyle import Inverter, load_inverter, read_parts
from covary_plugins.stylegan2 import Architecture, Generator, save_safetensors


def codes(inverter: Inverter) -> torch.Tensor:
    images = torch.full((1, 3, 64, 64), 90, dtype=torch.uint8)
    return inverter.invert(images, n_iters=2).codes


@pytest.fixture(scope="module")
def wanted(e4e: Any) -> torch.Tensor:
    return codes(load_inverter(e4e.checkpoint()))


def saved(whole: Any, folder: Path, name: str = "restyle.pt", **how: Any) -> Path:
    torch.save(whole, folder / name, **how)
    return folder / name


class TestLayouts:
    def test_mappings(self, e4e: Any, wanted: torch.Tensor) -> None:
        mean = e4e.io["latent_avg"]
        bare = {**e4e.state, "latent_avg": mean}
        without = {"state_dict": e4e.state, "latent_avg": mean}
        inside = {"state_dict": bare, "opts": e4e.opts}
        for state, opts in (
            (bare, e4e.opts),
            (without, argparse.Namespace(**e4e.opts)),
            (inside, None),
            (e4e.checkpoint(opts=argparse.Namespace(**e4e.opts)), None),
        ):
            assert torch.equal(codes(load_inverter(state, opts)), wanted)

    @pytest.mark.parametrize("zipped", [True, False])
    def test_files_of_torch_save(
        self, e4e: Any, wanted: torch.Tensor, tmp_path: Path, zipped: bool
    ) -> None:
        whole = e4e.checkpoint(
            state_dict=OrderedDict(e4e.state), opts=argparse.Namespace(**e4e.opts)
        )
        path = saved(whole, tmp_path, _use_new_zipfile_serialization=zipped)
        assert torch.equal(codes(load_inverter(path)), wanted)

    def test_what_training_adds_is_ignored(
        self, e4e: Any, wanted: torch.Tensor, tmp_path: Path
    ) -> None:
        more = {
            "global_step": 10,
            "best_val_loss": 0.1,
            "optimizer": {"state": {0: torch.full((3,), torch.nan)}},
            "discriminator_state_dict": {"weight": torch.zeros(3)},
        }
        opts = e4e.opts | {"learning_rate": 1e-4, "exp_dir": Path("x").name, "lpips_lambda": None}
        path = saved(e4e.checkpoint(opts=opts, **more), tmp_path)
        assert torch.equal(codes(load_inverter(path)), wanted)

    def test_safetensors(self, e4e: Any, wanted: torch.Tensor, tmp_path: Path) -> None:
        path = tmp_path / "restyle.safetensors"
        tensors = {**e4e.state, "latent_avg": e4e.io["latent_avg"].contiguous()}
        save_file(tensors, path, {"opts": json.dumps(e4e.opts)})
        assert torch.equal(codes(load_inverter(path)), wanted)
        save_file(tensors, path, {"opts": "import os"})
        with pytest.raises(CheckpointError, match="JSON"):
            load_inverter(path)

    def test_half_precision_is_widened(self, e4e: Any) -> None:
        halves = {
            name: tensor.half() if tensor.is_floating_point() else tensor
            for name, tensor in e4e.state.items()
        }
        inverter = load_inverter(e4e.checkpoint(state_dict=halves))
        assert {p.dtype for p in inverter.parameters()} == {torch.float32}
        codes(inverter)

    def test_the_mapping_is_not_shared(self, e4e: Any, wanted: torch.Tensor) -> None:
        whole = e4e.checkpoint(state_dict={k: v.clone() for k, v in e4e.state.items()})
        inverter = load_inverter(whole)
        for tensor in whole["state_dict"].values():
            tensor.zero_()
        assert torch.equal(codes(inverter), wanted)

    def test_nothing_of_the_file_is_run(self, tmp_path: Path) -> None:
        class Attack:
            def __reduce__(self) -> Any:
                return os.mkdir, (str(tmp_path / "run"),)

        path = tmp_path / "restyle.pt"
        path.write_bytes(pickle.dumps({"state_dict": Attack()}))
        with pytest.raises(CheckpointError, match="mkdir"):
            load_inverter(path)
        assert not (tmp_path / "run").exists()


class TestMeanCode:
    def test_one_code_for_all_layers(self, e4e: Any, wanted: torch.Tensor) -> None:
        mean = e4e.io["latent_avg"]
        assert bool((mean == mean[0]).all())
        assert torch.equal(codes(load_inverter(e4e.checkpoint(latent_avg=mean[0]))), wanted)

    def test_appearances_are_truncated_towards_it(self, e4e: Any) -> None:
        decoder = load_inverter(e4e.checkpoint()).decoder
        assert decoder.mapping.has_w_avg
        torch.testing.assert_close(decoder.mapping.w_avg, e4e.io["latent_avg"][0])

    def test_layers_with_means_of_their_own(self, e4e: Any) -> None:
        mean = torch.randn(10, 24)
        inverter = load_inverter(e4e.checkpoint(latent_avg=mean))
        assert torch.equal(inverter.latent_avg, mean)
        torch.testing.assert_close(inverter.decoder.mapping.w_avg, mean.mean(dim=0))

    def test_the_decoders_where_the_checkpoint_has_none(self, e4e: Any) -> None:
        decoder = load_inverter(e4e.checkpoint()).decoder
        inverter = load_inverter(e4e.checkpoint(latent_avg=None), decoder=decoder)
        torch.testing.assert_close(inverter.latent_avg, e4e.io["latent_avg"])

    def test_none_anywhere(self, e4e: Any) -> None:
        with pytest.raises(CheckpointError, match=r"latent_avg.*none"):
            load_inverter(e4e.checkpoint(latent_avg=None))

    @pytest.mark.parametrize(
        ("mean", "words"),
        [
            (torch.zeros(9, 24), r"\(10, 24\).*got \(9, 24\)"),
            (torch.zeros(()), r"\(10, 24\)"),
            (torch.full((24,), torch.nan), "latent_avg.*finite"),
            ([0.0] * 24, "latent_avg.*expected a tensor"),
        ],
    )
    def test_one_that_does_not_fit(self, e4e: Any, mean: Any, words: str) -> None:
        with pytest.raises(CheckpointError, match=words):
            load_inverter(e4e.checkpoint(latent_avg=mean))


class TestDecoder:
    def test_an_encoder_alone_needs_one(self, e4e: Any, wanted: torch.Tensor) -> None:
        alone = e4e.checkpoint(
            state_dict={n: t for n, t in e4e.state.items() if n.startswith("encoder.")}
        )
        with pytest.raises(CheckpointError, match="an encoder alone; give the generator"):
            load_inverter(alone)
        decoder = load_inverter(e4e.checkpoint()).decoder
        assert torch.equal(codes(load_inverter(alone, decoder=decoder)), wanted)

    def test_one_named_by_the_options(
        self, e4e: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save_safetensors(load_inverter(e4e.checkpoint()).decoder, tmp_path / "g.safetensors")
        asked: list[str] = []
        monkeypatch.setattr(
            covary, "checkpoint_path", lambda name: asked.append(name) or tmp_path / "g.safetensors"
        )
        alone = {n: t for n, t in e4e.state.items() if n.startswith("encoder.")}
        opts = e4e.opts | {"decoder": "my-generator"}
        load_inverter(e4e.checkpoint(state_dict=alone, opts=opts))
        assert asked == ["my-generator"]
        assert read_parts(e4e.checkpoint(opts=opts)).decoder_name is None

    def test_the_given_one_replaces_the_one_inside(self, e4e: Any) -> None:
        torch.manual_seed(0)
        other = Generator(Architecture((24, 24), (4,) * 5))
        assert load_inverter(e4e.checkpoint(), decoder=other).decoder is other

    def test_one_of_other_codes(self, e4e: Any) -> None:
        smaller = Generator(Architecture((24, 24), (4,) * 4))
        with pytest.raises(CheckpointError, match=r"10 styles.*got 8 \(32x32 pixels\)"):
            load_inverter(e4e.checkpoint(), decoder=smaller)

    @pytest.mark.parametrize("shape", [(0,), (2, 2), (2, 3, 3, 3)])
    @pytest.mark.parametrize("name", ["conv1.conv.weight", "conv1.noise.weight", "input.input"])
    def test_one_of_odd_shapes(self, e4e: Any, name: str, shape: tuple[int, ...]) -> None:
        state = e4e.state | {f"decoder.{name}": torch.zeros(shape)}
        with pytest.raises(CheckpointError, match="again"):
            load_inverter(e4e.checkpoint(state_dict=state))

    def test_a_damaged_one(self, e4e: Any) -> None:
        state = {n: t for n, t in e4e.state.items() if n != "decoder.convs.3.conv.weight"}
        with pytest.raises(CheckpointError, match=r"the decoder: .*seems incomplete"):
            load_inverter(e4e.checkpoint(state_dict=state))


class TestOptions:
    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"encoder_type": None}, "encoder_type.*got none.*ProgressiveBackboneEncoder"),
            ({"encoder_type": "BackboneEncoder"}, "ResNetProgressiveBackboneEncoder.*got 'Back"),
            ({"encoder_type": "Encoder4Editing"}, "got 'Encoder4Editing'"),
            ({"encoder_type": 3}, "encoder_type.*text.*got 3"),
            ({"output_size": 256}, "expected 64, as the encoder has 10 styles, got 256"),
            ({"output_size": -4}, "positive integer"),
            ({"input_nc": 3}, "6 channels.*got one for 3 channels.*project"),
            ({"input_size": 512}, r"4\.\.256.*got 512"),
            ({"n_iters_per_batch": True}, "positive integer, got True"),
            ({"dataset_type": ["cars"]}, "dataset_type.*text"),
        ],
    )
    def test_options_that_do_not_fit(self, e4e: Any, changed: Any, words: str) -> None:
        with pytest.raises(CheckpointError, match=words):
            load_inverter(e4e.checkpoint(opts=e4e.opts | changed))

    def test_options_that_are_none(self, e4e: Any) -> None:
        with pytest.raises(CheckpointError, match="a mapping of options, got list"):
            load_inverter(e4e.checkpoint(opts=["--a"]))

    def test_given_options_override_the_files(self, e4e_file: Path) -> None:
        assert load_inverter(e4e_file).n_iters == 5
        assert load_inverter(e4e_file, {"n_iters_per_batch": 2}).n_iters == 2

    def test_psp_and_e4e_differ(self, e4e: Any, wanted: torch.Tensor) -> None:
        as_psp = load_inverter(e4e.checkpoint(), {"encoder_type": "ResNetBackboneEncoder"})
        assert not torch.allclose(codes(as_psp)[0, :, 1:], wanted[0, :, 1:])
        torch.testing.assert_close(codes(as_psp)[0, :, 0], wanted[0, :, 0])


class TestEncoderTensors:
    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("encoder.body.4.conv1.weight", None, r"body\.4\.conv1\.weight.*missing"),
            ("encoder.bn1.running_var", None, r"bn1\.running_var.*missing"),
            ("encoder.styles.9.linear.weight", None, r"styles\.9\.convs.*unknown"),
            ("encoder.conv1.weight", None, "input_layer.*conv1.weight"),
            ("encoder.extra", torch.zeros(2), "extra' unknown"),
            ("output_layer.weight", torch.zeros(2), "also 'output_layer.weight'"),
            ("encoder.bn1.bias", torch.zeros(13), r"encoder\.bn1\.bias.*\(12,\).*got \(13,\)"),
            ("encoder.bn1.bias", torch.full((12,), torch.inf), r"encoder\.bn1\.bias.*finite"),
            ("encoder.bn1.bias", "os.system", r"encoder\.bn1\.bias.*a tensor, got str"),
            ("encoder.conv1.weight", torch.zeros(12, 3, 7, 7), "one for 3 channels"),
            ("encoder.conv1.weight", torch.zeros(12), "conv1.weight"),
            ("encoder.body.0.conv2.weight", torch.zeros(()), r"body\.0\.conv2"),
            ("encoder.styles.0.linear.weight", torch.zeros(()), r"styles\.0\.linear"),
            ("encoder.latlayer1.weight", torch.zeros(2), "feature pyramid.*plain e4e"),
        ],
    )
    def test_one_changed(self, e4e: Any, name: str, value: Any, words: str) -> None:
        state = dict(e4e.state)
        if value is None:
            del state[name]
        else:
            state[name] = value
        with pytest.raises(CheckpointError, match=words):
            load_inverter(e4e.checkpoint(state_dict=state))

    def test_counters_of_batches_may_be_missing(self, e4e: Any, wanted: torch.Tensor) -> None:
        state = {n: t for n, t in e4e.state.items() if "num_batches_tracked" not in n}
        assert torch.equal(codes(load_inverter(e4e.checkpoint(state_dict=state))), wanted)


class TestOtherFiles:
    def test_a_generator(self, e4e: Any, tmp_path: Path) -> None:
        folder = tmp_path
        decoder = e4e.part("decoder.")
        save_file({name: t.contiguous() for name, t in decoder.items()}, folder / "g.safetensors")
        mean = {"latent_avg": e4e.io["latent_avg"][0]}
        only = {f"decoder.{name}": tensor for name, tensor in decoder.items()}
        for path in (
            folder / "g.safetensors",
            saved({"g_ema": decoder} | mean, folder, "rosinality.pt"),
            saved(decoder, folder, "bare.pt"),
            saved(e4e.checkpoint(state_dict=only), folder, "decoder.pt"),
        ):
            with pytest.raises(CheckpointError, match=r"a generator without.*`decoder`.*`project`"):
                load_inverter(path)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ({"learning_rate": 1e-3}, "got 'learning_rate'"),
            ([1, 2], "got list"),
            ({"state_dict": [1]}, "a 'state_dict' that is a list"),
            ({"state_dict": {}}, "got nothing"),
            (OrderedDict(fc=torch.zeros(2)), "got 'fc'"),
        ],
    )
    def test_pickles_of_something_else(self, tmp_path: Path, content: Any, words: str) -> None:
        with pytest.raises(CheckpointError, match=words) as caught:
            load_inverter(saved(content, tmp_path))
        assert "restyle.pt" in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"<!DOCTYPE html><title>Google Drive - Virus scan</title>", "web page"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs"),
            (b"", "empty"),
            (b"\x89PNG\r\n\x1a\n" + bytes(40), "PNG"),
        ],
    )
    def test_downloads_gone_wrong(self, tmp_path: Path, content: bytes, words: str) -> None:
        (tmp_path / "restyle.pt").write_bytes(content)
        with pytest.raises(CheckpointError, match=words):
            load_inverter(tmp_path / "restyle.pt")

    @pytest.mark.parametrize("share", [0.001, 0.3, 0.7, 0.99, 0.9999])
    @pytest.mark.parametrize("suffix", ["pt", "safetensors"])
    def test_cut_off_files(
        self, e4e: Any, e4e_file: Path, tmp_path: Path, share: float, suffix: str
    ) -> None:
        path = tmp_path / f"cut.{suffix}"
        if suffix == "pt":
            whole = e4e_file.read_bytes()
        else:
            save_file(e4e.state, path)
            whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(CheckpointError, match=r"(?i)again"):
            load_inverter(path)

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="No such file"):
            load_inverter(tmp_path / "none.pt")
