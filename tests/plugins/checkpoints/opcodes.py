"""Pickles put together by hand, for what no pickler would write."""

from __future__ import annotations

import struct

EMPTY_LIST, EMPTY_DICT, EMPTY_TUPLE, EMPTY_SET, MARK = b"]", b"}", b")", b"\x8f", b"("
REDUCE, BUILD, NEWOBJ, NEWOBJ_EX, STACK_GLOBAL = b"R", b"b", b"\x81", b"\x92", b"\x93"
TUPLE, TUPLE1, TUPLE2, TUPLE3, LIST_END, DICT_END = b"t", b"\x85", b"\x86", b"\x87", b"e", b"u"
SETITEM, APPEND, NONE, TRUE, FALSE, BINPERSID = b"s", b"a", b"N", b"\x88", b"\x89", b"Q"


def pickle(*parts: bytes, protocol: int = 4) -> bytes:
    return b"\x80" + bytes([protocol]) + b"".join(parts) + b"."


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def data(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def put(index: int) -> bytes:
    return b"r" + struct.pack("<I", index)


def get(index: int) -> bytes:
    return b"j" + struct.pack("<I", index)


def tuple_of(*items: bytes) -> bytes:
    return MARK + b"".join(items) + TUPLE


def dict_of(*items: bytes) -> bytes:
    return EMPTY_DICT + MARK + b"".join(items) + DICT_END


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    return name(module, attribute) + tuple_of(*arguments) + REDUCE


MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def stream(
    value: bytes,
    keys: tuple[str, ...] = ("0",),
    numbers: bytes = struct.pack("<q2f", 2, 1.0, 2.0),
    *,
    little_endian: bytes = TRUE,
    protocol: int = 1001,
) -> bytes:
    """What torch.save wrote before zip archives; ``value`` makes the saved value."""
    return b"".join(
        [
            MAGIC,
            pickle(number(protocol), protocol=2),
            pickle(dict_of(text("little_endian"), little_endian), protocol=2),
            pickle(value, protocol=2),
            pickle(EMPTY_LIST, MARK, *map(text, keys), LIST_END, protocol=2),
            numbers,
        ]
    )


def storage(
    kind: bytes = name("torch", "FloatStorage"),
    key: bytes = text("0"),
    count: bytes = number(2),
    what: bytes = text("storage"),
    view: bytes = NONE,
) -> bytes:
    """A persistent id of torch."""
    return tuple_of(what, kind, key, text("cpu"), count, view) + BINPERSID


def tensor(
    offset: bytes = number(0),
    shape: tuple[int, ...] = (2,),
    strides: tuple[int, ...] = (1,),
    source: bytes | None = None,
) -> bytes:
    """A tensor of NVIDIA's pickles over a storage of two floats."""
    source = (
        call("torch.storage", "_load_from_bytes", data(stream(storage())))
        if source is None
        else source
    )
    return call(
        "torch._utils",
        "_rebuild_tensor_v2",
        source,
        offset,
        tuple_of(*map(number, shape)),
        tuple_of(*map(number, strides)),
        FALSE,
        NONE,
    )


def array(
    kind: str = "f4",
    order: bytes = text("<"),
    fields: bytes = NONE,
    shape: tuple[int, ...] = (2,),
    content: bytes = data(bytes(8)),
    subtype: bytes = name("numpy", "ndarray"),
) -> bytes:
    """An array as numpy writes it."""
    dtype = call("numpy", "dtype", text(kind), FALSE, TRUE)
    state = tuple_of(number(3), order, NONE, fields, fields, number(-1), number(-1), number(0))
    dtype += state + BUILD
    empty = name("numpy.core.multiarray", "_reconstruct")
    empty += tuple_of(subtype, tuple_of(number(0)), data(b"b")) + REDUCE
    return empty + tuple_of(number(1), tuple_of(*map(number, shape)), dtype, FALSE, content) + BUILD
