"""A module that passes for CuPy: numpy's arrays, and kernels compiled for the processor."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

__all__ = ["COMPILER", "EmulatedCuPy"]

# The coroutines need what Linux' C library has.
COMPILER = shutil.which("g++") if sys.platform == "linux" else None

# Calls the kernel of the source before it with arguments that the coroutines can reach.
_LAUNCHER = """
static const void *a0; static long long a1; static int a2; static long long a3, a4;
static const float *a5, *a6; static int* a7; static float* a8; static int* a9;
static void call() {
    lloyd_pass((const element*)a0, a1, a2, a3, a4, a5, a6, a7, a8, a9);
}
extern "C" int launch(int blocks, int threads, int shared, int backwards, const void* b0,
                      long long b1, int b2, long long b3, long long b4, const float* b5,
                      const float* b6, int* b7, float* b8, int* b9) {
    a0 = b0; a1 = b1; a2 = b2; a3 = b3; a4 = b4; a5 = b5; a6 = b6; a7 = b7; a8 = b8; a9 = b9;
    return emulation::run(blocks, threads, shared, backwards, call);
}
"""
_SCALARS = {np.dtype(np.int32): ctypes.c_int, np.dtype(np.int64): ctypes.c_longlong}


class EmulatedCuPy(ModuleType):
    """numpy under CuPy's name, with as much of CuPy's own as the clusterers use.

    Args:
        shared_bytes: what the device offers a block; 0 leaves no room for any kernel.
        backwards: whether the threads of a block run in falling order.
    """

    def __init__(self, shared_bytes: int = 99 * 1024, backwards: bool = False) -> None:
        super().__init__("cupy")
        attributes = {
            "MaxSharedMemoryPerBlockOptin": shared_bytes,
            "MaxSharedMemoryPerMultiprocessor": shared_bytes,
            "MultiProcessorCount": 2,
        }
        self.launches = 0
        self.backwards = backwards
        self.cuda = SimpleNamespace(
            Device=lambda: SimpleNamespace(attributes=attributes),
            ExternalStream=lambda ptr: nullcontext(),
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def RawKernel(self, code: str, name: str, options: tuple[str, ...] = ()) -> _Kernel:
        return _Kernel(self, _compiled(code, options))


class _Kernel:
    """What ``cupy.RawKernel`` gives."""

    max_dynamic_shared_size_bytes = 48 * 1024

    def __init__(self, cupy: EmulatedCuPy, library: ctypes.CDLL) -> None:
        self._cupy, self._library = cupy, library

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        self._cupy.launches += 1
        numbers = (grid[0], block[0], shared_mem, int(self._cupy.backwards))
        status = self._library.launch(*numbers, *(_argument(one) for one in args))
        assert status != 1, "not all threads reached a barrier"
        assert status != 2, "a block wrote beyond its shared memory"


def _argument(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return ctypes.c_void_p(value.ctypes.data)
    return _SCALARS[value.dtype](value)


@cache
def _compiled(code: str, options: tuple[str, ...]) -> ctypes.CDLL:
    # The folder may go as soon as the library is loaded.
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "kernel.cpp", Path(folder) / "kernel.so"
        header = Path(__file__).with_name("cuda_emulation.h").read_text(encoding="utf-8")
        source.write_text(header + code + _LAUNCHER, encoding="utf-8")
        command = [COMPILER, "-std=c++17", "-O1", "-shared", "-fPIC", "-w", *options]
        subprocess.run([*command, source, "-o", library], check=True)
        return ctypes.CDLL(str(library))
