"""A pipeline as data: registered names with their parameters."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from .errors import InputError, did_you_mean

if TYPE_CHECKING:
    from ._registry import Registered
    from .interfaces import Configurable

__all__ = ["ENTRIES", "INSIDE", "SLOTS", "ClassSpec", "Recipe", "Spec", "recipe_schema"]

SLOTS = ("source", "features", "clusterer", "foreground")
"""The stages that every pipeline has, in order; each is also the kind of its component."""

INSIDE = ("features", "clusterer", "foreground")
"""The stages that work inside a box, which a class of objects may have of its own."""

ENTRIES = (*SLOTS, "detector", "classes", "refine", "soft")
"""Everything that a recipe may say."""


class Spec(BaseModel):
    """One component by registered name, with its parameters beside ``use``.

    Accepted wherever one is expected: ``"lloyd"``, ``("lloyd", {"k": 3})``, or the mapping
    ``{"use": "lloyd", "k": 3}``, which is how TOML files say it. Import paths are not names.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    use: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)?$",
        description="short name, or namespace/name",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_short_forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"use": value}
        if isinstance(value, (tuple, list)) and len(value) == 2 and isinstance(value[1], Mapping):
            return {"use": value[0], **value[1]}
        return value

    @classmethod
    def parse(cls, data: Any, origin: str = "component") -> Spec:
        """A spec from any of the forms.

        Raises:
            InputError: none of them.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InputError(
                origin,
                expected="a registered name such as 'lloyd' or 'acme/kmeans', a (name, "
                "parameters) pair, or a component",
                got=repr(first["input"]),
                fix="`covary list` shows the names",
            ) from error

    @property
    def params(self) -> dict[str, Any]:
        """The parameters, without ``use``."""
        return dict(self.model_extra or {})

    def create(self, kind: str) -> Configurable:
        """The component of that kind; errors as ``covary.create``'s."""
        from ._registry import find

        return find(self.use, kind).create(self.params)


class ClassSpec(BaseModel):
    """What a class of detected objects has of its own; the pipeline's stages where it has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: Spec | None = Field(None, description="the colour space of these objects")
    clusterer: Spec | None = Field(None, description="groups the pixels of these objects")
    foreground: Spec | None = Field(None, description="chooses clusters of these objects")

    @model_serializer(mode="wrap")
    def _only_what_is_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if value is not None}


class Recipe(BaseModel):
    """The components of a pipeline; what a TOML file, a preset and provenance hold.

    As plain data it holds the four stages, and the other entries only where they are used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Spec = Field(description="gives the image and its variants")
    features: Spec = Field(description="the colour space of the style summary")
    clusterer: Spec = Field(description="groups pixels")
    foreground: Spec = Field(description="chooses clusters")
    detector: Spec | None = Field(None, description="finds the boxes that are segmented")
    classes: dict[str, ClassSpec] = Field({}, description="stages of objects, by their label")
    refine: tuple[Spec, ...] = Field((), description="what improves the masks, in order")
    soft: bool = Field(False, strict=True, description="whether to give soft masks too")

    @model_serializer(mode="wrap")
    def _only_what_is_used(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if name in SLOTS or value}

    @classmethod
    def parse(cls, data: Mapping[str, Any], origin: str = "recipe") -> Recipe:
        """A recipe from plain data.

        Raises:
            InputError: a stage is missing, unknown, or not a registered name's form.
        """
        unknown = sorted(set(data) - set(ENTRIES))
        if unknown:
            fix = did_you_mean(unknown[0], ENTRIES)
            raise InputError(f"{origin} has an unknown stage {unknown[0]!r}", fix=fix)
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise _refusal(error, origin) from error

    def specs(self) -> Iterator[tuple[str, str, Spec]]:
        """(where, kind, spec) of every component, in the order in which they work.

        ``where`` is its place in a file: ``"clusterer"``, ``"classes.sofa.clusterer"``,
        ``"refine.0"``.
        """
        yield "source", "source", self.source
        if self.detector is not None:
            yield "detector", "detector", self.detector
        for slot in INSIDE:
            yield slot, slot, getattr(self, slot)
        for label, stages in self.classes.items():
            for slot in INSIDE:
                spec = getattr(stages, slot)
                if spec is not None:
                    yield class_place(label, slot), slot, spec
        for index, spec in enumerate(self.refine):
            yield f"refine.{index}", "refiner", spec

    @classmethod
    def from_toml(cls, path: str | Path) -> Recipe:
        """The recipe in a TOML file.

        Raises:
            InputError: no such file, not TOML, or not a recipe.
        """
        path = Path(path)
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            got = error.strerror or str(error)
            raise InputError(f"recipe {path}", expected="a TOML file", got=got) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"recipe {path}", expected="valid TOML", got=str(error)) from error
        return cls.parse(data, origin=f"recipe {path}")

    def to_toml(self) -> str:
        """The recipe as TOML text; ``from_toml`` reads it back.

        Parameters that are None are left out, as TOML cannot say it; they are then the default.
        """
        import tomli_w

        return tomli_w.dumps(_without_none(self.model_dump(mode="json")))


def class_place(label: str, slot: str) -> str:
    """The place of a class's own stage in a file, e.g. ``classes."coffee table".clusterer``."""
    key = label if re.fullmatch(r"[A-Za-z0-9_-]+", label) else f'"{label}"'
    return f"classes.{key}.{slot}"


def _refusal(error: ValidationError, origin: str) -> InputError:
    """The first complaint of pydantic in covary's wording."""
    first = error.errors(include_url=False)[0]
    place, got = first["loc"], repr(first["input"])
    where = f"{origin}, {'.'.join(map(str, place))}"
    if place[0] == "soft":
        return InputError(where, expected="true or false", got=got)
    if first["type"] == "extra_forbidden":
        known = f"some of {', '.join(INSIDE)}"
        fix = did_you_mean(str(place[-1]), INSIDE)
        return InputError(where, expected=known, got=repr(place[-1]), fix=fix)
    if place == ("refine",):
        return InputError(where, expected="a list of refiners, e.g. ['guided']", got=got)
    if place[0] == "classes" and len(place) < 3:
        what = "tables of stages by label" if len(place) == 1 else f"some of {', '.join(INSIDE)}"
        return InputError(where, expected=what, got=got)
    return InputError(
        where,
        expected="a registered name such as 'lloyd' or 'acme/kmeans'",
        got="nothing" if first["type"] == "missing" else got,
        fix="`covary list` shows the names",
    )


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema of a pipeline file, with the parameters of every component that loads.

    A stage that names an unknown component, and a component with an unknown parameter or a value
    out of its range, is one error each: what a table may hold depends on its ``use`` by ``if`` and
    ``then``. Editors that do not follow those find the same components under ``anyOf``, whose
    first choice lets everything pass.
    """
    from ._registry import components

    kinds = (*SLOTS, "detector", "refiner")
    entries = {kind: components(kind=kind) for kind in kinds}
    definitions: dict[str, Any] = {}
    for entry in (entry for some in entries.values() for entry in some):
        definitions |= _definitions(entry)
    stages = {kind: _stage_schema(entries[kind]) for kind in kinds}
    # A class's stages are the pipeline's: said once, and referred to.
    definitions |= {f"stage:{kind}": stages[kind] for kind in (*INSIDE, "refiner")}
    described = {name: field.description for name, field in Recipe.model_fields.items()}
    properties = {
        **{slot: {"description": described[slot], **stages[slot]} for slot in SLOTS},
        "detector": {"description": described["detector"], **stages["detector"]},
        "classes": {
            "description": described["classes"],
            "type": "object",
            "additionalProperties": _class_schema(),
        },
        "refine": {
            "description": described["refine"],
            "type": "array",
            "items": {"$ref": "#/$defs/stage:refiner"},
        },
        "soft": {"description": described["soft"], "type": "boolean"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "covary pipeline",
        "type": "object",
        "properties": properties,
        "required": list(SLOTS),
        "additionalProperties": False,
        "$defs": definitions,
        "x-taplo": {"initKeys": list(SLOTS)},
    }


def _class_schema() -> dict[str, Any]:
    """The stages of one class of objects."""
    fields = ClassSpec.model_fields
    return {
        "type": "object",
        "properties": {
            slot: {"description": fields[slot].description, "$ref": f"#/$defs/stage:{slot}"}
            for slot in INSIDE
        },
        "additionalProperties": False,
    }


def _stage_schema(entries: Sequence[Registered]) -> dict[str, Any]:
    """A stage: a component's name, or a table with ``use`` and the component's parameters."""
    names = _choice({name: e.component.summary for e in entries for name in _names(e)})
    cases = [
        {
            "if": {
                "type": "object",
                "properties": {"use": {"enum": _names(entry)}},
                "required": ["use"],
            },
            "then": {"$ref": f"#/$defs/{_key(entry)}"},
        }
        for entry in entries
    ]
    return {
        "type": ["string", "object"],
        "if": {"type": "string"},
        "then": names,
        "else": {"properties": {"use": names}, "required": ["use"], "allOf": cases},
        "anyOf": [
            {"x-taplo": {"initKeys": ["use"]}},
            names,
            *({"$ref": f"#/$defs/{_key(entry)}"} for entry in entries),
        ],
    }


def _definitions(entry: Registered) -> dict[str, Any]:
    """The schema of a component's table, and those that it refers to, by names of its own."""
    key = _key(entry)
    try:
        template = f"#/$defs/{key}.{{model}}"
        schema = entry.load().Params.model_json_schema(ref_template=template)
    except Exception:  # a plugin whose module is broken must not hide the others
        schema = {"type": "object"}
    nested = {f"{key}.{name}": inner for name, inner in schema.pop("$defs", {}).items()}
    use = _choice(dict.fromkeys(_names(entry), entry.component.summary))
    schema["properties"] = {"use": use, **schema.get("properties", {})}
    schema["required"] = ["use", *schema.get("required", [])]
    schema["title"] = entry.id
    return {key: schema, **nested}


def _choice(names: Mapping[str, str]) -> dict[str, Any]:
    """One of these names, each with its summary for the editors that show it."""
    return {"enum": list(names), "x-taplo": {"docs": {"enumValues": list(names.values())}}}


def _names(entry: Registered) -> list[str]:
    return [entry.name, entry.id] if entry.preferred else [entry.id]


def _key(entry: Registered) -> str:
    # No name holds a colon, so that no two components share a key.
    return f"{entry.kind}:{entry.id.replace('/', ':')}"


def _without_none(value: Any) -> Any:
    """``value`` without None entries."""
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(item) for item in value]
    return value
