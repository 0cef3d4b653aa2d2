"""What the commands share: options, and the command that makes a result again."""

from __future__ import annotations

import shlex
from collections.abc import Collection

import click

__all__ = [
    "NOT_TO_REPEAT",
    "command_line",
    "device_option",
    "json_option",
    "remark_option",
    "seed_option",
    "space_option",
    "timeout_option",
]

device_option = click.option("--device", default="auto", show_default=True)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
remark_option = click.option(
    "--remark", default="", help="Kept in the results, e.g. that the machine was shared."
)
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is drawn."
)
space_option = click.option("--space", default="lab", show_default=True, help="Feature space.")
timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds for one process.",
)

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
        # An option that has no default and was not given is None, whatever click calls its default.
        if value in (None, option.get_default(context)) or option.name in without:
            continue
        flag = option.opts[0]
        if value is True:
            parts.append(flag)
            continue
        for one in value if isinstance(value, tuple) else (value,):
            parts += [flag, shlex.quote(str(one))]
    return " ".join(parts)
