"""Peak memory of a piece of work: by the kernel's own high-water marks, else the next best."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "Peak",
    "device_peak",
    "highest",
    "host_peak",
    "resident_bytes",
    "status_bytes",
    "torch_peak",
]

_RESET = Path("/proc/self/clear_refs")
_SAMPLE_SECONDS = 0.001


@dataclass(slots=True)
class Peak:
    """The highest memory while a block ran, known once it has ended."""

    bytes: int | None = None
    """Above what was held when it began; None where nothing measures it."""
    method: str = ""
    """What measured it."""


def status_bytes(key: str) -> int:
    """A size in ``/proc/self/status``, e.g. VmRSS (resident now) or VmHWM (at most). Linux only."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def resident_bytes() -> int:
    """Resident now, once the C library has given back what it kept of freed memory. Linux only."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return status_bytes("VmRSS")


def highest(work: Callable[[], object]) -> tuple[int, float]:
    """The highest resident size, bytes, while ``work`` ran, and its seconds. Linux only."""
    _RESET.write_text("5", encoding="ascii")
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    return status_bytes("VmHWM"), seconds


@contextmanager
def host_peak(base: int | None = None) -> Iterator[Peak]:
    """Main memory of this process while the block runs.

    VmHWM, reset through ``/proc/self/clear_refs``; where the kernel does not allow that, the
    process's own maximum, which may stem from before the block. Without a base, memory that was
    freed is given back to the system first, lest it hide what the block allocates.

    Args:
        base: resident bytes above which to count; None: those just before the block.
    """
    peak = Peak()
    try:
        before = resident_bytes() if base is None else base
        _RESET.write_text("5", encoding="ascii")
    except OSError:
        before = _lifetime_peak() if base is None else base
        yield peak
        peak.bytes = max(0, _lifetime_peak() - before)
        peak.method = "rise of ru_maxrss: 0 where an earlier peak was higher"
        return
    yield peak
    peak.bytes, peak.method = max(0, status_bytes("VmHWM") - before), "VmHWM, reset"


@contextmanager
def device_peak(device: Any) -> Iterator[Peak]:
    """Memory of this process on a torch device while the block runs; nothing for the CPU.

    NVML's figure for this process, sampled every millisecond and at the end; where NVML does not
    list the process (in most containers), torch's allocator, which sees what torch allocates.
    """
    sampler = None
    if device.type == "cuda":
        import torch

        sampler = _Sampler.of(device)
    if sampler is None:
        with torch_peak(device) as peak:
            yield peak
        return
    peak = Peak()
    torch.cuda.synchronize(device)
    with sampler:
        yield peak
        torch.cuda.synchronize(device)
    peak.bytes, peak.method = sampler.highest - sampler.before, "NVML per process, sampled"


@contextmanager
def torch_peak(device: Any) -> Iterator[Peak]:
    """What torch's own allocator held on the device at most; nothing for the CPU."""
    peak = Peak()
    if device.type != "cuda":
        yield peak
        return
    import torch

    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    yield peak
    torch.cuda.synchronize(device)
    peak.bytes = torch.cuda.max_memory_allocated(device) - before
    peak.method = "torch.cuda.max_memory_allocated: what torch allocates"


class _Sampler:
    """The most memory that NVML ascribes to this process, looked up in a thread."""

    def __init__(self, nvml: Any, handle: Any, before: int) -> None:
        self._nvml, self._handle = nvml, handle
        self.before = self.highest = before
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @classmethod
    def of(cls, device: Any) -> _Sampler | None:
        """One for a CUDA device of torch; None where NVML does not list this process on it."""
        try:
            import pynvml
            import torch

            pynvml.nvmlInit()
            uuid = str(torch.cuda.get_device_properties(device).uuid)
            name = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
            handle = pynvml.nvmlDeviceGetHandleByUUID(name.encode())
            used = _used(pynvml, handle)
        except Exception:  # not installed, no library, no permission: all mean "ask torch"
            return None
        return None if used is None else cls(pynvml, handle, used)

    def __enter__(self) -> _Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._look()
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        self.highest = max(self.highest, _used(self._nvml, self._handle) or 0)


def _used(nvml: Any, handle: Any) -> int | None:
    for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
        if process.pid == os.getpid():
            return int(process.usedGpuMemory or 0) or None
    return None


def _lifetime_peak() -> int:
    try:
        import resource
    except ImportError:  # Windows, whose counter psutil reads
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    kilobyte = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte
