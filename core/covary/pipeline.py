"""The main job: variants, style summary, clusters, foreground (paper Fig. 2)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, NoReturn, cast

import torch

from . import _verify
from ._boxes import Boxes
from ._groups import Group, Results
from ._registry import registry
from ._stages import Part, Stages
from .context import RunContext, resolve_device
from .errors import InputError, MemoryBudgetError, PluginError
from .images import replacing
from .interfaces import (
    Clusterer,
    Configurable,
    Detector,
    FeatureSpace,
    ForegroundRule,
    Refiner,
    SupportsManyQueries,
    SupportsMemoryEstimate,
    SupportsRegions,
    SupportsSize,
    VariantSource,
)
from .plan import Plan, StagePlan
from .provenance import Record
from .recipe import Recipe
from .segmentation import Region, Segmentation
from .summary import StyleSummary, SummaryBuilder
from .types import Box, Detection, Query, VariantBatch, Variants, check_seed

__all__ = ["Pipeline"]

QueryLike = Query | int | str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

Progress = Callable[[int, int, str], None]

_KEEP: Any = object()
"""The default of a part that ``Pipeline.replace`` can also take away."""


class Pipeline:
    """Segments images with components of your choice.

    Constructing one validates every parameter and loads no weights. A pipeline may be called
    many times; weights then stay loaded.

    With a detector, every box that it finds is cropped from the one style summary, clustered and
    judged on its own (paper Sec. 3.3); nothing is synthesised twice.

    Args:
        source: gives the image and its variants, e.g. ``"stylegan2"``.
        features: colour space of the summary, e.g. ``"lab"``.
        clusterer: e.g. ``("lloyd", {"k": 3})``.
        foreground: e.g. ``"saliency"``.
        detector: finds the boxes to work in, e.g. ``("worlds", {"world": "rooms"})``.
        classes: for objects with a label of the detector, other features, clusterer or
            foreground, e.g. ``{"sofa": {"clusterer": ("lloyd", {"k": 4})}}``.
        refine: refiners that improve the masks one after another, e.g. ``["guided"]``.
        soft: whether to give soft masks beside the hard ones.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        memory: bytes the run may take on its device; None asks the device.

    Raises:
        InputError: a detector beside a rule that brings boxes of its own, or classes without a
            detector.
        UnknownNameError, ParamsError, MissingPackageError, PluginError: as ``covary.create``.
    """

    def __init__(
        self,
        source: Part,
        features: Part,
        clusterer: Part,
        foreground: Part,
        *,
        detector: Part | None = None,
        classes: Mapping[str, Mapping[str, Part]] | None = None,
        refine: Sequence[Part] = (),
        soft: bool = False,
        device: str | torch.device = "auto",
        memory: int | None = None,
    ) -> None:
        parts = {
            "source": source,
            "features": features,
            "clusterer": clusterer,
            "foreground": foreground,
        }
        self._stages = Stages.make(parts, detector, classes or {}, refine, soft)
        self._device = device
        self._memory = memory

    @classmethod
    def preset(
        cls, name: str, *, device: str | torch.device = "auto", memory: int | None = None
    ) -> Pipeline:
        """The pipeline of a preset: ``"avatars"`` or, from the paper's Table S1, ``"ffhq"``."""
        return cls.from_recipe(registry().preset(name).recipe, device=device, memory=memory)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        device: str | torch.device = "auto",
        memory: int | None = None,
    ) -> Pipeline:
        """The pipeline in a TOML file."""
        return cls.from_recipe(Recipe.from_toml(Path(path)), device=device, memory=memory)

    @classmethod
    def from_recipe(
        cls, recipe: Recipe, *, device: str | torch.device = "auto", memory: int | None = None
    ) -> Pipeline:
        """The pipeline of a recipe."""
        classes = {
            label: {slot: spec for slot, spec in stages if spec is not None}
            for label, stages in recipe.classes.items()
        }
        return cls(
            recipe.source,
            recipe.features,
            recipe.clusterer,
            recipe.foreground,
            detector=recipe.detector,
            classes=classes,
            refine=recipe.refine,
            soft=recipe.soft,
            device=device,
            memory=memory,
        )

    def replace(
        self,
        *,
        source: Part | None = None,
        features: Part | None = None,
        clusterer: Part | None = None,
        foreground: Part | None = None,
        detector: Part | None = _KEEP,
        classes: Mapping[str, Mapping[str, Part]] | None = _KEEP,
        refine: Sequence[Part] = _KEEP,
        soft: bool | None = None,
    ) -> Pipeline:
        """A new pipeline with some parts exchanged; the others are shared with this one.

        ``detector=None``, ``classes=None`` and ``refine=()`` take away what there was.
        """
        return Pipeline(
            self.source if source is None else source,
            self.features if features is None else features,
            self.clusterer if clusterer is None else clusterer,
            self.foreground if foreground is None else foreground,
            detector=self.detector if detector is _KEEP else detector,
            classes=self.classes if classes is _KEEP else classes,
            refine=self.refiners if refine is _KEEP else refine,
            soft=self.soft if soft is None else soft,
            device=self._device,
            memory=self._memory,
        )

    @property
    def source(self) -> VariantSource:
        """The variant source."""
        return self._stages.source

    @property
    def features(self) -> FeatureSpace:
        """The feature space."""
        return self._stages.base.features

    @property
    def clusterer(self) -> Clusterer:
        """The clusterer."""
        return self._stages.base.clusterer

    @property
    def foreground(self) -> ForegroundRule:
        """The foreground rule."""
        return self._stages.base.foreground

    @property
    def detector(self) -> Detector | None:
        """The detector, if there is one."""
        return self._stages.detector

    @property
    def classes(self) -> Mapping[str, Mapping[str, Configurable]]:
        """What objects of a label have of their own: components by label and stage."""
        return self._stages.classes

    @property
    def refiners(self) -> tuple[Refiner, ...]:
        """The refiners, in order."""
        return self._stages.refiners

    @property
    def soft(self) -> bool:
        """Whether results have soft masks."""
        return self._stages.soft

    @property
    def device(self) -> str:
        """Where it runs, as it was asked for: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``."""
        return str(self._device)

    @property
    def recipe(self) -> Recipe:
        """This pipeline as data: canonical ids, defaults spelt out."""
        return self._stages.recipe()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the recipe as TOML; ``Pipeline.load`` reads it back."""
        with replacing(Path(path)) as temporary:
            temporary.write_text(self.recipe.to_toml(), encoding="utf-8")

    def plan(
        self,
        size: tuple[int, int] | None = None,
        variants: int | None = None,
        *,
        together: int = 1,
    ) -> Plan:
        """Predict the memory of each stage; runs nothing.

        Args:
            size: (H, W); None asks the source.
            variants: n; None takes the source's parameter ``n``.
            together: as for :meth:`map`.

        Raises:
            InputError: the source cannot tell and it was not given, or a component cannot run on
                the device.
        """
        if size is None:
            if not isinstance(self.source, SupportsSize):
                raise InputError(
                    f"source {self.source.id} does not know its image size before it is opened",
                    fix="give plan(size=(H, W))",
                )
            size = self.source.size()
        if variants is None:
            variants = getattr(self.source.params, "n", None)
        if variants is None:
            raise InputError(
                f"source {self.source.id} does not know how many variants it has before it is "
                "opened",
                fix="give plan(variants=n)",
            )
        device = resolve_device(self._device)
        self._check_device(device)
        return self._plan(size, variants, device, self._together(together))

    def __call__(
        self,
        query: QueryLike | None = None,
        *,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Segmentation:
        """Segment one image.

        Args:
            query: a path, several paths, or a seed; may be left out where ``seed`` is given.
            seed: the run's seed, and the query itself where there is no other. Everything drawn
                at random derives from it. 0 for files unless given.
            progress: called as ``progress(done, total, what)``.

        Returns:
            The segmentation, on the CPU; ask ``found`` before using its mask.

        Raises:
            InputError: the query does not fit the source, its content is unusable, or a
                component cannot run on the device.
            PluginError: a component gave something that its interface does not allow, or changed
                what it was given.
            CheckpointError: weights are missing or damaged.
            MemoryBudgetError: a stage will not fit; known before the work begins.
        """
        asked = as_query(query, seed)
        ctx = self._context(asked, seed, progress)
        self._check_device(ctx.device)
        record = Record(ctx)
        variants = self._open(asked, ctx, record)
        self._check_plan(variants, ctx)
        return self._segment(asked, ctx, record, variants)

    def map(
        self,
        queries: Iterable[QueryLike],
        *,
        seed: int | None = None,
        together: int = 1,
        progress: Progress | None = None,
    ) -> Iterator[Segmentation]:
        """Segment many images, one after another, as they are asked for.

        Small images do not fill a device. Where the source can (``SupportsManyQueries``), the
        variants of ``together`` queries are made in shared batches; other sources open one query
        at a time, whatever ``together`` says. The later stages see one query at a time, so there
        is never more than one style summary in memory.

        Args:
            queries: each as for a call; any number of them, taken as they are needed.
            seed: of every run; None is the query's own, as for a call.
            together: how many queries to open at once.
            progress: as for a call, for each query anew.

        Returns:
            An iterator over the results, one for each query and in order. With ``together=1`` they
            are those of calling the pipeline; else they are so up to rounding, as shared batches
            may round otherwise. Where a query fails its error (those of a call) is raised in the
            place of its result, and the next one can be asked for with ``next`` all the same.

        Raises:
            InputError: ``together`` is below 1, ``queries`` is a single one, or a component cannot
                run on the device.
        """
        if isinstance(queries, (str, os.PathLike, Query)) or not isinstance(queries, Iterable):
            got, fix = repr(queries), "give a list, or call the pipeline"
            raise InputError("queries", expected="several of them", got=got, fix=fix)
        if seed is not None:
            check_seed(seed)
        self._check_device(resolve_device(self._device))
        start = partial(self._calls, seed=seed, progress=progress)
        return Results(queries, self._together(together), start)

    def _together(self, asked: int) -> int:
        """How many queries the source opens at once, if ``asked`` are wanted."""
        if isinstance(asked, bool) or not isinstance(asked, Integral) or asked < 1:
            raise InputError("together", expected="a number of queries from 1", got=repr(asked))
        return int(asked) if isinstance(self.source, SupportsManyQueries) else 1

    def _calls(
        self, queries: Sequence[QueryLike], seed: int | None, progress: Progress | None
    ) -> list[Callable[[], Segmentation]]:
        """One call a query that gives its result; their variants share batches if they can."""

        def alone(number: int) -> Segmentation:
            return self(queries[number], seed=seed, progress=progress)

        work = alone
        if len(queries) > 1:
            try:
                work = self._opened_together(queries, seed, progress, alone).result
            except (MemoryBudgetError, PluginError) as error:
                # No single query is at fault. One by one they would round otherwise, unasked.
                return [partial(_fail, error)] * len(queries)
            except Exception:  # noqa: S110
                pass  # one of them is at fault, and opened alone says so in its own place
        return [partial(work, number) for number in range(len(queries))]

    def _opened_together(
        self,
        queries: Sequence[QueryLike],
        seed: int | None,
        progress: Progress | None,
        alone: Callable[[int], Segmentation],
    ) -> Group[Segmentation]:
        asked = [as_query(query) for query in queries]
        for query in asked:
            self.check_query(query)
        contexts = [self._context(query, seed, progress) for query in asked]
        source, opening = cast(Any, self.source), Record(contexts[0])
        with opening.stage("source"):
            inside = [ctx.at("source", source.id) for ctx in contexts]
            found = source.open_many(asked, inside)
            opened = _verify.opened_together(source, found, len(asked))
        self._check_plan(opened[0], contexts[0], len(asked))
        share = opening.seconds["source"] / len(asked)

        def finish(number: int, variants: Variants) -> Segmentation:
            record = Record(contexts[number], together=asked)
            record.seconds["source"] = share
            return self._segment(asked[number], contexts[number], record, variants)

        return Group(opened, finish, alone)

    def _check_plan(self, variants: Variants, ctx: RunContext, together: int = 1) -> None:
        size = (int(variants.image.shape[1]), int(variants.image.shape[2]))
        self._plan(size, variants.count, ctx.device, together).check()

    def _segment(
        self, asked: Query, ctx: RunContext, record: Record, variants: Variants
    ) -> Segmentation:
        """What a call does once the query is open."""
        image = variants.image.to(ctx.device)
        # Before the variants: no box, or one that does not fit, should not cost their time.
        boxes = self._boxes(image, ctx, record)
        regions: tuple[Region, ...] = ()
        if boxes:
            spaces = [self._stages.inside(box.label).features for box in boxes]
            summaries = self._summarise(variants, spaces, ctx, record)
            regions = tuple(Boxes(self._stages, image, summaries, ctx, record).segment(boxes))
        reconstruction = variants.reconstruction
        result = Segmentation(
            image=variants.image.cpu(),
            regions=regions,
            crop=variants.crop,
            reconstruction=None if reconstruction is None else reconstruction.cpu(),
            detected=self.detector is not None,
            known_parts=self._stages.known_parts(),
        )
        data = record.finish(self.recipe, asked, variants, result, self._stages.inputs())
        return replace(result, provenance=data)

    def summarise(self, query: QueryLike | None = None, *, seed: int | None = None) -> StyleSummary:
        """The style summary of a query alone, for clustering it yourself."""
        asked = as_query(query, seed)
        ctx = self._context(asked, seed)
        record = Record(ctx)
        variants = self._open(asked, ctx, record)
        return self._summarise(variants, [self.features], ctx, record)[id(self.features)]

    def check_query(self, query: Query) -> None:
        """Refuse a query of a kind that the source does not take; opens nothing.

        Raises:
            InputError: a seed where the source wants files, or files where it wants a seed.
        """
        if query.kind not in self.source.accepts:
            asks = {"seed": "a seed, e.g. 7", "files": "image files or a folder"}
            raise InputError(
                f"query of source {self.source.id}",
                expected=" or ".join(asks[kind] for kind in sorted(self.source.accepts)),
                got=f"seed {query.seed}" if query.kind == "seed" else f"path {query.paths[0]}",
                fix="use such a query, or another source (`covary list source`)",
            )

    def __repr__(self) -> str:
        parts = [f"{self.source!r}, {self.features!r}, {self.clusterer!r}, {self.foreground!r}"]
        for name in ("detector", "classes", "refiners", "soft"):
            if value := getattr(self, name):
                parts.append(f"{name.removesuffix('rs')}={value!r}")
        return f"Pipeline({', '.join(parts)})"

    def _context(
        self,
        query: Query,
        seed: int | None,
        progress: Progress | None = None,
    ) -> RunContext:
        ctx = RunContext(
            device=resolve_device(self._device),
            seed=check_seed(seed) if seed is not None else query.seed or 0,
            memory=self._memory,
            query=query,
        )
        return replace(ctx, progress=progress) if progress else ctx

    def _check_device(self, device: torch.device) -> None:
        for _, kind, component in self._stages.components():
            _verify.check_device(kind, component, device)

    def _open(self, query: Query, ctx: RunContext, record: Record) -> Variants:
        self.check_query(query)
        with record.stage("source"):
            found = self.source.open(query, ctx.at("source", self.source.id))
            return _verify.opened_by(self.source, found)

    def _plan(
        self, size: tuple[int, int], variants: int, device: torch.device, together: int = 1
    ) -> Plan:
        pixels, spaces = size[0] * size[1], self._stages.spaces()
        widest = variants * max(space.channels for space in spaces)
        summaries = [
            pixels * variants * space.channels * getattr(torch, space.dtype).itemsize
            for space in spaces
        ]
        # Inside a box the stages hold its crop, which may be almost the whole image.
        boxed = self.detector is not None or isinstance(self.foreground, SupportsRegions)
        crop = max(summaries) if boxed else 0
        stages = [StagePlan("summary", "", 0)]
        for where, kind, component in self._stages.components():
            estimate = None
            if kind == "source" and together > 1:
                estimate = cast(Any, component).memory_many(size, widest, together)
            elif isinstance(component, SupportsMemoryEstimate):
                estimate = component.memory(size, widest)
            if crop and kind in ("clusterer", "foreground", "refiner"):
                estimate = (estimate or 0) + crop
            stages.append(StagePlan(where, component.id, estimate))
        return Plan(
            size=size,
            variants=variants,
            features=variants * self.features.channels,
            summary_bytes=sum(summaries),
            stages=tuple(stages),
            together=together,
            budget=RunContext(device=device, memory=self._memory).available_memory(),
        )

    def _summarise(
        self,
        variants: Variants,
        spaces: Iterable[FeatureSpace],
        ctx: RunContext,
        record: Record,
    ) -> dict[int, StyleSummary]:
        """The style summary of each distinct space, by its identity; the variants pass once."""
        distinct = {id(space): space for space in spaces}
        with record.stage("features"):
            builders = {key: _builder(space, variants, ctx) for key, space in distinct.items()}
        done = 0
        with _verify.untouched(self.source, "source", {"X_0": variants.image}):
            for batch in self._batches(variants, record):
                with record.stage("features"):
                    moved = VariantBatch(batch.images.to(ctx.device))
                    for key, builder in builders.items():
                        builder.add(_encoded(distinct[key], moved, builder.size))
                done += len(batch.images)
                ctx.progress(done, variants.count, "variants")
        with record.stage("features"):
            return {key: _finished(distinct[key], one) for key, one in builders.items()}

    def _batches(self, variants: Variants, record: Record) -> Iterator[VariantBatch]:
        """The batches as the source makes them, as many as it promised."""
        size = (int(variants.image.shape[1]), int(variants.image.shape[2]))
        batches, done, end = iter(variants.batches), 0, object()
        while True:
            with record.stage("source"):
                found = next(batches, end)
            if found is end:
                break
            batch = _verify.batch_of(self.source, found, size)
            done += len(batch.images)
            _verify.number_of_variants(self.source, done, variants.count, ended=False)
            yield batch
        _verify.number_of_variants(self.source, done, variants.count, ended=True)

    def _boxes(self, image: torch.Tensor, ctx: RunContext, record: Record) -> Sequence[Detection]:
        """The boxes to work in: the detector's, the rule's own, or one over the whole image."""
        size = (int(image.shape[1]), int(image.shape[2]))
        if (detector := self.detector) is not None:
            with (
                record.stage("detector"),
                _verify.untouched(detector, "detector", {"X_0": image}),
            ):
                found = detector.detect(image, ctx.at("detector", detector.id))
            return _verify.detections_of(detector, found, size)
        with record.stage("foreground"):
            if not isinstance(self.foreground, SupportsRegions):
                return [Detection(Box(0, 0, size[1], size[0]))]
            with _verify.untouched(self.foreground, "foreground", {"X_0": image}):
                boxes = self.foreground.regions(image, ctx.at("foreground", self.foreground.id))
            checked = _verify.boxes_of(self.foreground, boxes)
            return [Detection(box.inside(size)) for box in checked]


def _fail(error: Exception) -> NoReturn:
    raise error


def _builder(space: FeatureSpace, variants: Variants, ctx: RunContext) -> SummaryBuilder:
    return SummaryBuilder(
        count=variants.count,
        channels=space.channels,
        size=(int(variants.image.shape[1]), int(variants.image.shape[2])),
        dtype=getattr(torch, space.dtype),
        device=ctx.device,
    )


def _encoded(space: FeatureSpace, batch: VariantBatch, size: tuple[int, int]) -> torch.Tensor:
    with _verify.untouched(space, "features", {"the variants": batch.images}):
        found = space.encode(batch)
    return _verify.encoded_by(space, batch, size, found)


def _finished(space: FeatureSpace, builder: SummaryBuilder) -> StyleSummary:
    try:
        return builder.finish()
    except InputError as error:
        raise PluginError(
            f"features {space.id}, {error.what}",
            expected=error.expected,
            got=error.got,
            fix="correct its encode()",
        ) from error


def as_query(query: QueryLike | None, seed: int | None = None) -> Query:
    """A :class:`Query` from what a user may write: a seed, digits, a path, several paths.

    Raises:
        InputError: nothing given, a path that does not exist, or another type.
    """
    if query is None:
        if seed is None:
            raise InputError("query", expected="a seed or paths", got="nothing", fix="give seed=7")
        return Query(seed=seed)
    if isinstance(query, Query):
        return query
    if isinstance(query, Integral):
        return Query(seed=cast(int, query))
    if isinstance(query, str) and query.isdecimal():
        return Query(seed=int(query))
    try:
        given = [query] if isinstance(query, (str, os.PathLike)) else cast(Iterable[Any], query)
        paths = tuple(Path(path) for path in given)
    except TypeError:
        raise InputError("query", expected="a seed or paths", got=repr(query)) from None
    for path in paths:
        if not path.exists():
            raise InputError(
                f"query {str(path)!r}",
                expected="a seed, or a file or folder that exists",
                got="no such file",
            )
    return Query(paths=paths)
