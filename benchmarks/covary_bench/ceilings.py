"""What the machine can do at most: products of matrices and copies, measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

__all__ = ["Timer", "copy_rate", "matmul_rate"]


@dataclass(frozen=True, slots=True)
class Timer:
    """Takes the time of work on ``device``.

    Attributes:
        cpu_time: count the process' processor time, not the clock's; means something with one
            thread only, and then does not count what others do on the machine.
    """

    device: torch.device
    cpu_time: bool = False

    def __call__(self, work: Callable[[], object]) -> float:
        """Seconds of ``work``, with what it left running on a GPU."""
        now = time.process_time if self.cpu_time else time.perf_counter
        self._wait()
        start = now()
        work()
        self._wait()
        return now() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@torch.inference_mode()
def matmul_rate(timer: Timer, dtype: torch.dtype, tries: int = 3) -> float:
    """Floating-point operations a second of a large square product, the best of ``tries``."""
    side = 8192 if timer.device.type == "cuda" else 2048
    a = torch.randn(side, side, device=timer.device).to(dtype)
    b = torch.randn(side, side, device=timer.device).to(dtype)
    a @ b
    return float(2 * side**3 / min(timer(lambda: a @ b) for _ in range(tries)))


@torch.inference_mode()
def copy_rate(timer: Timer, tries: int = 3) -> float:
    """Bytes a second, read and written, of a copy beyond all caches, the best of ``tries``."""
    source = torch.ones(2**28, dtype=torch.uint8, device=timer.device)
    target = torch.empty_like(source)
    target.copy_(source)
    return float(2 * 2**28 / min(timer(lambda: target.copy_(source)) for _ in range(tries)))
