"""Many queries, one result each: in order, in groups, and an error ends none but its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Generic, TypeVar

from .types import VariantBatch, Variants

__all__ = ["Group", "Results"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Results(Iterator[_Result]):
    """The result of each item, in order; where one fails its error is raised in its place.

    Other than with a generator, the next result can be asked for after an error.

    Args:
        items: taken as they are needed, one group ahead at most.
        size: of the groups.
        start: gives for a group one call an item, which are made in order.
    """

    def __init__(
        self,
        items: Iterable[_Item],
        size: int,
        start: Callable[[list[_Item]], Iterable[Callable[[], _Result]]],
    ) -> None:
        self._items, self._size, self._start = iter(items), size, start
        self._calls: deque[Callable[[], _Result]] = deque()

    def __next__(self) -> _Result:
        if not self._calls:
            group = list(islice(self._items, self._size))
            if not group:
                raise StopIteration
            self._calls.extend(self._start(group))
        call = self._calls.popleft()
        try:
            return call()
        except StopIteration as error:
            # Whoever iterates would take it for the end.
            raise RuntimeError("a component raised StopIteration") from error


class Group(Generic[_Result]):
    """Queries that were opened together, to be finished one after another.

    Args:
        opened: their variants, which share batches.
        finish: makes the result of one, from its number and variants.
        alone: makes it from its number alone, once the shared batches are of no more use.
    """

    def __init__(
        self,
        opened: Sequence[Variants],
        finish: Callable[[int, Variants], _Result],
        alone: Callable[[int], _Result],
    ) -> None:
        self._opened: list[Variants | None] = list(opened)
        self._finish, self._alone = finish, alone

    def result(self, number: int) -> _Result:
        """The result of one query; to be asked for in order."""
        variants, self._opened[number] = self._opened[number], None
        if variants is None:
            return self._alone(number)
        batches = _Batches(variants.batches)
        try:
            result = self._finish(number, replace(variants, batches=batches))
            for _ in batches:
                pass  # not all were needed, but those of the next query come after them
        finally:
            if not batches.ended:
                self._opened = [None] * len(self._opened)
        return result


class _Batches(Iterator[VariantBatch]):
    """Batches, and whether they were read to their end."""

    def __init__(self, batches: Iterator[VariantBatch]) -> None:
        self._batches = iter(batches)
        self.ended = False

    def __next__(self) -> VariantBatch:
        try:
            return next(self._batches)
        except StopIteration:
            self.ended = True
            raise
