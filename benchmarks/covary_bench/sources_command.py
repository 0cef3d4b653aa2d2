"""``covary bench sources``; imports torch when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from .command_line import (
    device_option,
    json_option,
    remark_option,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["sources"]

_COLUMNS = (
    "resolution", "precision", "c", "variants", "images_per_s", "times_naive", "matmul", "copy",
    "error",
    "peak_mib",
)  # fmt: skip


@click.command()
@click.option("--resolution", multiple=True, type=int, default=(256, 512, 1024), show_default=True)
@click.option(
    "--precision",
    multiple=True,
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    help="Number formats; all that the device has, if none is given.",
)
@click.option("--variants", default=8, show_default=True, help="Variants of one structure.")
@click.option("--batch", type=int, help="Images at a time; left to the source, if not given.")
@click.option("--repeats", default=3, show_default=True, help="Turns of all ways and the baseline.")
@click.option("--seeds", default=0, show_default=True, help="Avatars for max_resolution's mIoU.")
@device_option
@click.option("--cpu-time", is_flag=True, help="One thread's processor time: shared machines.")
@remark_option
@json_option
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write sources.json.")
def sources(
    resolution: tuple[int, ...],
    precision: tuple[str, ...],
    variants: int,
    batch: int | None,
    repeats: int,
    seeds: int,
    device: str,
    cpu_time: bool,
    remark: str,
    as_json: bool,
    out: Path | None,
) -> None:
    """Images a second of style mixing, at the real sizes with random weights."""
    import json

    from . import sources as bench
    from .report import machine, print_table, write_results

    rows, ideas = _measured(resolution, precision, variants, batch, repeats, device, cpu_time)
    data: dict[str, Any] = {
        "method": bench.__doc__,
        "command": _command(resolution, precision, variants, batch, repeats, seeds, cpu_time),
        "remark": remark,
        "images": rows,
        "steps": ideas,
    }
    if seeds:
        data["max_resolution"] = bench.smaller_masks(range(1000, 1000 + seeds))
    if out is not None:
        click.echo(str(write_results("sources", data, out)), err=True)
    if as_json:
        click.echo(json.dumps({"machine": machine(), **data}, indent=2))
        return
    print_table("style mixing", [{key: row.get(key, "") for key in _COLUMNS} for row in rows])
    shown = ("what", "resolution", "precision", "ratio")
    print_table("seconds against the way chosen", [{k: row[k] for k in shown} for row in ideas])


def _measured(
    resolutions: Sequence[int],
    formats: Sequence[str],
    variants: int,
    batch: int | None,
    repeats: int,
    device_name: str,
    cpu_time: bool,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    import torch

    from covary.context import resolve_device
    from covary.errors import InputError

    from . import sources as bench
    from .ceilings import Timer

    if repeats < 2 or variants < 1:
        raise InputError("repeats and variants", expected="at least 2 and 1",
                         got=f"{repeats} and {variants}")  # fmt: skip
    device = resolve_device(device_name)
    if cpu_time:
        torch.set_num_threads(1)
    timer = Timer(device, cpu_time)
    rows: list[dict[str, Any]] = []
    ideas: list[dict[str, Any]] = []
    for resolution in resolutions:
        if resolution not in bench.CUTOFFS:
            known = ", ".join(map(str, bench.CUTOFFS))
            raise InputError("--resolution", expected=f"some of {known}", got=str(resolution))
        generator = bench.random_generator(bench.config_f(resolution), device)
        c = bench.CUTOFFS[resolution]
        cases = [
            bench.Case(generator, variants, c, cast(Any, name), device, batch)
            for name in formats or bench.precisions(device)
        ]

        def report(what: str, resolution: int = resolution) -> None:
            print(f"{resolution}x{resolution}: {what}", file=sys.stderr, flush=True)

        rows += bench.measure(cases, repeats, timer, report)
        report("one thing changed at a time")
        auto = bench.Case(generator, min(variants, 4), c, "auto", device)
        ideas += bench.steps(auto, repeats, timer)
    return rows, ideas


def _command(
    resolutions: Sequence[int],
    formats: Sequence[str],
    variants: int,
    batch: int | None,
    repeats: int,
    seeds: int,
    cpu_time: bool,
) -> str:
    parts = ["python -m covary_bench.sources"]
    parts += [f"--resolution {value}" for value in resolutions]
    parts += [f"--precision {value}" for value in formats]
    parts += [f"--variants {variants}", f"--repeats {repeats}", f"--seeds {seeds}"]
    parts += [] if batch is None else [f"--batch {batch}"]
    parts += ["--cpu-time"] if cpu_time else []
    return " ".join(parts)
