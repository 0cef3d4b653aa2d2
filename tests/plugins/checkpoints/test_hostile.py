"""Files made to run something, or to use up time or memory: refused, and nothing happens."""

from __future__ import annotations

import functools
import json
import os
import pickle
import resource
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from covary.errors import CheckpointError
from covary_plugins.checkpoints import load_tensors, read_checkpoint
from covary_plugins.stylegan2 import load_generator
from plugins.checkpoints import writers
from plugins.checkpoints.opcodes import (
    APPEND,
    BINPERSID,
    BUILD,
    DICT_END,
    EMPTY_DICT,
    EMPTY_LIST,
    EMPTY_SET,
    EMPTY_TUPLE,
    FALSE,
    LIST_END,
    MARK,
    NEWOBJ,
    NEWOBJ_EX,
    NONE,
    REDUCE,
    SETITEM,
    STACK_GLOBAL,
    TUPLE,
    TUPLE1,
    TUPLE2,
    array,
    call,
    data,
    dict_of,
    get,
    name,
    number,
    put,
    storage,
    stream,
    tensor,
    text,
    tuple_of,
)
from plugins.checkpoints.opcodes import (
    pickle as p,
)

MB = 2**20
ALLOWANCE = 12 * MB


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@contextmanager
def memory_for(size: int) -> Iterator[None]:
    """Leaves the process twice ``size`` and an allowance; more is a MemoryError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + 2 * size + ALLOWANCE
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def blob(content: bytes) -> bytes:
    return call("torch.storage", "_load_from_bytes", data(content))


def persistent(*items: bytes) -> bytes:
    return call("torch_utils.persistence", "_reconstruct_persistent_obj", dict_of(*items))


def nested(depth: int) -> bytes:
    return p(EMPTY_LIST * depth, APPEND * (depth - 1))


RUN = {
    "os.system": (p(call("os", "system", text("touch x"))), r"os\.system"),
    "posix.system": (pickle.dumps(Calls(os.system, "touch x")), r"posix\.system"),
    "eval": (pickle.dumps(Calls(eval, "1+1")), r"builtins\.eval"),
    "exec, protocol 2": (pickle.dumps(Calls(exec, "x=1"), 2), r"__builtin__\.exec"),
    "import": (p(call("builtins", "__import__", text("os"))), "__import__"),
    "a class as a leaf": (pickle.dumps({"a": pickle.Unpickler}), r"_pickle\.Unpickler"),
    "getattr chain": (
        p(call("builtins", "getattr", name("collections", "OrderedDict"), text("__init__"))),
        r"builtins\.getattr",
    ),
    "operator": (p(call("operator", "attrgetter", text("__class__"))), "attrgetter"),
    "partial": (pickle.dumps(functools.partial(print, "x")), r"functools\.partial"),
    "torch.load": (p(call("torch", "load", text("x.pt"))), r"torch\.load"),
    "torch.jit": (p(call("torch.jit", "load", text("x.pt"))), r"torch\.jit\.load"),
    "numpy.load": (p(call("numpy", "load", text("x.npy"))), r"numpy\.load"),
    "open": (p(call("io", "open", text("x"), text("w"))), r"io\.open"),
    "pathlib": (pickle.dumps(Path("x")), "pathlib"),
    "copyreg": (p(call("copyreg", "_reconstructor", NONE)), "copyreg"),
    "embedded source": (
        p(call("torch_utils.persistence", "_src_to_module", text("x=1"))),
        "_src_to_module",
    ),
    "dotted name": (
        p(text("collections"), text("OrderedDict.__init__.__globals__"), STACK_GLOBAL),
        "__globals__",
    ),
    "dotted handler": (
        p(
            text("torch_utils.persistence"),
            text("_reconstruct_persistent_obj.__globals__"),
            STACK_GLOBAL,
        ),
        "__globals__",
    ),
    "dotted module": (p(name("torch.storage._load_from_bytes", "__code__")), "__code__"),
    "our own modules": (
        p(name("covary_plugins.checkpoints.handlers", "GLOBALS")),
        "checkpoints.handlers.GLOBALS",
    ),
    "name that is no text": (p(number(1), number(2), STACK_GLOBAL), "something else than text"),
    "name in control characters": (p(name("os", "\x1b[2Jsystem")), r"os\.\?\[2Jsystem"),
}

OBJECTS = {
    "BUILD on a handler": (
        p(name("collections", "OrderedDict"), dict_of(text("call"), NONE), BUILD),
        "sets attributes of collections.OrderedDict",
    ),
    "BUILD with slots": (
        p(name("numpy", "ndarray"), NONE, dict_of(text("name"), text("x")), TUPLE2, BUILD),
        "sets attributes of numpy.ndarray",
    ),
    "class mutation": (
        p(name("argparse", "Namespace"), dict_of(text("update"), NONE), BUILD),
        "sets attributes of argparse.Namespace",
    ),
    "BUILD on a list": (p(EMPTY_LIST, EMPTY_DICT, BUILD), "attributes of list"),
    "BUILD on a tensor": (p(tensor(), EMPTY_DICT, BUILD), "attributes of an array"),
    "BUILD with slots on a dictionary": (
        p(call("collections", "OrderedDict"), NONE, EMPTY_DICT, TUPLE2, BUILD),
        "attributes of dict",
    ),
    "call of text": (p(text("os"), EMPTY_TUPLE, REDUCE), "calls os"),
    "call without a tuple": (p(name("builtins", "set"), EMPTY_LIST, REDUCE), "calls set"),
    "call of a type": (p(call("numpy", "ndarray", number(3))), "calls numpy.ndarray"),
    "call of a storage": (p(call("torch", "FloatStorage", number(3))), "FloatStorage"),
    "call of a class": (p(call("argparse", "Namespace")), "calls argparse.Namespace"),
    "a handler as a value": (p(EMPTY_LIST, name("builtins", "set"), APPEND), r"no data \(set\)"),
    "NEWOBJ with arguments": (
        p(name("argparse", "Namespace"), EMPTY_DICT, TUPLE1, NEWOBJ),
        "an instance of argparse.Namespace",
    ),
    "NEWOBJ of a function": (
        p(name("torch._utils", "_rebuild_tensor_v2"), EMPTY_TUPLE, NEWOBJ),
        "_rebuild_tensor_v2",
    ),
    "NEWOBJ_EX": (
        p(name("argparse", "Namespace"), EMPTY_TUPLE, EMPTY_DICT, NEWOBJ_EX),
        "NEWOBJ_EX",
    ),
    "INST": (p(MARK, b"ios\nsystem\n"), "INST"),
    "OBJ": (p(MARK, name("argparse", "Namespace"), b"o"), "OBJ"),
    "EXT1": (p(b"\x82\x01"), "EXT1"),
    "EXT2": (p(b"\x83\x01\x00"), "EXT2"),
    "EXT4": (p(b"\x84\x01\x00\x00\x00"), "EXT4"),
    "PERSID": (p(b"P1\n"), "PERSID"),
    "BINPERSID": (p(text("1"), BINPERSID), "data outside itself"),
    "NEXT_BUFFER": (p(b"\x97"), "NEXT_BUFFER"),
    "DUP": (p(NONE, b"2"), "DUP"),
    "POP": (p(NONE, NONE, b"0"), "POP"),
    "persistent object of another kind": (
        p(persistent(text("type"), text("function"))),
        "unknown kind",
    ),
    "persistent object without a name": (
        p(persistent(text("type"), text("class"), text("class_name"), NONE)),
        "without a class name",
    ),
    "dictionary of arguments": (p(call("collections", "OrderedDict", EMPTY_LIST)), "of arguments"),
    "set of a dictionary": (p(call("builtins", "set", EMPTY_DICT)), "than a list"),
    "bytes of a number": (p(call("builtins", "bytes", number(2**30))), "of arguments"),
    "codec that unpacks": (p(call("_codecs", "encode", text("a"), text("zlib"))), "encodes"),
    "codec that looks up": (p(call("_codecs", "encode", text("a"), text("rot13"))), "encodes"),
    "code points beyond bytes": (
        p(call("_codecs", "encode", text("\u20ac"), text("latin1"))),
        "damaged",
    ),
}

TENSORS = {
    "program in a blob": (p(blob(stream(call("os", "system", text("x"))))), r"os\.system"),
    "program for a blob's magic": (
        p(blob(p(call("os", "system", text("x"))) + stream(storage())[15:])),
        r"os\.system",
    ),
    "blob in a blob": (p(blob(stream(blob(stream(storage()))))), "_load_from_bytes"),
    "blob of another value": (p(blob(stream(number(3)))), "list of data"),
    "blob that is a pickle": (p(blob(p(NONE))), "cut off"),
    "blob that is text": (p(call("torch.storage", "_load_from_bytes", text("x"))), "no bytes"),
    "blob of another version": (p(blob(stream(storage(), protocol=1002))), "damaged"),
    "big-endian blob": (p(blob(stream(storage(), little_endian=FALSE))), "big-endian"),
    "module in a persistent id": (p(blob(stream(storage(what=text("module"))))), "outside itself"),
    "view in a persistent id": (p(blob(stream(storage(view=number(1))))), "outside itself"),
    "storage without a type": (p(blob(stream(storage(text("Float"))))), "a tensor of Float"),
    "storage of strange numbers": (
        p(blob(stream(storage(name("torch", "ComplexFloatStorage"))))),
        r"torch\.ComplexFloatStorage",
    ),
    "storage of a billion numbers": (
        p(blob(stream(storage(count=number(10**9))))),
        "impossible count",
    ),
    "storage of -1 numbers": (p(blob(stream(storage(count=number(-1))))), "impossible count"),
    "storage that is not there": (p(blob(stream(storage(), keys=()))), "list of data"),
    "storage that nobody wants": (p(blob(stream(storage(), keys=("0", "1")))), "list of data"),
    "storage without a name": (p(blob(stream(storage(key=NONE)))), "impossible count"),
    "storage of another length": (
        p(blob(stream(storage(), numbers=struct.pack("<q2f", 3, 1, 2)))),
        "3 numbers in the place of 2",
    ),
    "over the end": (p(tensor(shape=(3,))), "over the end"),
    "offset over the end": (p(tensor(offset=number(1))), "over the end"),
    "negative offset": (p(tensor(offset=number(-4))), "strides that do not fit"),
    "offset that is text": (p(tensor(offset=text("a"))), "strides that do not fit"),
    "strides over the end": (p(tensor(strides=(2,))), "over the end"),
    "negative stride": (p(tensor(strides=(-1,))), "something else than counts"),
    "negative shape": (p(tensor(shape=(-2,))), "something else than counts"),
    "one number a billion times": (p(tensor(shape=(10**9,), strides=(0,))), "more than once"),
    "huge and empty": (
        p(tensor(shape=(0, 2**31 - 1, 2**31 - 1, 9), strides=(1, 1, 1, 1))),
        "impossible size",
    ),
    "too many dimensions": (p(tensor(shape=(1,) * 40, strides=(1,) * 40)), "shape is tuple"),
    "strides for other dimensions": (p(tensor(strides=(1, 1))), "strides that do not fit"),
    "tensor of text": (p(tensor(source=text("x"))), "a tensor of x"),
    "parameter of text": (p(call("torch._utils", "_rebuild_parameter", text("x"))), "no tensor"),
    "tensor of nothing": (p(call("torch._utils", "_rebuild_tensor_v2")), "without a shape"),
    "objects": (p(array("O8", text("|"), content=EMPTY_LIST)), "objects"),
    "objects by numpy": (pickle.dumps(np.array([{}, 1], dtype=object)), "an array of objects"),
    "fields": (p(array(fields=tuple_of(text("a")))), "structured"),
    "dates": (p(array("M8")), "dtype M8"),
    "big-endian array": (p(array(order=text(">"))), "big-endian"),
    "array with too few bytes": (p(array(shape=(3,))), "with 8 bytes"),
    "array of -1 rows": (p(array(shape=(-2, -1))), "something else than counts"),
    "array of another class": (p(array(subtype=name("numpy", "dtype"))), "unknown class"),
    "array that is never filled": (
        p(call("numpy.core.multiarray", "_reconstruct", name("numpy", "ndarray"), NONE, NONE)),
        "no data",
    ),
    "array filled twice": (
        p(array() + tuple_of(number(1), EMPTY_TUPLE, NONE, FALSE, data(b"")) + BUILD),
        "attributes of an array",
    ),
    "scalar of objects": (
        p(call("numpy.core.multiarray", "scalar", call("numpy", "dtype", text("O8")), NONE)),
        "objects",
    ),
}

SHAPES = {
    "list in itself": (p(EMPTY_LIST, put(0), get(0), APPEND), "contains itself"),
    "dictionary in itself": (p(EMPTY_DICT, put(0), text("a"), get(0), SETITEM), "contains itself"),
    "tuple in itself": (p(EMPTY_LIST, put(0), get(0), TUPLE1, APPEND), "contains itself"),
    "network in itself": (
        p(
            name("dnnlib.tflib.network", "Network"),
            EMPTY_TUPLE + NEWOBJ + put(0),
            dict_of(text("components"), get(0)),
            BUILD,
        ),
        "contains itself",
    ),
    "deep": (nested(400), "beyond any use"),
    "deep tuples": (p(EMPTY_TUPLE, TUPLE1 * 400), "beyond any use"),
    "deep tuples as a key": (p(EMPTY_DICT, EMPTY_TUPLE, TUPLE1 * 999, NONE, SETITEM), "a key of"),
    "huge number as a key": (p(EMPTY_DICT, b"\x8a\x0a" + bytes(9) + b"\1", NONE, SETITEM), "a key"),
    "float as a key": (p(EMPTY_DICT, b"G" + bytes(8), NONE, SETITEM), "a key of type float"),
    "a thousand million leaves": (
        p(MARK, EMPTY_LIST, *[put(0) + MARK + get(0) * 10 + TUPLE for _ in range(9)], TUPLE),
        "beyond any use",
    ),
    "two values": (p(NONE, NONE), "damaged"),
    "no value": (p(), "damaged"),
    "open mark": (p(NONE, MARK), "damaged"),
    "no mark": (p(LIST_END), "damaged"),
    "below the mark": (p(NONE, MARK, TUPLE1), "damaged"),
    "half a pair": (p(EMPTY_DICT, MARK, text("a"), DICT_END), "damaged"),
    "memo that is empty": (p(get(7)), "damaged"),
    "text that is no text": (p(b"\x8c\x02\xff\xff"), "damaged"),
    "name without an end": (p(b"c" + b"a" * 999), "damaged"),
    "no instruction": (p(b"\xff"), "damaged"),
    "protocol 9": (b"\x80\x04\x80\x09N.", "protocol 9"),
    "list as a dictionary": (p(EMPTY_LIST, text("a"), NONE, SETITEM), "as dict"),
}

CASES = {
    f"{group}: {key}": case
    for group, cases in (
        ("run", RUN),
        ("objects", OBJECTS),
        ("tensors", TENSORS),
        ("shapes", SHAPES),
    )
    for key, case in cases.items()
}


@pytest.mark.parametrize(("content", "words"), CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("read", [read_checkpoint, load_generator], ids=["data", "generator"])
def test_refused(
    tmp_path: Path, content: bytes, words: str, read: Any, nothing_runs: Callable[[], Any]
) -> None:
    path = tmp_path / "hostile.pkl"
    path.write_bytes(content)
    with nothing_runs(), pytest.raises(CheckpointError, match=words) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("inner", [Calls(os.system, "touch x"), functools.partial(print)])
def test_program_in_a_file_of_torch_save(
    tmp_path: Path, zipped: bool, inner: Any, nothing_runs: Callable[[], Any]
) -> None:
    path = writers.torch_save({"g_ema": inner}, tmp_path / "x.pt", zipped=zipped)
    with nothing_runs(), pytest.raises(CheckpointError, match=r"posix\.system|functools\.partial"):
        load_generator(path)


class TestBombs:
    """Each would take far more memory or time than its size suggests."""

    @pytest.mark.parametrize(
        "content",
        [
            p(b"\x8e" + struct.pack("<Q", 2**62)),
            p(b"\x8d" + struct.pack("<Q", 2**62)),
            p(b"\x96" + struct.pack("<Q", 2**62)),
            p(b"\x95" + struct.pack("<Q", 2**62)),
            p(b"B" + struct.pack("<I", 2**32 - 1)),
            p(b"T" + struct.pack("<i", -1)),
            p(b"\x8b" + struct.pack("<i", 2**31 - 1)),
            p(b"\x8b" + struct.pack("<i", -5)),
            p(b"\x8a\xff" + b"\x7f" * 255),
            p(EMPTY_LIST * 4 * MB),
            p(EMPTY_DICT * 4 * MB),
            p(EMPTY_SET * 4 * MB),
            p(MARK * 4 * MB),
            p(NONE * 8 * MB),
            p(EMPTY_LIST, MARK, (EMPTY_TUPLE + TUPLE1) * 2 * MB, LIST_END),
            p(EMPTY_LIST, MARK, b"\x8c\x02ab" * 2 * MB, LIST_END),
            p(*(NONE + put(k * 4096) for k in range(MB // 2))),
            p(text("a" * (2 * MB))),
            nested(MB),
            p(
                text("a" * MB) + put(0) + EMPTY_LIST + MARK,
                *[name("_codecs", "encode") + get(0) + text("latin1") + TUPLE2 + REDUCE] * 500,
            ),
            p(
                data(stream(storage())) + put(0) + EMPTY_LIST + MARK,
                *[name("torch.storage", "_load_from_bytes") + get(0) + TUPLE1 + REDUCE] * 40_000,
            ),
            p(data(bytes(8)) + put(0), (get(0) + TUPLE1) * MB),
        ],
        ids=lambda content: f"{content[2:8].hex()}-{len(content)}",
    )
    def test_refused_within_bounds(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "bomb.pkl"
        path.write_bytes(content)
        with memory_for(len(content)), pytest.raises(CheckpointError):
            read_checkpoint(path)

    def test_the_bounds_are_felt(self) -> None:
        with memory_for(MB), pytest.raises(MemoryError):
            bytearray(128 * MB)

    def test_a_huge_memo_index_is_only_a_number(self, tmp_path: Path) -> None:
        path = tmp_path / "x.pkl"
        path.write_bytes(p(text("a"), put(2**32 - 1), get(2**32 - 1), TUPLE2))
        tracemalloc.start()
        assert read_checkpoint(path) == ("a", "a")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < ALLOWANCE

    def test_tensors_that_share_their_data(self, tmp_path: Path) -> None:
        whole = torch.zeros(MB)
        path = writers.torch_save([whole[k:] for k in range(64)], tmp_path / "x.pt")
        tree = read_checkpoint(path)
        with pytest.raises(CheckpointError, match="unroll to more than the file"):
            load_tensors(tree)

    def test_a_state_dict_that_shares_its_data(self, tmp_path: Path) -> None:
        whole = torch.zeros(MB)
        state = {f"synthesis.b{k}.conv1.weight": whole[k:] for k in range(64)}
        path = writers.torch_save({"g_ema": state}, tmp_path / "x.pt")
        with pytest.raises(CheckpointError, match="unroll to more than the file"):
            load_generator(path)


def zipped(path: Path, entries: list[tuple[str, bytes]], **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    return path


def entries(value: bytes | None = None, numbers: bytes = bytes(8)) -> list[tuple[str, bytes]]:
    value = tensor(source=storage()) if value is None else value
    return [("x/data.pkl", p(value)), ("x/data/0", numbers), ("x/byteorder", b"little")]


class TestArchives:
    def test_the_plain_one_is_read(self, tmp_path: Path) -> None:
        path = zipped(tmp_path / "x.pt", entries())
        assert torch.equal(read_checkpoint(path).load(), torch.zeros(2))

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ([*entries(), ("x/data/0", bytes(8))], "two entries"),
            ([*entries(), ("../../etc/cron.d/x", b"")], r"an entry \.\./"),
            ([*entries(), ("/etc/passwd", b"")], "an entry /etc"),
            ([*entries(), ("x\\..\\y", b"")], "an entry"),
            ([*entries(), ("y/data.pkl", p(NONE))], "other things"),
            ([*entries(), ("x/constants.pkl", p(NONE))], "TorchScript"),
            ([*entries()[:2], ("x/byteorder", b"big")], "big-endian"),
            (entries()[:1], "without its entry data/0"),
            (entries(numbers=bytes(12)), "disagree"),
            (entries(numbers=bytes(4)), "disagree"),
            (entries(tensor(source=storage(key=text("../data.pkl")))), r"data/\.\./data"),
            (entries(call("os", "system", text("x"))), r"os\.system"),
            (
                entries(tensor(source=storage() + storage(name("torch", "HalfStorage")) + TUPLE2)),
                "disagree",
            ),
            ([("x/y.npy", b"")], "NumPy arrays"),
            ([("x/readme", b"")], "other things"),
            ([], "zip archive|something else"),
        ],
    )
    def test_refused(
        self,
        tmp_path: Path,
        content: list[tuple[str, bytes]],
        words: str,
        nothing_runs: Callable[[], Any],
    ) -> None:
        path = zipped(tmp_path / "x.pt", content)
        with nothing_runs(), pytest.raises(CheckpointError, match=words):
            load_generator(path)
        assert list(tmp_path.iterdir()) == [path]

    def test_compressed_bomb(self, tmp_path: Path) -> None:
        content = entries(numbers=bytes(24 * MB))
        path = zipped(tmp_path / "x.pt", content, compression=zipfile.ZIP_DEFLATED)
        del content
        tracemalloc.start()
        with pytest.raises(CheckpointError, match="compressed"):
            read_checkpoint(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < ALLOWANCE

    def test_a_directory_of_a_million_entries(self, tmp_path: Path) -> None:
        path = tmp_path / "x.pt"
        one = b"PK\x01\x02" + bytes(42)
        directory = one * 200_000
        end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(directory), 30, 0)
        path.write_bytes(b"PK\x03\x04" + bytes(26) + directory + end)
        tracemalloc.start()
        with pytest.raises(CheckpointError):
            read_checkpoint(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= 2 * path.stat().st_size + ALLOWANCE

    @pytest.mark.parametrize("change", [b"y/data.pkl", b"x/data.pk2"])
    def test_names_that_differ_by_who_reads_them(self, tmp_path: Path, change: bytes) -> None:
        path = zipped(tmp_path / "x.pt", entries())
        content = path.read_bytes()
        path.write_bytes(content.replace(b"x/data.pkl", change, 1))
        with pytest.raises(CheckpointError, match="damaged zip"):
            read_checkpoint(path)


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One file of each kind, a few kilobytes long."""
    folder = tmp_path_factory.mktemp("valid")
    state = {f"mapping.fc{k}.weight": torch.rand(8, 8) for k in range(3)}
    saved = writers.rosinality_training(state, latent_avg=torch.ones(8))
    network = writers.tf_network({"mapping/Dense0/weight": torch.rand(8, 8)}, {"resolution": 8})
    files = {
        "nvidia": writers.dumps(writers.nvidia_snapshot(writers.nvidia_network(state))),
        "nvidia, protocol 2": writers.dumps(writers.nvidia_network(state), 2),
        "tensorflow": writers.dumps((network, network, network)),
    }
    for zip_format in (True, False):
        path = writers.torch_save(saved, folder / "x.pt", zipped=zip_format)
        files[f"rosinality, zip {zip_format}"] = path.read_bytes()
    return files


def test_truncation_anywhere(tmp_path: Path, valid: dict[str, bytes]) -> None:
    path = tmp_path / "x.pkl"
    for kind, content in valid.items():
        path.write_bytes(content)
        read_checkpoint(path)
        for k in range(50):
            path.write_bytes(content[: len(content) * k // 50])
            with pytest.raises(CheckpointError) as caught:
                read_checkpoint(path)
            assert "again" in str(caught.value), (kind, k)


def test_a_switch_in_the_table_is_out_of_reach() -> None:
    from covary_plugins.checkpoints.handlers import GLOBALS

    with pytest.raises(TypeError):
        GLOBALS["os", "system"] = None  # type: ignore[index]
    with pytest.raises(AttributeError):
        GLOBALS["builtins", "set"].call = print  # type: ignore[misc]


@pytest.fixture(scope="module")
def good() -> dict[str, torch.Tensor]:
    """The tensors of a small generator, under NVIDIA's names."""
    folder = Path(__file__).parents[2] / "fixtures" / "stylegan2" / "nvidia_ada"
    return load_file(folder / "ada_r32_map2.state.safetensors")


class TestSettingsAndNames:
    """Files whose tensors are harmless, and whose names, sizes or settings are not."""

    def loaded(self, path: Path, state: dict[str, Any]) -> None:
        torch.save(state, path)
        with memory_for(path.stat().st_size + 64 * 2**20), pytest.raises(CheckpointError):
            load_generator(path)

    @pytest.mark.parametrize(
        "name", ["to_rgbs.8000000000.upsample.kernel", "convs.99999999999999999999.conv.weight"]
    )
    def test_numbers_in_names_are_no_exponents(self, tmp_path: Path, name: str) -> None:
        self.loaded(
            tmp_path / "g.pt", {"g_ema": {"input.input": torch.ones(1), name: torch.ones(1)}}
        )

    def test_a_mapping_network_wider_than_any(
        self, tmp_path: Path, good: dict[str, torch.Tensor]
    ) -> None:
        state = {k: v for k, v in good.items() if not k.endswith("w_avg")}
        state["mapping.fc0.weight"] = torch.zeros(len(state["mapping.fc0.weight"]), 2**15)
        self.loaded(tmp_path / "g.pt", state)

    @pytest.mark.parametrize("shape", [(4,), (0, 0), (3, 4), (1, 4, 4), ()])
    def test_filters_of_another_shape(
        self, tmp_path: Path, good: dict[str, torch.Tensor], shape: tuple[int, ...]
    ) -> None:
        odd = {"synthesis.b8.resample_filter": torch.ones(shape)}
        self.loaded(tmp_path / "g.pt", good | odd)

    def test_a_tensor_stored_negated_is_not_read_with_the_wrong_sign(self, tmp_path: Path) -> None:
        torch.save({"x": torch._neg_view(torch.ones(2))}, tmp_path / "x.pt")
        with pytest.raises(CheckpointError, match="negated"):
            read_checkpoint(tmp_path / "x.pt")

    def test_containers_used_twice_are_loaded_once(self, tmp_path: Path) -> None:
        tree: Any = [torch.ones(1)]
        for _ in range(18):
            tree = [tree, tree]
        torch.save({"a": tree}, tmp_path / "x.pt")
        found = load_tensors(read_checkpoint(tmp_path / "x.pt"))["a"]
        for _ in range(18):
            assert found[0] is found[1]
            found = found[0]
        assert torch.equal(found[0], torch.ones(1))

    @pytest.mark.parametrize(
        "settings",
        [
            {"mapping_kwargs": 3},
            {"synthesis_kwargs": [1]},
            {"conv_clamp": -1.0},
            {"synthesis_kwargs": {"conv_clamp": float("nan")}},
            {"num_fp16_res": -3},
            {"resample_filter": [0, 0]},
            {"resample_filter": [float("inf"), 1]},
            functools.reduce(lambda inner, _: {"block_kwargs": inner}, range(20), {}),
        ],
        ids=str,
    )
    def test_settings_without_sense(
        self,
        tmp_path: Path,
        good: dict[str, torch.Tensor],
        settings: dict[str, Any],
    ) -> None:
        metadata = {"init_kwargs": json.dumps(settings)}
        save_file(good, tmp_path / "g.safetensors", metadata)
        with pytest.raises(CheckpointError):
            load_generator(tmp_path / "g.safetensors")
