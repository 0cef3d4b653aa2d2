"""What torch.save wrote before it wrote zip archives: several pickles, then raw numbers.

NVIDIA's pickles hold one such stream for each tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .machine import Global, Globals, Machine
from .reading import Reading, shown
from .tensors import STORAGES, Storage

__all__ = ["MAGIC", "STORAGE_GLOBALS", "load_from_bytes", "read_stream", "storage_request"]

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

STORAGE_GLOBALS: Globals = {
    ("torch", name): Global(f"torch.{name}", value=dtype) for name, dtype in STORAGES.items()
}
_NOTHING: Globals = {}


def read_stream(data: memoryview, reading: Reading, table: Globals) -> Any:
    """The value that torch.save wrote to ``data``; its storages are slices of ``data``.

    Raises:
        CheckpointError: cut off, damaged, or asking for what is not data.
    """
    position, storages = 0, dict[str, Storage]()

    def pickle(names: Globals = _NOTHING, persistent: Callable[[Any], Any] | None = None) -> Any:
        nonlocal position
        machine = Machine(data, reading, names, start=position, persistent=persistent)
        value = machine.run()
        position = machine.position
        return value

    def storage(request: Any) -> Storage:
        dtype, key, count = storage_request(reading, request)
        found = storages.setdefault(key, Storage(dtype, count))
        if (found.dtype, found.count) != (dtype, count):
            raise reading.refusal("tensors that disagree on their data")
        return found

    magic, protocol, system = pickle(), pickle(), pickle()
    if (magic, protocol) != (MAGIC, _PROTOCOL) or type(system) is not dict:
        raise reading.error("a damaged file of torch.save")
    if system.get("little_endian") is not True:
        raise reading.error("big-endian numbers", "save it again on a common machine")
    value, keys = pickle(table, storage), pickle()
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise reading.refusal("a file of torch.save whose list of data holds no names")
    if len(keys) != len(storages) or set(keys) != storages.keys():
        raise reading.refusal("a file of torch.save whose list of data does not fit its tensors")
    for key in keys:
        position = _fill(data, position, storages[key], reading)
    return value


def _fill(data: memoryview, position: int, storage: Storage, reading: Reading) -> int:
    """Finds the numbers of ``storage``; returns where they end."""
    start, count = position + 8, int.from_bytes(data[position : position + 8], "little")
    end = start + storage.nbytes
    if end > len(data):
        raise reading.error("a file cut off within its tensors")
    if count != storage.count:
        raise reading.refusal(f"a tensor with {count} numbers in the place of {storage.count}")
    storage.data = data[start:end]
    return end


def storage_request(reading: Reading, request: Any) -> tuple[torch.dtype, str, int]:
    """Type, key and count of the storage that a persistent id of torch asks for.

    Raises:
        CheckpointError: it asks for something else.
    """
    plain = type(request) is tuple and len(request) in (5, 6) and request[0] == "storage"
    if not plain or (len(request) == 6 and request[5] is not None):
        raise reading.refusal("a pickle that refers to data outside itself")
    _, kind, key, _, count = request[:5]
    if type(kind) is not Global or not isinstance(kind.value, torch.dtype):
        raise reading.refusal(f"a tensor of {kind.name if type(kind) is Global else shown(kind)}")
    if type(key) is not str or type(count) is not int or not 0 <= count <= reading.size:
        raise reading.refusal("a tensor with an impossible count of numbers")
    return kind.value, key, count


def load_from_bytes(reading: Reading, arguments: tuple[Any, ...]) -> Storage:
    """In the place of ``torch.storage._load_from_bytes``: one storage in a stream of its own."""
    if len(arguments) != 1 or type(arguments[0]) not in (bytes, memoryview):
        raise reading.refusal("a tensor whose data are no bytes")
    found = read_stream(memoryview(arguments[0]), reading, STORAGE_GLOBALS)
    if type(found) is not Storage:
        raise reading.refusal(f"a tensor whose data are {shown(found)}")
    return found
