"""The main job: variants, style summary, clusters, foreground (paper Fig. 2)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any, cast

import torch

from . import _verify
from ._registry import registry
from .context import RunContext, resolve_device
from .errors import InputError, PluginError
from .images import replacing
from .interfaces import (
    Clusterer,
    Configurable,
    FeatureSpace,
    ForegroundRule,
    SupportsMemoryEstimate,
    SupportsRegions,
    SupportsSize,
    VariantSource,
)
from .plan import Plan, StagePlan
from .provenance import Record
from .recipe import SLOTS, Recipe, Spec
from .segmentation import Region, Segmentation
from .summary import StyleSummary, SummaryBuilder
from .types import Box, Query, VariantBatch, Variants, check_seed

__all__ = ["Pipeline"]

Part = str | tuple[str, Mapping[str, Any]] | Spec | Configurable
"""How a stage may be given: a name, a name with parameters, or a component of your own."""

QueryLike = Query | int | str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@dataclass(frozen=True, slots=True)
class _Stages:
    source: VariantSource
    features: FeatureSpace
    clusterer: Clusterer
    foreground: ForegroundRule


class Pipeline:
    """Segments images with four components of your choice.

    Constructing one validates every parameter and loads no weights. A pipeline may be called
    many times; weights then stay loaded.

    Args:
        source: gives the image and its variants, e.g. ``"stylegan2"``.
        features: colour space of the summary, e.g. ``"lab"``.
        clusterer: e.g. ``("lloyd", {"k": 3})``.
        foreground: e.g. ``"saliency"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        memory: bytes the run may take on its device; None asks the device.

    Raises:
        UnknownNameError, ParamsError, MissingPackageError, PluginError: as ``covary.create``.
    """

    def __init__(
        self,
        source: Part,
        features: Part,
        clusterer: Part,
        foreground: Part,
        *,
        device: str | torch.device = "auto",
        memory: int | None = None,
    ) -> None:
        parts = dict(zip(SLOTS, (source, features, clusterer, foreground), strict=True))
        made = {slot: _component(slot, part) for slot, part in parts.items()}
        self._stages = _Stages(**cast(dict[str, Any], made))
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
        specs = (recipe.source, recipe.features, recipe.clusterer, recipe.foreground)
        return cls(*specs, device=device, memory=memory)

    def replace(
        self,
        *,
        source: Part | None = None,
        features: Part | None = None,
        clusterer: Part | None = None,
        foreground: Part | None = None,
    ) -> Pipeline:
        """A new pipeline with some stages exchanged; the others are shared with this one."""
        return Pipeline(
            self.source if source is None else source,
            self.features if features is None else features,
            self.clusterer if clusterer is None else clusterer,
            self.foreground if foreground is None else foreground,
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
        return self._stages.features

    @property
    def clusterer(self) -> Clusterer:
        """The clusterer."""
        return self._stages.clusterer

    @property
    def foreground(self) -> ForegroundRule:
        """The foreground rule."""
        return self._stages.foreground

    @property
    def recipe(self) -> Recipe:
        """This pipeline as data: canonical ids, defaults spelt out."""
        specs = {}
        for slot in SLOTS:
            component: Configurable = getattr(self._stages, slot)
            specs[slot] = {"use": component.id, **component.params.model_dump(mode="json")}
        return Recipe.parse(specs, origin="this pipeline")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the recipe as TOML; ``Pipeline.load`` reads it back."""
        with replacing(Path(path)) as temporary:
            temporary.write_text(self.recipe.to_toml(), encoding="utf-8")

    def plan(self, size: tuple[int, int] | None = None, variants: int | None = None) -> Plan:
        """Predict the memory of each stage; runs nothing.

        Args:
            size: (H, W); None asks the source.
            variants: n; None takes the source's parameter ``n``.

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
        return self._plan(size, variants, device)

    def __call__(
        self,
        query: QueryLike | None = None,
        *,
        seed: int | None = None,
        progress: Callable[[int, int, str], None] | None = None,
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
        size = (int(variants.image.shape[1]), int(variants.image.shape[2]))
        self._plan(size, variants.count, ctx.device).check()
        image = variants.image.to(ctx.device)
        # Before the variants: no box, or one that does not fit, should not cost their time.
        with record.stage("foreground"):
            boxes = self._boxes(image, ctx)
        regions = []
        if boxes:
            summary = self._summarise(variants, ctx, record)
            regions = [self._segment(summary, image, box, ctx, record) for box in boxes]
        reconstruction = variants.reconstruction
        result = Segmentation(
            image=variants.image.cpu(),
            regions=tuple(regions),
            crop=variants.crop,
            reconstruction=None if reconstruction is None else reconstruction.cpu(),
        )
        data = record.finish(self.recipe, asked, variants, result)
        return replace(result, provenance=data)

    def summarise(self, query: QueryLike | None = None, *, seed: int | None = None) -> StyleSummary:
        """The style summary of a query alone, for clustering it yourself."""
        asked = as_query(query, seed)
        ctx = self._context(asked, seed)
        record = Record(ctx)
        return self._summarise(self._open(asked, ctx, record), ctx, record)

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
        return "Pipeline(" + ", ".join(repr(getattr(self._stages, s)) for s in SLOTS) + ")"

    def _context(
        self,
        query: Query,
        seed: int | None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> RunContext:
        ctx = RunContext(
            device=resolve_device(self._device),
            seed=check_seed(seed) if seed is not None else query.seed or 0,
            memory=self._memory,
        )
        return replace(ctx, progress=progress) if progress else ctx

    def _check_device(self, device: torch.device) -> None:
        for slot in SLOTS:
            _verify.check_device(slot, getattr(self._stages, slot), device)

    def _open(self, query: Query, ctx: RunContext, record: Record) -> Variants:
        self.check_query(query)
        with record.stage("source"):
            found = self.source.open(query, ctx.at("source", self.source.id))
            return _verify.opened_by(self.source, found)

    def _plan(self, size: tuple[int, int], variants: int, device: torch.device) -> Plan:
        features = variants * self.features.channels
        width = getattr(torch, self.features.dtype).itemsize
        stages = [StagePlan("summary", "", 0)]
        for slot in SLOTS:
            component: Configurable = getattr(self._stages, slot)
            estimate = None
            if isinstance(component, SupportsMemoryEstimate):
                estimate = component.memory(size, features)
            stages.append(StagePlan(slot, component.id, estimate))
        return Plan(
            size=size,
            variants=variants,
            features=features,
            summary_bytes=size[0] * size[1] * features * width,
            stages=tuple(stages),
            budget=RunContext(device=device, memory=self._memory).available_memory(),
        )

    def _summarise(self, variants: Variants, ctx: RunContext, record: Record) -> StyleSummary:
        with record.stage("features"):
            builder = SummaryBuilder(
                count=variants.count,
                channels=self.features.channels,
                size=(int(variants.image.shape[1]), int(variants.image.shape[2])),
                dtype=getattr(torch, self.features.dtype),
                device=ctx.device,
            )
        with _verify.untouched(self.source, "source", {"X_0": variants.image}):
            for batch in self._batches(variants, record):
                with record.stage("features"):
                    builder.add(self._encode(batch, builder.size, ctx))
                ctx.progress(builder.done, variants.count, "variants")
        with record.stage("features"):
            try:
                return builder.finish()
            except InputError as error:
                what = f"features {self.features.id}, {error.what}"
                raise PluginError(
                    what, expected=error.expected, got=error.got, fix="correct its encode()"
                ) from error

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

    def _encode(self, batch: VariantBatch, size: tuple[int, int], ctx: RunContext) -> torch.Tensor:
        moved = VariantBatch(batch.images.to(ctx.device))
        with _verify.untouched(self.features, "features", {"the variants": moved.images}):
            found = self.features.encode(moved)
        return _verify.encoded_by(self.features, moved, size, found)

    def _boxes(self, image: torch.Tensor, ctx: RunContext) -> tuple[Box, ...]:
        height, width = int(image.shape[1]), int(image.shape[2])
        if not isinstance(self.foreground, SupportsRegions):
            return (Box(0, 0, width, height),)
        with _verify.untouched(self.foreground, "foreground", {"X_0": image}):
            boxes = self.foreground.regions(image, ctx.at("foreground", self.foreground.id))
        return tuple(
            box.inside((height, width)) for box in _verify.boxes_of(self.foreground, boxes)
        )

    def _segment(
        self, summary: StyleSummary, image: torch.Tensor, box: Box, ctx: RunContext, record: Record
    ) -> Region:
        whole = (box.y1 - box.y0, box.x1 - box.x0) == summary.size
        part = summary if whole else summary.crop(box)
        rows, columns = box.slices
        with (
            record.stage("clusterer"),
            _verify.untouched(self.clusterer, "clusterer", {"the style summary": part.data}),
        ):
            found = self.clusterer.fit(part, ctx.at("clusterer", self.clusterer.id))
        clusters = _verify.clusters_of(self.clusterer, found, part)
        inner = image[:, rows, columns]
        given = {"X_0": inner, "the labels": clusters.labels, "the centres": clusters.centers}
        with (
            record.stage("foreground"),
            _verify.untouched(self.foreground, "foreground", given),
        ):
            chosen = self.foreground.select(
                clusters, inner, ctx.at("foreground", self.foreground.id)
            )
        foreground = _verify.foreground_of(self.foreground, chosen, clusters)
        return Region(box, clusters.cpu(), foreground.cpu())


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


def _component(slot: str, part: Part) -> Configurable:
    """The component for a slot, created by name or checked and given its id."""
    if not isinstance(part, Configurable):
        spec = part if isinstance(part, Spec) else Spec.parse(part, origin=slot)
        return spec.create(slot)
    expected = _INTERFACES[slot]
    if not isinstance(part, expected):
        raise InputError(slot, expected=f"a {expected.__name__}", got=type(part).__name__)
    if not part.id:
        part.id = _registered_id(type(part), slot)
    return part


_INTERFACES: dict[str, type[Configurable]] = {
    "source": VariantSource,
    "features": FeatureSpace,
    "clusterer": Clusterer,
    "foreground": ForegroundRule,
}


def _registered_id(component_class: type[Configurable], slot: str) -> str:
    """The id under which a class is registered, else ``local/<name>``, which cannot be rerun."""
    target = f"{component_class.__module__}:{component_class.__qualname__}"
    for entry in registry().components:
        if entry.kind == slot and entry.component.target == target:
            return entry.id
    # An id is lower-case ASCII; a class's name may start with _ and hold any letters.
    name = re.sub(r"[^a-z0-9]+", "-", component_class.__name__.lower()).strip("-")
    return f"local/{name or 'component'}"
