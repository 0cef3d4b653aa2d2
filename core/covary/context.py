"""Where and how a run happens: device, seed, memory budget, cache folder, progress."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import psutil
import torch

from .errors import InputError

if TYPE_CHECKING:
    from .types import Query

__all__ = ["RunContext", "cache_folder", "resolve_device"]


def cache_folder() -> Path:
    """The folder for checkpoints and compiled code, by platform custom; not created here."""
    return Path(platformdirs.user_cache_dir("covary"))


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """The torch device of that name; ``"auto"`` is CUDA where there is one, else the CPU.

    Raises:
        InputError: the name means nothing to torch, or asks for a CUDA that is not there.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise InputError("device", expected="auto, cpu, cuda or cuda:N", got=repr(device)) from None
    if found.type != "cuda":
        return found
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (found.index or 0) >= count:
        raise InputError(
            f"device {str(device)!r}",
            expected="a CUDA device that torch can see",
            got=f"{count} of them",
            fix="use device='cpu', or install a CUDA build of torch" if count == 0 else "",
        )
    return found


def _no_progress(done: int, total: int, what: str) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a component may know about the run; there is nothing global beside it."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where tensors live and arithmetic runs."""
    seed: int = 0
    """The run's integer seed; never used as it is, see :meth:`generator`."""
    stage: str = ""
    """Stage and component id, e.g. ``"clusterer:covary/lloyd"``; part of the derived seed."""
    memory: int | None = None
    """Bytes that may be used on the device; None asks the device what is free."""
    cache: Path = field(default_factory=cache_folder)
    """Folder for files worth keeping between runs."""
    progress: Callable[[int, int, str], None] = _no_progress
    """Called as ``progress(done, total, what)`` during long work."""
    query: Query | None = None
    """What is being segmented; None outside a pipeline."""

    def at(self, stage: str, component_id: str) -> RunContext:
        """This context for one stage, so that changing one component reseeds no other."""
        return replace(self, stage=f"{stage}:{component_id}")

    def derived_seed(self) -> int:
        """A 63-bit seed that depends on (seed, stage, component id) and on nothing else."""
        digest = hashlib.sha256(f"{self.seed}/{self.stage}".encode()).digest()
        return int.from_bytes(digest[:8], "little") >> 1

    def generator(self) -> torch.Generator:
        """A fresh CPU generator with the derived seed.

        Always on the CPU: the same seed then means the same numbers on every device. Draw there
        and move the result.
        """
        return torch.Generator().manual_seed(self.derived_seed())

    def available_memory(self) -> int:
        """Bytes this run may still take on its device."""
        if self.memory is not None:
            return self.memory
        if self.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self.device)[0])
        return int(psutil.virtual_memory().available)
