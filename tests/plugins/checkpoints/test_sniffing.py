"""Files are told apart by their content."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from covary.errors import CheckpointError
from covary_plugins.checkpoints import read_checkpoint, sniff
from covary_plugins.stylegan2 import load_generator
from plugins.checkpoints import opcodes, writers


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"", "empty", "empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "html", "web page"),
        (b"\n<?xml version='1.0'?><Error>AccessDenied</Error>", "html", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid x\n", "lfs-pointer", "LFS"),
        (pickle.dumps({"a": 1}, 2), "pickle", "a pickle"),
        (pickle.dumps({"a": 1}, 5), "pickle", "a pickle"),
        (writers.dumps(writers.nvidia_network({})), "pickle", "NVIDIA's PyTorch"),
        (writers.dumps(writers.tf_network({}, {})), "pickle", "NVIDIA's TensorFlow"),
        (pickle.dumps({"a": "b" * 99})[:60], "truncated", "cut off"),
        (opcodes.stream(opcodes.NONE, ()), "torch-legacy", "torch.save"),
        (b"PK\x03\x04" + bytes(90), "truncated", "cut off"),
        (b"\xff\xff\0\0\0\0\0\0" + b'{"a": {"dtype": "F32"}}', "truncated", "in its header"),
        (b"\x89PNG\r\n\x1a\n" + bytes(9), "other", "PNG"),
        (b"\x1f\x8b" + bytes(9), "other", "gzip"),
        (b'{"error": "quota exceeded"}', "other", "JSON"),
        (bytes(range(100, 200)), "unknown", "something else"),
    ],
)
def test_kinds(tmp_path: Path, content: bytes, kind: str, words: str) -> None:
    path = tmp_path / "misnamed.pkl"
    path.write_bytes(content)
    found = sniff(path)
    assert (found.kind, found.size) == (kind, len(content))
    assert words in found.what
    if kind not in ("pickle", "torch-legacy"):
        for read in (read_checkpoint, load_generator):
            with pytest.raises(CheckpointError, match=words) as caught:
                read(path)
            assert found.fix
            assert found.fix in str(caught.value)


def test_files_of_torch_save(tmp_path: Path) -> None:
    for zipped, kind in ((True, "torch-zip"), (False, "torch-legacy")):
        path = writers.torch_save({"a": torch.ones(2)}, tmp_path / "x", zipped=zipped)
        assert sniff(path).kind == kind
        for protocol in (2, 4):
            torch.save([1], path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
            assert sniff(path).kind == kind


def test_other_archives(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(path))
    assert "TorchScript" in sniff(path).what
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "x")
    assert sniff(path).kind == "other"


@pytest.mark.parametrize("length", range(1, 40))
def test_safetensors_are_never_taken_for_a_pickle(tmp_path: Path, length: int) -> None:
    # Headers of 640 to 1,407 bytes begin with what may be a pickle's first two bytes.
    path = tmp_path / "x"
    save_file({"a": torch.ones(2)}, path, {"padding": "x" * (length * 40)})
    assert sniff(path).kind == "safetensors"
    with pytest.raises(CheckpointError, match="safetensors"):
        read_checkpoint(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        sniff(tmp_path / "none")
    with pytest.raises(CheckpointError, match="a folder"):
        sniff(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="no regular file"):
        sniff(tmp_path / "pipe")
