"""The contract of variant sources: one image, n variants of its structure, drawn when asked for."""

from __future__ import annotations

import gc
import math
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch

from covary import (
    CheckpointError,
    InputError,
    Query,
    RunContext,
    SupportsManyQueries,
    SupportsMemoryEstimate,
    SupportsSize,
    VariantBatch,
    Variants,
    write_png,
)
from covary.files import file_sha256
from covary.testing.contracts._base import describe_shape, require
from covary.testing.contracts._image_contract import ImageContract
from covary.testing.contracts._images import rendered
from covary.testing.contracts._rules import check_hashes, on_device, refuses

__all__ = ["VariantSourceContract"]

_KINDS = frozenset({"seed", "files"})
_UNUSABLE = (InputError, CheckpointError)
_LAZY = "compute the variants inside a generator, batch by batch, and keep none of them"


class _Drawn(NamedTuple):
    """A query that was opened and read to its end."""

    variants: Variants
    images: torch.Tensor
    """All variants, uint8 (n, 3, H, W), on the CPU."""


# Sources are slow, and a contract has a new instance for each check.
_DRAWN: weakref.WeakKeyDictionary[type, dict[tuple[bool, int], _Drawn]] = (
    weakref.WeakKeyDictionary()
)


class VariantSourceContract(ImageContract):
    """What a source keeps to: lazy variants of one structure, drawn from the run's seed."""

    kind = "source"
    _call = "open"

    variants: ClassVar[int] = 4
    """How many variants to ask for where the source has a parameter ``n`` and none is given."""

    # --- what a subclass may override ---------------------------------------------------------

    def create(self, **params: Any) -> Any:
        """The source with few variants, ``params`` and these."""
        entry = self.entry()
        if entry and not entry.missing() and "n" in entry.load().Params.model_fields:
            params = {"n": self.params.get("n", self.variants), **params}
        return super().create(**params)

    def query(self, folder: Path) -> Query:
        """A query that it can open: seed 0, or where it takes none a rendered photo of 64x64.

        Args:
            folder: an empty folder of the check's own, for files.
        """
        return self._default_query(folder, 0)

    def other_query(self, folder: Path) -> Query | None:
        """A query with another image of the same size; None if there is none."""
        if type(self).query is not VariantSourceContract.query:
            first = self.query(folder)
            return None if first.seed is None else Query(seed=first.seed + 1)
        return self._default_query(folder, 1)

    # --- for checks ---------------------------------------------------------------------------

    @cached_property
    def folder(self) -> Path:
        """A folder that is removed once the check is over."""
        folder = Path(tempfile.mkdtemp(prefix="covary-contract-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    @cached_property
    def asked(self) -> Query:
        """The query of this check."""
        return self.query(_made(self.folder / "query"))

    @cached_property
    def other(self) -> Query | None:
        """A query with another image."""
        return self.other_query(_made(self.folder / "other"))

    def sample(self, seed: int) -> Query:
        """The query, or another one where there is another."""
        return self.asked if seed == 0 else self.other or self.asked

    def work(self, component: Any, sample: Any, ctx: RunContext | None) -> Any:
        """The opened query and all of its batches."""
        variants = component.open(sample, ctx)
        return variants, list(variants.batches)

    def checked(self, result: Any, sample: Any) -> _Drawn:
        """Variants of the types and shapes of the interface, all read."""
        variants, batches = result
        require(
            isinstance(variants, Variants),
            "what open returned",
            expected="covary.Variants",
            got=type(variants).__name__,
            fix="return Variants(image=..., count=n, batches=a_generator(...))",
        )
        for batch in batches:
            require(
                isinstance(batch, VariantBatch),
                "what batches gave",
                expected="covary.VariantBatch",
                got=describe_shape(batch),
                fix="yield VariantBatch(images) with uint8 (B, 3, H, W)",
            )
        shapes = {tuple(batch.images.shape[1:]) for batch in batches}
        require(
            shapes == {tuple(variants.image.shape)},
            "the variants",
            expected=f"the shape of X_0, {tuple(variants.image.shape)}",
            got=" and ".join(map(str, sorted(shapes))) or "no variant",
            fix="resize or crop X_0 and its variants alike",
        )
        return _Drawn(variants, torch.cat([batch.images.cpu() for batch in batches]))

    def values(self, result: Any) -> Mapping[str, Any]:
        """X_0 and the variants."""
        return {"image": result.variants.image.cpu(), "set of variants": result.images}

    def drawn(self, query: Query | None = None, seed: int = 0) -> _Drawn:
        """A query, opened and read: once for all the checks that only look at it."""
        known, key = _DRAWN.setdefault(type(self), {}), (query is None, seed)
        if key not in known:
            known[key] = self.run(self.create(), query or self.asked, self.context(seed))
        return known[key]

    # --- what it gives ------------------------------------------------------------------------

    def test_accepts_some_queries(self) -> None:
        """It accepts seeds, files or both."""
        accepts = self.create().accepts
        require(
            isinstance(accepts, frozenset) and bool(accepts) and accepts <= _KINDS,
            "accepts",
            expected="a frozenset of 'seed', 'files' or both",
            got=repr(accepts),
            fix="write accepts = frozenset({'files'}) in the class",
        )
        require(
            self.asked.kind in accepts,
            "the query of the contract",
            expected=" or ".join(sorted(accepts)),
            got=self.asked.kind,
            fix="override query(folder) of the contract",
        )

    def test_gives_variants_of_the_images_shape(self) -> None:
        """Opening gives X_0 and batches of variants, all uint8 and of one size."""
        self.drawn()

    def test_gives_as_many_variants_as_it_says(self) -> None:
        """The batches hold `count` variants together, which is the parameter `n` if it has one."""
        drawn = self.drawn()
        require(
            len(drawn.images) == drawn.variants.count,
            "the variants",
            expected=f"{drawn.variants.count}, its count",
            got=str(len(drawn.images)),
            fix="the last batch is smaller where the batch size does not divide n",
        )
        n = getattr(self.create().params, "n", drawn.variants.count)
        require(
            drawn.variants.count == n,
            "count",
            expected=f"{n}, the parameter n, by which memory is planned",
            got=str(drawn.variants.count),
            fix="pass count=self.params.n",
        )

    def test_gives_batches_on_the_runs_device(self) -> None:
        """The variants are on ctx.device."""
        for batch in self.create().open(self.asked, self.context()).batches:
            require(
                on_device(batch.images, self.device),
                "a batch",
                expected=f"on {self.device}, the device of the run",
                got=f"on {batch.images.device}",
                fix="move what it computes to ctx.device",
            )

    def test_gives_variants_that_differ(self) -> None:
        """Its variants are not all the same."""
        images = self.drawn().images
        if len(images) < 2:
            self.skip("there is one variant")
        different = len({image.numpy().tobytes() for image in images})
        require(
            different > 1,
            f"{len(images)} variants",
            expected="different ones, for pixels that do not vary cannot co-vary",
            got="one image, again and again",
            fix="draw the appearance of each variant on its own",
        )

    def test_leaves_what_it_gave_alone(self) -> None:
        """X_0 and the batches that were given do not change while later ones are drawn."""
        variants = self.create().open(self.asked, self.context())
        given = [(variants.image, variants.image.clone())]
        for batch in variants.batches:
            given.append((batch.images, batch.images.clone()))
        changed = [i for i, (now, then) in enumerate(given) if not torch.equal(now, then)]
        require(
            not changed,
            "X_0 and the batches, once all were read",
            expected="as they were given",
            got=f"{'X_0' if 0 in changed else f'batch {changed[0] if changed else 0}'} changed",
            fix="do not write a batch into the memory of the one before, or of X_0",
        )

    def test_keeps_the_structure(self) -> None:
        """X_0 shares more edges with its own variants than with those of another query."""
        one, two = self.drawn(), self.drawn(self._another())
        if one.images.shape[1:] != two.images.shape[1:] or min(one.images.shape[2:]) < 8:
            self.skip("its images are too small, or of several sizes")
        x, y = (_edges(drawn.variants.image.cpu()[None]) for drawn in (one, two))
        v, w = _edges(one.images), _edges(two.images)
        own, crossed = _likeness(x, v) + _likeness(y, w), _likeness(x, w) + _likeness(y, v)
        require(
            own > crossed,
            "the edges of X_0",
            expected="found in its own variants more than in those of another query",
            got=f"correlation {own / 2:.2f} with its own, {crossed / 2:.2f} with the others'",
            fix="let structure follow from the query alone, and only appearance from ctx",
        )

    # --- seeds --------------------------------------------------------------------------------

    def test_image_follows_from_the_query_alone(self) -> None:
        """Another seed of the run leaves X_0 as it is."""
        first, second = (self.drawn(seed=seed) for seed in (0, 1))
        self.agree(
            first,
            second._replace(images=first.images),
            "a query under two seeds of the run",
            "derive X_0 from query.seed or query.paths, not from ctx.generator()",
        )

    def test_draws_variants_from_the_runs_seed(self) -> None:
        """Another seed of the run gives other variants."""
        one, two = (self.drawn(seed=seed).images for seed in (0, 1))
        require(
            not torch.equal(one, two),
            "the variants under two seeds of the run",
            expected="different ones",
            got="the same",
            fix="draw them with ctx.generator(); if nothing is drawn, expect this failure",
        )

    def test_another_query_gives_another_image(self) -> None:
        """Another query gives another X_0."""
        one, two = self.drawn().variants.image, self.drawn(self._another()).variants.image
        require(
            not torch.equal(one, two),
            "X_0 of two queries",
            expected="two images",
            got="the same",
            fix="derive X_0 from query.seed or query.paths",
        )

    # --- memory -------------------------------------------------------------------------------

    def test_draws_variants_lazily(self) -> None:
        """Opening holds no variant, and reading holds one batch at a time."""
        query, before = self.asked, _live_tensors()
        known = {id(tensor) for tensor in before}
        source = self.create()
        variants = source.open(query, self.context())
        require(
            iter(variants.batches) is variants.batches,
            "batches",
            expected="an iterator, which is read once",
            got=type(variants.batches).__name__,
            fix=_LAZY,
        )
        given = [variants.image, variants.reconstruction]
        given += [variants.crop.photo] if variants.crop else []
        known |= {id(tensor) for tensor in given}
        new = [tensor for tensor in _live_tensors() if id(tensor) not in known]
        held = _images_in(new, tuple(variants.image.shape))
        require(
            held < max(2, variants.count),
            "a query that was opened and not read yet",
            expected="no variant in memory",
            got=f"{held} images of X_0's shape",
            fix=_LAZY,
        )
        del before, new
        self._holds_one_batch(variants)

    def test_opens_again_after_it_was_half_read(self) -> None:
        """A query that was left half read can be opened again, with the same variants."""
        source = self.create()
        left = source.open(self.asked, self.context())
        next(iter(left.batches), None)
        again = self.run(source, self.asked)
        self.agree(
            self.drawn(),
            again,
            "a query that was left half read, opened again",
            "keep iterators and counters in local variables of open, not on self",
        )

    def test_says_how_much_memory_it_takes(self) -> None:
        """What `memory` predicts is a number of bytes above 0."""
        source = self.create()
        if not isinstance(source, SupportsMemoryEstimate):
            self.skip("it gives no estimate (memory)")
        drawn = self.drawn()
        size = (int(drawn.images.shape[2]), int(drawn.images.shape[3]))
        estimate = source.memory(size, 3 * drawn.variants.count)
        require(
            type(estimate) is int and estimate > 0,
            "memory(size, features)",
            expected="bytes, an integer above 0",
            got=repr(estimate),
        )

    def test_knows_its_size(self) -> None:
        """What `size` says before opening is the size of X_0."""
        source = self.create()
        if not isinstance(source, SupportsSize):
            self.skip("it does not know its size before (size)")
        said, shape = source.size(), tuple(self.drawn().variants.image.shape)
        require(
            tuple(said) == shape[1:],
            "size()",
            expected=f"(H, W) of X_0, {shape[1:]}",
            got=repr(said),
        )

    # --- many queries -------------------------------------------------------------------------

    def test_opens_many_queries_as_each_alone(self) -> None:
        """What `open_many` gives for each query is what `open` gives for it, up to rounding."""
        source = self._opens_many()
        asked = [(self.asked, 0), (self.other or self.asked, 0), (self.asked, 1)]
        opened = self._opened_together(source, asked)
        for number, (variants, (query, seed)) in enumerate(zip(opened, asked, strict=True)):
            together = self.checked((variants, list(variants.batches)), query)
            alone = self.drawn(None if query is self.asked else query, seed)
            what = f"query {number} of {len(asked)} that were opened together, read in order"
            fix = "take latents from its own query, styles from its own context"
            require(
                len(together.images) == variants.count == alone.variants.count,
                f"the variants of {what}",
                expected=f"{alone.variants.count}, as when it is opened alone",
                got=f"{len(together.images)} with count {variants.count}",
                fix="end its batches with its last variant",
            )
            self.agree(_rounded(alone, together), together, what, fix)
            require(
                together.variants.inputs == alone.variants.inputs,
                f"Variants.inputs of {what}",
                expected="the files that are read for it alone",
                got=repr(dict(together.variants.inputs)),
                fix="give every query the inputs that open gives it",
            )

    def test_draws_many_queries_lazily(self) -> None:
        """Opening many queries holds no variant, and reading them holds one batch at a time."""
        source = self._opens_many()
        asked = [(self.asked, seed) for seed in range(4)]
        known = {id(tensor) for tensor in _live_tensors()}
        opened = self._opened_together(source, asked)
        known |= {id(variants.image) for variants in opened}
        new = [tensor for tensor in _live_tensors() if id(tensor) not in known]
        first = opened[0]
        # The images X_0 may be views of one tensor.
        held = _images_in(new, tuple(first.image.shape)) - len(opened)
        require(
            held < max(2, first.count),
            f"{len(opened)} queries that were opened together and not read yet",
            expected="no variant in memory",
            got=f"{held} images of X_0's shape",
            fix=_LAZY,
        )
        del new
        earlier: list[weakref.ref[Any]] = []
        for variants in opened:
            for batch in variants.batches:
                earlier.append(weakref.ref(batch.images))
                del batch
                alive = sum(each() is not None for each in earlier)
                # Those of a batch that ends one query and begins the next may share its memory.
                require(
                    alive <= 3,
                    f"variants in memory while batch {len(earlier)} is read",
                    expected="one batch at a time",
                    got=f"{alive} batches",
                    fix=_LAZY,
                )

    def test_says_how_much_memory_many_queries_take(self) -> None:
        """What `memory_many` predicts is bytes above 0, and no less for more queries."""
        source = self._opens_many()
        drawn = self.drawn()
        size = (int(drawn.images.shape[2]), int(drawn.images.shape[3]))
        estimates = [source.memory_many(size, 3 * drawn.variants.count, q) for q in (1, 2, 8)]
        for estimate in estimates:
            require(
                type(estimate) is int and estimate > 0,
                "memory_many(size, features, queries)",
                expected="bytes, an integer above 0",
                got=repr(estimate),
            )
        require(
            estimates == sorted(estimates),
            "memory_many for 1, 2 and 8 queries",
            expected="no less for more of them",
            got=", ".join(map(str, estimates)),
            fix="count what every query keeps: its image, its codes",
        )

    # --- files --------------------------------------------------------------------------------

    def test_leaves_its_input_unchanged(self) -> None:
        """The files of a query are the same afterwards, and none is added."""
        query, before = self.asked, self._files()
        self.run(self.create(), query)
        changed = sorted(str(path) for path in self._files().items() ^ before.items())
        require(
            not changed,
            "the folder of the query",
            expected="left as it is",
            got=f"changed: {changed[0] if changed else ''}",
            fix="write to ctx.cache, nowhere else",
        )

    def test_names_the_files_it_read(self) -> None:
        """Variants.inputs has the sha256 of every file that was read, the query's among them."""
        variants = self.drawn().variants
        check_hashes(variants.inputs, "Variants.inputs")
        for path in self.asked.paths:
            if path.is_file():
                require(
                    file_sha256(path) in variants.inputs.values(),
                    f"Variants.inputs of a query for {path.name}",
                    expected="the file's path and sha256, for the result's origin",
                    got=", ".join(Path(name).name for name in variants.inputs) or "nothing",
                    fix="pass inputs={str(path): covary.files.file_sha256(path)}",
                )

    def test_refuses_kinds_of_query_that_it_does_not_accept(self) -> None:
        """A seed where it wants files, or files where it wants a seed, are an InputError."""
        source = self.create()
        wrong = {"seed": Query(seed=0), "files": self._photo_query(self.folder, 0)}
        for kind in sorted(_KINDS - source.accepts):
            self._refuses(
                wrong[kind],
                f"a query of kind {kind!r}",
                "begin with a test of query.seed or query.paths",
                (InputError,),
            )
        if source.accepts >= _KINDS:
            self.skip("it accepts both kinds")

    def test_refuses_files_that_are_not_there(self) -> None:
        """A path without a file is an InputError."""
        self._wants_files()
        self._refuses(
            Query(paths=(self.folder / "missing.png",)),
            "a file that does not exist",
            "read images with covary.read_image, which says so",
        )

    def test_refuses_files_that_are_no_images(self) -> None:
        """Text called .png, and a folder without images, are an InputError."""
        self._wants_files()
        text = self.folder / "text.png"
        text.write_text("not an image", encoding="utf-8")
        empty = _made(self.folder / "empty")
        fix = "read images with covary.read_image, and say what a folder lacks"
        self._refuses(Query(paths=(text,)), "a text file called .png", fix)
        self._refuses(Query(paths=(empty,)), "an empty folder", fix)

    # --- in a pipeline ------------------------------------------------------------------------

    def test_reports_what_it_made(self) -> None:
        """Metrics are finite numbers, warnings are text, progress counts up to its total."""
        calls: list[tuple[Any, Any, Any]] = []
        ctx = self.context()
        noted = RunContext(
            ctx.device, ctx.seed, ctx.stage, progress=lambda *call: calls.append(call)
        )
        variants = self.run(self.create(), self.asked, noted).variants
        for name, figure in variants.metrics.items():
            good = isinstance(figure, (int, float)) and math.isfinite(figure)
            require(good, f"metric {name!r}", expected="a finite number", got=repr(figure))
        for warning in variants.warnings:
            require(isinstance(warning, str) and bool(warning), "a warning", expected="a sentence",
                    got=repr(warning))  # fmt: skip
        for done, total, what in calls:
            good = type(done) is type(total) is int and 0 <= done <= total and isinstance(what, str)
            require(
                good,
                "a call of ctx.progress",
                expected="progress(done, total, what) with integers 0 <= done <= total",
                got=f"progress({done!r}, {total!r}, {what!r})",
            )

    def test_serves_a_pipeline(self) -> None:
        """A pipeline that uses it segments its image."""
        segmentation = self.in_pipeline(self.asked, source=self.create())
        labels, image = segmentation.labels, segmentation.image
        require(
            tuple(labels.shape) == tuple(image.shape[1:]),
            "the labels of a pipeline",
            expected=str(tuple(image.shape[1:])),
            got=describe_shape(labels),
        )

    # --- helpers ------------------------------------------------------------------------------

    def _default_query(self, folder: Path, seed: int) -> Query:
        if "seed" in self.create().accepts:
            return Query(seed=seed)
        return self._photo_query(folder, seed)

    def _photo_query(self, folder: Path, seed: int) -> Query:
        path = folder / f"photo-{seed}.png"
        write_png(rendered(seed, (64, 64)).images(seed)[0], path)
        return Query(paths=(path,))

    def _another(self) -> Query:
        if self.other is None:
            self.skip("the contract knows one query (override other_query)")
        return self.other

    def _opens_many(self) -> Any:
        source = self.create()
        if not isinstance(source, SupportsManyQueries):
            self.skip("it opens one query at a time (open_many)")
        return source

    def _opened_together(self, source: Any, asked: list[tuple[Query, int]]) -> list[Variants]:
        queries = [query for query, _ in asked]
        opened = source.open_many(queries, [self.context(seed) for _, seed in asked])
        good = isinstance(opened, Sequence) and len(opened) == len(asked)
        good = good and all(isinstance(one, Variants) for one in opened)
        require(
            good,
            f"what open_many returned for {len(asked)} queries",
            expected=f"a list of {len(asked)} covary.Variants, in their order",
            got=f"{type(opened).__name__} of {len(opened)}"
            if isinstance(opened, Sequence)
            else type(opened).__name__,
            fix="return one Variants for each query",
        )
        return list(opened)

    def _wants_files(self) -> None:
        if "files" not in self.create().accepts:
            self.skip("it takes no files")

    def _refuses(
        self, query: Query, what: str, fix: str, errors: tuple[type[Exception], ...] = _UNUSABLE
    ) -> None:
        source = self.create()
        refuses(lambda: self.work(source, query, self.context()), what, fix=fix, errors=errors)

    def _files(self) -> dict[str, str]:
        paths = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): file_sha256(path) for path in paths}

    def _holds_one_batch(self, variants: Variants) -> None:
        earlier: list[weakref.ref[Any]] = []
        for batch in variants.batches:
            images = batch.images
            owned = images.untyped_storage().nbytes() // images[0].numel()
            require(
                owned < max(2 * len(images), variants.count) or len(images) == variants.count,
                f"a batch of {len(images)} variants",
                expected="memory of its own",
                got=f"a view of {owned} images",
                fix=_LAZY,
            )
            earlier.append(weakref.ref(images))
            del batch, images
            alive = sum(each() is not None for each in earlier)
            # A batch may be held until the next one is there.
            require(
                alive <= 2,
                f"variants in memory while batch {len(earlier)} is read",
                expected="one batch at a time",
                got=f"{alive} batches",
                fix=_LAZY,
            )


# --- helpers --------------------------------------------------------------------------------------


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _live_tensors() -> list[torch.Tensor]:
    gc.collect()
    return [each for each in gc.get_objects() if type(each) is torch.Tensor]


def _images_in(tensors: list[torch.Tensor], shape: tuple[int, ...]) -> int:
    """How many images of that shape the tensors (..., 3, H, W) or (..., H, W, 3) hold."""
    channels, height, width = shape
    ends = (shape, (height, width, channels))
    held: dict[int, int] = {}  # views of the same memory count once
    for tensor in tensors:
        if tensor.ndim >= 3 and tuple(tensor.shape[-3:]) in ends:
            memory = tensor.untyped_storage().data_ptr()
            images = tensor.numel() // (channels * height * width)
            held[memory] = max(images, held.get(memory, 0))
    return sum(held.values())


def _rounded(alone: _Drawn, together: _Drawn) -> _Drawn:
    """``alone`` with the values of ``together`` where they are next to its own.

    Shared batches may round otherwise, even where two equal runs are equal to the last bit.
    """

    def near(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        close = a.shape == b.shape and bool(((a.int() - b.int()).abs() <= 1).all())
        return b if close else a

    image = near(alone.variants.image.cpu(), together.variants.image.cpu())
    return _Drawn(replace(alone.variants, image=image), near(alone.images, together.images))


def _edges(images: torch.Tensor) -> torch.Tensor:
    """Mean strength of the edges of images uint8 (n, 3, H, W), float64 (H-1, W-1)."""
    values = images.double()
    down = (values[..., 1:, :-1] - values[..., :-1, :-1]).abs()
    right = (values[..., :-1, 1:] - values[..., :-1, :-1]).abs()
    return (down + right).mean(dim=(0, 1))


def _likeness(a: torch.Tensor, b: torch.Tensor) -> float:
    """Correlation of two maps; 0 where one is constant."""
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].nan_to_num())
