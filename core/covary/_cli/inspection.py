"""``covary doctor`` and ``covary schema``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from . import inventory
from .commands import command_problems
from .output import json_option, print_json

__all__ = ["doctor", "schema"]


@click.command(short_help="Check this installation and its plugins.")
@json_option
def doctor(as_json: bool) -> None:
    """Check this installation: versions, devices, plugins, checkpoints, settings in force.

    Exits with 1 if there are problems. Optional components whose packages are not installed, or
    that need a GPU where there is none, are listed and are no problem.
    """
    from ..doctor import examine, finding

    report = examine()
    report["checkpoints"] = inventory.checkpoints()
    for distribution, error in command_problems():
        problem = {"distribution": distribution, "what": finding(error), "fix": error.fix}
        report["problems"].append({"namespace": "", **problem})
    if as_json:
        print_json(report)
    else:
        _print(report)
    if report["problems"]:
        raise SystemExit(1)


@click.command(short_help="Print the JSON Schema of a pipeline file.")
@json_option
def schema(as_json: bool) -> None:
    """Print the JSON Schema of a pipeline file, with every component's parameters.

    It is JSON with or without --json. Editors use it to check and complete TOML.
    """
    from ..recipe import recipe_schema

    print_json(recipe_schema())


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
    _section("CUDA that packages are built for", cuda)
    unavailable = [
        (f"{row['id']} ({row['kind']})", f"{row['why']}; {row['fix']}")
        for row in report["unavailable"]
    ]
    _section("components that cannot run here", unavailable)
    _print_problems(report["problems"])


def _print_problems(problems: Sequence[dict[str, str]]) -> None:
    if not problems:
        click.echo("no problems")
        return
    click.echo(f"problems: {len(problems)}")
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
