"""Which engine does the arithmetic of `lloyd`."""

from __future__ import annotations

from typing import Literal

import torch

from covary import InputError

from ._engine import Engine

__all__ = ["EngineName", "choose"]

EngineName = Literal["auto", "numba", "torch", "triton"]

_FASTEST_FIRST = ("triton", "numba", "torch")


def choose(name: EngineName, device: torch.device) -> type[Engine]:
    """The engine of that name, or the fastest that can run on ``device``.

    Raises:
        InputError: the engine cannot run there.
    """
    able = [one for one in _FASTEST_FIRST if _can_run(one, device)]
    if name not in ("auto", *able):
        raise InputError(
            f"engine {name!r} of lloyd on {device}",
            expected=f"one of {', '.join(['auto', *able])}",
            got=repr(name),
            fix={
                "numba": "run on the CPU, with numba installed: pip install numba",
                "triton": "run on an NVIDIA GPU, with triton and a C compiler installed",
            }.get(name, ""),
        )
    return _load(able[0] if name == "auto" else name)


def _can_run(name: str, device: torch.device) -> bool:
    if name == "numba":
        from . import _numba_engine

        return device.type == "cpu" and _numba_engine.available()
    if name == "triton":
        from . import _triton_engine

        return device.type == "cuda" and _triton_engine.available(device)
    return name == "torch"


def _load(name: str) -> type[Engine]:
    if name == "numba":
        from ._numba_engine import NumbaEngine

        return NumbaEngine
    if name == "triton":
        from ._triton_engine import TritonEngine

        return TritonEngine
    from ._torch_engine import TorchEngine

    return TorchEngine
