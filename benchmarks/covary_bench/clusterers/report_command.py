"""``covary bench report``; what it needs is imported when it runs."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["report"]


@click.command(short_help="Tables and charts of the clusterer benchmark, of several machines.")
@click.argument("paths", nargs=-1, required=True, metavar="DIR_OR_FILE...")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for clusterers.md and clusterers.html.",
)
def report(paths: tuple[str, ...], out: Path) -> None:
    """Merge results of `covary bench clusterers` into one Markdown table and one HTML page.

    A folder stands for every clusterers*.json in it. The page is one file that loads nothing.
    """
    from .report import write_report
    from .store import load_results, results_files

    files = {file.resolve(): file for path in paths for file in results_files(path)}
    for written in write_report([load_results(file) for file in files.values()], out):
        click.echo(str(written))
