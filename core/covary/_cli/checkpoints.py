"""``covary checkpoints``: the weights of the catalogue, listed, fetched and taken in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import _store
from .._registry import registry
from ..catalogue import Checkpoint
from ..errors import InputError
from . import inventory
from .output import json_option, print_json, print_table, remark

if TYPE_CHECKING:
    from .._intake import Mode, Stored

__all__ = ["checkpoints"]

_HASHES = {
    "bundled": "it comes with its package",
    "yes": "its sha256 is the one that the catalogue states",
    "first use": "nobody publishes its sha256; this one was recorded, later fetches must match it",
    "no": "its sha256 is not the catalogue's",
}


@click.group(short_help="List, fetch and add checkpoints.")
def checkpoints() -> None:
    """The weights that presets and parameters name: what there is, and how it gets here.

    covary downloads nothing by itself. `fetch` does so after showing the licences, `add` takes in
    a file that you have.
    """


@checkpoints.command("list", short_help="List the checkpoints of the catalogue.")
@json_option
def list_(as_json: bool) -> None:
    """List the checkpoints: licence, size, and where they are on this machine.

    `verified` says whether a file's sha256 was compared: with the catalogue's (yes), or, where
    nobody publishes one, with the one recorded when it was first fetched (first use).
    """
    rows = [_row(data) for data in inventory.checkpoints()]
    if as_json:
        print_json({"checkpoints": rows})
        return
    columns = ("name", "family", "pixels", "size", "licence of the weights", "where", "verified")
    print_table("checkpoints", columns, [_cells(row) for row in rows])


@checkpoints.command(short_help="Download a checkpoint.")
@click.argument("name")
@click.option("--accept-license", "accepted", is_flag=True, help="Answer yes to the licences.")
@click.option("--to", metavar="DIR", help="Another folder than covary's own.")
@json_option
def fetch(name: str, accepted: bool, to: str | None, as_json: bool) -> None:
    """Show the licences of checkpoint NAME, download it and verify it.

    Stopped at any moment, the same command goes on where it stopped.
    """
    from .._intake import check
    from .._intake import fetch as fetch_entry
    from ..downloads import part_of

    entry = registry().checkpoint(name)
    if here := _store.locate(entry):
        _print_stored(check(entry, here), as_json, "it is here already")
        return
    if entry.url:
        _ask(entry, accepted)
    folder = Path(to).expanduser() if to else None
    with _byte_bar(name) as progress:
        try:
            stored = fetch_entry(entry, folder, progress)
        except KeyboardInterrupt:
            target = (
                folder / _store.destination(entry).name if folder else _store.destination(entry)
            )
            if part_of(target).exists():
                size = inventory.size_words(part_of(target).stat().st_size)
                remark(f"{size} are kept; the same command goes on from there")
            raise
    resumed = inventory.size_words(stored.resumed_at)
    _print_stored(stored, as_json, *([f"resumed at {resumed}"] if stored.resumed_at else []))


@checkpoints.command(short_help="Take in a file that you have.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", help="Needed where the catalogue does not know the file by its sha256.")
@click.option("--family", default="stylegan2", show_default=True, help="For a new name.")
@click.option("--copy", "mode", flag_value="copy", help="To covary's folder.")
@click.option("--move", "mode", flag_value="move", help="To covary's folder, without a copy.")
@click.option("--link", "mode", flag_value="link", help="Leave it in its place.")
@json_option
def add(path: Path, name: str | None, family: str, mode: Mode | None, as_json: bool) -> None:
    """Make the file PATH the checkpoint that presets and parameters name.

    A file that the catalogue knows is copied to covary's folder. One of a new name stays where it
    is, and gets an entry in your own catalogue. --copy, --move and --link say otherwise.
    """
    from .._intake import add as add_file

    _print_stored(add_file(path.expanduser(), name, mode, family), as_json)


def _row(data: dict[str, Any]) -> dict[str, Any]:
    entry = Checkpoint(**{name: data[name] for name in Checkpoint.model_fields})
    path = data["path"]
    return {**data, "verified": _store.verified(entry, Path(path)) if path else None}


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    where = row["path"] or ("not fetched" if row["url"] or row["page"] else "not published")
    if row["verified"] == "bundled":
        where = "bundled"
    if row["shadowed"]:
        where = f"shadowed; from {row['from']}"
    return (
        row["name"],
        row["family"],
        str(row["resolution"] or ""),
        inventory.size_words(row["bytes"]),
        row["weights_license"],
        where,
        row["verified"] or "",
    )


def _ask(entry: Checkpoint, accepted: bool) -> None:
    """Show what is about to be fetched and on which terms, and go on only with consent."""
    origin = f" ({entry.sha256_origin})" if entry.sha256_origin else ""
    lines = {
        "checkpoint": f"{entry.name}  {entry.summary}",
        "from": entry.url,
        "size": inventory.size_words(entry.bytes),
        "sha256": f"{entry.sha256}{origin}" if entry.sha256 else "not published",
        "licence of the code": entry.code_license or "not stated",
        "licence of the weights": entry.weights_license or "not stated",
    }
    for title, text in lines.items():
        if text:
            remark(f"{title + ':':<24}{text}")
    if accepted:
        return
    if not sys.stdin.isatty():
        raise InputError(
            f"checkpoint {entry.name!r} is under the licences above",
            expected="your consent",
            fix="add --accept-license if you accept them",
        )
    if not click.confirm("Do you accept these licences and want to fetch it?", err=True):
        remark("not fetched")
        raise SystemExit(1)


def _print_stored(stored: Stored, as_json: bool, *remarks: str) -> None:
    for text in (*remarks, *stored.remarks, _HASHES[stored.verified]):
        remark(f"{stored.name}: {text}")
    if as_json:
        print_json(asdict(stored))
    else:
        click.echo(stored.path)


@contextmanager
def _byte_bar(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on stderr over the bytes of a file; where that is no terminal nothing is drawn."""
    if not sys.stderr.isatty():
        yield lambda received, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as SpeedColumn

    columns = (TextColumn(name, markup=False), BarColumn(), DownloadColumn(), SpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda received, total: bar.update(task, completed=received, total=total)
