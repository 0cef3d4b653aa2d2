"""What the plugin API promises, as plain data: ``python tests/api_snapshot.py`` prints it.

``implemented`` is what plugins write and covary calls: it may not change at all within a major
version. ``provided`` is what covary has and plugins use: it may grow, by what has a default.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

import covary
from covary import _hooks
from covary.catalogue import KINDS, KnownPlugin

INTERFACES = (
    "Clusterer", "Detector", "FeatureSpace", "ForegroundRule", "LandmarkDetector",
    "SupportsInitialCenters", "SupportsInputs", "SupportsMemoryEstimate", "SupportsPredict",
    "SupportsRegions", "SupportsSize", "VariantSource",
)  # fmt: skip
"""What plugins implement."""

CONTRACTS = "covary.testing"


def snapshot() -> dict[str, Any]:
    """The plugin API of the covary that is imported."""
    testing = importlib.import_module(CONTRACTS)
    return {
        "api": covary.API_VERSION,
        "groups": [_hooks.GROUP, _hooks.COMMANDS],
        "kinds": list(KINDS),
        "hooks": {
            name: _parameters(hook) for name, hook in _public(_hooks.Hooks) if callable(hook)
        },
        "implemented": {name: _implemented(getattr(covary, name)) for name in INTERFACES},
        "provided": {
            **{name: _provided(getattr(covary, name)) for name in covary.__all__},
            **{f"testing.{name}": _provided(getattr(testing, name)) for name in testing.__all__},
            "catalogue.KnownPlugin": _provided(KnownPlugin),
        },
        "params": {
            "frozen": covary.Params.model_config.get("frozen"),
            "extra": covary.Params.model_config.get("extra"),
        },
    }


def _public(owner: type) -> list[tuple[str, Any]]:
    """The names that a class itself and its bases of covary define, without those with a line."""
    names: dict[str, Any] = {}
    for base in reversed(owner.__mro__):
        if base.__module__.startswith("covary"):
            names |= {name: v for name, v in vars(base).items() if not name.startswith("_")}
    return sorted(names.items())


def _implemented(interface: type) -> dict[str, Any]:
    own = {name: value for name, value in vars(interface).items() if not name.startswith("_")}
    return {
        "methods": {
            name: {"signature": str(inspect.signature(value)), "abstract": _is_abstract(value)}
            for name, value in sorted(own.items())
            if inspect.isfunction(value)
        },
        "attributes": {
            name: repr(sorted(value) if isinstance(value, frozenset) else value)
            for name, value in sorted(own.items())
            if not inspect.isfunction(value)
        },
    }


def _is_abstract(function: Callable[..., Any]) -> bool:
    return getattr(function, "__isabstractmethod__", False)


def _provided(value: Any) -> dict[str, Any]:
    if inspect.ismodule(value):
        return {"is": "module", "names": sorted(value.__all__)}
    if inspect.isfunction(value):
        return {"is": "function", "parameters": _parameters(value)}
    if not isinstance(value, type):
        return {"is": type(value).__name__}
    fields = _fields(value)
    found: dict[str, Any] = {
        "is": "class",
        "bases": [base.__name__ for base in value.__mro__[1:] if base is not object],
        "names": {name: _member(name, member) for name, member in _public(value)},
    }
    if fields:
        found["fields"] = fields
    elif any(
        base.__module__.startswith("covary") and "__init__" in vars(base) for base in value.__mro__
    ) and not getattr(value, "_is_protocol", False):
        found["parameters"] = _parameters(value)
    return found


def _member(name: str, member: Any) -> dict[str, Any]:
    function = getattr(member, "__func__", member)
    # A check takes what hypothesis gives it.
    if inspect.isfunction(function) and not name.startswith("test_"):
        return {"is": "method", "parameters": _parameters(function)}
    return {"is": "value"}


def _fields(owner: type) -> dict[str, str]:
    """Field -> ``required`` or ``optional``, in the order in which a constructor takes them."""
    if dataclasses.is_dataclass(owner):
        missing = dataclasses.MISSING
        return {
            field.name: "required"
            if field.default is missing and field.default_factory is missing
            else "optional"
            for field in dataclasses.fields(owner)
        }
    if issubclass(owner, BaseModel):
        return {
            name: "required" if field.is_required() else "optional"
            for name, field in owner.model_fields.items()
        }
    return {}


def _parameters(function: Callable[..., Any]) -> dict[str, str]:
    """Parameter -> ``required`` or ``optional``, with ``by keyword`` where it must be named."""
    words = {}
    for each in inspect.signature(function).parameters.values():
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            words[each.name] = f"any {each.kind.description}"
            continue
        need = "required" if each.default is each.empty else "optional"
        named = each.kind is each.KEYWORD_ONLY
        words[each.name] = f"{need}{' by keyword' if named else ''}"
    return words


def broken(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What plugins of the old API can no longer rely on, in words."""
    found = [f"{key} changed" for key in ("groups", "hooks", "params") if old[key] != new[key]]
    found += [f"kind {kind} is gone" for kind in old["kinds"] if kind not in new["kinds"]]
    for name, interface in old["implemented"].items():
        if new["implemented"].get(name) != interface:
            found.append(f"covary.{name}, which plugins implement, changed")
    for name, value in old["provided"].items():
        if name not in new["provided"]:
            found.append(f"covary.{name} is gone")
        else:
            found += [f"covary.{name}{what}" for what in _broken(value, new["provided"][name])]
    return found


def _broken(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    if old["is"] != new["is"]:
        return [f" was a {old['is']} and is a {new['is']}"]
    found = []
    if isinstance(old.get("names"), list):
        found += [f".{name} is gone" for name in old["names"] if name not in new["names"]]
    elif "names" in old:
        for name, member in old["names"].items():
            if name not in new["names"]:
                found.append(f".{name} is gone")
            else:
                found += [f".{name}{what}" for what in _broken(member, new["names"][name])]
    found += [f" no longer is a {b}" for b in old.get("bases", ()) if b not in new["bases"]]
    for key in ("fields", "parameters"):
        if key in old:
            found += _grown(key, old[key], new.get(key, {}))
    return found


def _grown(what: str, old: dict[str, str], new: dict[str, str]) -> list[str]:
    """Complaints unless ``new`` is ``old`` with optional ones added at the end or by keyword."""
    found = []
    for name, words in old.items():
        if name not in new:
            found.append(f": of its {what}, {name} is gone")
        elif new[name] not in (words, words.replace("required", "optional")):
            found.append(f": of its {what}, {name} was {words} and is {new[name]}")
    positional = [[name for name in each if "by keyword" not in each[name]] for each in (old, new)]
    if not found and positional[0] != positional[1][: len(positional[0])]:
        found.append(f": the order of its {what} changed")
    added = {name: words for name, words in new.items() if name not in old}
    return found + [
        f": of its {what}, {name} is new and required"
        for name, words in added.items()
        if words.startswith("required")
    ]


if __name__ == "__main__":
    print(json.dumps(snapshot(), indent=1))
