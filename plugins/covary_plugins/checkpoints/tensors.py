"""Tensors that stay in their file until they are asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from .reading import Reading, shown
from .records import Network, Persistent

__all__ = ["STORAGES", "ArrayType", "LazyTensor", "Storage", "load_tensors"]

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""Names of torch's typed storages -> the type of their numbers."""

_ARRAYS = {
    "f8": torch.float64,
    "f4": torch.float32,
    "f2": torch.float16,
    "i8": torch.int64,
    "i4": torch.int32,
    "i2": torch.int16,
    "i1": torch.int8,
    "u1": torch.uint8,
    "b1": torch.bool,
}
_MOST_DIMENSIONS = 32
_LARGEST_COUNT = 2**62
_RELEASED = 2**20


class Storage:
    """A run of numbers of one type, the ground of tensors.

    Attributes:
        dtype: type of the numbers.
        count: how many there are.
        data: their little-endian bytes; None until they are found in the file.
    """

    __slots__ = ("count", "data", "dtype")

    def __init__(self, dtype: torch.dtype, count: int) -> None:
        self.dtype, self.count = dtype, count
        self.data: memoryview | None = None

    @property
    def nbytes(self) -> int:
        """Size of the data."""
        return self.count * self.dtype.itemsize


class LazyTensor:
    """A tensor whose numbers are still in the file; the file stays mapped as long as it lives.

    Arrays of numpy become such tensors too.

    Attributes:
        shape: its shape.
        dtype: its type.
    """

    __slots__ = ("_offset", "_reading", "_storage", "_strides", "dtype", "shape")

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._storage: Storage | None = None
        self._offset = 0
        self._strides: tuple[int, ...] = ()
        self.dtype = torch.float32
        self.shape: tuple[int, ...] = ()

    @classmethod
    def view(
        cls, reading: Reading, storage: Storage, offset: Any, shape: Any, strides: Any
    ) -> LazyTensor:
        """The part of ``storage`` that these numbers, in elements, choose.

        Raises:
            CheckpointError: they leave the storage, or use an element more than once.
        """
        tensor = cls(reading)
        _check_view(reading, storage, offset, shape, strides)
        tensor._storage, tensor._offset, tensor._strides = storage, offset, strides
        tensor.shape, tensor.dtype = shape, storage.dtype
        return tensor

    def fill(self, reading: Reading, state: Any) -> None:
        """Completes an array by what numpy stores: version, shape, type, order, bytes."""
        if self._storage is not None or type(state) is not tuple or len(state) != 5:
            raise reading.refusal("a pickle that sets attributes of an array")
        _, shape, kind, fortran, data = state
        self.fill_array(reading, data, kind, shape, "F" if fortran is True else "C")

    def fill_array(self, reading: Reading, data: Any, kind: Any, shape: Any, order: Any) -> None:
        """Completes an array of ``kind`` by its bytes.

        Raises:
            CheckpointError: other things than numbers, or another count of bytes than needed.
        """
        if type(kind) is not ArrayType or order not in ("C", "F"):
            raise reading.refusal(f"an array of {shown(kind)}")
        dtype = kind.torch_dtype(reading)
        if type(data) not in (bytes, memoryview):
            raise reading.refusal(f"an array whose data are {shown(data)}")
        _check_shape(reading, shape)
        storage = Storage(dtype, math.prod(shape))
        if storage.nbytes != len(data):
            raise reading.refusal(f"an array of shape {shape} with {len(data)} bytes")
        storage.data = memoryview(data)
        strides = _dense(shape) if order == "C" else _dense(shape[::-1])[::-1]
        self._storage, self._strides, self.shape, self.dtype = storage, strides, shape, dtype

    @property
    def is_complete(self) -> bool:
        """Whether the numbers were found."""
        return self._storage is not None and self._storage.data is not None

    @property
    def cost(self) -> int:
        """Bytes of the file that `load` goes through."""
        return _span(self.shape, self._strides) * self.dtype.itemsize

    def same_view(self) -> tuple[Any, ...]:
        """A key that is equal for views of the same numbers."""
        return id(self._storage), self._offset, self.shape, self._strides

    def load(self) -> torch.Tensor:
        """The tensor, in memory of its own, on the CPU.

        Raises:
            CheckpointError: the file does not hold its numbers.
        """
        storage, span = self._storage, _span(self.shape, self._strides)
        if storage is None or storage.data is None:
            raise self._reading.error("a tensor without its numbers")
        if span == 0:
            return torch.empty(self.shape, dtype=self.dtype)
        flat = torch.empty(span, dtype=self.dtype)
        first = self._offset * self.dtype.itemsize
        # Copied: data in a file are seldom aligned.
        stored = np.frombuffer(storage.data, np.uint8, self.cost, first)
        if self.dtype == torch.bool:
            stored = stored != 0
        flat.view(torch.uint8).numpy()[:] = stored
        if self.cost > _RELEASED:
            self._reading.release()
        if self._strides == _dense(self.shape):
            return flat.view(self.shape)
        return flat.as_strided(self.shape, self._strides).contiguous()

    def __repr__(self) -> str:
        return f"LazyTensor(shape={self.shape}, dtype={self.dtype})"


class ArrayType:
    """A ``numpy.dtype`` of the file."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: str) -> None:
        self._code, self._order = code.lstrip("<|="), code[:1]

    def fill(self, reading: Reading, state: Any) -> None:
        """Takes over what numpy stores beside the code: version, byte order, fields, ..."""
        plain = type(state) is tuple and len(state) >= 5 and state[2:5] == (None, None, None)
        if not plain or type(state[1]) is not str:
            raise reading.refusal("a structured array")
        self._order = state[1]

    def torch_dtype(self, reading: Reading) -> torch.dtype:
        """The type of torch.

        Raises:
            CheckpointError: big-endian numbers, objects, text, ...
        """
        if self._order == ">":
            raise reading.error("big-endian numbers", "save it again on a common machine")
        if self._code not in _ARRAYS:
            kind = "objects" if self._code.startswith("O") else "another type than numbers"
            raise reading.refusal(f"an array of {kind} (dtype {shown(self._code)})")
        return _ARRAYS[self._code]


def load_tensors(tree: Any) -> Any:
    """``tree`` with its tensors in memory; containers are new, a tensor used twice is loaded once.

    Raises:
        CheckpointError: tensors that overlap so that they need more memory than the file has.
    """
    loaded: dict[tuple[Any, ...], torch.Tensor] = {}
    # Containers that are used in many places are made once, as they are in the tree.
    made: dict[int, Any] = {}
    cost = 0

    def load(value: Any) -> Any:
        nonlocal cost
        if isinstance(value, LazyTensor):
            key = value.same_view()
            if key not in loaded:
                cost += value.cost
                if cost > value._reading.size:
                    raise value._reading.refusal("tensors that unroll to more than the file")
                loaded[key] = value.load()
            return loaded[key]
        if not isinstance(value, dict | list | tuple | Persistent | Network):
            return value
        if id(value) not in made:
            made[id(value)] = rebuilt(value)
        return made[id(value)]

    def rebuilt(value: Any) -> Any:
        if isinstance(value, dict):
            return type(value)((key, load(item)) for key, item in value.items())
        if isinstance(value, list | tuple):
            return type(value)(map(load, value))
        if isinstance(value, Persistent):
            return Persistent(value.class_name, load(value.state))
        return Network(load(value.state))

    return load(tree)


def _check_view(reading: Reading, storage: Any, offset: Any, shape: Any, strides: Any) -> None:
    if type(storage) is not Storage:
        raise reading.refusal(f"a tensor of {shown(storage)}")
    _check_shape(reading, shape)
    _check_shape(reading, strides)
    if type(offset) is not int or offset < 0 or len(shape) != len(strides):
        raise reading.refusal("a tensor with strides that do not fit its shape")
    span = _span(shape, strides)
    if offset + span > storage.count:
        raise reading.refusal(
            f"a tensor that reaches over the end of its data ({offset + span} of {storage.count})"
        )
    if math.prod(shape) > span:
        raise reading.refusal("a tensor that uses numbers of the file more than once")


def _check_shape(reading: Reading, shape: Any) -> None:
    if type(shape) is not tuple or len(shape) > _MOST_DIMENSIONS:
        raise reading.refusal(f"a tensor whose shape is {shown(shape)}")
    for size in shape:
        if type(size) is not int or size < 0:
            raise reading.refusal("a tensor whose shape holds something else than counts")
    if math.prod(max(size, 1) for size in shape) > _LARGEST_COUNT:
        raise reading.refusal("a tensor of an impossible size")


def _span(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from the first to the last."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides = [1] * len(shape)
    for axis in range(len(shape) - 1, 0, -1):
        strides[axis - 1] = strides[axis] * max(shape[axis], 1)
    return tuple(strides)
