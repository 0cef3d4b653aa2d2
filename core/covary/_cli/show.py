"""``covary show``: everything about one component, preset or checkpoint."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import click

from .._registry import Registered, components, registry
from ..catalogue import KINDS
from ..errors import CovaryError, UnknownNameError, did_you_mean
from . import inventory
from .output import json_option, print_json, print_table, remark
from .parameters import parameters

__all__ = ["show"]

_KINDS = (*KINDS, "preset", "checkpoint")


@click.command(short_help="Show one component, preset or checkpoint.")
@click.argument("name")
@click.option("--kind", metavar="|".join(_KINDS), help="Where one name stands for several things.")
@json_option
def show(name: str, kind: str | None, as_json: bool) -> None:
    """Show everything about a component, a preset or a checkpoint.

    NAME is a short name or a full id such as acme/kmeans. Everything of that name is shown.

    Exits with 1 if a component cannot be imported.
    """
    if kind is not None and kind not in _KINDS:
        raise UnknownNameError(f"there is no kind {kind!r}", fix=did_you_mean(kind, _KINDS))
    found = list(_find(name, kind))
    if not found:
        raise _unknown(name, kind)
    if as_json:
        print_json(found)
    else:
        for index, data in enumerate(found):
            if index:
                click.echo()
            _PRINTERS[data["what"]](data)
    if any(data.get("error") for data in found):
        raise SystemExit(1)


def _find(name: str, kind: str | None) -> Iterator[dict[str, Any]]:
    for entry in components():
        if name in (entry.id, entry.name) and kind in (None, entry.kind):
            yield {"what": "component", **inventory.component_data(entry), **_class_data(entry)}
    if kind in (None, "preset"):
        yield from (
            {"what": "preset", **data} for data in inventory.presets() if data["name"] == name
        )
    if kind in (None, "checkpoint"):
        yield from (
            {"what": "checkpoint", **data}
            for data in inventory.checkpoints()
            if data["name"] == name
        )


def _class_data(entry: Registered) -> dict[str, Any]:
    """What the class itself says; its packages need not be installed."""
    try:
        component_class = entry.load()
    except CovaryError as error:
        return {"error": str(error), "doc": "", "parameters": []}
    return {
        "error": "",
        "doc": inspect.getdoc(component_class) or "",
        "determinism": component_class.determinism,
        "parameters": parameters(component_class.Params),
    }


def _unknown(name: str, kind: str | None) -> CovaryError:
    """The error for a name that nothing has; it knows of plugins that could be installed."""
    if kind is None or kind in KINDS:
        try:
            registry().find(name, kind)
        except UnknownNameError as error:
            if kind is not None or "pip install" in error.fix or "plugin" in error.fix:
                return error
    shelves = {"preset": registry().presets, "checkpoint": registry().checkpoints}
    known = [
        shelved.entry.name for what in shelves if kind in (None, what) for shelved in shelves[what]
    ]
    if kind is None:
        known += [entry.name for entry in components()]
    what = kind or "component, preset or checkpoint"
    return UnknownNameError(f"there is no {what} {name!r}", fix=did_you_mean(name, known))


def _print_component(data: dict[str, Any]) -> None:
    click.echo(f"{data['id']}  ({data['kind']})  {data['summary']}")
    if data["doc"]:
        click.echo(f"\n{data['doc']}\n")
    plugin = data["plugin"]
    lines = {
        "plugin": f"{plugin['distribution']} {plugin['version']}",
        "class": data["target"],
        "devices": ", ".join(data["devices"]),
        "licence": data["license"],
        "plugin API": data["api"],
        "repeatable": data.get("determinism", ""),
        "needs": ", ".join(data["requires"]),
        "cannot run here": data["unavailable"],
        "to do": data["remedy"],
        "name": "" if data["short_name"] else "by its full id only",
    }
    _print_lines(lines)
    rows = [_parameter_cells(row) for row in data["parameters"]]
    if rows:
        columns = ("parameter", "type", "default", "range", "meaning")
        print_table("\nparameters", columns, rows)
    elif not data["error"]:
        click.echo("\nno parameters")
    if data["error"]:
        remark(f"error: {data['error']}")


def _parameter_cells(row: dict[str, Any]) -> tuple[str, ...]:
    default = "required" if row["required"] else _default_words(row["default"])
    return row["name"], row["type"], default, row["range"], row["description"]


def _default_words(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict) and set(value) == {"use"}:
        return str(value["use"])
    return str(value)


def _print_preset(data: dict[str, Any]) -> None:
    from ..recipe import Recipe

    shadowed = "  (shadowed)" if data["shadowed"] else ""
    click.echo(f"{data['name']}  (preset){shadowed}  {data['summary']}\n")
    _print_lines({"values from": data["cite"], "offered by": data["from"]})
    click.echo(f"\n{Recipe.parse(data['recipe']).to_toml().rstrip()}\n")
    click.echo(f"try it: covary segment 0-15 --preset {data['name']} -o out")


def _print_checkpoint(data: dict[str, Any]) -> None:
    shadowed = "  (shadowed)" if data["shadowed"] else ""
    click.echo(f"{data['name']}  (checkpoint){shadowed}  {data['summary']}\n")
    lines = {
        "here": data["path"] or "no",
        "from": data["url"] or data["page"],
        "sha256": data["sha256"] or "",
        "stated by": data["sha256_origin"],
        "size": inventory.size_words(data["bytes"]),
        "resolution": f"{data['resolution']} pixels" if data["resolution"] else "",
        "for source": data["family"],
        "licence of the weights": data["weights_license"],
        "licence of the code": data["code_license"],
        "offered by": f"the catalogue of {data['from']}",
    }
    _print_lines(lines)


def _print_lines(lines: dict[str, str]) -> None:
    for name, text in lines.items():
        if text:
            click.echo(f"{name + ':':<24}{text}")


_PRINTERS = {
    "component": _print_component,
    "preset": _print_preset,
    "checkpoint": _print_checkpoint,
}
