"""What has become of one shard: the file that says that it is there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .._seeds import Seeds
from ._durable import write_text

__all__ = ["FAILED", "FileEntry", "ShardRecord"]

FAILED = "failed: "
"""How the reason of a seed begins that could not be segmented at all."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of a data set."""

    path: str
    """Relative to the data set's folder, with forward slashes."""
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """A finished shard. Two runs give equal records but for ``seconds`` and ``worker``."""

    shard: str
    split: str
    seeds: str
    """All its seeds, as ranges."""
    kept: str
    """Those that are in its files, as ranges."""
    left_out: Mapping[int, str]
    """Why each of the others is not."""
    files: tuple[FileEntry, ...]
    seconds: float
    """How long it took."""
    worker: str
    """Who made it."""

    @property
    def pairs(self) -> int:
        """How many pairs it has."""
        return len(Seeds.of(self.kept))

    @property
    def failed(self) -> int:
        """How many of its seeds could not be segmented at all."""
        return sum(reason.startswith(FAILED) for reason in self.left_out.values())

    def data(self) -> dict[str, Any]:
        """As plain data; :meth:`parse` reads it back."""
        left_out = {str(seed): reason for seed, reason in sorted(self.left_out.items())}
        return asdict(self) | {"left_out": left_out}

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> ShardRecord:
        """The record in plain data.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        return cls(
            shard=data["shard"],
            split=data["split"],
            seeds=data["seeds"],
            kept=data["kept"],
            left_out={int(seed): reason for seed, reason in data["left_out"].items()},
            files=tuple(FileEntry(**entry) for entry in data["files"]),
            seconds=float(data["seconds"]),
            worker=data["worker"],
        )

    def write(self, path: Path) -> None:
        """Write it, whole and for good.

        Raises:
            OutputError: it cannot be written.
        """
        write_text(path, json.dumps(self.data(), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> ShardRecord | None:
        """The record in a file; None where there is none, or no whole one."""
        try:
            return cls.parse(json.loads(path.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            return None
