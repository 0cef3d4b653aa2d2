"""What read_checkpoint gives, against the readers that run pickles: torch.load and pickle.loads."""

from __future__ import annotations

import argparse
import pickle
import struct
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from covary.errors import CheckpointError
from covary_plugins.checkpoints import (
    LazyTensor,
    Namespace,
    Network,
    Persistent,
    load_tensors,
    read_checkpoint,
)
from plugins.checkpoints import opcodes, writers

DTYPES = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, np.ndarray):
        assert (ours.numpy() == theirs).all()
        assert ours.shape == theirs.shape
    elif isinstance(theirs, torch.Tensor):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key, value in theirs.items():
            assert_same(ours[key], value)
    elif isinstance(theirs, list | tuple):
        assert type(ours) is type(theirs)
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    else:
        assert ours == theirs
        assert isinstance(ours, type(theirs))


def some_tensor(seed: int) -> torch.Tensor:
    """Tensors of many types and layouts, among them views of larger ones."""
    random = np.random.RandomState(seed)
    shape = [int(random.randint(0, 5)) for _ in range(random.randint(0, 4))]
    dtype = DTYPES[seed % len(DTYPES)]
    tensor = torch.from_numpy(np.asarray(random.randint(0, 100, shape))).to(dtype)
    if tensor.ndim > 1 and seed % 2:
        tensor = tensor.transpose(0, -1)
    if tensor.ndim and tensor.shape[0] > 2 and seed % 3:
        tensor = tensor[1:]
    return tensor


tensors = st.integers(0, 10_000).map(some_tensor)
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=300),
    st.binary(max_size=300),
)


def trees(leaves: Any) -> Any:
    keys = st.one_of(st.text(max_size=8), st.integers(0, 99))
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(keys, inner, max_size=4),
            st.dictionaries(keys, inner, max_size=4).map(OrderedDict),
            st.tuples(inner, inner, inner, inner),
            st.tuples(inner),
        ),
        max_leaves=12,
    )


class TestValues:
    @given(tree=trees(plain | tensors), zipped=st.booleans(), protocol=st.sampled_from([2, 4]))
    @settings(max_examples=40)
    def test_files_of_torch_save(
        self, tmp_path_factory: Any, tree: Any, zipped: bool, protocol: int
    ) -> None:
        path = tmp_path_factory.mktemp("t") / "x.pt"
        torch.save(tree, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
        assert_same(load_tensors(read_checkpoint(path)), torch.load(path, weights_only=False))

    @given(tree=trees(plain | tensors), protocol=st.sampled_from(writers.PROTOCOLS))
    @settings(max_examples=40)
    def test_pickles(self, tmp_path_factory: Any, tree: Any, protocol: int) -> None:
        content = pickle.dumps(tree, protocol)
        path = write(tmp_path_factory.mktemp("t") / "x.pkl", content)
        assert_same(load_tensors(read_checkpoint(path)), pickle.loads(content))

    @pytest.mark.parametrize("protocol", writers.PROTOCOLS)
    @pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?"])
    def test_arrays(self, tmp_path: Path, dtype: str, protocol: int) -> None:
        whole = np.arange(2400).reshape(20, 120).astype(dtype)
        value = [whole, np.asfortranarray(whole), whole[::2, 5:9], whole[0, 0], whole[:0], 1.5]
        content = pickle.dumps(value, protocol)
        ours = load_tensors(read_checkpoint(write(tmp_path / "x.pkl", content)))
        assert_same(ours, [i.item() if isinstance(i, np.generic) else i for i in value])

    def test_old_numpy_names(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x.pkl", opcodes.pickle(opcodes.array()))
        assert torch.equal(read_checkpoint(path).load(), torch.zeros(2))

    def test_objects_become_their_attributes(self, tmp_path: Path) -> None:
        network = writers.tf_network({"lod": torch.tensor(1.5)}, {"resolution": 8})
        module = writers.nvidia_network({"mapping.w_avg": torch.ones(3)})
        tree = read_checkpoint(write(tmp_path / "x.pkl", writers.dumps([network, module])))
        assert isinstance(tree[0], Network)
        assert tree[0].state["static_kwargs"] == {"resolution": 8}
        assert tree[0].state["variables"] == [("lod", 1.5)]
        assert isinstance(tree[1], Persistent)
        assert tree[1].class_name == "Generator"
        assert writers.SOURCE not in str(tree[1].state)

    @pytest.mark.parametrize("zipped", [True, False])
    def test_restyle(self, tmp_path: Path, zipped: bool) -> None:
        opts = {"encoder_type": "BackboneEncoder", "n_iters_per_batch": 5, "input_nc": 6}
        saved = {
            "state_dict": torch.nn.Linear(2, 3).state_dict(),
            "opts": argparse.Namespace(**opts),
            "latent_avg": torch.ones(18, 4),
        }
        tree = read_checkpoint(writers.torch_save(saved, tmp_path / "r.pt", zipped=zipped))
        assert tree["opts"] == opts
        assert isinstance(tree["opts"], Namespace)
        assert isinstance(tree["latent_avg"], LazyTensor)
        assert tree["latent_avg"].shape == (18, 4)
        loaded = load_tensors(tree["state_dict"])
        assert_same(loaded, dict(saved["state_dict"]))

    def test_shared_tensors_are_loaded_once(self, tmp_path: Path) -> None:
        one = torch.arange(1000.0)
        path = writers.torch_save({"a": one, "b": one, "c": [one] * 9}, tmp_path / "x.pt")
        loaded = load_tensors(read_checkpoint(path))
        assert loaded["a"] is loaded["b"] is loaded["c"][8]

    def test_tensors_own_their_memory(self, tmp_path: Path) -> None:
        path = writers.torch_save({"a": torch.ones(4)}, tmp_path / "x.pt")
        tensor = read_checkpoint(path)["a"]
        tensor.load().zero_()
        assert torch.equal(tensor.load(), torch.ones(4))

    def test_a_large_text_of_bytes(self, tmp_path: Path) -> None:
        # Protocol 2 has no bytes; 3 MB of them are 4.5 MB of text.
        value = torch.arange(3 * 2**20).to(torch.uint8)
        path = write(tmp_path / "x.pkl", pickle.dumps(value.numpy(), 2))
        assert torch.equal(read_checkpoint(path).load(), value)

    def test_large_bytes(self, tmp_path: Path) -> None:
        value = bytes(range(256)) * 100
        path = write(tmp_path / "x.pkl", pickle.dumps([value, b"short"]))
        large, short = read_checkpoint(path)
        assert bytes(large) == value
        assert short == b"short"

    def test_more_than_one_stream_in_a_file(self, tmp_path: Path) -> None:
        content = opcodes.stream(opcodes.storage()) + b"more"
        with pytest.raises(CheckpointError, match="Storage"):
            read_checkpoint(write(tmp_path / "x.pt", content))
        view = opcodes.stream(opcodes.tensor(source=opcodes.storage()))
        path = write(tmp_path / "x.pt", view)
        expected = torch.tensor(struct.unpack("<2f", view[-8:]))
        assert torch.equal(read_checkpoint(path).load(), expected)


class TestCost:
    def test_unused_networks_cost_nothing(self, tmp_path: Path) -> None:
        large = writers.nvidia_network({f"b{i}.w": torch.ones(2**21) for i in range(4)})
        small = writers.nvidia_network({"mapping.w_avg": torch.ones(2**17)})
        snapshot = writers.nvidia_snapshot(small, G=large, D=large, E=large)
        path = write(tmp_path / "x.pkl", writers.dumps(snapshot))
        del snapshot, large
        size = path.stat().st_size
        assert size > 2**25
        before = psutil.Process().memory_info().rss
        tracemalloc.start()
        tree = read_checkpoint(path)
        loaded = load_tensors(tree["G_ema"])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < size / 20
        # The page cache lends whole pages around what is read.
        assert psutil.Process().memory_info().rss - before < size / 4
        assert torch.equal(
            loaded.state["_modules"]["mapping"].state["_buffers"]["w_avg"], torch.ones(2**17)
        )
