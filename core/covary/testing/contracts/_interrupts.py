"""Interruptions at chosen points of a component's work."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["Calls"]

# Lines of a component at which it is interrupted in turn.
_INTERRUPTIONS = 12


class Calls(TorchFunctionMode):
    """Counts the calls of torch, and the tensors made, in a block; interrupts one of the calls.

    Args:
        stop_at: which call to interrupt, from 1; 0 is none.
        file: a source file, of whose lines the first call each is noted.
    """

    def __init__(self, stop_at: int = 0, file: str = "") -> None:
        super().__init__()
        self.made, self.tensors, self.stop_at, self.file = 0, 0, stop_at, file
        self.first_calls: dict[int, int] = {}
        self._grad = torch.is_grad_enabled()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        # An interruption on the way out of a block without gradients would leave them off.
        torch.set_grad_enabled(self._grad)

    @property
    def interrupted(self) -> bool:
        """Whether the call was reached that is interrupted."""
        return 0 < self.stop_at <= self.made

    def places(self) -> list[int]:
        """Calls to interrupt: the first, the last, the middle, and some of different lines."""
        lines = sorted(self.first_calls.values())
        some = lines[:: 1 + len(lines) // _INTERRUPTIONS]
        return sorted({1, (1 + self.made) // 2, self.made, *some})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.made += 1
        if self.file:
            self._note(sys._getframe(1))
        if self.made == self.stop_at:
            raise KeyboardInterrupt
        result = func(*args, **(kwargs or {}))
        self.tensors += isinstance(result, torch.Tensor)
        return result

    def _note(self, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code.co_filename == self.file:
                self.first_calls.setdefault(frame.f_lineno, self.made)
                return
            frame = frame.f_back
