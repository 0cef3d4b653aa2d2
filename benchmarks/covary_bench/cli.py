"""``covary bench``: the benchmarks that measure the machine at hand."""

from __future__ import annotations

from importlib import import_module
from typing import cast

import click

__all__ = ["bench"]

# Modules of click alone: help can name the commands without loading what they measure.
_COMMANDS = {
    "clusterers": "clusterers.commands:clusterers",
    "compare": "clusterers.compare_command:compare",
    "paper": "paper.commands:paper",
    "pipeline": "pipeline_command:pipeline",
    "report": "clusterers.report_command:report",
    "sources": "sources_command:sources",
}


class _Benchmarks(click.Group):
    """Each benchmark is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[name].partition(":")
        return cast(click.Command, getattr(import_module(f".{module}", __package__), attribute))


@click.group(cls=_Benchmarks, short_help="Measure speed and memory on this machine.")
def bench() -> None:
    """Measure speed and memory on this machine, against what it can do at most."""
