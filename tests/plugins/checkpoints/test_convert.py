"""``covary convert``."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from covary.catalogue import Catalogue, Checkpoint
from covary.cli import cli
from covary_plugins.commands import convert as convert_command
from covary_plugins.stylegan2 import load_generator, read_metadata
from plugins.checkpoints import writers

FIXTURES = Path(__file__).parents[2] / "fixtures" / "stylegan2"
ROSINALITY = FIXTURES / "rosinality" / "rosi_r32_mlp2.state.safetensors"
SETTINGS = {"conv_clamp": 256, "num_fp16_res": 2, "lr_multiplier": 0.01, "img_resolution": 32}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["convert", *map(str, arguments)])


@pytest.fixture(scope="module")
def nvidia(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("in") / "network-snapshot.pkl"
    state = load_file(FIXTURES / "nvidia_ada" / "ada_r32_map2.state.safetensors")
    network = writers.nvidia_network(state, settings=SETTINGS)
    path.write_bytes(writers.dumps(writers.nvidia_snapshot(network)))
    return path


def test_the_same_images_come_out(nvidia: Path, tmp_path: Path) -> None:
    out = tmp_path / "g.safetensors"
    result = run(nvidia, out, "--license", "CC-BY-4.0")
    assert result.exit_code == 0, result.output
    before, after = load_generator(nvidia), load_generator(out)
    assert after.architecture == before.architecture
    assert after.architecture.conv_clamp == 256
    ws = before.mapping(torch.randn(2, before.z_dim))
    assert torch.equal(before.synthesis(ws), after.synthesis(ws))
    assert (
        read_metadata(out).items()
        >= {
            "license": "CC-BY-4.0",
            "source_format": "NVIDIA PyTorch pickle",
            "source_name": "network-snapshot.pkl",
            "source_sha256": hashlib.sha256(nvidia.read_bytes()).hexdigest(),
        }.items()
    )
    for words in ("32 x 32", "8 codes of 32", "CC-BY-4.0", "NVIDIA PyTorch pickle"):
        assert words in result.stdout
    assert list(tmp_path.iterdir()) == [out]


def test_json(nvidia: Path, tmp_path: Path) -> None:
    out = tmp_path / "g.safetensors"
    facts = json.loads(run(nvidia, out, "--json").stdout)
    state = load_generator(out)
    assert facts["bytes"] == out.stat().st_size
    assert facts["parameters"] == sum(p.numel() for p in state.parameters())
    assert (facts["resolution"], facts["num_ws"], facts["dtype"]) == (32, 8, "float32")
    assert "unknown" in facts["license"]


def test_half(nvidia: Path, tmp_path: Path) -> None:
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    assert run(nvidia, whole).exit_code == run(nvidia, half, "--half").exit_code == 0
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    assert {tensor.dtype for tensor in load_file(half).values()} == {torch.float16}


def test_the_catalogue_knows_the_licence(
    nvidia: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Checkpoint(
        name="known",
        sha256=hashlib.sha256(nvidia.read_bytes()).hexdigest(),
        weights_license="for research",
    )
    catalogue = Catalogue(checkpoint=(known,))
    monkeypatch.setattr(convert_command, "read_catalogue", lambda: catalogue)
    out, again = tmp_path / "g.safetensors", tmp_path / "again.safetensors"
    run(nvidia, out)
    assert read_metadata(out)["license"] == "for research"
    run(out, again)  # and what a file says of itself is kept
    assert read_metadata(again)["license"] == "for research"


def test_a_file_that_is_there_is_kept(nvidia: Path, tmp_path: Path) -> None:
    out = tmp_path / "g.safetensors"
    out.write_text("mine")
    result = run(nvidia, out)
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert out.read_text() == "mine"
    assert run(nvidia, out, "--force").exit_code == 0
    assert load_generator(out).resolution == 32


def test_the_same_file(nvidia: Path, tmp_path: Path) -> None:
    out = tmp_path / "g.safetensors"
    shutil.copy(ROSINALITY, out)
    (tmp_path / "link.safetensors").symlink_to(out)
    for target in (out, tmp_path / "link.safetensors"):
        result = run(out, target, "--force")
        assert result.exit_code == 2
        assert "the same file" in result.stderr
    assert out.read_bytes() == ROSINALITY.read_bytes()


def test_what_does_not_work(nvidia: Path, tmp_path: Path) -> None:
    assert "ends in .safetensors" in run(nvidia, tmp_path / "g.pkl").stderr
    result = run(tmp_path / "none.pkl", tmp_path / "g.safetensors")
    assert result.exit_code == 1
    assert "No such file" in result.stderr
    result = run(nvidia, tmp_path / "missing" / "g.safetensors")
    assert result.exit_code == 1
    assert "cannot write" in result.stderr
    path = writers.torch_save({"g_ema": print}, tmp_path / "x.pt")
    result = run(path, tmp_path / "g.safetensors")
    assert result.exit_code == 1
    assert "__builtin__.print" in result.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_a_remark_on_the_choice(tmp_path: Path) -> None:
    path = writers.torch_save({"g": load_file(ROSINALITY)}, tmp_path / "x.pt")
    result = run(path, tmp_path / "g.safetensors", "--json")
    assert "no g_ema" in result.stderr
    assert json.loads(result.stdout)["source_format"] == "rosinality .pt"
