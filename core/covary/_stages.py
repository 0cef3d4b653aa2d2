"""The components of a pipeline: made by name or checked, and put in their places."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ._registry import registry
from .errors import InputError, did_you_mean
from .interfaces import (
    Clusterer,
    Configurable,
    Detector,
    FeatureSpace,
    ForegroundRule,
    Refiner,
    SupportsInputs,
    SupportsParts,
    SupportsRegions,
    VariantSource,
    Writer,
)
from .recipe import INSIDE, Recipe, Spec, class_place

__all__ = ["Inside", "Part", "Stages", "component"]

Part = str | tuple[str, Mapping[str, Any]] | Spec | Configurable
"""How a stage may be given: a name, a name with parameters, or a component of your own."""

_INTERFACES: dict[str, type[Configurable]] = {
    "source": VariantSource,
    "features": FeatureSpace,
    "clusterer": Clusterer,
    "foreground": ForegroundRule,
    "detector": Detector,
    "refiner": Refiner,
    "writer": Writer,
}


@dataclass(frozen=True, slots=True)
class Inside:
    """The stages that work inside one box."""

    features: FeatureSpace
    clusterer: Clusterer
    foreground: ForegroundRule


@dataclass(frozen=True, slots=True)
class Stages:
    """All components of one pipeline."""

    source: VariantSource
    base: Inside
    """For every box whose class has none of its own."""
    detector: Detector | None
    classes: Mapping[str, Mapping[str, Configurable]]
    """What a class has of its own, by label and stage."""
    refiners: tuple[Refiner, ...]
    soft: bool

    @classmethod
    def make(
        cls,
        parts: Mapping[str, Part],
        detector: Part | None,
        classes: Mapping[str, Mapping[str, Part]],
        refine: Sequence[Part],
        soft: bool,
    ) -> Stages:
        """The components of a pipeline, from what a user may write.

        Args:
            parts: the four stages that every pipeline has.
            detector: None for no boxes but those of the rule itself.
            classes: stages by label and name.
            refine: refiners, in order.
            soft: whether soft masks are asked for.

        Raises:
            InputError: they do not go together, or something is of the wrong kind.
            UnknownNameError, ParamsError, MissingPackageError, PluginError: as ``covary.create``.
        """
        made = {slot: component(slot, part) for slot, part in parts.items()}
        base = Inside(**{slot: cast(Any, made[slot]) for slot in INSIDE})
        own = {label: _class_parts(label, given) for label, given in classes.items()}
        if isinstance(refine, (str, Spec, Configurable)):
            refine = [refine]
        stages = cls(
            source=cast(VariantSource, made["source"]),
            base=base,
            detector=None if detector is None else cast(Detector, component("detector", detector)),
            classes=_with_shared_spaces(base.features, own),
            refiners=tuple(cast(Refiner, component("refiner", part)) for part in refine),
            soft=bool(soft),
        )
        stages._check()
        return stages

    def inside(self, label: str) -> Inside:
        """The stages for an object of that label."""
        own = self.classes.get(label, {})
        parts = {slot: own.get(slot, getattr(self.base, slot)) for slot in INSIDE}
        return Inside(**parts)

    def spaces(self) -> tuple[FeatureSpace, ...]:
        """The distinct feature spaces, the pipeline's own first; each stacks a summary."""
        own = [cast(FeatureSpace, c["features"]) for c in self.classes.values() if "features" in c]
        return tuple({id(space): space for space in (self.base.features, *own)}.values())

    def components(self) -> Iterator[tuple[str, str, Configurable]]:
        """(where, kind, component) of each, in the order in which they work; as Recipe.specs."""
        yield "source", "source", self.source
        if self.detector is not None:
            yield "detector", "detector", self.detector
        for slot in INSIDE:
            yield slot, slot, getattr(self.base, slot)
        for label, own in self.classes.items():
            for slot in INSIDE:
                if slot in own:
                    yield class_place(label, slot), slot, own[slot]
        for index, refiner in enumerate(self.refiners):
            yield f"refine.{index}", "refiner", refiner

    def inputs(self) -> dict[str, str]:
        """Every file that components have read so far -> its sha256; a source tells of its own."""
        inputs: dict[str, str] = {}
        for _, kind, component in self.components():
            if kind != "source" and isinstance(component, SupportsInputs):
                inputs |= component.inputs()
        return inputs

    def known_parts(self) -> tuple[str, ...]:
        """Every name of a part that the foreground rules say they may give, in their order."""
        rules = [part for _, kind, part in self.components() if kind == "foreground"]
        names = (name for r in rules if isinstance(r, SupportsParts) for name in r.part_names())
        return tuple(dict.fromkeys(names))

    def recipe(self) -> Recipe:
        """The components as data: canonical ids, defaults spelt out."""
        data: dict[str, Any] = {"source": _data(self.source)}
        data |= {slot: _data(getattr(self.base, slot)) for slot in INSIDE}
        if self.detector is not None:
            data["detector"] = _data(self.detector)
        data["classes"] = {
            label: {slot: _data(own[slot]) for slot in INSIDE if slot in own}
            for label, own in self.classes.items()
        }
        data["refine"] = [_data(refiner) for refiner in self.refiners]
        data["soft"] = self.soft
        return Recipe.parse(data, origin="this pipeline")

    def _check(self) -> None:
        """Refuse what does not go together."""
        if self.detector is None:
            if self.classes:
                raise InputError(
                    f"classes {', '.join(map(repr, self.classes))}",
                    expected="a detector, whose labels they are",
                    got="none",
                    fix="give a detector, or leave classes out",
                )
            return
        for where, kind, component in self.components():
            if kind == "foreground" and isinstance(component, SupportsRegions):
                raise InputError(
                    f"{where} {component.id}",
                    expected="a rule without boxes of its own, as there is a detector",
                    got="one that brings boxes",
                    fix="leave the detector out, or give the rule that works inside its boxes",
                )


def _class_parts(label: str, given: Mapping[str, Part]) -> dict[str, Configurable]:
    if not isinstance(given, Mapping) or set(given) - set(INSIDE):
        unknown = next(iter(set(given) - set(INSIDE))) if isinstance(given, Mapping) else given
        raise InputError(
            f"class {label!r}",
            expected=f"some of {', '.join(INSIDE)}",
            got=repr(unknown),
            fix=did_you_mean(str(unknown), INSIDE),
        )
    return {slot: component(slot, given[slot]) for slot in INSIDE if slot in given}


def _with_shared_spaces(
    first: FeatureSpace, classes: Mapping[str, Mapping[str, Configurable]]
) -> dict[str, dict[str, Configurable]]:
    """The same classes, equal feature spaces being one object: each stacks a summary."""
    known: list[Configurable] = [first]
    shared = {label: dict(own) for label, own in classes.items()}
    for own in shared.values():
        if "features" in own:
            equal = [space for space in known if _same(space, own["features"])]
            known += [] if equal else [own["features"]]
            own["features"] = equal[0] if equal else own["features"]
    return shared


def _same(a: Configurable, b: Configurable) -> bool:
    """Whether two components are certain to do the same: one class, no state but parameters."""
    plain = vars(a).keys() | vars(b).keys() <= {"params", "id"}
    return a is b or (type(a) is type(b) and plain and a.params == b.params)


def _data(component: Configurable) -> dict[str, Any]:
    return {"use": component.id, **component.params.model_dump(mode="json")}


def component(kind: str, part: Part) -> Configurable:
    """The component of a kind, created by name or checked and given its id."""
    if not isinstance(part, Configurable):
        spec = part if isinstance(part, Spec) else Spec.parse(part, origin=kind)
        return spec.create(kind)
    expected = _INTERFACES[kind]
    if not isinstance(part, expected):
        raise InputError(kind, expected=f"a {expected.__name__}", got=type(part).__name__)
    if not part.id:
        part.id = _registered_id(type(part), kind)
    return part


def _registered_id(component_class: type[Configurable], kind: str) -> str:
    """The id under which a class is registered, else ``local/<name>``, which cannot be rerun."""
    target = f"{component_class.__module__}:{component_class.__qualname__}"
    for entry in registry().components:
        if entry.kind == kind and entry.component.target == target:
            return entry.id
    # An id is lower-case ASCII; a class's name may start with _ and hold any letters.
    name = re.sub(r"[^a-z0-9]+", "-", component_class.__name__.lower()).strip("-")
    return f"local/{name or 'component'}"
