"""One file being read: what it may make the reader do, and errors that name it."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

from covary.errors import CheckpointError

__all__ = ["AGAIN", "Reading", "shown"]

AGAIN = "download the file again and compare its sha256"
_HOSTILE = (
    "nothing of the file was run; if it is yours, save its tensors alone, otherwise get it from "
    "its authors and do not open this copy with other programs"
)

# A 1024x1024 snapshot with its discriminator takes 0.2 million steps.
_MAX_STEPS = 2_000_000
# Python needs more room for a small object than a pickle does, so small files get an allowance.
_ALLOWANCE = 8 * 2**20
_STEP_BYTES = 48


class Reading:
    """The limits of one file.

    Steps of the reader and memory for what it builds are counted, so that a small file can neither
    keep it busy nor fill the memory. Tensor data stay in the file and do not count.

    Attributes:
        path: the file.
        wanted: what the caller hoped to find, for messages.
        size: of the file, bytes.
    """

    __slots__ = ("_mapped", "_memory", "_steps", "path", "size", "wanted")

    def __init__(
        self, path: Path, size: int, wanted: str = "a checkpoint", mapped: mmap.mmap | None = None
    ) -> None:
        self.path, self.size, self.wanted, self._mapped = path, size, wanted, mapped
        self._steps = _MAX_STEPS
        self._memory = size + _ALLOWANCE

    def step(self) -> None:
        """Counts one instruction.

        Raises:
            CheckpointError: the file asks for too much.
        """
        self._steps -= 1
        self._memory -= _STEP_BYTES
        if self._steps < 0 or self._memory < 0:
            raise self._too_much()

    def spend(self, count: int) -> None:
        """Counts ``count`` bytes of memory, or of data that are gone through.

        Raises:
            CheckpointError: the file asks for too much.
        """
        self._memory -= count
        if self._memory < 0:
            raise self._too_much()

    def release(self) -> None:
        """Lets go of the memory that the parts of the file gone through so far take up."""
        if self._mapped is not None and hasattr(self._mapped, "madvise"):
            self._mapped.madvise(mmap.MADV_DONTNEED)

    def error(self, got: str, fix: str = AGAIN) -> CheckpointError:
        """The error to raise where the file is not what was wanted."""
        return CheckpointError(str(self.path), expected=self.wanted, got=got, fix=fix)

    def refusal(self, got: str) -> CheckpointError:
        """The error to raise for content that has no place in a file of weights."""
        return self.error(got, _HOSTILE)

    def _too_much(self) -> CheckpointError:
        return self.refusal("content that unpacks to far more than the file's size")


def shown(value: Any, limit: int = 60) -> str:
    """``value`` from a file, fit for a message: one short line of printable characters."""
    text = value if isinstance(value, str) else type(value).__name__
    safe = "".join(c if c.isprintable() else "?" for c in text[:limit])
    return safe + ("..." if len(text) > limit else "")
