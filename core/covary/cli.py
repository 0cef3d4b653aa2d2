"""The command line ``covary``; its commands live in ``covary._cli``.

Exit codes: 0 good, 1 found problems (something failed, differs or is missing), 2 wrong use (the
command cannot mean anything as it stands), 130 stopped with Ctrl-C.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

import click

from . import __version__
from ._cli.commands import OWN, load_command, offered_commands
from ._cli.output import raising, remark
from .errors import CovaryError, InputError, PluginError, UnknownNameError, did_you_mean

__all__ = ["cli", "main"]

_WRONG_USE = (InputError, UnknownNameError)


class _Commands(click.Group):
    """covary's own commands and those of other distributions, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*OWN, *(name for name in offered_commands() if name not in OWN)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in OWN:
            module, _, attribute = OWN[name].partition(":")
            found = getattr(import_module(f"._cli.{module}", __package__), attribute)
            return cast(click.Command, found)
        return load_command(name) if name in offered_commands() else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in self.list_commands(ctx):
            fix = did_you_mean(name, self.list_commands(ctx))
            raise UnknownNameError(f"there is no command {name!r}", fix=fix)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands; one that does not import is listed as such, and hides no other."""
        rows = []
        for name in self.list_commands(ctx):
            try:
                command = self.get_command(ctx, name)
            except PluginError:
                rows.append((name, "(does not work: see `covary doctor`)"))
                continue
            if command is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(limit=70)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of covary's is one message and an exit code."""
        try:
            return super().invoke(ctx)
        except CovaryError as error:
            if raising():
                raise
            remark(f"error: {error}")
            ctx.exit(2 if isinstance(error, _WRONG_USE) else 1)
        except KeyboardInterrupt:
            remark("stopped")
            ctx.exit(130)


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="covary %(version)s")
def cli() -> None:
    """Segment images without a segmentation network: pixels that co-vary belong together.

    \b
      covary segment 0-15 --preset avatars -o out
      covary list
      covary show lloyd
    """


def main() -> None:
    """Entry point of the script ``covary``."""
    cli(prog_name="covary")
