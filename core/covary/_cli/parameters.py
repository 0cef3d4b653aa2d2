"""A component's parameters in words, from their pydantic fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticUndefined, to_jsonable_python

if TYPE_CHECKING:
    from ..interfaces import Params

__all__ = ["parameters", "range_words"]

_LIMITS = {
    "minimum": ">=",
    "exclusiveMinimum": ">",
    "maximum": "<=",
    "exclusiveMaximum": "<",
    "multipleOf": "a multiple of",
    "minLength": "length >=",
    "maxLength": "length <=",
    "minItems": "items >=",
    "maxItems": "items <=",
    "pattern": "matches",
}


def parameters(params: type[Params]) -> list[dict[str, Any]]:
    """Each parameter's name, type, default, range and description, in the order of definition.

    ``default`` is missing where one must be given; ``range`` is text, empty where anything of the
    type will do.
    """
    schema = _schema(params)
    definitions = schema.get("$defs", {})
    rows = []
    for name, field in params.model_fields.items():
        part = schema.get("properties", {}).get(name, {})
        row: dict[str, Any] = {
            "name": name,
            "type": _type_words(part, definitions) or str(field.annotation),
            "required": field.is_required(),
        }
        default = field.get_default(call_default_factory=True)
        if default is not PydanticUndefined:
            row["default"] = to_jsonable_python(default, fallback=repr)
        row["range"] = range_words(part)
        row["description"] = field.description or ""
        rows.append(row)
    return rows


def range_words(schema: dict[str, Any]) -> str:
    """Limits and choices in one field's JSON Schema, in words."""
    words = []
    for option in schema.get("anyOf", [schema]):
        if "enum" in option:
            words.append(", ".join(map(str, option["enum"])))
        limits = [
            f"{sign} {option[key]}"
            for key, sign in _LIMITS.items()
            # The type of a tuple says its length already.
            if key in option and not (key.endswith("Items") and "prefixItems" in option)
        ]
        if limits:
            words.append(", ".join(limits))
    return "; ".join(words)


def _schema(params: type[Params]) -> dict[str, Any]:
    try:
        return params.model_json_schema()
    except Exception:  # a plugin's own types may have no schema; their names must do
        return {}


def _type_words(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type_words(option, definitions) for option in schema["anyOf"])
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return str(definitions.get(name, {}).get("title", name))
    if "enum" in schema or "const" in schema:
        return "choice" if "enum" in schema else repr(schema["const"])
    kind = schema.get("type", "")
    if kind == "array":
        return _array_words(schema, definitions)
    names = {
        "integer": "int",
        "number": "float",
        "boolean": "bool",
        "string": "text",
        "null": "none",
    }
    return str(names.get(kind, kind))


def _array_words(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "prefixItems" in schema:
        inner = ", ".join(_type_words(item, definitions) for item in schema["prefixItems"])
        return f"({inner})"
    inner = _type_words(schema.get("items", {}), definitions)
    return f"list of {inner}" if inner else "list"
