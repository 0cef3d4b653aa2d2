"""Damaged files: each loads, or is refused with covary's own error, and nothing runs."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from covary.errors import CheckpointError
from covary_plugins.checkpoints import load_tensors, read_checkpoint
from covary_plugins.stylegan2 import Architecture, Generator, load_generator
from plugins.checkpoints import opcodes, writers

SNIPPETS = (
    opcodes.call("os", "system", opcodes.text("touch x")),
    opcodes.name("builtins", "eval"),
    opcodes.name("torch._utils", "_rebuild_tensor_v2"),
    opcodes.EMPTY_LIST + opcodes.put(0) + opcodes.get(0) + opcodes.APPEND,
    opcodes.BUILD,
    opcodes.REDUCE,
    opcodes.NEWOBJ,
    opcodes.SETITEM,
    opcodes.MARK,
    opcodes.TUPLE,
    opcodes.BINPERSID,
    opcodes.number(-1),
    opcodes.number(2**31 - 1),
    opcodes.get(1),
    opcodes.put(1),
    b"\x95" + bytes(8),
    b"\xff\xff\xff\xff",
    b".",
)


def network_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    state = Generator(Architecture((4, 4, 4), (4, 4))).state_dict()
    filters = {"synthesis.b8.conv0.resample_filter": torch.full((4, 4), 1 / 16)}
    return {**state, **filters}


def tf_variables() -> dict[str, Tensor]:
    variables = {
        "dlatent_avg": torch.rand(4),
        "mapping/Dense0/weight": torch.rand(4, 4),
        "mapping/Dense0/bias": torch.rand(4),
        "synthesis/4x4/Const/const": torch.rand(1, 4, 4, 4),
        "synthesis/noise0": torch.rand(1, 1, 4, 4),
    }
    for layer, kernel, width in (("Conv", 3, 4), ("ToRGB", 1, 3)):
        parts = {
            "weight": torch.rand(kernel, kernel, 4, width),
            "bias": torch.rand(width),
            "mod_weight": torch.rand(4, 4),
            "mod_bias": torch.rand(4),
            "noise_strength": torch.tensor(0.5),
        }
        if layer == "ToRGB":
            del parts["noise_strength"]
        variables |= {f"synthesis/4x4/{layer}/{k}": v for k, v in parts.items()}
    return variables


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One small file of each kind; every one of them loads."""
    folder = tmp_path_factory.mktemp("valid")
    state = network_state()
    settings = {"conv_clamp": 256, "num_fp16_res": 1, "lr_multiplier": 0.01, "img_resolution": 8}
    network = writers.nvidia_network(state, settings=settings)
    tf = writers.tf_network(tf_variables(), {"resolution": 4, "mapping_layers": 1})
    files = {
        "nvidia": writers.dumps(writers.nvidia_snapshot(network)),
        "nvidia-2": writers.dumps(writers.nvidia_snapshot(network), 2),
        "tensorflow": writers.dumps((tf, tf, tf)),
    }
    for zipped in (True, False):
        saved = {"g_ema": state, "args": {"size": 8}}
        path = writers.torch_save(saved, folder / f"{zipped}.pt", zipped=zipped)
        files["zip" if zipped else "legacy"] = path.read_bytes()
    for kind, content in files.items():
        path = folder / kind
        path.write_bytes(content)
        assert load_generator(path).resolution in (4, 8)
    return files


def mutated(content: bytes, chance: random.Random) -> bytes:
    """``content`` with one to four changes, mostly where pickles have their instructions."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(changed))
        if chance.random() < 0.5:  # near a name or an instruction rather than within numbers
            found = changed.find(chance.choice((b"\n", b"\x94", b"q", b"K", b"X", b"PK")), at)
            at = max(found, 0)
        kind = chance.randrange(6)
        size = chance.choice((1, 1, 2, 4, 8, 100))
        if kind == 0:
            changed[at] = chance.randrange(256)
        elif kind == 1:
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 2:
            del changed[at : at + size]
        elif kind == 3:
            changed[at:at] = chance.choice(SNIPPETS)
        elif kind == 4:
            changed[at:at] = changed[at : at + size]
        else:
            changed[at : at + size] = chance.randbytes(size)
    return bytes(changed)


def check(path: Path) -> bool:
    """Whether the file loads; fails on any error that is not covary's."""
    try:
        load_tensors(read_checkpoint(path))
        generator = load_generator(path)
        assert isinstance(generator, Generator)
    except CheckpointError:
        return False
    return True


def fuzz(path: Path, content: bytes, seeds: range, nothing_runs: Callable[[], Any]) -> list[bool]:
    results = []
    for seed in seeds:
        path.write_bytes(mutated(content, random.Random(seed)))
        with nothing_runs():
            results.append(check(path))
    return results


@pytest.mark.parametrize("kind", ["nvidia", "nvidia-2", "tensorflow", "zip", "legacy"])
def test_mutations(
    tmp_path: Path, valid: dict[str, bytes], kind: str, nothing_runs: Callable[[], Any]
) -> None:
    loaded = fuzz(tmp_path / "x", valid[kind], range(60), nothing_runs)
    # Mutations must do both to be of use.
    assert any(loaded)
    assert not all(loaded)


@pytest.mark.acceptance
@pytest.mark.parametrize("kind", ["nvidia", "nvidia-2", "tensorflow", "zip", "legacy"])
def test_many_mutations(
    tmp_path: Path, valid: dict[str, bytes], kind: str, nothing_runs: Callable[[], Any]
) -> None:
    fuzz(tmp_path / "x", valid[kind], range(60, 3000), nothing_runs)


def test_noise_behind_every_magic(tmp_path: Path, nothing_runs: Callable[[], Any]) -> None:
    chance, path = random.Random(0), tmp_path / "x"
    for magic in (b"\x80\x02", b"\x80\x04", opcodes.MAGIC, b"PK\x03\x04", b"\x80\x05\x95"):
        for size in (0, 1, 7, 60, 600):
            path.write_bytes(magic + chance.randbytes(size) + b".")
            with nothing_runs():
                assert not check(path)
