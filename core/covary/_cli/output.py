"""How the commands print: JSON or tables on stdout, remarks and progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from .._registry import raising

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "Report",
    "console",
    "json_option",
    "print_json",
    "print_table",
    "progress_bar",
    "raising",
    "remark",
]

_PIPED_WIDTH = 160

Report = Callable[[int, int, str], None]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def remark(text: str) -> None:
    """Print a line on stderr."""
    # Not click.echo, which would bypass what a progress bar has put in the place of sys.stderr.
    print(text, file=sys.stderr, flush=True)


def print_json(data: Any) -> None:
    """Print data on stdout as indented JSON."""
    text = json.dumps(data, indent=2, ensure_ascii=False, default=str)
    # Names of files need not be text; JSON has the same escapes as Python for what is none.
    click.echo(text.encode("utf-8", errors="backslashreplace").decode("utf-8"))


def console() -> Console:
    """A rich console on stdout; where that is no terminal, wide enough for whole table rows."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _PIPED_WIDTH
    return Console(width=width, highlight=False)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose first column is never broken; columns without any text are left out."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    used = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for index in used:
        first = index == 0
        table.add_column(
            columns[index], no_wrap=first, style="cyan" if first else "", overflow="fold"
        )
    for row in rows:
        # Text, not str: square brackets in a command such as 'covary[faiss]' are not markup.
        table.add_row(*(Text(row[index]) for index in used))
    console().print(table)


@contextmanager
def progress_bar(total: int, doing: str) -> Iterator[tuple[Callable[[str], None], Report]]:
    """A bar on stderr over ``total`` steps of ``doing``, and one below for the step at work.

    Gives ``next_step(what)``, to be called before each step, and a ``progress`` callback for what
    happens inside it. Where stderr is no terminal nothing is drawn.
    """
    if not sys.stderr.isatty():
        yield (lambda what: None), (lambda done, total, what: None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<12}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        steps = bar.add_task(doing, total=total)
        inside = bar.add_task("", total=None)
        started = 0

        def next_step(what: str) -> None:
            nonlocal started
            bar.update(steps, completed=started)
            bar.reset(inside, total=None, description=what)
            started += 1

        def report(done: int, total: int, what: str) -> None:
            bar.update(inside, completed=done, total=total)

        yield next_step, report
