"""The page of the catalogue: the schema of ``registry.toml``, and the checkpoints in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from covary._cli.inventory import size_words
from covary._cli.parameters import parameters
from covary.catalogue import Catalogue, Checkpoint, read_catalogue
from covary_bench.clusterers.tables import escaped, prose
from covary_bench.report import markdown_table

_INTRODUCTION = """\
# The catalogue

Made from `registry.toml` and its schema by `python docs/make_reference.py`.

A catalogue is a TOML file of components, checkpoints, presets and hints on what to install. Reading
one imports nothing that it names. covary's own is [registry.toml](../../registry.toml); a plugin
may ship another and return its entries from its [hook](hooks.md), read by
[`read_catalogue`](api/catalogue.md#what-a-plugin-offers). Yours (`$COVARY_REGISTRY`, else the file
that `covary doctor` shows) may add checkpoints and presets, never components. Where several offer
a checkpoint or preset of one name, yours comes before a plugin's, and a plugin's before covary's;
`covary list` shows what is hidden by another.

Unknown fields are refused, and so is a preset that does not say where its values come from.
"""


def page() -> str:
    """The whole page."""
    lines = [_INTRODUCTION]
    for name, field in Catalogue.model_fields.items():
        (model, *_) = field.annotation.__args__  # type: ignore[union-attr]
        lines += _schema(field.alias or name, model)
    lines += _checkpoints(read_catalogue().checkpoint)
    return "\n".join(lines)


def _schema(table: str, model: type[BaseModel]) -> Iterator[str]:
    yield from (f"## `[[{table}]]`", "", model.__doc__ or "", "")
    yield from markdown_table(
        ("field", "type", "default", "meaning"),
        (
            (f"`{row['name']}`", _kind(row), _default(row), prose(row["description"]))
            for row in parameters(model)
        ),
    )
    yield ""


def _kind(row: dict[str, Any]) -> str:
    return str(row["range"] if row["type"] == "choice" else row["type"])


def _default(row: dict[str, Any]) -> str:
    if row["required"]:
        return "required"
    return f"`{row['default']}`" if row["default"] else ""


def _checkpoints(checkpoints: tuple[Checkpoint, ...]) -> Iterator[str]:
    yield from (
        "## Checkpoints",
        "",
        "Those that the built-in catalogue knows. Weights belong to those who published them:",
        "`covary checkpoints fetch NAME` shows both licences before it downloads anything.",
        "",
    )
    yield from markdown_table(
        ("checkpoint", "what", "for", "pixels", "size", "licence of the weights"),
        (
            (
                f"`{entry.name}`",
                escaped(entry.summary),
                f"`{entry.family}`",
                entry.resolution or "",
                size_words(entry.bytes),
                escaped(entry.weights_license),
            )
            for entry in checkpoints
        ),
    )
    yield ""
