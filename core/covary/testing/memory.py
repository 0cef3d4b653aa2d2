"""Peak memory of a piece of work on the host: the kernel's high-water mark, or the next best."""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Peak", "highest", "host_peak", "map_large_blocks", "resident_bytes", "status_bytes"]

_RESET = Path("/proc/self/clear_refs")
_M_MMAP_THRESHOLD = -3  # of <malloc.h>


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


def map_large_blocks(threshold: int = 2**20) -> None:
    """Have the GNU C library map blocks of this many bytes, so that each is gone once it is freed.

    As a process frees ever larger blocks, the library takes blocks of up to 32 MiB from its heap,
    where gaps between them stay resident: a peak then depends on what ran before. Gaps that are
    there already are still filled, so call it early. For processes that measure memory, not time,
    as it holds until they end; with other C libraries it does nothing.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(_M_MMAP_THRESHOLD, threshold)


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


def _lifetime_peak() -> int:
    try:
        import resource
    except ImportError:  # Windows, whose counter psutil reads
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    kilobyte = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte
