"""Whether there is a CUDA GPU, asked of the driver itself so that no torch is imported."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

__all__ = ["cuda_devices", "cuda_driver"]

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


@cache
def cuda_devices() -> int:
    """Number of CUDA devices that this process may use; 0 where there is no driver.

    The driver reads ``CUDA_VISIBLE_DEVICES`` when it is first asked, here or by another library.
    As after any first use of CUDA, processes forked later cannot use it; spawned ones can.
    """
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    # Both return 0 on success, and anything else where no device is to be had.
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return 0 if failed else count.value


def cuda_driver() -> str:
    """The newest CUDA that the driver can run, e.g. ``"12.4"``; empty where there is no driver."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return ""
    number = ctypes.c_int(0)
    if driver.cuDriverGetVersion(ctypes.byref(number)) or not number.value:
        return ""
    return f"{number.value // 1000}.{number.value % 1000 // 10}"
