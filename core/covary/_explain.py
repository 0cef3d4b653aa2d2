"""What is wrong with a plugin that does not load, in words its author can act on."""

from __future__ import annotations

import difflib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from ._hooks import GROUP, Hooks
from .errors import PluginError

__all__ = [
    "ADD_ENTRY_POINT",
    "INSTALL_AGAIN",
    "invalid_entry",
    "load_entry_point",
    "missing_hook",
    "missing_target",
    "unknown_hook",
    "wrong_answer",
]

_TABLE = f"[project.entry-points.{GROUP}]"
INSTALL_AGAIN = (
    f"correct {_TABLE} in its pyproject.toml and install it again: entry points are read when a "
    "package is installed, an editable one too"
)
ADD_ENTRY_POINT = f"add {_TABLE} to its pyproject.toml and install it again"

_HOOKS = tuple(name for name in vars(Hooks) if not name.startswith("_"))
_HOOK = _HOOKS[0]


def load_entry_point(point: EntryPoint) -> Any:
    """What the entry point names.

    Raises:
        PluginError: its value is malformed, or names a module or attribute that does not exist.
        Exception, SystemExit: whatever the module raises.
    """
    match = re.fullmatch(r"\s*([\w.]+)\s*(?::\s*([\w.]+)\s*)?(\[.*\])?\s*", point.value)
    if match is None:
        raise PluginError("its entry point is not of the form 'module'", fix=INSTALL_AGAIN)
    module_name, attributes = match[1], match[2]
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if what := _missing_module(module_name, error):
            hint = _close_to(error.name or "", _siblings(error.name or ""))
            raise PluginError(f"its entry point: {what}", fix=hint + INSTALL_AGAIN) from error
        raise
    for name in attributes.split(".") if attributes else ():
        if not hasattr(found, name):
            hint = f"name the module alone, {module_name!r}; "
            raise PluginError(
                f"its entry point: {module_name} has no {name!r}", fix=hint + INSTALL_AGAIN
            )
        found = getattr(found, name)
    return found


def unknown_hook(name: str) -> PluginError:
    """A function is marked as a hook that covary does not have."""
    hint = _close_to(name, _HOOKS) or f"covary's hook is {_HOOK}; "
    return PluginError(f"unknown hook {name!r}", fix=f"{hint}rename the function")


def missing_hook(plugin: Any) -> PluginError:
    """A plugin implements no hook; says why where that can be seen."""
    if inspect.isroutine(plugin):
        home = getattr(plugin, "__module__", "")
        return PluginError(
            "its entry point names a function, not the module that holds it",
            fix=f"name the module alone, {home!r}; {INSTALL_AGAIN}",
        )
    for name, function in _functions(plugin):
        if difflib.get_close_matches(name, _HOOKS, n=1, cutoff=0.8):
            return _unmarked(name, function)
    return PluginError(
        "implements no hook of covary",
        fix=f"define {_HOOK}() in it and decorate it with @covary.hookimpl",
    )


def invalid_entry(error: ValidationError) -> PluginError:
    """A component, checkpoint or preset whose data do not validate."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return PluginError(
        f"covary.{error.title}: {where}: {first['msg']}, got {first['input']!r}",
        fix=f"correct {where!r} where the plugin makes it",
    )


def missing_target(target: str, error: BaseException, base: type) -> tuple[str, str]:
    """(what, hint) where ``module:Class`` names something that is not there, else two empties.

    Args:
        target: as a component has it.
        error: what importing it raised.
        base: the interface of its kind, to tell which classes it may have meant.
    """
    module_name, class_name = target.split(":")
    if isinstance(error, ModuleNotFoundError):
        what = _missing_module(module_name, error)
        return what, what and _close_to(error.name or "", _siblings(error.name or ""))
    module = getattr(error, "obj", None)
    if not isinstance(module, ModuleType) or module.__name__ != module_name:
        return "", ""
    fit = [name for name, each in inspect.getmembers_static(module, inspect.isclass)
           if issubclass(each, base) and each is not base]  # fmt: skip
    hint = _close_to(class_name, fit) or (f"it has {', '.join(fit)}; " if fit else "")
    return f"{module_name} has no {class_name!r}", hint


def wrong_answer(got: str) -> PluginError:
    """The hook gave something else than entries."""
    return PluginError(
        f"{_HOOK}() returned {got}, expected covary.Component entries",
        fix="return a list of covary.Component, or the `component` of covary.read_catalogue(path)",
    )


def _unmarked(name: str, function: Callable[..., Any]) -> PluginError:
    # pluggy's markers leave their options in an attribute named after their project.
    marks = [key.removesuffix("_impl") for key in vars(function) if key.endswith("_impl")]
    rename = "" if name in _HOOKS else f"rename it to {_HOOK} and "
    if marks:
        return PluginError(
            f"{name}() is decorated by the hookimpl of {marks[0]!r}, not by covary's",
            fix=f"{rename}decorate it with @covary.hookimpl",
        )
    return PluginError(
        f"implements no hook of covary: {name}() is not decorated",
        fix=f"{rename}decorate it with @covary.hookimpl",
    )


def _functions(plugin: Any) -> list[tuple[str, Callable[..., Any]]]:
    return inspect.getmembers_static(plugin, inspect.isfunction)


def _siblings(name: str) -> list[str]:
    """Modules that exist where the module ``name`` was looked for."""
    parent, _, _ = name.rpartition(".")
    try:
        path = import_module(parent).__path__ if parent else None
    except (Exception, SystemExit):
        return []
    prefix = f"{parent}." if parent else ""
    return [prefix + each.name for each in pkgutil.iter_modules(path)]


def _missing_module(module: str, error: ModuleNotFoundError) -> str:
    """``there is no module 'acme.fast'`` if that is why ``module`` does not import, else empty.

    Empty means that the module is there, and imports another one that is not.
    """
    name = error.name or ""
    if module == name or module.startswith(f"{name}."):
        return f"there is no module {name!r}"
    return ""


def _close_to(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'? `` or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}? " if close else ""
