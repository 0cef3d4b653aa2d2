"""``--set slot.param=value``: a recipe with some of its parameters changed."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from ..errors import InputError, did_you_mean
from ..recipe import SLOTS, Recipe

__all__ = ["override", "toml_value"]


def override(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """``recipe`` with the settings applied, in their order.

    Args:
        recipe: left as it is.
        settings: ``slot.param=value`` changes one parameter, ``slot=name`` puts another component
            in place with its own defaults, ``slot.use=name`` does so and keeps the parameters.
            Values are TOML (``4``, ``true``, ``[0.5, 0.5]``); what is not TOML is text.

    Raises:
        InputError: another form, or an unknown stage. Parameters are checked by the component.
    """
    specs: dict[str, dict[str, Any]] = recipe.model_dump(mode="json")
    for setting in settings:
        where, equals, text = setting.partition("=")
        slot, dot, name = where.strip().partition(".")
        if not equals or not slot or (dot and not name):
            raise InputError(
                f"--set {setting}",
                expected="slot.parameter=value or slot=component",
                got=repr(setting),
                fix="write for instance --set clusterer.k=8",
            )
        if slot not in SLOTS:
            fix = did_you_mean(slot, SLOTS)
            raise InputError(f"--set {setting} names an unknown stage {slot!r}", fix=fix)
        if dot:
            specs[slot][name] = toml_value(text.strip())
        else:
            specs[slot] = {"use": text.strip()}
    return Recipe.parse(specs, origin="--set")


def toml_value(text: str) -> Any:
    """The value that ``text`` is in TOML; what is not TOML is text."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # A line break in the text would smuggle in further keys.
    return parsed["value"] if len(parsed) == 1 else text
