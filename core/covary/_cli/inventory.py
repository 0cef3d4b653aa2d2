"""What is registered, as plain data: the ground of ``list``, ``show`` and ``doctor``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._registry import Registered, Shelved, checkpoint_path, registry
from ..catalogue import Checkpoint, Preset
from ..errors import CovaryError

__all__ = [
    "checkpoint_data",
    "checkpoints",
    "component_data",
    "local_file",
    "plugins",
    "preset_data",
    "presets",
    "size_words",
]


def component_data(entry: Registered) -> dict[str, Any]:
    """One component, without importing it."""
    component, missing = entry.component, entry.missing()
    return {
        "id": entry.id,
        "kind": entry.kind,
        "name": entry.name,
        "summary": component.summary,
        "devices": list(component.devices),
        "license": component.license,
        "target": component.target,
        "api": component.api,
        "plugin": {
            "namespace": entry.origin.namespace,
            "distribution": entry.origin.distribution,
            "version": entry.origin.version,
        },
        "short_name": entry.preferred,
        "requires": list(component.requires),
        "missing": list(missing),
        "install": entry.install_command() if missing else "",
        "unavailable": entry.unavailable(),
        "remedy": entry.remedy(),
        "incompatible": entry.incompatible(),
    }


def preset_data(shelved: Shelved) -> dict[str, Any]:
    """One preset."""
    preset = shelved.entry
    assert isinstance(preset, Preset)  # noqa: S101  (for the type checker)
    return {
        "name": preset.name,
        "summary": preset.summary,
        "cite": preset.cite,
        "recipe": preset.recipe.model_dump(mode="json"),
        "from": shelved.origin.distribution,
        "shadowed": shelved.shadowed,
    }


def checkpoint_data(shelved: Shelved) -> dict[str, Any]:
    """One checkpoint and where it is on this machine, if it is."""
    checkpoint = shelved.entry
    assert isinstance(checkpoint, Checkpoint)  # noqa: S101  (for the type checker)
    path = None if shelved.shadowed else local_file(checkpoint)
    return {
        **checkpoint.model_dump(mode="json"),
        "path": str(path) if path else None,
        "from": shelved.origin.distribution,
        "shadowed": shelved.shadowed,
    }


def local_file(checkpoint: Checkpoint) -> Path | None:
    """The file of a checkpoint, if it is on this machine."""
    try:
        return checkpoint_path(checkpoint.name)
    except CovaryError:
        return None


def presets() -> list[dict[str, Any]]:
    """All presets, in order of precedence."""
    return [preset_data(shelved) for shelved in registry().presets]


def checkpoints() -> list[dict[str, Any]]:
    """All checkpoints, in order of precedence."""
    return [checkpoint_data(shelved) for shelved in registry().checkpoints]


def plugins() -> list[dict[str, Any]]:
    """Who offers what, then the plugins that are known and not installed."""
    found = registry()
    offers: dict[tuple[str, str, str], dict[str, int]] = {}
    shelves: dict[str, Sequence[Registered | Shelved]] = {
        "components": found.components,
        "checkpoints": found.checkpoints,
        "presets": found.presets,
    }
    for what, entries in shelves.items():
        for entry in entries:
            origin = entry.origin
            key = (origin.namespace, origin.distribution, origin.version)
            counts = offers.setdefault(key, {"components": 0, "checkpoints": 0, "presets": 0})
            counts[what] += 1
    names = ("namespace", "distribution", "version")
    rows = [
        {**dict(zip(names, key, strict=True)), "installed": True, **counts}
        for key, counts in offers.items()
    ]
    here = {row["namespace"] for row in rows}
    for known in found.known_plugins:
        if known.namespace not in here:
            rows.append(
                {
                    "namespace": known.namespace,
                    "distribution": known.distribution,
                    "installed": False,
                    "summary": known.summary,
                    "provides": list(known.provides),
                }
            )
    return rows


def size_words(count: int | None) -> str:
    """A file's size for readers, empty where it is not known."""
    if count is None:
        return ""
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"
