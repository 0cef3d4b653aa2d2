"""A recipe with some parameters changed by text, as ``--set`` and ``--detector`` do."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from ._registry import find
from .errors import InputError, did_you_mean
from .recipe import ENTRIES, INSIDE, SLOTS, Recipe

__all__ = ["override", "toml_value", "with_detector"]


def override(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """``recipe`` with the settings applied, in their order.

    Args:
        recipe: left as it is.
        settings: ``slot.param=value`` changes one parameter, ``slot=name`` puts another component
            in place with its own defaults, ``slot.use=name`` does so and keeps the parameters.
            A slot is a stage, ``detector``, or a class's own stage ``classes.sofa.clusterer``,
            which starts as a copy of the pipeline's. ``refine=["guided", "cleanup"]`` and
            ``soft=true`` are set as a whole.
            Values are TOML (``4``, ``true``, ``[0.5, 0.5]``); what is not TOML is text.

    Raises:
        InputError: another form, or an unknown stage. Parameters are checked by the component.
    """
    data: dict[str, Any] = recipe.model_dump(mode="json")
    for setting in settings:
        where, equals, text = setting.partition("=")
        path, text = _path(where.strip()), text.strip()
        if not equals or not all(path):
            raise _malformed(setting, "slot.parameter=value or slot=component")
        if path[0] not in ENTRIES:
            fix = did_you_mean(path[0], ENTRIES)
            raise InputError(f"--set {setting} names an unknown stage {path[0]!r}", fix=fix)
        if path[0] in (*SLOTS, "detector"):
            _set_component(data, path[0], path[1:], text, {})
        elif path[0] == "classes":
            _set_class(data, path[1:], text, setting)
        elif len(path) > 1:
            raise _malformed(setting, f"{path[0]}=value")
        else:
            value = toml_value(text)
            names = path[0] == "refine" and isinstance(value, str)
            data[path[0]] = [value] if names else value
    return Recipe.parse(data, origin="--set")


def with_detector(recipe: Recipe, name: str | None, prompt: str | None) -> Recipe:
    """``recipe`` with another detector, or another prompt for the one that it has, or both.

    Raises:
        InputError: a prompt without a detector that takes one.
        UnknownNameError, PluginError: the detector cannot be found or loaded.
    """
    data = recipe.model_dump(mode="json")
    if name is not None:
        data["detector"] = {"use": name}
    if prompt is not None:
        use = data.get("detector", {}).get("use")
        if use is None or "prompt" not in find(use, "detector").load().Params.model_fields:
            raise InputError(
                "--prompt",
                expected="a detector with a parameter 'prompt'",
                got="none" if use is None else use,
                fix="add for instance --detector grounding-dino; `covary list detector` shows all",
            )
        data["detector"]["prompt"] = prompt
    return Recipe.parse(data, origin="--detector")


def _set_component(
    specs: dict[str, Any], slot: str, names: Sequence[str], text: str, start: dict[str, Any]
) -> None:
    """Put a component in a slot, or change a parameter of what is there or, if none, of start."""
    if names:
        specs.setdefault(slot, dict(start))[".".join(names)] = toml_value(text)
    else:
        specs[slot] = {"use": text}


def _set_class(data: dict[str, Any], path: Sequence[str], text: str, setting: str) -> None:
    if len(path) < 2:
        raise _malformed(setting, "classes.LABEL.STAGE=component or .STAGE.parameter=value")
    label, slot, *names = path
    if slot not in INSIDE:
        fix = did_you_mean(slot, INSIDE)
        raise InputError(f"--set {setting} names an unknown stage {slot!r}", fix=fix)
    stages = data.setdefault("classes", {}).setdefault(label, {})
    _set_component(stages, slot, names, text, data[slot])


def _path(where: str) -> list[str]:
    """A dotted key in parts; quotes as in TOML, and without them names may have spaces."""
    try:
        rest: Any = tomllib.loads(f"{where} = 0")
    except tomllib.TOMLDecodeError:
        return where.split(".")
    path = []
    while isinstance(rest, dict) and len(rest) == 1:
        [(key, rest)] = rest.items()
        path.append(key)
    return path if rest == 0 else where.split(".")


def _malformed(setting: str, expected: str) -> InputError:
    return InputError(
        f"--set {setting}",
        expected=expected,
        got=repr(setting),
        fix="write for instance --set clusterer.k=8",
    )


def toml_value(text: str) -> Any:
    """The value that ``text`` is in TOML; what is not TOML is text."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # A line break in the text would smuggle in further keys.
    return parsed["value"] if len(parsed) == 1 else text
