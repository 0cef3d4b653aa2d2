"""Commands that other distributions add: entry points of the group ``covary.commands``.

An entry point's name is the command's name, its value a click command. One is imported only when
it is invoked or when help lists it.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from importlib.metadata import EntryPoint, entry_points

import click

from .._hooks import COMMANDS, GROUP
from .._registry import BUILTIN, describe, is_allowed
from ..errors import PluginError

__all__ = ["OWN", "command_problems", "load_command", "offered_commands"]

OWN = {
    "segment": "segment:segment",
    "run": "segment:run",
    "rerun": "rerun:rerun",
    "generate": "generate:generate",
    "compose": "compose:compose",
    "export": "export:export",
    "eval": "evaluate:eval_",
    "list": "listing:list_",
    "show": "show:show",
    "check": "check:check",
    "schema": "inspection:schema",
    "checkpoints": "checkpoints:checkpoints",
    "doctor": "inspection:doctor",
    "new-plugin": "new_plugin:new_plugin",
}
"""covary's commands in the order of help: where in ``covary._cli`` each is."""


@cache
def offered_commands() -> dict[str, tuple[EntryPoint, ...]]:
    """Entry points by the name of their command, one for each distribution that offers it.

    COVARY_PLUGINS and COVARY_DISABLE leave out those of a plugin that they leave out.
    """
    offers: dict[str, dict[str, EntryPoint]] = defaultdict(dict)
    for point in entry_points(group=COMMANDS):
        if _allowed(point):
            offers[point.name][_distribution(point)] = point
    return {name: tuple(points.values()) for name, points in sorted(offers.items())}


def load_command(name: str) -> click.Command:
    """The command of that name.

    Raises:
        PluginError: two distributions offer it, it does not import, or it is no click command.
    """
    points = offered_commands()[name]
    owners = " and ".join(sorted(map(_distribution, points)))
    if len(points) > 1:
        raise PluginError(f"{owners} both offer the command {name!r}", fix="uninstall one of them")
    try:
        found = points[0].load()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"command {name!r} of {owners} cannot be imported from {points[0].value}",
            got=describe(error),
            fix=f"report it to the authors of {owners}",
        ) from error
    if not isinstance(found, click.Command):
        raise PluginError(
            f"command {name!r} of {owners}",
            expected="a click command",
            got=repr(found),
            fix=f"report it to the authors of {owners}",
        )
    return found


def command_problems() -> list[tuple[str, PluginError]]:
    """(distribution, error) of every offered command that cannot be used."""
    found = []
    for name, points in offered_commands().items():
        owners = ", ".join(sorted(map(_distribution, points)))
        if name in OWN:
            error = PluginError(
                f"it offers the command {name!r}, which covary has", fix="rename its entry point"
            )
            found.append((owners, error))
            continue
        try:
            load_command(name)
        except PluginError as error:
            found.append((owners, error))
    return found


def _allowed(point: EntryPoint) -> bool:
    if point.dist is None or point.dist.name == BUILTIN:
        return True
    namespaces = [p.name for p in point.dist.entry_points if p.group == GROUP]
    return all(map(is_allowed, namespaces or [point.dist.name]))


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "unknown distribution"
