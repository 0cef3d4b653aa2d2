"""``covary bench pipeline``; imports torch when it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

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
@click.option("--space", default="lab", show_default=True, help="Feature space.")
@click.option("--clusterer", default="lloyd", show_default=True, help="Name of a clusterer.")
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Timed runs, after one that is cold.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds for one size.",
)
@click.option("--device", default="auto", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--remark", default="", help="Kept in the results, e.g. that the machine was shared.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
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
    from .command_line import command_line
    from .progress import progress
    from .report import check_writable, machine, print_table, write_results

    place = str(resolve_device(device))
    requests = [
        bench.Request(
            world=world, size=size, variants=variants, k=k, space=space, clusterer=clusterer,
            seed=seed, device=place, repeats=repeats, answer=Path(),
        )
        for size in sizes
    ]  # fmt: skip
    bench.check(requests)
    if out is not None:
        check_writable(out)
    rows = []
    with progress(len(requests)) as report:
        for done, request in enumerate(requests):
            report(f"{request.size}x{request.size}", done)
            rows.append(bench.measure(request, timeout))
    data = {
        "method": bench.__doc__,
        "command": command_line(click.get_current_context(), "covary bench pipeline"),
        "remark": remark,
        "rows": rows,
    }
    if out is not None:
        click.echo(str(write_results("pipeline", data, out)), err=True)
    good = [row for row in rows if row["status"] == "ok"]
    if as_json:
        click.echo(json.dumps({"machine": machine(), **data}, indent=2))
    elif good:
        title = f"{world}, {variants} variants, {space}, {clusterer}, k = {k}, {place}"
        print_table(title, [_cells(row) for row in good])
    for row in rows:
        if row["status"] != "ok":
            click.echo(f"{row['size']}x{row['size']}: {row['status']}: {row['reason']}", err=True)
    if len(good) < len(rows):
        click.get_current_context().exit(1)


def _cells(row: dict[str, Any]) -> dict[str, str]:
    where = "device_bytes" if row["device"] != "cpu" else "host_bytes"
    cells = {"size": str(row["size"]), "total ms": f"{1e3 * row['seconds']['median']:.1f}"}
    for stage, found in row["stages"].items():
        cells[f"{stage} ms"] = f"{1e3 * found['seconds']['median']:.1f}"
    for stage, found in row["stages"].items():
        cells[f"{stage} MB"] = f"{(found[where] or 0) / 1e6:.0f}"
    cells["cold ms"] = f"{1e3 * row['cold_seconds']:.0f}"
    return cells
