"""The page of hooks and entry points, from the hook specifications."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from covary._hooks import API_VERSION, COMMANDS, GROUP, Hooks

_INTRODUCTION = f"""\
# Hooks

Made from the hook specifications by `python docs/make_reference.py`.

A plugin is a distribution with entry points. covary walks them one by one; a plugin that fails
becomes a line in `covary doctor`, and everything else works.

| entry-point group | name | value |
|---|---|---|
| `{GROUP}` | the plugin's namespace: `acme/sketch` is `sketch` of `acme` | a module that \
implements hooks; it is imported whenever somebody lists components |
| `{COMMANDS}` | a command's name: `covary NAME` | a click command, imported when it is \
invoked or when help lists it |

The plugin API has version {API_VERSION}. A component states the version that it was written for
(the field `api` of a [component](catalogue.md#component)): the same major and a minor no newer than
covary's are accepted, others are listed as incompatible.

```toml
[project.entry-points.{GROUP}]
acme = "acme_covary"

[project.entry-points."{COMMANDS}"]
sketch = "acme_covary.commands:sketch"
```

A module implements a hook by a function of its name, marked with
[`covary.hookimpl`](api/interfaces.md#the-hook). A function so marked whose name is no hook's is
reported, with the name that was probably meant.
"""


def page() -> str:
    """The whole page."""
    lines = [_INTRODUCTION]
    for name, hook in hooks():
        lines += _hook(name, hook)
    return "\n".join(lines)


def hooks() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every hook that covary calls, by name."""
    yield from inspect.getmembers(Hooks, lambda member: hasattr(member, "covary_spec"))


def _hook(name: str, hook: Callable[..., Any]) -> Iterator[str]:
    signature = inspect.signature(hook)
    given = [parameter for parameter in signature.parameters.values() if parameter.name != "self"]
    shown = str(signature.replace(parameters=given)).replace("'", "")  # quoted, as they are strings
    yield from (f"## {name}", "")
    yield from ("```text", f"{name}{shown}", "```", "")
    yield from (inspect.getdoc(hook) or "", "")
