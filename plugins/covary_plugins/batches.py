"""Work done in batches that shrink when the device's memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

import covary

__all__ = ["in_batches", "placed"]

_T = TypeVar("_T")
_Items = TypeVar("_Items", bound="Tensor | Sequence[object]")
_Result = TypeVar("_Result")
_Module = TypeVar("_Module", bound=nn.Module)


def in_batches(
    items: _Items,
    run: Callable[[_Items], _Result],
    size: int,
    *,
    device: torch.device,
    fix: str = "ask for smaller images, or use device='cpu'",
) -> Iterator[_Result]:
    """``run`` of consecutive slices of ``items``, at most ``size`` long, each as it is asked for.

    Where ``run`` runs out of memory its slice is halved and tried again; later slices keep the
    smaller size. ``run`` must be repeatable: draw random numbers outside it.

    Args:
        items: anything with a length and slices, e.g. codes (n, L, W) or a list of prompts.
        device: where ``run`` works; its allocator's cache is emptied before another try.
        fix: what a user can do when not even one item fits.

    Raises:
        MemoryBudgetError: one item alone does not fit.
    """
    done = 0
    while done < len(items):
        result, reason = _attempt(run, items[done : done + size])  # type: ignore[arg-type]
        if reason is None:
            yield result  # type: ignore[misc]
            del result  # the caller may be done with it before the next one is made
            done += size
            continue
        size = min(size, len(items) - done)
        if size == 1:
            raise covary.MemoryBudgetError(
                f"one item alone does not fit on device {device}",
                expected="enough free memory for a batch of 1",
                got=reason,
                fix=fix,
            )
        size = size // 2
        if device.type == "cuda":
            torch.cuda.empty_cache()


def placed(module: _Module, device: torch.device) -> _Module:
    """``module`` on ``device``, its weights fit for gradients even inside inference mode.

    Raises:
        MemoryBudgetError: the weights do not fit there.
    """

    def move(whole: _Module) -> _Module:
        with torch.inference_mode(False):
            return whole.to(device)

    moved, reason = _attempt(move, module)
    if moved is None:
        raise covary.MemoryBudgetError(
            f"the network's weights do not fit on device {device}",
            expected="enough free memory for them",
            got=str(reason),
            fix="free some, or use device='cpu'",
        )
    return moved


def _attempt(run: Callable[[_T], _Result], some: _T) -> tuple[_Result, None] | tuple[None, str]:
    """The result, or why there was no memory for it.

    Returned rather than raised: a live exception holds the frames, and they the tensors.
    """
    try:
        return run(some), None
    except (torch.cuda.OutOfMemoryError, MemoryError) as error:
        return None, _first_line(error)
    except RuntimeError as error:
        # torch has no exception class of its own for the CPU's allocator.
        if "DefaultCPUAllocator" not in str(error):
            raise
        return None, _first_line(error)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
