"""``covary new-plugin``: the package of a plugin, to begin from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ..catalogue import KINDS

__all__ = ["new_plugin"]


@click.command("new-plugin", short_help="Write the package of a new plugin.")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="What it shall offer.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where to put the package's folder; here if not given.",
)
@click.option(
    "--component", metavar="NAME",
    help="Short name of its component; the namespace if not given.",
)  # fmt: skip
def new_plugin(name: str, kind: str, out: Path, component: str | None) -> None:
    """Write a package with one component that works and passes its contract, to be changed.

    NAME is the distribution's: covary-sketch and sketch-covary get the namespace 'sketch', any
    other name is its own namespace. An existing folder is left alone.

    \b
      covary new-plugin covary-sketch --kind clusterer
      covary new-plugin acme-covary --kind foreground --component edges -o plugins
    """
    from .._scaffold import skeleton, write

    plan = skeleton(name, kind, component)
    folder = write(plan, out)
    click.echo(f"{folder}/")
    for line in _tree(sorted(path.relative_to(folder) for path in folder.rglob("*"))):
        click.echo(f"  {line}")
    click.echo("\nNext:")
    click.echo(f"  pip install -e '{folder}[dev]'")
    click.echo(f"  covary check {plan.id}")
    click.echo(f"  covary show {plan.id}")


def _tree(paths: Sequence[Path]) -> list[str]:
    """Each file and folder on a line, indented by its depth."""
    folders = {path.parent for path in paths}
    return [
        "  " * (len(path.parts) - 1) + path.name + ("/" if path in folders else "")
        for path in paths
    ]
