"""``covary list``: what there is to choose from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from .._registry import components, problems
from ..catalogue import KINDS
from ..errors import UnknownNameError, did_you_mean
from . import inventory
from .output import json_option, print_json, print_table, remark

__all__ = ["list_"]

_SECTIONS = ("components", *KINDS, "presets", "checkpoints", "plugins")


@click.command("list", short_help="List components, presets, checkpoints or plugins.")
@click.argument("what", required=False, metavar=f"[{'|'.join(_SECTIONS)}]")
@json_option
def list_(what: str | None, as_json: bool) -> None:
    """List what is registered: components and presets, or what is asked for.

    A component that cannot run here is listed with the reason and what to do.
    `covary show NAME` tells more about one.
    """
    sections = ("components", "presets") if what is None else (what,)
    if sections[0] not in _SECTIONS:
        raise UnknownNameError(
            f"there is nothing called {what!r} to list", fix=did_you_mean(str(what), _SECTIONS)
        )
    data = {section: _data(section) for section in sections}
    if as_json:
        print_json({**data, "problems": len(problems())})
        return
    for section, rows in data.items():
        _tables(section, rows)
    if count := len(problems()):
        noun = "problem" if count == 1 else "problems"
        remark(f"{count} {noun} with plugins: see `covary doctor`")


def _data(section: str) -> list[dict[str, Any]]:
    readers: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "presets": inventory.presets,
        "checkpoints": inventory.checkpoints,
        "plugins": inventory.plugins,
    }
    if section in readers:
        return readers[section]()
    kind = None if section == "components" else section
    return [inventory.component_data(entry) for entry in components(kind)]


def _tables(section: str, rows: Sequence[dict[str, Any]]) -> None:
    cells: list[tuple[str, ...]]
    if section == "presets":
        cells = [(row["name"], row["summary"], row["cite"], _shadow(row)) for row in rows]
        print_table("presets", ("name", "summary", "from", "remark"), cells)
    elif section == "checkpoints":
        cells = [_checkpoint_cells(row) for row in rows]
        columns = ("name", "summary", "here", "size", "licence of the weights", "remark")
        print_table("checkpoints", columns, cells)
    elif section == "plugins":
        print_table(
            "plugins",
            ("namespace", "distribution", "version", "offers"),
            [_plugin_cells(row) for row in rows],
        )
    else:
        for kind in KINDS:
            cells = [_component_cells(row) for row in rows if row["kind"] == kind]
            if cells:
                print_table(kind, ("id", "summary", "devices", "status"), cells)


def _component_cells(row: dict[str, Any]) -> tuple[str, ...]:
    status = "ready"
    if row["incompatible"]:
        status = f"incompatible: {row['incompatible']}"
    elif row["unavailable"]:
        status = f"{row['unavailable']}; {row['remedy']}"
    if not row["short_name"]:
        status += "; by its full id only"
    return row["id"], row["summary"], ", ".join(row["devices"]), status


def _checkpoint_cells(row: dict[str, Any]) -> tuple[str, ...]:
    size = inventory.size_words(row["bytes"])
    here = "yes" if row["path"] else "no"
    return row["name"], row["summary"], here, size, row["weights_license"], _shadow(row)


def _plugin_cells(row: dict[str, Any]) -> tuple[str, ...]:
    if not row["installed"]:
        offers = f"not installed: pip install {row['distribution']}"
        return row["namespace"], row["distribution"], "", offers
    counts = {name: row[name] for name in ("components", "checkpoints", "presets")}
    offers = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return row["namespace"], row["distribution"], row["version"], offers


def _shadow(row: dict[str, Any]) -> str:
    return f"shadowed; from {row['from']}" if row["shadowed"] else ""
