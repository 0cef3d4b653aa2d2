"""Writes ``docs/reference/components.md`` from the catalogue and the components' parameters."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import covary
from covary._registry import BUILTIN, Registered, registry
from covary.catalogue import KINDS

PAGE = Path(__file__).parent / "reference" / "components.md"

_TITLES = {
    "source": "Variant sources",
    "features": "Feature spaces",
    "clusterer": "Clusterers",
    "foreground": "Foreground rules",
    "detector": "Detectors",
}


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
    fields = component_class.Params.model_fields
    if not fields:
        return
    schema = component_class.Params.model_json_schema()["properties"]
    yield from ("| parameter | default | range | meaning |", "|---|---|---|---|")
    for name, field in fields.items():
        default = "required" if field.is_required() else f"`{_default(field.default)}`"
        description = (field.description or "").rstrip(".")
        yield f"| `{name}` | {default} | {_range(schema[name])} | {description} |"
    yield ""


def _default(value: object) -> str:
    if value is None:
        return "unset"
    if isinstance(value, covary.Spec):
        return value.use
    return str(value)


def _range(schema: dict[str, object]) -> str:
    """Limits and choices of a parameter, in words."""
    options = schema.get("anyOf", [schema])
    words = []
    for option in options if isinstance(options, list) else []:
        if "enum" in option:
            words.append(", ".join(f"`{choice}`" for choice in option["enum"]))
        limits = [
            f"{sign} {option[key]}"
            for key, sign in (
                ("minimum", ">="),
                ("exclusiveMinimum", ">"),
                ("maximum", "<="),
                ("exclusiveMaximum", "<"),
            )
            if key in option
        ]
        if limits:
            words.append(", ".join(limits))
    return "; ".join(words)


def _presets() -> Iterator[str]:
    yield from ("## Presets", "")
    yield "| preset | source | features | clusterer | foreground | from |"
    yield "|---|---|---|---|---|---|"
    for shelved in registry().presets:
        if shelved.origin.namespace != BUILTIN:
            continue
        preset = shelved.entry
        assert isinstance(preset, covary.Preset)
        recipe = preset.recipe
        cells = [_spec(s) for s in (recipe.source, recipe.features, recipe.clusterer, recipe.foreground)]
        yield f"| `{preset.name}` | {' | '.join(cells)} | {preset.cite} |"
    yield ""


def _spec(spec: covary.Spec) -> str:
    params = ", ".join(f"{name} {value}" for name, value in spec.params.items())
    return f"{spec.use} ({params})" if params else spec.use


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
