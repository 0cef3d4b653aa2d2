"""The command that makes a result again, from what click was given."""

from __future__ import annotations

import shlex
from collections.abc import Collection

import click

__all__ = ["NOT_TO_REPEAT", "command_line"]

NOT_TO_REPEAT = frozenset({"as_json", "force", "out", "remark", "resume", "retry"})
"""Options that say where results go, and have no part in them."""


def command_line(
    context: click.Context, name: str, without: Collection[str] = NOT_TO_REPEAT
) -> str:
    """``name`` with the options that were given and differ from their defaults.

    Args:
        context: of the running command.
        name: the command, e.g. "covary bench clusterers".
        without: names of parameters to leave out.
    """
    parts = [name]
    for option in context.command.params:
        value = context.params[str(option.name)]
        if value == option.get_default(context) or option.name in without:
            continue
        flag = option.opts[0]
        if value is True:
            parts.append(flag)
            continue
        for one in value if isinstance(value, tuple) else (value,):
            parts += [flag, shlex.quote(str(one))]
    return " ".join(parts)
