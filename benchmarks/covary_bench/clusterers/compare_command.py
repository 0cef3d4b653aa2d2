"""``covary bench compare``; what it needs is imported when it runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..command_line import json_option

if TYPE_CHECKING:
    from .compare import Change

__all__ = ["compare"]

_RATIO = click.FloatRange(min=1)


@click.command(short_help="Say what became slower, hungrier or worse between two results.")
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option(
    "--time",
    type=_RATIO,
    default=1.1,
    show_default=True,
    help="Ratio of median warm times that counts, where the quartiles are apart.",
)
@click.option(
    "--memory",
    type=_RATIO,
    default=1.1,
    show_default=True,
    help="Ratio of peak memory that counts, from 4 MiB of difference on.",
)
@click.option(
    "--inertia",
    type=_RATIO,
    default=1.0001,
    show_default=True,
    help="Ratio of inertia that counts.",
)
@json_option
def compare(
    before: Path, after: Path, time: float, memory: float, inertia: float, as_json: bool
) -> None:
    """Compare two results of `covary bench clusterers`: files, or folders with one.

    Exits with 1 if anything became worse beyond the limits.
    """
    from ..report import print_table
    from .compare import Limits
    from .compare import compare as compare_results
    from .store import load_results

    found = compare_results(
        load_results(before), load_results(after), Limits(time, memory, inertia)
    )
    for difference in found.machines:
        click.echo(f"not the same machine or versions: {difference}", err=True)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    else:
        if found.changes:
            print_table("changes", [_cells(change) for change in found.changes])
        for name in found.only_before:
            click.echo(f"only in {before}: {name}")
        for name in found.only_after:
            click.echo(f"only in {after}: {name}")
        worse = len(found.regressions)
        better = len(found.changes) - worse
        click.echo(f"{found.compared} rows compared: {worse} worse, {better} better")
    if found.regressions:
        click.get_current_context().exit(1)


def _cells(change: Change) -> dict[str, str]:
    ratio = "" if change.ratio is None else f"{change.ratio:.4g}"
    return {
        "": "worse" if change.worse else "better",
        "row": change.row,
        "what": change.what,
        "before": _text(change.before),
        "after": _text(change.after),
        "ratio": ratio,
    }


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
