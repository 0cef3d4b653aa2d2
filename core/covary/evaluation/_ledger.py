"""What has been judged of an evaluation that is not finished, so that it need not be again.

A line is added for every few images, with their counts; the pairs of lowest mIoU, which the report
shows, are kept whole beside it. A line that was cut short by a kill is no line.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .._locks import alone
from ..errors import InputError
from ..files import output_folder, replacing, unwritable
from .pairs import Pair
from .scores import Counts

__all__ = ["UNFINISHED", "Judged", "Ledger"]

UNFINISHED = ".unfinished"
"""The folder of it, within that of the report."""

_SYNC = 1.0
"""Seconds after which lines are on the disk for good: what a power failure may cost."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of one image."""

    name: str
    stamp: str
    """Of what it was read from."""
    found: bool
    counts: Counts


class Ledger:
    """The images that are judged already; a context in which more can be added.

    Args:
        folder: of the report.
        task: all that figures depend on apart from the files of single images; what was judged for
            another task is dropped.

    Raises:
        OutputError: it cannot be written.
        InputError: another run is at work in that folder.
    """

    def __init__(self, folder: Path, task: Mapping[str, Any]) -> None:
        self._folder = folder / UNFINISHED
        self._path, self._pairs = self._folder / "judged.jsonl", self._folder / "pairs"
        self._task = json.loads(json.dumps(task))
        self._rows: dict[str, Judged] = {}
        self._lock = alone(
            self._folder / "lock",
            f"folder {folder}",
            "another `covary eval` at work in it",
            "wait for it, or choose another folder",
        )
        self._file: IO[bytes] | None = None
        self._synced = 0.0

    def __enter__(self) -> Ledger:
        output_folder(self._folder)
        self._lock.__enter__()
        try:
            with self._writing():
                self._open()
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            with suppress(OSError):  # a line that could not be written, of which was told
                self._file.close()
        self._lock.__exit__(None, None, None)
        if not self._rows:
            shutil.rmtree(self._folder, ignore_errors=True)

    def rows(self) -> Mapping[str, Judged]:
        """What is judged, by name."""
        return self._rows

    def add(self, judged: Sequence[Judged]) -> None:
        """Keep what is known of some more images: of all of them, or of none.

        Raises:
            OutputError: it cannot be written.
        """
        self._rows |= {one.name: one for one in judged}
        self._append({"judged": [_data(one) for one in judged]})

    def keep(self, pair: Pair) -> None:
        """Keep a pair whole.

        Raises:
            OutputError: it cannot be written.
        """
        tensors = {"prediction": pair.prediction, "truth": pair.truth}
        tensors |= {} if pair.image is None else {"image": pair.image}
        tensors = {name: values.cpu().contiguous() for name, values in tensors.items()}
        with replacing(self._place(pair.name)) as temporary:
            save_file(tensors, temporary)

    def drop(self, name: str) -> None:
        """Keep a pair no longer."""
        self._place(name).unlink(missing_ok=True)

    def pair(self, name: str) -> Pair | None:
        """A pair that was kept; None where it is not there, or not whole."""
        try:
            with safe_open(self._place(name), "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return Pair(name, **tensors, found=self._rows[name].found)
        except (OSError, SafetensorError, KeyError, TypeError, InputError):
            return None

    def _open(self) -> None:
        self._pairs.mkdir(exist_ok=True)
        whole = self._read()
        self._file = open(self._path, "ab")  # noqa: SIM115  (closed when the context ends)
        self._file.truncate(whole)  # a line may have been cut short
        if not whole:
            self._append(self._task)

    def _read(self) -> int:
        """Read what is there; gives its length in bytes, up to the last line that is whole."""
        try:
            lines = self._path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return 0
        if not lines or _parsed(lines[0]) != self._task:
            return 0
        whole = len(lines[0])
        for line in lines[1:]:
            try:
                rows = [_judged(one) for one in _parsed(line)["judged"]]
            except (ValueError, KeyError, TypeError, IndexError):
                break
            self._rows |= {one.name: one for one in rows}
            whole += len(line)
        return whole

    def _append(self, data: Mapping[str, Any]) -> None:
        assert self._file is not None  # noqa: S101  (for the type checker)
        with self._writing():
            self._file.write(json.dumps(data).encode() + b"\n")
            self._file.flush()
            if time.monotonic() - self._synced >= _SYNC:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritable(self._path, error) from error

    def _place(self, name: str) -> Path:
        # Names may be long, and what they like.
        digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
        return self._pairs / f"{digest[:32]}.safetensors"


def _parsed(line: bytes) -> Any:
    """The data of a line; None where it is none, or was cut short."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


def _data(one: Judged) -> dict[str, Any]:
    """As plain data; :func:`_judged` reads it back."""
    counts = {name: _sparse(getattr(one.counts, name)) for name in ("matrix", "band", "boundary")}
    return {"name": one.name, "stamp": one.stamp, "found": one.found, **counts}


def _judged(data: Mapping[str, Any]) -> Judged:
    counts = Counts(_dense(data["matrix"]), _dense(data["band"]), _dense(data["boundary"]))
    return Judged(data["name"], data["stamp"], data["found"], counts)


def _sparse(values: torch.Tensor) -> list[list[int]]:
    """Shape, places and values of what is not zero: of many classes an image has few."""
    flat = values.reshape(-1)
    places = flat.nonzero().reshape(-1)
    return [list(values.shape), places.tolist(), flat[places].tolist()]


def _dense(data: Sequence[Sequence[int]]) -> torch.Tensor:
    shape, places, values = data
    dense = torch.zeros(*shape, dtype=torch.int64)
    dense.view(-1)[torch.tensor(places, dtype=torch.int64)] = torch.tensor(
        values, dtype=torch.int64
    )
    return dense
