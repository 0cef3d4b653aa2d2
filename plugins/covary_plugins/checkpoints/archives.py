"""What torch.save writes: a zip archive with a pickle, and the numbers of each storage beside it.

Only what torch itself writes is accepted: stored entries, each name once, no entry outside the
archive's one folder. Entries are slices of the file; nothing is unpacked.
"""

from __future__ import annotations

from typing import Any

from .machine import Globals, Machine
from .reading import AGAIN, Reading, shown
from .tensors import Storage
from .torch_streams import storage_request

__all__ = ["Entries", "read_archive", "read_entries", "saved_pickles"]

Entries = dict[str, memoryview | None]
"""Contents by name; None where they are compressed or encrypted."""

_END, _END64, _LOCATOR, _ENTRY, _LOCAL = (
    b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02", b"PK\x03\x04",
)  # fmt: skip
_LONGEST_COMMENT = 2**16
_ENTRY_COST = 500
_ENCRYPTED = 1
_UNKNOWN = 0xFFFFFFFF


def read_archive(data: memoryview, reading: Reading, table: Globals) -> Any:
    """The value that torch.save wrote to the archive ``data``.

    Raises:
        CheckpointError: cut off, damaged, or asking for what is not data.
    """
    found = read_entries(data, reading)
    entries = {name: content for name, content in found.items() if content is not None}
    if len(entries) < len(found):
        raise reading.error(
            "a zip archive with compressed or encrypted entries",
            "torch.save stores them as they are; save it again with torch.save",
        )
    pickles = saved_pickles(found)
    if len(pickles) != 1:
        raise reading.error("a zip archive that torch.save did not write")
    folder = pickles[0].removesuffix("data.pkl")
    order = entries.get(f"{folder}byteorder")
    if order is not None and bytes(order[:16]) != b"little":
        raise reading.error("big-endian numbers", "save it again on a common machine")
    storages: dict[str, Storage] = {}

    def storage(request: Any) -> Storage:
        dtype, key, count = storage_request(reading, request)
        found = storages.setdefault(key, Storage(dtype, count))
        numbers = entries.get(f"{folder}data/{key}")
        if numbers is None:
            raise reading.error(f"an archive without its entry data/{shown(key)}")
        if (found.dtype, found.count) != (dtype, count) or len(numbers) != found.nbytes:
            raise reading.refusal(f"tensors that disagree on the data of entry {shown(key)}")
        found.data = numbers
        return found

    return Machine(entries[f"{folder}data.pkl"], reading, table, persistent=storage).run()


def saved_pickles(entries: Entries) -> list[str]:
    """Names of the entries that may be what torch.save wrote; there should be one."""
    return [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]


def read_entries(data: memoryview, reading: Reading) -> Entries:
    """The entries of a zip archive by their names, as slices of ``data``.

    Raises:
        CheckpointError: cut off or damaged, or not as torch writes it.
    """
    position, size, count = _directory(data, reading)
    end, entries = position + size, Entries()
    for _ in range(count):
        head = data[position : position + 46]
        if len(head) < 46 or head[:4] != _ENTRY:
            raise reading.error("a damaged zip archive")
        lengths = [_number(head, at, 2) for at in (28, 30, 32)]
        reading.spend(_ENTRY_COST + 4 * lengths[0])
        encoded = data[position + 46 :][: lengths[0]]
        extra = data[position + 46 + lengths[0] :][: lengths[1]]
        position += 46 + sum(lengths)
        name = str(encoded, "utf-8", "replace")
        if name in entries:
            raise reading.refusal(f"a zip archive with two entries {shown(name)}")
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise reading.refusal(f"a zip archive with an entry {shown(name)}")
        entries[name] = _content(data, head, encoded, extra, reading)
    if position != end:
        raise reading.error("a damaged zip archive")
    return entries


def _directory(data: memoryview, reading: Reading) -> tuple[int, int, int]:
    """Where the list of entries begins, its size, and how many entries it has."""
    tail = bytes(data[-22 - _LONGEST_COMMENT :])
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        raise reading.error("a zip archive that is cut off", AGAIN)
    end = memoryview(tail)[at:]
    count, size, position = (_number(end, *field) for field in ((10, 2), (12, 4), (16, 4)))
    before = len(data) - len(tail) + at
    locator = data[max(before - 20, 0) : before]
    if locator[:4] == _LOCATOR:
        where = _number(locator, 8, 8)
        end64 = data[where : where + 56]
        if len(end64) < 56 or end64[:4] != _END64:
            raise reading.error("a damaged zip archive")
        count, size, position = (_number(end64, field, 8) for field in (32, 40, 48))
    if position + size > before or count * 46 > size:
        raise reading.error("a damaged zip archive")
    return position, size, count


def _content(
    data: memoryview, head: memoryview, name: memoryview, extra: memoryview, reading: Reading
) -> memoryview | None:
    if _number(head, 10, 2) != 0 or _number(head, 8, 2) & _ENCRYPTED:
        return None
    fields = [_number(head, at, 4) for at in (24, 20, 42)]
    wide = _wide_values(extra)
    size, stored, where = (wide.pop(0) if wide and f == _UNKNOWN else f for f in fields)
    local = data[where : where + 30]
    start = where + 30 + _number(local, 26, 2) + _number(local, 28, 2)
    # What a reader that goes by the local headers would see must be the same.
    same_name = len(local) == 30 and data[where + 30 :][: _number(local, 26, 2)] == name
    if local[:4] != _LOCAL or not same_name or stored != size or start + size > len(data):
        raise reading.error(f"a damaged zip archive (entry {shown(str(name, 'utf-8', 'replace'))})")
    return data[start : start + size]


def _wide_values(extra: memoryview) -> list[int]:
    """The 64-bit numbers that take the place of those too large for 32 bits."""
    while len(extra) >= 4:
        kind, size = _number(extra, 0, 2), _number(extra, 2, 2)
        if kind == 1:
            return [_number(extra, at, 8) for at in range(4, 4 + size - size % 8, 8)]
        extra = extra[4 + size :]
    return []


def _number(data: memoryview, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
