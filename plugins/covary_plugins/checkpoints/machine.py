"""Pickle's instructions, carried out on data alone.

A pickle is a program for a small stack machine. Only what files of weights use is implemented:
numbers, text, bytes, containers, the memo, and three instructions that name things outside the
file. Those names are looked up, as a whole, in a fixed table of handlers written here; nothing is
imported and no attribute is ever followed. Any other instruction is refused by its name.

Payloads stay slices of the file. So a file costs what its small parts cost.
"""

from __future__ import annotations

import pickletools
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .reading import AGAIN, Reading, shown
from .records import Namespace, Network
from .tensors import ArrayType, LazyTensor

__all__ = ["Global", "Globals", "LongText", "Machine"]

_LONGEST_NAME = 256
_LONGEST_TEXT = 2**20
_LONGEST_NUMBER = 32
# What a container costs beside its content, and what one more entry of a dictionary or set costs.
_CONTAINER_BYTES = 200
_ENTRY_BYTES = 120
_COPIED_BYTES = 4096
# Larger numbers as keys could be chosen to collide.
_LARGEST_KEY = 2**31
# Comparing long ones again and again takes time.
_LONGEST_KEY = 1024


@dataclass(frozen=True, slots=True)
class Global:
    """A name that pickles may use, and what is done in the place of what it names.

    Attributes:
        name: module and name, as in the file.
        call: what calling it does; None refuses.
        new: what making an instance of it does, when it takes no arguments; None refuses.
        value: what handlers want to know about it.
    """

    name: str
    call: Callable[[Reading, tuple[Any, ...]], Any] | None = None
    new: Callable[[], Any] | None = None
    value: Any = None


Globals = Mapping[tuple[str, str], Global]


@dataclass(frozen=True, slots=True)
class LongText:
    """Text too long to be anything but bytes in disguise; not decoded, UTF-8."""

    utf8: memoryview


class Machine:
    """Reads one pickle.

    Args:
        data: the bytes that hold it, perhaps with others.
        start: where it begins.
        reading: the file's limits.
        table: names that it may use.
        persistent: what a persistent id stands for; None refuses them.

    Attributes:
        position: after `run`, where the pickle ended.
    """

    def __init__(
        self,
        data: memoryview,
        reading: Reading,
        table: Globals,
        *,
        start: int = 0,
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self.data, self.position, self.reading = data, start, reading
        self._table, self._persistent = table, persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The value that the pickle describes.

        Raises:
            CheckpointError: cut off, damaged, or asking for what is not data.
        """
        while (code := self._take(1)[0]) != _STOP:
            self.reading.step()
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                raise self._refused(code)
            instruction(self)
        if len(self._stack) != 1 or self._marks:
            raise self._damaged()
        return self._stack.pop()

    # -------------------------------------------------------------- reading

    def _take(self, count: int) -> memoryview:
        end = self.position + count
        if end > len(self.data):
            raise self.reading.error("a file cut off within its pickle", AGAIN)
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "little")

    def _line(self) -> str:
        ahead = bytes(self.data[self.position : self.position + _LONGEST_NAME])
        end = ahead.find(b"\n")
        if end < 0:
            raise self._damaged()
        self.position += end + 1
        return ahead[:end].decode("utf-8", "backslashreplace")

    def _pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise self._damaged()
        return self._stack.pop()

    def _top(self, kind: type) -> Any:
        """The top of the stack, which stays there and must be exactly a ``kind``."""
        top = self._pop()
        if type(top) is not kind:
            raise self.reading.refusal(f"a pickle that treats {shown(top)} as {kind.__name__}")
        self._stack.append(top)
        return top

    def _pop_to_mark(self) -> list[Any]:
        if not self._marks:
            raise self._damaged()
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _damaged(self) -> Exception:
        return self.reading.error("a damaged pickle", AGAIN)

    def _refused(self, code: int) -> Exception:
        name = _NAMES.get(code)
        if name is None:
            return self.reading.error(f"a damaged pickle (no instruction {code:#04x})", AGAIN)
        return self.reading.refusal(
            f"a pickle with the instruction {name}, which no file of weights needs"
        )

    # --------------------------------------------------------------- values

    def _protocol(self) -> None:
        version = self._number(1)
        if not 2 <= version <= 5:
            raise self.reading.error(f"a pickle of protocol {version}", "save it with protocol 4")

    def _frame(self) -> None:
        # Frames only tell readers how much to fetch.
        if self._number(8) > len(self.data) - self.position:
            raise self.reading.error("a file cut off within its pickle", AGAIN)

    def _long(self) -> None:
        size = self._number(1)
        if size > _LONGEST_NUMBER:
            raise self.reading.refusal(f"a number of {size} bytes")
        self._stack.append(int.from_bytes(self._take(size), "little", signed=True))

    def _float(self) -> None:
        self._stack.append(struct.unpack(">d", self._take(8))[0])

    def _text(self, size: int) -> None:
        utf8 = self._take(size)
        if size > _LONGEST_TEXT:
            self._stack.append(LongText(utf8))
            return
        try:
            text = str(utf8, "utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise self._damaged() from None
        self.reading.spend(sys.getsizeof(text))
        self._stack.append(text)

    def _bytes(self, size: int) -> None:
        taken = self._take(size)
        if size <= _COPIED_BYTES:
            self.reading.spend(size)
            self._stack.append(bytes(taken))
        else:
            self._stack.append(taken)

    def _container(self, empty: Callable[[], Any]) -> None:
        self.reading.spend(_CONTAINER_BYTES)
        self._stack.append(empty())

    def _tuple(self, items: list[Any]) -> None:
        self.reading.spend(_CONTAINER_BYTES + 8 * len(items))
        self._stack.append(tuple(items))

    def _tuple_of(self, count: int) -> None:
        self._tuple([self._pop() for _ in range(count)][::-1])

    def _extend(self, items: list[Any]) -> None:
        self.reading.spend(16 * len(items))
        self._top(list).extend(items)

    def _add(self, items: list[Any]) -> None:
        self.reading.spend(_ENTRY_BYTES * len(items))
        self._top(set).update(self._key(item) for item in items)

    def _set_items(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise self._damaged()
        self.reading.spend(_ENTRY_BYTES * len(items) // 2)
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self._key(key)] = value

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _key(self, key: Any) -> str | int:
        # Hashing a deeply nested tuple would overflow the C stack.
        if type(key) is str and len(key) <= _LONGEST_KEY:
            return key
        if type(key) is int and abs(key) < _LARGEST_KEY:
            return key
        raise self.reading.refusal(f"a dictionary or set with a key of type {shown(key)}")

    # ----------------------------------------------------------------- memo

    def _put(self, index: int) -> None:
        self.reading.spend(_ENTRY_BYTES)
        value = self._pop()
        self._stack.append(value)
        self._memo[index] = value

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise self._damaged()
        self._stack.append(self._memo[index])

    # ------------------------------------------------- names and their calls

    def _global(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise self.reading.refusal("a pickle that names a thing by something else than text")
        found = self._table.get((module, name))
        if found is None:
            known = f"{shown(module)}.{shown(name)}"
            raise self.reading.refusal(f"a pickle that wants to use {known}")
        self._stack.append(found)

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._global(module, name)

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if type(function) is not Global or type(arguments) is not tuple or function.call is None:
            raise self.reading.refusal(f"a pickle that calls {_what(function)}")
        self.reading.spend(_CONTAINER_BYTES)
        self._stack.append(function.call(self.reading, arguments))

    def _new(self) -> None:
        arguments, kind = self._pop(), self._pop()
        if type(kind) is not Global or kind.new is None or arguments != ():
            raise self.reading.refusal(
                f"a pickle that makes an instance of {_what(kind)} in an unknown way"
            )
        self.reading.spend(_CONTAINER_BYTES)
        self._stack.append(kind.new())

    def _build(self) -> None:
        state, target = self._pop(), self._pop()
        self._stack.append(target)
        if type(target) in (ArrayType, LazyTensor):
            target.fill(self.reading, state)
        elif type(state) is not dict or type(target) not in (dict, Namespace, Network):
            raise self.reading.refusal(f"a pickle that sets attributes of {_what(target)}")
        elif type(target) is Network:
            target.state = state
        elif type(target) is Namespace:
            self.reading.spend(_ENTRY_BYTES * len(state))
            target.update(state)
        # An OrderedDict's own attributes (the _metadata of a state dict) say nothing needed.

    def _persistent_id(self) -> None:
        if self._persistent is None:
            raise self.reading.refusal("a pickle that refers to data outside itself")
        self.reading.spend(_CONTAINER_BYTES)
        self._stack.append(self._persistent(self._pop()))


def _what(value: Any) -> str:
    return value.name if type(value) is Global else shown(value)


_BY_NAME: dict[str, Callable[[Machine], None]] = {
    "PROTO": Machine._protocol,
    "FRAME": Machine._frame,
    "NONE": lambda m: m._stack.append(None),
    "NEWTRUE": lambda m: m._stack.append(True),
    "NEWFALSE": lambda m: m._stack.append(False),
    "BININT": lambda m: m._stack.append(int.from_bytes(m._take(4), "little", signed=True)),
    "BININT1": lambda m: m._stack.append(m._number(1)),
    "BININT2": lambda m: m._stack.append(m._number(2)),
    "LONG1": Machine._long,
    "BINFLOAT": Machine._float,
    "SHORT_BINUNICODE": lambda m: m._text(m._number(1)),
    "BINUNICODE": lambda m: m._text(m._number(4)),
    "BINUNICODE8": lambda m: m._text(m._number(8)),
    "SHORT_BINBYTES": lambda m: m._bytes(m._number(1)),
    "BINBYTES": lambda m: m._bytes(m._number(4)),
    "BINBYTES8": lambda m: m._bytes(m._number(8)),
    "BYTEARRAY8": lambda m: m._bytes(m._number(8)),
    "MARK": lambda m: m._marks.append(len(m._stack)),
    "EMPTY_TUPLE": lambda m: m._stack.append(()),
    "TUPLE": lambda m: m._tuple(m._pop_to_mark()),
    "TUPLE1": lambda m: m._tuple_of(1),
    "TUPLE2": lambda m: m._tuple_of(2),
    "TUPLE3": lambda m: m._tuple_of(3),
    "EMPTY_LIST": lambda m: m._container(list),
    "APPEND": lambda m: m._extend([m._pop()]),
    "APPENDS": lambda m: m._extend(m._pop_to_mark()),
    "EMPTY_DICT": lambda m: m._container(dict),
    "SETITEM": Machine._set_item,
    "SETITEMS": lambda m: m._set_items(m._pop_to_mark()),
    "EMPTY_SET": lambda m: m._container(set),
    "ADDITEMS": lambda m: m._add(m._pop_to_mark()),
    "BINPUT": lambda m: m._put(m._number(1)),
    "LONG_BINPUT": lambda m: m._put(m._number(4)),
    "MEMOIZE": lambda m: m._put(len(m._memo)),
    "BINGET": lambda m: m._get(m._number(1)),
    "LONG_BINGET": lambda m: m._get(m._number(4)),
    "GLOBAL": lambda m: m._global(m._line(), m._line()),
    "STACK_GLOBAL": Machine._stack_global,
    "REDUCE": Machine._reduce,
    "NEWOBJ": Machine._new,
    "BUILD": Machine._build,
    "BINPERSID": Machine._persistent_id,
}
_STOP = ord(".")
_NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
_INSTRUCTIONS = {code: _BY_NAME[name] for code, name in _NAMES.items() if name in _BY_NAME}
