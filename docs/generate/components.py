"""The page of components and presets, from the catalogue and the components' parameters."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, cast

import covary
from covary._cli.parameters import parameters
from covary._registry import BUILTIN, Registered, registry
from covary.catalogue import KINDS
from covary_bench.report import markdown_table

_TITLES = {
    "source": "Variant sources",
    "features": "Feature spaces",
    "clusterer": "Clusterers",
    "foreground": "Foreground rules",
    "detector": "Detectors",
    "landmarks": "Landmark detectors",
    "refiner": "Refiners",
    "segmenter": "Segmenters",
    "writer": "Writers of data sets",
}

_STAGES = ("source", "features", "clusterer", "foreground", "detector")


def page() -> str:
    """The whole page."""
    lines = [
        "# Components and presets",
        "",
        "Made from `registry.toml` and the components' parameters by",
        "`python docs/make_reference.py`; `covary show NAME` prints the same.",
        "",
    ]
    for kind in KINDS:
        entries = [c for c in covary.components(kind) if c.origin.namespace == BUILTIN]
        if entries:
            lines += [f"## {_TITLES[kind]}", ""]
        for entry in entries:
            lines += _component(entry)
    lines += _presets()
    return "\n".join(lines)


def _component(entry: Registered) -> Iterator[str]:
    component_class = entry.load()
    yield from (f"### {entry.name}", "")
    yield from (inspect.getdoc(component_class) or "", "")
    if entry.component.extra:
        yield from (f"Install: `{entry.install_command()}`", "")
    rows = parameters(component_class.Params)
    if not rows:
        return
    yield from markdown_table(
        ("parameter", "default", "range", "meaning"),
        (
            (f"`{row['name']}`", _default(row), row["range"], row["description"].rstrip("."))
            for row in rows
        ),
    )
    yield ""


def _default(row: dict[str, Any]) -> str:
    if row["required"]:
        return "required"
    default = row["default"]
    if default is None:
        return "unset"
    return f"`{default['use'] if isinstance(default, dict) else default}`"


def _presets() -> Iterator[str]:
    shelf = registry().presets
    presets = [cast(covary.Preset, s.entry) for s in shelf if s.origin.namespace == BUILTIN]
    yield from ("## Presets", "")
    yield from markdown_table(
        ("preset", *_STAGES, "from"),
        (
            (
                f"`{preset.name}`",
                *(_spec(getattr(preset.recipe, stage)) for stage in _STAGES),
                preset.cite,
            )
            for preset in presets
        ),
    )
    yield ""


def _spec(spec: covary.Spec | None) -> str:
    if spec is None:
        return ""
    params = ", ".join(f"{name} {value}" for name, value in spec.params.items())
    return f"{spec.use} ({params})" if params else spec.use
