"""``covary bench clusterers``; what it needs is imported when it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..command_line import (
    command_line,
    device_option,
    json_option,
    remark_option,
    seed_option,
    space_option,
    timeout_option,
)

if TYPE_CHECKING:
    from .schema import Results, Setting, Start

__all__ = ["clusterers"]

_SWEEP = {"sizes": (128, 256, 512, 1024), "variants": (5, 10, 25, 50), "ks": (2, 3, 4, 8, 10)}
_FAILED = ("crashed", "failed", "out of memory", "timeout")


@click.command(short_help="Compare all clusterers in speed, memory and quality.")
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=click.IntRange(min=1),
    default=(256,),
    show_default=True,
    help="Side of the image, pixels; may be repeated.",
)
@click.option(
    "--variants",
    multiple=True,
    type=click.IntRange(min=1),
    default=(50,),
    show_default=True,
    help="n, so that D = 3 n; may be repeated.",
)
@click.option(
    "--k",
    "ks",
    multiple=True,
    type=click.IntRange(min=1),
    default=(3,),
    show_default=True,
    help="Clusters; may be repeated.",
)
@click.option(
    "--world",
    "world_names",
    multiple=True,
    type=click.Choice(["avatars", "rooms"]),
    default=("avatars",),
    show_default=True,
    help="Scene; may be repeated.",
)
@space_option
@click.option(
    "--start",
    type=click.Choice(["k-means++", "random"]),
    default="k-means++",
    show_default=True,
    help="Initial centres of the track of the same start: near the optimum, or random pixels.",
)
@click.option(
    "--sweep",
    is_flag=True,
    help="Also time against N, D and k, one at a time around the first of each.",
)
@click.option(
    "--backend",
    "names",
    multiple=True,
    metavar="NAME",
    help="A clusterer; may be repeated, all that are discovered if not given.",
)
@click.option(
    "--track",
    type=click.Choice(["both", "same start", "defaults"]),
    default="both",
    show_default=True,
    help="Same initial centres and stop rule, or each one's own.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Warm fits of each process at most.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Processes of each job; backends take turns.",
)
@timeout_option
@click.option(
    "--memory",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="Main memory that a process may take beyond the data.",
)
@device_option
@seed_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("bench"),
    show_default=True,
    help="Folder for the results.",
)
@click.option("--resume", is_flag=True, help="Go on with the results in --out.")
@click.option("--retry", is_flag=True, help="With --resume: try again what failed.")
@click.option("--force", is_flag=True, help="Replace the results in --out.")
@remark_option
@json_option
def clusterers(
    sizes: tuple[int, ...],
    variants: tuple[int, ...],
    ks: tuple[int, ...],
    world_names: tuple[str, ...],
    space: str,
    start: Start,
    sweep: bool,
    names: tuple[str, ...],
    track: str,
    repeats: int,
    rounds: int,
    timeout: float,
    memory: int | None,
    device: str,
    seed: int,
    out: Path,
    resume: bool,
    retry: bool,
    force: bool,
    remark: str,
    as_json: bool,
) -> None:
    """Compare all discovered clusterers, third parties' included, on rendered scenes.

    Each runs in a process of its own; one that is missing, refuses, crashes or takes too long is a
    row with the reason. Exits with 1 where a clusterer failed.
    """
    import covary
    from covary.context import resolve_device

    from ..progress import progress
    from ..report import machine
    from . import runner
    from .data import check_settings
    from .jobs import TRACKS, backends, jobs
    from .ledger import Ledger
    from .report import write_report
    from .schema import Setting

    first = Setting(
        world=world_names[0], size=sizes[0], variants=variants[0], k=ks[0], space=space, seed=seed,
        start=start,
    )  # fmt: skip
    settings = _settings(first, world_names, sizes, variants, ks, with_sweep=sweep)
    check_settings(settings)
    tracks = [name for name in TRACKS if track in (name, "both")]
    todo = jobs(settings, tracks, backends(names), resolve_device(device))
    ledger = Ledger(
        out,
        machine=machine(),
        command=command_line(click.get_current_context(), "covary bench clusterers"),
        remark=remark,
        resume=resume,
        force=force,
    )
    limit = None if memory is None else memory * 2**20
    how = runner.Conditions(repeats, rounds, timeout, limit, retry)
    try:
        with progress(len(todo) * rounds) as report:
            rows = runner.run(todo, ledger, how, report)
    except KeyboardInterrupt:
        click.echo(f"what is done is kept in {out}: add --resume to go on", err=True)
        raise
    ledger.close()
    for path in (ledger.path, *write_report([ledger.results()], out)):
        click.echo(str(path), err=True)
    if as_json:
        click.echo(json.dumps(ledger.results().model_dump(), indent=2))
    else:
        _print(ledger.results())
    if covary.problems():
        click.echo("some plugins have problems, see `covary doctor`", err=True)
    if any(row.status in _FAILED for row in rows):
        click.get_current_context().exit(1)


def _settings(
    first: Setting,
    world_names: Sequence[str],
    sizes: Sequence[int],
    variants: Sequence[int],
    ks: Sequence[int],
    *,
    with_sweep: bool,
) -> list[Setting]:
    """Every combination and, where asked for, the series around ``first``; by data."""
    from .jobs import sweep

    chosen = {
        first.model_copy(update={"world": world, "size": size, "variants": n, "k": k}): None
        for world, size, n, k in product(world_names, sizes, variants, ks)
    }
    if with_sweep:
        chosen |= dict.fromkeys(sweep(first, **_SWEEP))
    # Those on the same data next to each other, so that it is rendered once.
    return sorted(chosen, key=lambda one: (one.world, one.size, one.variants, one.k))


def _print(results: Results) -> None:
    """A table for each setting and track, and below it what did not run and why."""
    from ..report import print_table
    from . import tables
    from .merged import groups, letters, title

    for group in groups(letters([results])):
        columns = tables.shown_columns(group.entries, tables.SHORT)
        heads = ["clusterer", *(column.head for column in columns)]
        rows = [
            dict(zip(heads, [entry.name, *(cell.text for cell in figures)], strict=True))
            for entry, figures in zip(group.entries, tables.cells(group, columns), strict=True)
            if entry.ok
        ]
        if rows:
            print_table(f"{title(group.setting)}: {group.track}", rows)
        for entry in group.entries:
            if not entry.ok:
                click.echo(f"{entry.name}: {tables.why_not(entry)}")
