"""``covary segment`` straight from files as the public codes write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from covary.cli import cli
from plugins.checkpoints import writers

FIXTURES = Path(__file__).parents[2] / "fixtures" / "stylegan2"


def written(kind: str, folder: Path) -> Path:
    if kind == "rosinality.pt":
        state = load_file(FIXTURES / "rosinality" / "rosi_r32_mlp2.state.safetensors")
        return writers.torch_save(writers.rosinality_training(state), folder / kind)
    if kind == "tensorflow.pkl":
        variables = load_file(FIXTURES / "tf_legacy" / "tf_r32.vars.safetensors")
        network = writers.tf_network(variables, {"resolution": 32, "mapping_layers": 2})
        content = writers.dumps((network, network, network))
    else:
        state = load_file(FIXTURES / "nvidia_ada" / "ada_r32_map2.state.safetensors")
        content = writers.dumps(writers.nvidia_snapshot(writers.nvidia_network(state)))
    (folder / kind).write_bytes(content)
    return folder / kind


@pytest.mark.parametrize("kind", ["nvidia.pkl", "tensorflow.pkl", "rosinality.pt"])
def test_segment(kind: str, tmp_path: Path) -> None:
    path, out = written(kind, tmp_path), tmp_path / "out"
    settings = [f"source.checkpoint={path}", "source.n=4"]
    options = [part for setting in settings for part in ("--set", setting)]
    result = CliRunner().invoke(
        cli, ["segment", "0", "--preset", "avatars", *options, "-o", str(out)]
    )
    assert result.exit_code == 0, result.output
    (folder,) = (found.parent for found in out.glob("*/provenance.json"))
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["image"]["size"] == [32, 32]
    assert (folder / "image.png").exists()
    assert not writers.EXECUTED
