"""Batches that shrink where memory runs out."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import covary
from covary_plugins.batches import in_batches, placed

CPU = torch.device("cpu")


def _limited(limit: int, error: type[BaseException] = torch.cuda.OutOfMemoryError):
    """Work that fits for at most ``limit`` items, and what it was asked for."""
    asked: list[int] = []

    def run(items: list[int]) -> list[int]:
        asked.append(len(items))
        if len(items) > limit:
            raise error("CUDA out of memory. Tried to allocate 20.00 GiB\nmore lines")
        return [10 * item for item in items]

    return run, asked


@given(count=st.integers(0, 40), size=st.integers(1, 50), limit=st.integers(1, 50))
def test_every_item_once_and_in_order(count: int, size: int, limit: int) -> None:
    run, asked = _limited(limit)
    results = list(in_batches(list(range(count)), run, size, device=CPU))
    assert [value for part in results for value in part] == [10 * i for i in range(count)]
    assert all(len(part) <= min(limit, size) for part in results)
    # A size that failed is not tried again.
    failed = [n for n in asked if n > limit]
    assert len(failed) == len(set(failed))


def test_sizes_halve_and_stay() -> None:
    run, asked = _limited(3)
    list(in_batches(list(range(16)), run, 16, device=CPU))
    assert asked == [16, 8, 4, 2, 2, 2, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError, MemoryError])
def test_one_item_that_does_not_fit(error: type[BaseException]) -> None:
    run, asked = _limited(0, error)
    with pytest.raises(covary.MemoryBudgetError, match=r"batch of 1.*20\.00 GiB.*smaller shoes"):
        list(in_batches([1, 2, 3], run, 2, device=CPU, fix="wear smaller shoes"))
    assert asked == [2, 1]


def test_the_cpu_has_no_error_of_its_own() -> None:
    def run(items: torch.Tensor) -> torch.Tensor:
        if len(items) > 2:
            return torch.empty(2**60, dtype=torch.uint8)
        return items

    parts = list(in_batches(torch.arange(5), run, 5, device=CPU))
    assert torch.cat(parts).tolist() == [0, 1, 2, 3, 4]


def test_other_errors_pass_through() -> None:
    def run(items: list[int]) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(in_batches([1, 2], run, 2, device=CPU))


def test_what_failed_is_freed_before_the_next_try() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def run(items: list[int]) -> int:
        gc.disable()  # no cycle may be needed to let go of it
        try:
            assert all(ref() is None for ref in held)
        finally:
            gc.enable()
        large = torch.zeros(8)
        held.append(weakref.ref(large))
        if len(items) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return int(large.sum())

    assert list(in_batches([1, 2, 3, 4], run, 4, device=CPU)) == [0, 0, 0, 0]


def test_nothing_runs_before_it_is_asked_for() -> None:
    run, asked = _limited(9)
    batches = in_batches(list(range(6)), run, 2, device=CPU)
    assert asked == []
    next(batches)
    assert asked == [2]


class Full(torch.nn.Linear):
    """Weights that fit nowhere else."""

    def to(self, *_: object, **__: object) -> Full:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_weights_that_do_not_fit_are_one_message() -> None:
    with pytest.raises(covary.MemoryBudgetError, match=r"weights do not fit on device cpu.*2\.00"):
        placed(Full(2, 2), CPU)


def test_weights_moved_in_inference_mode_can_still_pass_gradients() -> None:
    class Moves(torch.nn.Linear):
        def to(self, *_: object, **__: object) -> torch.nn.Linear:
            return self.double().float()  # new tensors, as a move to another device makes

    module = Moves(2, 2)
    with torch.inference_mode():
        module = placed(module, CPU)
    x = torch.ones(1, 2, requires_grad=True)
    module(x).sum().backward()
    assert torch.equal(x.grad[0], module.weight.sum(dim=0))
