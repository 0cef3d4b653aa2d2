"""What autodoc should know of this house: how values and models are made, remarks on attributes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, get_type_hints

from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

_REQUIRED = object()


def signature(made: type) -> str:
    """The fields of a dataclass or model with their defaults; their types stand below."""
    by_name = "*, " if issubclass(made, BaseModel) else ""
    fields = (
        name if default is _REQUIRED else f"{name}={'...' if callable(default) else repr(default)}"
        for name, default in _defaults(made)
    )
    return f"({by_name}{', '.join(fields)})"


def descriptions(model: type[BaseModel]) -> Iterator[str]:
    """The fields of a model as reStructuredText: type and description of each."""
    fields = model.model_fields
    annotated = {"__annotations__": {name: field.annotation for name, field in fields.items()}}
    # Hints come without the constraints that pydantic keeps in annotations.
    hints = get_type_hints(type(model.__name__, (), annotated))
    for name, field in fields.items():
        yield f":param {name}: {field.description or ''}"
        yield f":type {name}: {stringify_annotation(hints[name], 'smart')}"


def _defaults(made: type) -> Iterable[tuple[str, Any]]:
    """Name and default of each field; the default may be a function that makes it."""
    if issubclass(made, BaseModel):
        for name, field in made.model_fields.items():
            default = field.default_factory or field.default
            yield name, _REQUIRED if field.is_required() else default
        return
    for field in dataclasses.fields(made):
        given = [d for d in (field.default, field.default_factory) if d is not dataclasses.MISSING]
        yield field.name, given[0] if given else _REQUIRED


def _is_model(what: str, value: Any) -> bool:
    return what == "class" and issubclass(value, BaseModel) and bool(value.model_fields)


def _signature(_app: Sphinx, what: str, _name: str, value: Any, *_: Any) -> tuple[str, None] | None:
    if _is_model(what, value) or (what == "class" and dataclasses.is_dataclass(value)):
        return signature(value), None
    if what == "exception" and "__init__" not in vars(value):
        return "", None  # as its base is raised
    return None


def _docstring(
    _app: Sphinx, what: str, _name: str, value: Any, _options: Any, lines: list[str]
) -> None:
    if _is_model(what, value):
        lines += ["", *descriptions(value), ""]
    if what in ("attribute", "data", "property"):
        # Napoleon takes what stands before a colon on the first line for the attribute's type:
        # let that line be an empty comment.
        lines[:0] = ["..", ""]


def _skip(_app: Sphinx, _what: str, name: str, *_: Any) -> bool | None:
    # The checks of contracts have a page of their own, made from their docstrings.
    return True if name.startswith("test_") else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _docstring, priority=400)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
