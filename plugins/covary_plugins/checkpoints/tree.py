"""Checkpoints as plain nested data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .archives import read_archive
from .handlers import GLOBALS
from .machine import Machine
from .reading import Reading, shown
from .records import Network, Persistent
from .sniffing import opened, sniff
from .tensors import LazyTensor
from .torch_streams import read_stream

__all__ = ["Tree", "read_checkpoint"]

Tree = Any
"""dict, list, tuple, set, None, bool, int, float, str, bytes (from 4 KiB on a memoryview of the
file), LazyTensor, Persistent, Network."""

_DEEPEST = 200
_LARGEST = 2_000_000
_ENDLESS = "content nested or repeated beyond any use"
_PLAIN = frozenset({type(None), bool, int, float, str, bytes, memoryview, set})


def read_checkpoint(
    path: str | os.PathLike[str], *, wanted: str = "a pickle or a file of torch.save"
) -> Tree:
    """What the file holds, as nested plain data with `LazyTensor` in the place of tensors.

    Reads NVIDIA's PyTorch pickles, TensorFlow-era pickles, and files of torch.save in both of its
    formats, without running anything: a pickle's instructions are carried out by a machine of our
    own that makes data only. Of a dictionary ``{"state_dict": ..., "opts": ...,
    "latent_avg": ...}``, as ReStyle saves it, ``tree["state_dict"]`` is a dict of `LazyTensor`,
    ``tree["opts"]`` a dict (an ``argparse.Namespace`` too), ``tree["latent_avg"]`` a `LazyTensor`;
    `load_tensors` puts the tensors of any part in memory. Arrays of numpy become `LazyTensor` too,
    and numbers of numpy numbers. No part contains itself, and none is deeper than 200 levels.

    Tensors cost nothing until they are loaded: a file costs what its small parts cost, which is
    less than its own size and 8 MiB. Safetensors files are refused; use the safetensors package.

    Args:
        path: the file.
        wanted: what is hoped for, to be said in messages.

    Raises:
        CheckpointError: no such file; another kind of file, cut off or damaged; a pickle that asks
            for more than data, in which case the message names what; a file made to use up time or
            memory.
    """
    path = Path(path)
    found = sniff(path)
    reading, data = opened(path, wanted)
    if found.kind == "pickle":
        tree = Machine(data, reading, GLOBALS).run()
    elif found.kind == "torch-zip":
        tree = read_archive(data, reading, GLOBALS)
    elif found.kind == "torch-legacy":
        tree = read_stream(data, reading, GLOBALS)
    else:
        raise reading.error(found.what, found.fix or "read it with the safetensors package")
    _check(tree, reading)
    reading.release()
    return tree


def _check(tree: Any, reading: Reading) -> None:
    """Makes sure that any walk over ``tree`` ends soon.

    Parts that are used twice are counted twice, because a walk meets them twice.

    Raises:
        CheckpointError: it contains itself, is too deep or too large, or holds leftovers of the
            pickle that are not data.
    """
    measured: dict[int, tuple[int, int]] = {}
    under_way: set[int] = set()
    path: list[tuple[Any, Iterator[Any], list[tuple[int, int]]]] = [(None, iter((tree,)), [])]
    while path:
        part, rest, sizes = path[-1]
        child = next(rest, path)
        if child is path:
            path.pop()
            depth = 1 + max((depth for depth, _ in sizes), default=0)
            count = 1 + sum(count for _, count in sizes)
            if depth > _DEEPEST or count > _LARGEST:
                raise reading.refusal(_ENDLESS)
            measured[id(part)] = depth, count
            under_way.discard(id(part))
            if path:
                path[-1][2].append((depth, count))
        elif id(child) in measured:
            sizes.append(measured[id(child)])
        elif id(child) in under_way:
            raise reading.refusal("content that contains itself")
        elif (inner := _children(child)) is not None:
            if len(path) > _DEEPEST:
                raise reading.refusal(_ENDLESS)
            under_way.add(id(child))
            path.append((child, iter(inner), []))
        else:
            _check_leaf(child, reading)
            sizes.append((1, 1))


def _children(value: Any) -> Iterable[Any] | None:
    """The parts of a container, None for a leaf."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, Persistent | Network):
        return (value.state,)
    return None


def _check_leaf(value: Any, reading: Reading) -> None:
    if type(value) in _PLAIN or (type(value) is LazyTensor and value.is_complete):
        return
    raise reading.refusal(f"a value that is no data ({shown(getattr(value, 'name', value))})")
