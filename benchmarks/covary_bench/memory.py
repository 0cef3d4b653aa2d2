"""Peak memory of a piece of work on a device; ``covary.testing.memory`` has the host's."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from covary.testing.memory import Peak

__all__ = ["device_peak", "torch_peak"]

_SAMPLE_SECONDS = 0.001


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
