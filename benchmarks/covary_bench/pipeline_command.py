"""``covary bench pipeline``; imports torch when it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .command_line import (
    command_line,
    device_option,
    json_option,
    remark_option,
    seed_option,
    space_option,
    timeout_option,
)

if TYPE_CHECKING:
    from .pipeline import Request

__all__ = ["pipeline"]


@click.command(short_help="Time a whole pipeline, stage by stage, with its memory.")
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=click.IntRange(16, 2048),
    default=(64, 128, 256, 512, 1024),
    show_default=True,
    help="Side of the image, pixels; may be repeated.",
)
@click.option("--variants", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--k", type=click.IntRange(min=1), default=4, show_default=True, help="Clusters.")
@click.option(
    "--world",
    type=click.Choice(["avatars", "rooms"]),
    default="avatars",
    show_default=True,
    help="Scene.",
)
@space_option
@click.option("--clusterer", default="lloyd", show_default=True, help="Name of a clusterer.")
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Timed runs, after one that is cold.",
)
@timeout_option
@device_option
@seed_option
@remark_option
@json_option
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Write pipeline.json."
)
def pipeline(
    sizes: tuple[int, ...],
    variants: int,
    k: int,
    world: str,
    space: str,
    clusterer: str,
    repeats: int,
    timeout: float,
    device: str,
    seed: int,
    remark: str,
    as_json: bool,
    out: Path | None,
) -> None:
    """Seconds and peak memory of every stage of a pipeline, from the query to the mask.

    Each size runs in a process of its own on a rendered scene; one that crashes or takes too long
    is a row with the reason. Exits with 1 if there is one.
    """
    from covary.context import resolve_device

    from . import pipeline as bench
    from .report import check_writable, machine, write_results

    first = bench.Request(
        world=world, size=min(sizes), variants=variants, k=k, space=space, clusterer=clusterer,
        seed=seed, device=str(resolve_device(device)), repeats=repeats, answer=Path(),
    )  # fmt: skip
    requests = [first.model_copy(update={"size": size}) for size in sizes]
    bench.check(requests)
    if out is not None:
        check_writable(out)
    rows = _measured(requests, timeout)
    data = {
        "method": bench.__doc__,
        "command": command_line(click.get_current_context(), "covary bench pipeline"),
        "remark": remark,
        "rows": rows,
    }
    if out is not None:
        click.echo(str(write_results("pipeline", data, out)), err=True)
    if as_json:
        click.echo(json.dumps({"machine": machine(), **data}, indent=2))
    else:
        _print(rows)
    if any(row["status"] != "ok" for row in rows):
        click.get_current_context().exit(1)


def _measured(requests: Sequence[Request], timeout: float) -> list[dict[str, Any]]:
    from .pipeline import measure
    from .progress import progress

    rows = []
    with progress(len(requests)) as report:
        for done, request in enumerate(requests):
            report(f"{request.size}x{request.size}", done)
            rows.append(measure(request, timeout))
    return rows


def _print(rows: Sequence[dict[str, Any]]) -> None:
    from .report import print_table

    good = [row for row in rows if row["status"] == "ok"]
    if good:
        what = "{world}, {variants} variants, {space}, {clusterer}, k = {k}, {device}"
        print_table(what.format(**good[0]), [_cells(row) for row in good])
    for row in rows:
        if row not in good:
            click.echo(f"{row['size']}x{row['size']}: {row['status']}: {row['reason']}")


def _cells(row: dict[str, Any]) -> dict[str, str]:
    where = "device_bytes" if row["device"] != "cpu" else "host_bytes"
    cells = {"size": str(row["size"]), "total ms": f"{1e3 * row['seconds']['median']:.1f}"}
    for stage, found in row["stages"].items():
        cells[f"{stage} ms"] = f"{1e3 * found['seconds']['median']:.1f}"
    for stage, found in row["stages"].items():
        cells[f"{stage} MB"] = f"{(found[where] or 0) / 1e6:.0f}"
    cells["cold ms"] = f"{1e3 * row['cold_seconds']:.0f}"
    return cells
