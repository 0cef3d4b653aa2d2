"""Many queries through one pipeline: in order, in groups, and no error takes others with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import covary
from covary import CovaryError, InputError, MemoryBudgetError, Pipeline, PluginError, Query
from covary.provenance import rerun
from covary.segmentation import Segmentation
from tiny_components import Boxed, Colours, Distinct, Given, Rest, Stripes

BAD = 13
"""The seed that ``Shared`` cannot open."""


class Shared(Stripes):
    """Stripes that several queries read from one stream, which notes whose turn it was."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.opened: list[list[int]] = []
        self.read: list[int] = []

    def open(self, query: Query, ctx: covary.RunContext) -> covary.Variants:
        if query.seed == BAD:
            raise InputError("seed", expected="luck", got=str(BAD))
        self.opened.append([query.seed or 0])
        return super().open(query, ctx)

    def open_many(
        self, queries: Sequence[Query], contexts: Sequence[covary.RunContext]
    ) -> Sequence[covary.Variants]:
        pairs = zip(queries, contexts, strict=True)
        opened = [self.open(query, ctx) for query, ctx in pairs]
        del self.opened[-len(queries) :]
        self.opened.append([query.seed or 0 for query in queries])
        batches = [one.batches for one in opened]
        stream = self.stream(batches, [query.seed or 0 for query in queries])
        return [dataclasses.replace(one, batches=self.of_one(stream)) for one in opened]

    def memory_many(self, size: tuple[int, int], features: int, queries: int) -> int:
        return 1000 * queries

    def stream(self, batches: Sequence[Iterator[Any]], seeds: list[int]) -> Iterator[Any]:
        for own, seed in zip(batches, seeds, strict=True):
            for batch in own:
                self.read.append(seed)
                yield batch

    def of_one(self, stream: Iterator[Any]) -> Iterator[covary.VariantBatch]:
        left = self.params.n
        while left:
            batch = next(stream)
            left -= len(batch.images)
            yield batch


class Fussy(Distinct):
    """Refuses the image of one seed, before or after it was read to its end."""

    def fit(
        self, summary: covary.StyleSummary, ctx: covary.RunContext | None = None
    ) -> covary.ClusterMap:
        if ctx is not None and ctx.query == Query(seed=3):
            raise InputError("summary", expected="another one", got="that of seed 3")
        return super().fit(summary, ctx)


class Broken(Shared):
    """Its stream ends in an error within the variants of seed 3, where it is shared."""

    def stream(self, batches: Sequence[Iterator[Any]], seeds: list[int]) -> Iterator[Any]:
        for batch in super().stream(batches, seeds):
            if self.read[-1] == 3:
                raise InputError("variants", expected="whole ones", got="those of seed 3")
            yield batch


def pipeline(source: covary.VariantSource | None = None, **parts: Any) -> Pipeline:
    given = {"clusterer": Distinct(), "foreground": Rest(), **parts}
    return Pipeline(source or Shared(), Colours(), **given, device="cpu", memory=2**30)


def outcomes(results: Iterator[Segmentation]) -> list[Segmentation | Exception]:
    """Every result, or the error in its place."""
    found: list[Segmentation | Exception] = []
    while True:
        try:
            found.append(next(results))
        except StopIteration:
            return found
        except Exception as error:
            found.append(error)


def same(a: Segmentation, b: Segmentation) -> bool:
    return torch.equal(a.image, b.image) and torch.equal(a.labels, b.labels)


@given(
    seeds=st.lists(st.integers(0, 12), max_size=5),
    together=st.integers(1, 5),
    seed=st.none() | st.integers(0, 3),
)
@settings(max_examples=10)
def test_gives_what_calls_give_in_order(seeds: list[int], together: int, seed: int | None) -> None:
    source = Shared()
    found = list(pipeline(source).map(seeds, seed=seed, together=together))
    called = [pipeline()(each, seed=seed) for each in seeds]
    assert [result.provenance["query"]["seed"] for result in found] == seeds
    assert all(map(same, found, called))
    groups = [seeds[i : i + together] for i in range(0, len(seeds), together)]
    assert source.opened == groups


def test_takes_queries_as_they_are_needed() -> None:
    taken = []

    def queries() -> Iterator[int]:
        for seed in range(100):
            taken.append(seed)
            yield seed

    results = pipeline().map(queries(), together=4)
    assert taken == []
    next(results)
    assert taken == [0, 1, 2, 3]
    for _ in range(4):
        next(results)
    assert taken == list(range(8))


def test_other_sources_open_one_at_a_time() -> None:
    queries: list[Any] = [1, "2", Query(seed=3)]
    found = list(pipeline(Stripes()).map(queries, together=16))
    assert [result.provenance["query"]["seed"] for result in found] == [1, 2, 3]
    assert all("together" not in result.provenance for result in found)
    assert pipeline(Stripes()).plan(together=16).together == 1


def test_files_are_queries_too(tmp_path: Path) -> None:
    paths = []
    for seed in (4, 5):
        paths.append(tmp_path / f"{seed}.txt")
        paths[-1].write_text(str(seed))
    found = list(pipeline(Stripes()).map(paths))
    assert all(map(same, found, [pipeline(Stripes())(seed, seed=0) for seed in (4, 5)]))


@pytest.mark.parametrize("together", [1, 2, 4, 9])
def test_one_that_cannot_be_opened_leaves_the_others(together: int) -> None:
    seeds = [0, 1, BAD, 2, 3]
    found = outcomes(pipeline().map(seeds, together=together))
    assert [isinstance(one, InputError) for one in found] == [seed == BAD for seed in seeds]
    for seed, result in zip(seeds, found, strict=True):
        if isinstance(result, Segmentation):
            assert same(result, pipeline()(seed))


@pytest.mark.parametrize("together", [1, 2, 4])
def test_one_that_cannot_be_clustered_leaves_the_others_together(together: int) -> None:
    source = Shared()
    found = outcomes(pipeline(source, clusterer=Fussy()).map(range(8), together=together))
    assert [isinstance(one, CovaryError) for one in found] == [seed == 3 for seed in range(8)]
    assert all(len(group) == together for group in source.opened)


def test_a_broken_stream_is_not_read_on() -> None:
    source = Broken()
    found = outcomes(pipeline(source).map(range(8), together=6))
    assert [isinstance(one, CovaryError) for one in found] == [seed == 3 for seed in range(8)]
    assert source.opened == [[0, 1, 2, 3, 4, 5], [4], [5], [6, 7]]


def test_what_is_no_query_is_an_error_in_its_place() -> None:
    found = outcomes(pipeline().map([0, "nowhere.png", object(), 1], together=4))  # type: ignore[list-item]
    assert [isinstance(one, InputError) for one in found] == [False, True, True, False]


def test_a_query_without_boxes_is_read_all_the_same() -> None:
    """Its variants come before those of the next query."""
    source = Shared()
    box = (0, 0, 8, 8, "thing", 1.0)

    class Odd(Given):
        def detect(self, image: Any, ctx: Any = None) -> Any:
            return super().detect(image, ctx) if ctx.query.seed % 2 else []

    def pipe(source: covary.VariantSource) -> Pipeline:
        return pipeline(source, detector=Odd(found=(box,)))

    found = list(pipe(source).map(range(4), together=4))
    assert [len(result.regions) for result in found] == [0, 1, 0, 1]
    assert source.read == sorted(source.read)
    assert set(source.read) == {0, 1, 2, 3}
    assert torch.equal(found[3].labels, pipe(Shared())(3).labels)
    nothing = pipeline(Shared(), foreground=Boxed(boxes=()))
    assert not any(result.regions for result in nothing.map(range(4), together=2))


class TestMemory:
    def test_the_plan_counts_the_group(self) -> None:
        pipe = pipeline()
        assert pipe.plan(together=5).stages[1].bytes == 5000
        assert pipe.plan().stages[1].bytes == 1000
        assert pipe.plan(together=5).together == 5

    def test_a_group_that_will_not_fit_is_refused_for_each(self) -> None:
        need = pipeline().plan(together=2)
        pipe = Pipeline(Shared(), Colours(), Distinct(), Rest(), device="cpu",
                        memory=need.peak_bytes)  # fmt: skip
        assert len(list(pipe.map(range(4), together=2))) == 4
        found = outcomes(pipe.map(range(4), together=3))
        assert [type(one) for one in found] == [MemoryBudgetError] * 3 + [Segmentation]
        assert "4 variants of 3 queries" in str(found[0])
        assert "open fewer queries together" in str(found[0])

    def test_finished_queries_are_let_go(self) -> None:
        import gc
        import weakref

        kept: list[weakref.ref[torch.Tensor]] = []

        class Watched(Shared):
            def open_many(self, queries: Any, contexts: Any) -> Any:
                opened = super().open_many(queries, contexts)
                kept.extend(weakref.ref(one.image) for one in opened)
                return opened

        results = pipeline(Watched()).map(range(4), together=4)
        for done in range(1, 5):
            next(results)
            gc.collect()
            assert sum(image() is not None for image in kept) <= 4 - done + 1


class TestProvenance:
    def test_names_the_group(self) -> None:
        first, *_, last = pipeline().map([5, 6, 7], together=2)
        assert first.provenance["together"] == [{"seed": 5}, {"seed": 6}]
        assert "together" not in last.provenance

    def test_the_seconds_of_opening_are_shared(self) -> None:
        assert all(
            result.provenance["seconds"]["source"] > 0
            for result in pipeline().map(range(3), together=3)
        )

    def test_a_saved_result_can_be_run_again(self, tmp_path: Path) -> None:
        source = ("stylegan2", {"n": 4})
        pipe = Pipeline(source, "rgb", ("lloyd", {"k": 2}), "border", device="cpu")
        _, second = pipe.map([1000, 1001], together=2)
        second.save(tmp_path / "result")
        assert rerun(tmp_path / "result", device="cpu").reproduced


class TestWrongUse:
    @pytest.mark.parametrize("together", [0, -1, True, 1.5, "2"])
    def test_together(self, together: Any) -> None:
        with pytest.raises(InputError, match="together: expected a number of queries from 1"):
            pipeline().map([1], together=together)
        with pytest.raises(InputError, match="together"):
            pipeline().plan(together=together)

    @pytest.mark.parametrize("queries", ["0-9", Path("x.png"), Query(seed=1), 7])
    def test_one_query(self, queries: Any) -> None:
        with pytest.raises(InputError, match="queries: expected several of them"):
            pipeline().map(queries)

    def test_seed(self) -> None:
        with pytest.raises(InputError, match="seed"):
            pipeline().map([1], seed=-1)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (lambda opened: None, "a sequence of 2 covary.Variants, one for each query, got None"),
            (lambda opened: opened[:1], "got 1 of them"),
            (lambda opened: [1, 2], "expected covary.Variants, got a int"),
        ],
    )
    def test_what_open_many_gives(self, given: Any, message: str) -> None:
        class Wrong(Shared):
            def open_many(self, queries: Any, contexts: Any) -> Any:
                return given(super().open_many(queries, contexts))

        found = outcomes(pipeline(Wrong()).map(range(2), together=2))
        assert [type(one) for one in found] == [PluginError] * 2
        assert "source local/wrong, open_many()" in str(found[0])
        assert message in str(found[1])

    def test_a_component_that_stops_the_iteration(self) -> None:
        class Ends(Distinct):
            def fit(self, summary: Any, ctx: Any = None) -> Any:
                raise StopIteration

        first, second = outcomes(pipeline(clusterer=Ends()).map([0, 1]))
        assert type(first) is type(second) is RuntimeError

    def test_too_few_variants(self) -> None:
        found = outcomes(pipeline(Shared(off_by=-1)).map(range(2), together=2))
        assert all(isinstance(one, (PluginError, RuntimeError)) for one in found)


def test_progress_is_told_of_each_query() -> None:
    calls: list[tuple[int, int, str]] = []
    progress = lambda *call: calls.append(call)  # noqa: E731
    list(pipeline().map(range(3), together=3, progress=progress))
    assert calls.count((4, 4, "variants")) == 3
