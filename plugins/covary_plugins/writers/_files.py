"""Files of shards: written with one kind of error, found again by split."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from covary import InputError, OutputError
from covary.files import unwritable

if TYPE_CHECKING:
    from covary import DataSet, Sample

__all__ = [
    "closing",
    "damaged",
    "read_lines",
    "read_shards",
    "write_classes",
    "write_file",
    "write_lines",
    "writing",
]

_SHARD = re.compile(r"(.+)-(\d+)")
_AGAIN = "generate it again, or name the folder that holds the data set"


class _Closable(Protocol):
    def close(self) -> None: ...


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell what goes wrong in the block as ``path`` not being writable.

    Raises:
        OutputError: the system refused.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def closing(path: Path, stream: _Closable) -> Iterator[None]:
    """Close what writes ``path`` at the end; after an error quietly, as that is the one to tell.

    Raises:
        OutputError: what was still to be written could not be.
    """
    try:
        yield
    except BaseException:
        with suppress(Exception):
            stream.close()
        raise
    with writing(path):
        stream.close()


def write_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file piece by piece, and make the folders that it is in.

    Raises:
        OutputError: the system refused; what goes wrong in making a piece passes through.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("wb")
    with closing(path, stream):
        for chunk in chunks:
            with writing(path):
                stream.write(chunk)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines, and an empty one, which shows that these are all.

    Raises:
        OutputError: the system refused.
    """
    write_file(path, (f"{line}\n".encode() for line in chain(lines, [""])))


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines that :func:`write_lines` wrote.

    Raises:
        InputError: the file cannot be read, or is cut short.
    """
    try:
        with path.open("rb") as stream:
            for line in stream:
                if line == b"\n":
                    return
                yield line
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    raise damaged(path, "one that ends early")


def write_classes(dataset: DataSet, folder: Path) -> None:
    """Write ``classes.json``, the names of the classes by the values of masks.

    Raises:
        OutputError: the system refused.
    """
    names = json.dumps(dataset.classes, ensure_ascii=False)
    write_file(folder / "classes.json", [f"{names}\n".encode()])


def damaged(path: Path, got: str) -> InputError:
    """The error to raise where a file of a data set is not what it should be."""
    return InputError(
        f"data set's file {path}",
        expected="a whole one, as covary wrote it",
        got=got,
        fix="generate the data set again",
    )


def read_shards(
    root: Path,
    pattern: str,
    split: str | None,
    read: Callable[[Path], Iterator[Sample | InputError]],
) -> Iterator[Sample]:
    """The samples of all shards of a data set, or of one split, by their seeds.

    Args:
        root: the folder of the data set.
        pattern: of the shards' files below it; each is named after its shard.
        split: which; None for all.
        read: gives the samples of one shard's file, and what is wrong with damaged ones.

    Raises:
        InputError: there is no such data set, or no such split of it, or a sample is damaged.
    """
    splits: dict[str, dict[int, Path]] = {}
    for path in root.glob(pattern):
        if named := _SHARD.fullmatch(path.stem):
            splits.setdefault(named[1], {})[int(named[2])] = path
    if not splits:
        raise InputError(f"data set {root}", expected=pattern, got="no such file", fix=_AGAIN)
    if split is not None and split not in splits:
        raise InputError(
            f"split {split!r} of data set {root}",
            expected=" or ".join(sorted(splits)),
            got="no file of it",
        )
    chosen = splits.values() if split is None else [splits[split]]
    ordered = ([paths[number] for number in sorted(paths)] for paths in chosen)
    streams = [_whole(chain.from_iterable(map(read, paths))) for paths in ordered]
    return heapq.merge(*streams, key=lambda sample: sample.seed)


def _whole(found: Iterable[Sample | InputError]) -> Iterator[Sample]:
    for one in found:
        if isinstance(one, InputError):
            raise one
        yield one
