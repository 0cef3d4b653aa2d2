"""Queries that share a generator's batches: what each alone gives, up to rounding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import covary
from covary import InputError, MemoryBudgetError, Query, RunContext
from covary_plugins.sources import _mixing
from covary_plugins.sources._mixing import draw_images, mixed_together, mixed_variants
from covary_plugins.stylegan2 import Architecture, Generator
from covary_plugins.stylegan2.architecture import Kind
from covary_plugins.stylegan2.execution import Precision

CPU = RunContext()


def source(**params: object) -> covary.VariantSource:
    made = covary.create("stylegan2", "source", **{"n": 3, "max_resolution": 16, **params})
    assert isinstance(made, covary.VariantSource)
    return made


def contexts(*seeds: int) -> list[RunContext]:
    return [RunContext(seed=seed).at("source", "covary/stylegan2") for seed in seeds]


def images(variants: covary.Variants) -> torch.Tensor:
    return torch.cat([batch.images for batch in variants.batches])


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal but for grey levels that lie on the border of two."""
    off = (a.int() - b.int()).abs()
    return a.shape == b.shape and int(off.max()) <= 1 and float((off > 0).double().mean()) < 0.01


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many variants went through the network at a time; 7 fit."""
    sizes: list[int] = []
    monkeypatch.setattr(_mixing, "_batch_size", lambda each, ctx: 7)

    def noted(image: torch.Tensor) -> torch.Tensor:
        sizes.append(len(image))
        return to_uint8(image)

    to_uint8 = _mixing.to_uint8
    monkeypatch.setattr(_mixing, "to_uint8", noted)
    return sizes


@settings(max_examples=10)
@given(
    seeds=st.lists(st.tuples(st.integers(0, 999), st.integers(0, 9)), min_size=1, max_size=5),
    n=st.integers(1, 5),
    c=st.integers(0, 10),
    fit=st.integers(1, 9),
)
def test_gives_what_opening_each_gives(
    seeds: list[tuple[int, int]], n: int, c: int, fit: int
) -> None:
    queries = [Query(seed=query) for query, _ in seeds]
    given_contexts = contexts(*(run for _, run in seeds))
    mixing = source(n=n, c=c)
    alone = [mixing.open(*pair) for pair in zip(queries, given_contexts, strict=True)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_mixing, "_batch_size", lambda each, ctx: fit)
        together = mixing.open_many(queries, given_contexts)  # type: ignore[attr-defined]
        for one, other in zip(together, alone, strict=True):
            assert one.count == other.count == n
            assert close(one.image, other.image)
            assert close(images(one), images(other))
            assert one.inputs == other.inputs


def test_batches_are_full(batches: list[int]) -> None:
    mixing = source(n=5)
    opened = mixing.open_many([Query(seed=seed) for seed in range(4)], contexts(0, 1, 2, 3))  # type: ignore[attr-defined]
    assert batches == [4]  # the four X_0
    del batches[:]
    assert [len(images(one)) for one in opened] == [5] * 4
    assert batches == [7, 7, 6]


def test_variants_are_made_when_they_are_asked_for(batches: list[int]) -> None:
    first, second = source(n=7).open_many([Query(seed=0), Query(seed=1)], contexts(0, 1))  # type: ignore[attr-defined]
    del batches[:]
    images(first)
    assert batches == [7]
    images(second)
    assert batches == [7, 7]


def test_shared_layers_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    prefix = Generator.prefix

    def noted(
        self: Generator, structures: torch.Tensor, *args: object, **options: object
    ) -> object:
        made.append(len(structures))
        return prefix(self, structures, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Generator, "prefix", noted)
    for one in source().open_many([Query(seed=s) for s in range(3)], contexts(0, 1, 2)):  # type: ignore[attr-defined]
        images(one)
    assert made == [3]


@pytest.mark.parametrize("kind", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("c", range(0, 9, 2))
def test_every_kind_of_network(kind: Kind, precision: Precision, c: int) -> None:
    """Prefixes that end within a block have more to share than features."""
    torch.manual_seed(0)
    architecture = Architecture(mapping_widths=(16, 16), channels=(8, 8, 8, 8), kind=kind)
    generator = Generator(architecture).eval().requires_grad_(False)
    structures = torch.randn(3, 1, 16).expand(-1, generator.num_ws, -1)
    styles = torch.randn(12, 1, 16).expand(-1, generator.num_ws, -1)
    shared = mixed_together(generator, structures, styles, c, CPU, precision=precision)
    for i, batches in enumerate(shared):
        own = mixed_variants(
            generator, structures[i : i + 1], styles[4 * i : 4 * i + 4], c, CPU, precision=precision
        )
        one, other = (torch.cat([b.images for b in given]).int() for given in (batches, own))
        assert (one - other).abs().max() <= (1 if precision == "fp32" else 12)


def test_images_in_batches_are_those_of_one_at_a_time() -> None:
    generator = source()._loaded()  # type: ignore[attr-defined]
    with torch.inference_mode():
        codes = generator.mapping(torch.randn(5, generator.z_dim), psi=0.7)
    together = draw_images(generator, codes, CPU)
    for code, image in zip(codes.split(1), together, strict=True):
        assert close(draw_images(generator, code, CPU)[0], image)


class TestMemory:
    def test_more_queries_take_more_until_a_batch_is_full(self) -> None:
        mixing = source(n=50, max_resolution=None)
        need = [mixing.memory_many((64, 64), 150, q) for q in (1, 2, 4, 8, 16)]  # type: ignore[attr-defined]
        assert need[0] == mixing.memory((64, 64), 150)  # type: ignore[attr-defined]
        assert need == sorted(need)
        assert need[-1] - need[-2] < 8 * need[0]

    def test_a_group_that_does_not_fit_is_refused_before_it_is_read(self) -> None:
        pipe = covary.Pipeline.preset("avatars", device="cpu")
        fits = pipe.plan(together=2).peak_bytes
        small = covary.Pipeline.preset("avatars", device="cpu", memory=fits)
        with pytest.raises(MemoryBudgetError, match=r"50 variants of 16 queries.*open fewer"):
            next(small.map(range(16), together=16))


class TestWrongUse:
    def test_files(self) -> None:
        query = Query(paths=(covary.checkpoint_path("avatars-64"),))
        with pytest.raises(InputError, match="query of source stylegan2: expected a seed"):
            source().open_many([Query(seed=1), query], contexts(0, 1))  # type: ignore[attr-defined]

    def test_a_prefix_of_nothing(self) -> None:
        generator = source()._loaded()  # type: ignore[attr-defined]
        with pytest.raises(InputError, match="w_structure: expected shape"):
            generator.prefix(torch.zeros(0, generator.num_ws, generator.w_dim), 2)
