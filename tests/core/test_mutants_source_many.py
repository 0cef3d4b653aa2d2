"""Deliberate defects in sources that open many queries, each of which its contract catches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

import covary
from covary import Query, RunContext, VariantBatch
from covary.testing import VariantSourceContract, run_contract
from healthy_components import Mosaic, paint

CHECKS = (
    "opens_many_queries_as_each_alone",
    "draws_many_queries_lazily",
    "says_how_much_memory_many_queries_take",
)


class Quarry(Mosaic):
    """Mosaics, of which several are painted in shared batches of four variants."""

    accepts = frozenset({"seed"})

    def open_many(self, queries: Sequence[Query], contexts: Sequence[RunContext]) -> Any:
        pairs = list(zip(queries, contexts, strict=True))
        work = [
            (cells, palette)
            for cells, palettes in (self.plan_of(query, ctx) for query, ctx in pairs)
            for palette in palettes
        ]
        stream = self.stream(work)
        return [replace(self.open(query, ctx), batches=self.of_one(stream)) for query, ctx in pairs]

    def memory_many(self, size: tuple[int, int], features: int, queries: int) -> Any:
        return self.memory(size, features) * queries

    def plan_of(self, query: Query, ctx: RunContext) -> tuple[torch.Tensor, torch.Tensor]:
        return self.cells(query, self.image(query, ctx), ctx), self.colours(ctx)

    def stream(self, work: list[tuple[torch.Tensor, torch.Tensor]]) -> Iterator[torch.Tensor]:
        for first in range(0, len(work), 4):
            images = torch.stack([paint(*one) for one in work[first : first + 4]])
            ends = list(range(self.params.n - first % self.params.n, len(images), self.params.n))
            parts = list(images.tensor_split(ends))
            del images
            while parts:
                yield parts.pop(0)

    def of_one(self, stream: Iterator[torch.Tensor]) -> Iterator[VariantBatch]:
        left = self.params.n
        while left:
            images = next(stream)
            left -= len(images)
            yield VariantBatch(images)
            del images


class OneContext(Quarry):
    """Draws all styles from the first run's seed."""

    def open_many(self, queries: Any, contexts: Any) -> Any:
        return super().open_many(queries, [contexts[0]] * len(queries))


class OneQuery(Quarry):
    """Takes the first query's structure for all."""

    def plan_of(self, query: Query, ctx: RunContext) -> Any:
        return super().plan_of(Query(seed=0), ctx)


class OneImage(Quarry):
    """Gives the first query's X_0 for all."""

    def open_many(self, queries: Any, contexts: Any) -> Any:
        opened = super().open_many(queries, contexts)
        return [replace(one, image=opened[0].image) for one in opened]


class Backwards(Quarry):
    """Gives them in another order."""

    def open_many(self, queries: Any, contexts: Any) -> Any:
        return super().open_many(queries[::-1], contexts[::-1])


class OneTooFew(Quarry):
    """Forgets the last."""

    def open_many(self, queries: Any, contexts: Any) -> Any:
        return super().open_many(queries, contexts)[:-1]


class Streams(Quarry):
    """Gives an iterator, which has no length."""

    def open_many(self, queries: Any, contexts: Any) -> Any:
        return iter(super().open_many(queries, contexts))


class RunsOn(Quarry):
    """Lets a query's batches run on into the next query's."""

    def stream(self, work: Any) -> Any:
        for first in range(0, len(work), 4):
            yield torch.stack([paint(*one) for one in work[first : first + 4]])

    def of_one(self, stream: Any) -> Any:
        done = 0
        for images in stream:
            yield VariantBatch(images)
            done += len(images)
            if done >= self.params.n:
                return


class PaintsFirst(Quarry):
    """Paints all variants of all queries when they are opened."""

    def stream(self, work: Any) -> Any:
        return iter(list(super().stream(work)))


class KeepsThem(Quarry):
    """Keeps every batch until the last query is read."""

    def stream(self, work: Any) -> Any:
        kept = []
        for images in super().stream(work):
            kept.append(images)
            yield images


class NoInputs(Quarry):
    """Names a file that it did not read for a query alone."""

    def open_many(self, queries: Any, contexts: Any) -> Any:
        opened = super().open_many(queries, contexts)
        return [replace(one, inputs={"weights": "0" * 64}) for one in opened]


class Shrinks(Quarry):
    """Says that more queries take less."""

    def memory_many(self, size: tuple[int, int], features: int, queries: int) -> Any:
        return 10_000 // queries


class Vague(Quarry):
    """Says it in megabytes."""

    def memory_many(self, size: tuple[int, int], features: int, queries: int) -> Any:
        return 0.5 * queries


MUTANTS = {
    OneContext: (CHECKS[0], "another set of variants"),
    OneQuery: (CHECKS[0], "another set of variants"),
    OneImage: (CHECKS[0], "another image"),
    Backwards: (CHECKS[0], "another"),
    OneTooFew: (CHECKS[0], "a list of 3 covary.Variants, in their order, got list of 2"),
    Streams: (CHECKS[0], "got list_iterator"),
    RunsOn: (CHECKS[0], "expected 6, as when it is opened alone, got 8"),
    NoInputs: (CHECKS[0], "the files that are read for it alone"),
    PaintsFirst: (CHECKS[1], "expected no variant in memory"),
    KeepsThem: (CHECKS[1], "one batch at a time"),
    Shrinks: (CHECKS[2], "expected no less for more of them"),
    Vague: (CHECKS[2], "expected bytes, an integer above 0"),
}


def wrong(component: type[covary.VariantSource], *only: str) -> dict[str, str]:
    """Check -> what the contract finds wrong."""

    class Tested(VariantSourceContract):
        def create(self, **params: Any) -> Any:
            return component(**params)

    return {
        result.check: result.message for result in run_contract(Tested, only) if not result.good
    }


def test_a_sound_source_passes() -> None:
    assert isinstance(Quarry(), covary.SupportsManyQueries)
    assert wrong(Quarry) == {}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_each_defect_is_caught(mutant: type[Quarry]) -> None:
    check, words = MUTANTS[mutant]
    found = wrong(mutant, *CHECKS)
    assert words in found[check]
