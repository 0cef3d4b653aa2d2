"""``covary doctor`` and ``covary schema``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click

from . import inventory
from .commands import command_problems
from .output import json_option, print_json, progress_bar

__all__ = ["doctor", "schema"]


@click.command(short_help="Check this installation and its plugins.")
@click.option("--deep", is_flag=True, help="Try every backend in a process of its own.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="With --deep: seconds that one trial may take.",
)
@json_option
def doctor(deep: bool, timeout: float, as_json: bool) -> None:
    """Check this installation: versions, devices, plugins, checkpoints, settings in force.

    With --deep, every backend is imported and every component run on a few pixels, each in a
    process of its own: a crash, a hang or a clash of OpenMP runtimes becomes a line of the report.

    Exits with 1 if there are problems. Optional components whose packages are not installed, or
    that need a GPU where there is none, are listed and are no problem; nor are remarks.
    """
    from ..doctor import deep_examination, examine

    with deep_examination(timeout, _bar) if deep else nullcontext(None) as found:
        report = examine() if found is None else found
        report["checkpoints"] = inventory.checkpoints()
        report["problems"] += _broken_commands()
        if as_json:
            print_json(report)
        else:
            _print(report)
    if report["problems"]:
        raise SystemExit(1)


def _broken_commands() -> list[dict[str, str]]:
    from ..doctor import finding

    return [
        {"namespace": "", "distribution": name, "what": finding(error), "fix": error.fix}
        for name, error in command_problems()
    ]


@contextmanager
def _bar(total: int) -> Iterator[Callable[[str], None]]:
    with progress_bar(total, "trials") as (next_step, _):
        yield next_step


@click.command(short_help="Print the JSON Schema of a pipeline file.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it to this file instead.",
)
@json_option
def schema(out: Path | None, as_json: bool) -> None:
    """Print the JSON Schema of a pipeline file, with every component's parameters.

    It is JSON with or without --json. Editors use it to check and complete TOML; make it again
    when a plugin was installed.
    """
    from ..files import replacing
    from ..recipe import recipe_schema

    if out is None:
        print_json(recipe_schema())
        return
    with replacing(out) as temporary:
        temporary.write_text(json.dumps(recipe_schema(), indent=2) + "\n", encoding="utf-8")


def _print(report: dict[str, Any]) -> None:
    _section(
        "covary",
        [
            ("covary", report["covary"]),
            ("python", f"{report['python']} at {report['executable']}"),
            ("system", report["system"]),
        ],
    )
    _section("packages", list(report["packages"].items()))
    _section("devices", [(row["device"], _device_words(row)) for row in report["devices"]])
    folders = report["folders"].items()
    note = {True: "", False: "  (not there, which is fine)"}
    _section("folders", [(name, row["path"] + note[row["exists"]]) for name, row in folders])
    _section("settings in force", [(k, repr(v)) for k, v in report["switches"].items()])
    _section("plugins", [_plugin_words(row) for row in inventory.plugins()])
    here = [row for row in report["checkpoints"] if row["path"] and not row["shadowed"]]
    _section("checkpoints on this machine", [(row["name"], row["path"]) for row in here])
    cuda = [
        (name, f"CUDA {major}" if major else "no CUDA") for name, major in report["cuda"].items()
    ]
    if report["cuda_driver"]:
        cuda = [("the driver", f"CUDA {report['cuda_driver']} at most"), *cuda]
    _section("CUDA that packages are built for", cuda)
    unavailable = [
        (f"{row['id']} ({row['kind']})", f"{row['why']}; {row['fix']}")
        for row in report["unavailable"]
    ]
    _section("components that cannot run here", unavailable)
    _section(
        "tried, each in its own process", [_trial_words(row) for row in report.get("deep", ())]
    )
    _print_problems("remarks", report["remarks"])
    _print_problems("problems", report["problems"])
    if not report["problems"]:
        click.echo("no problems")


def _trial_words(row: dict[str, Any]) -> tuple[str, str]:
    note = f"  ({row['note']})" if row["note"] else ""
    return row["what"], f"{row['status']}, {row['seconds']:.1f} s{note}"


def _print_problems(title: str, problems: Sequence[dict[str, str]]) -> None:
    if problems:
        click.echo(f"{title}: {len(problems)}")
    for problem in problems:
        click.echo(f"  {problem['distribution']}: {problem['what']}")
        click.echo(f"    to do: {problem['fix']}")


def _section(title: str, rows: Sequence[tuple[str, str]]) -> None:
    if not rows:
        return
    click.echo(f"{title}")
    for name, text in rows:
        click.echo(f"  {name:<24}  {text}")
    click.echo()


def _device_words(row: dict[str, Any]) -> str:
    if "memory_bytes" in row:
        return f"{row['name']}, {row['memory_bytes'] / 2**30:.0f} GiB, CUDA {row['cuda']}"
    return f"{row['name']}, {row['threads']} threads"


def _plugin_words(row: dict[str, Any]) -> tuple[str, str]:
    if not row["installed"]:
        return row["namespace"], f"not installed: pip install {row['distribution']}"
    text = f"{row['distribution']} {row['version']}, {row['components']} components"
    return row["namespace"], text
