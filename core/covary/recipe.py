"""A pipeline as data: four registered names with their parameters."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import InputError, did_you_mean

if TYPE_CHECKING:
    from ._registry import Registered
    from .interfaces import Configurable

__all__ = ["SLOTS", "Recipe", "Spec", "recipe_schema"]

SLOTS = ("source", "features", "clusterer", "foreground")
"""The stages of a pipeline, in order; each is also the kind of its component."""


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


class Recipe(BaseModel):
    """The components of a pipeline; what a TOML file, a preset and provenance hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Spec = Field(description="gives the image and its variants")
    features: Spec = Field(description="the colour space of the style summary")
    clusterer: Spec = Field(description="groups pixels")
    foreground: Spec = Field(description="chooses clusters")

    @classmethod
    def parse(cls, data: Mapping[str, Any], origin: str = "recipe") -> Recipe:
        """A recipe from plain data.

        Raises:
            InputError: a stage is missing, unknown, or not a registered name's form.
        """
        unknown = sorted(set(data) - set(SLOTS))
        if unknown:
            fix = did_you_mean(unknown[0], SLOTS)
            raise InputError(f"{origin} has an unknown stage {unknown[0]!r}", fix=fix)
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InputError(
                f"{origin}, {'.'.join(map(str, first['loc']))}",
                expected="a registered name such as 'lloyd' or 'acme/kmeans'",
                got="nothing" if first["type"] == "missing" else repr(first["input"]),
                fix="`covary list` shows the names",
            ) from error

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


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema of a pipeline file, with the parameters of every component that loads.

    A stage that names an unknown component, and a component with an unknown parameter or a value
    out of its range, is one error each: what a table may hold depends on its ``use`` by ``if`` and
    ``then``. Editors that do not follow those find the same components under ``anyOf``, whose
    first choice lets everything pass.
    """
    from ._registry import components

    definitions: dict[str, Any] = {}
    properties = {}
    for slot in SLOTS:
        entries = components(kind=slot)
        for entry in entries:
            definitions |= _definitions(entry)
        properties[slot] = _stage_schema(slot, entries)
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


def _stage_schema(slot: str, entries: Sequence[Registered]) -> dict[str, Any]:
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
        "description": Recipe.model_fields[slot].description,
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
