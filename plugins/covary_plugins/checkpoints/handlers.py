"""The names that pickles may use, and what is done in the place of what they name.

The table is complete: NVIDIA's snapshots, TensorFlow-era pickles and files of torch.save need no
more. None of the things named here is imported or called.
"""

from __future__ import annotations

import codecs
from types import MappingProxyType
from typing import Any

from .machine import Global, Globals, LongText
from .reading import Reading, shown
from .records import Namespace, Network, Persistent
from .tensors import ArrayType, LazyTensor
from .torch_streams import STORAGE_GLOBALS, load_from_bytes

__all__ = ["GLOBALS"]

_DECODED_AT_ONCE = 2**20


def _empty_dict(reading: Reading, arguments: tuple[Any, ...]) -> dict[str, Any]:
    if arguments:
        raise reading.refusal("a pickle that makes a dictionary of arguments")
    return {}


def _set(reading: Reading, arguments: tuple[Any, ...]) -> set[str]:
    if len(arguments) != 1 or type(arguments[0]) is not list:
        raise reading.refusal("a set of something else than a list")
    items = arguments[0]
    reading.spend(120 * len(items))
    if any(type(item) is not str or len(item) > 1024 for item in items):
        raise reading.refusal("a set of something else than short texts")
    return set(items)


def _persistent(reading: Reading, arguments: tuple[Any, ...]) -> Persistent:
    meta = arguments[0] if len(arguments) == 1 else None
    if type(meta) is not dict or meta.get("type") != "class":
        raise reading.refusal("a persistent object of an unknown kind")
    name, state = meta.get("class_name"), meta.get("state")
    if type(name) is not str or type(state) not in (dict, type(None)):
        raise reading.refusal("a persistent object without a class name and attributes")
    return Persistent(name, state or {})


def _tensor(reading: Reading, arguments: tuple[Any, ...]) -> LazyTensor:
    if len(arguments) < 4:
        raise reading.refusal("a tensor without a shape")
    if len(arguments) > 6 and arguments[6]:
        raise reading.refusal("a tensor that is stored negated or conjugated")
    return LazyTensor.view(reading, *arguments[:4])


def _parameter(reading: Reading, arguments: tuple[Any, ...]) -> LazyTensor:
    if not arguments or type(arguments[0]) is not LazyTensor:
        raise reading.refusal("a parameter that is no tensor")
    return arguments[0]


def _array_type(reading: Reading, arguments: tuple[Any, ...]) -> ArrayType:
    if not arguments or type(arguments[0]) is not str or len(arguments[0]) > 8:
        raise reading.refusal("a structured array")
    return ArrayType(arguments[0])


def _empty_array(reading: Reading, arguments: tuple[Any, ...]) -> LazyTensor:
    # The real shape comes with the data.
    if len(arguments) != 3 or arguments[0] is not _NDARRAY:
        raise reading.refusal("an array of an unknown class")
    return LazyTensor(reading)


def _array(reading: Reading, arguments: tuple[Any, ...]) -> LazyTensor:
    if len(arguments) != 4:
        raise reading.refusal("an array without a shape")
    array = LazyTensor(reading)
    array.fill_array(reading, *arguments)
    return array


def _scalar(reading: Reading, arguments: tuple[Any, ...]) -> float:
    if len(arguments) != 2:
        raise reading.refusal("a number without a value")
    kind, data = arguments
    array = LazyTensor(reading)
    array.fill_array(reading, data, kind, (), "C")
    return array.load().item()


def _no_bytes(reading: Reading, arguments: tuple[Any, ...]) -> bytes:
    """Empty bytes; protocol 2 writes them as a call."""
    if arguments:
        raise reading.refusal("a pickle that makes bytes of arguments")
    return b""


def _encode(reading: Reading, arguments: tuple[Any, ...]) -> bytes | memoryview:
    """Bytes the way protocol 2 has to write them: as text of code points up to 255."""
    text, encoding = arguments if len(arguments) == 2 else (None, None)
    if not isinstance(text, str | LongText) or encoding != "latin1":
        raise reading.refusal(f"a pickle that encodes {shown(text)}")
    try:
        if isinstance(text, LongText):
            return _decoded(reading, text.utf8)
        reading.spend(len(text))
        return text.encode("latin1")
    except UnicodeError:
        raise reading.error("a damaged pickle") from None


def _decoded(reading: Reading, utf8: memoryview) -> memoryview:
    # In parts: as one text, a single character beyond Latin-1 would widen all of them.
    reading.spend(len(utf8))
    decoder, decoded = codecs.getincrementaldecoder("utf-8")(), bytearray()
    for start in range(0, len(utf8), _DECODED_AT_ONCE):
        end = start + _DECODED_AT_ONCE
        text = decoder.decode(utf8[start:end], final=end >= len(utf8))
        decoded += text.encode("latin1")
    return memoryview(decoded).toreadonly()


_NDARRAY = Global("numpy.ndarray")
_ORDERED_DICT = Global("collections.OrderedDict", call=_empty_dict, new=dict)
_SET = Global("set", call=_set)
_BYTES = Global("bytes", call=_no_bytes)
_NUMPY = {
    "_reconstruct": Global("numpy's _reconstruct", call=_empty_array),
    "scalar": Global("numpy's scalar", call=_scalar),
}
_FROM_BUFFER = Global("numpy's _frombuffer", call=_array)

GLOBALS: Globals = MappingProxyType(
    {
        **STORAGE_GLOBALS,
        ("collections", "OrderedDict"): _ORDERED_DICT,
        ("builtins", "set"): _SET,
        ("__builtin__", "set"): _SET,
        ("builtins", "bytes"): _BYTES,
        ("__builtin__", "bytes"): _BYTES,
        ("_codecs", "encode"): Global("_codecs.encode", call=_encode),
        ("argparse", "Namespace"): Global("argparse.Namespace", new=Namespace),
        ("dnnlib.util", "EasyDict"): Global("dnnlib.util.EasyDict", call=_empty_dict, new=dict),
        ("dnnlib.tflib.network", "Network"): Global("dnnlib.tflib.network.Network", new=Network),
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): Global(
            "torch_utils.persistence._reconstruct_persistent_obj", call=_persistent
        ),
        ("torch._utils", "_rebuild_tensor_v2"): Global(
            "torch._utils._rebuild_tensor_v2", call=_tensor
        ),
        ("torch._utils", "_rebuild_parameter"): Global(
            "torch._utils._rebuild_parameter", call=_parameter
        ),
        ("torch.storage", "_load_from_bytes"): Global(
            "torch.storage._load_from_bytes", call=load_from_bytes
        ),
        ("numpy", "ndarray"): _NDARRAY,
        ("numpy", "dtype"): Global("numpy.dtype", call=_array_type),
        # numpy 2 renamed its inner module.
        **{("numpy.core.multiarray", name): known for name, known in _NUMPY.items()},
        **{("numpy._core.multiarray", name): known for name, known in _NUMPY.items()},
        ("numpy.core.numeric", "_frombuffer"): _FROM_BUFFER,
        ("numpy._core.numeric", "_frombuffer"): _FROM_BUFFER,
    }
)
