"""``covary convert``: a public checkpoint becomes a safetensors file, so pickles are read once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from covary.catalogue import read_catalogue
from covary.errors import InputError

if TYPE_CHECKING:
    from covary_plugins.stylegan2 import Generator
    from covary_plugins.stylegan2.snapshots import Snapshot

__all__ = ["convert"]

_UNKNOWN = "unknown; see the licence of its source"


@click.command(short_help="Write a generator's checkpoint as safetensors.")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--half", is_flag=True, help="Store 16-bit numbers: half the size.")
@click.option("--license", "licence", metavar="NOTE", help="Licence of the weights, to be kept.")
@click.option("--force", is_flag=True, help="Replace OUT if it is there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def convert(
    source: Path, target: Path, half: bool, licence: str | None, force: bool, as_json: bool
) -> None:
    """Read the StyleGAN2 generator in IN and write it to OUT, a safetensors file.

    IN is a pickle of NVIDIA's PyTorch or TensorFlow code, a rosinality .pt, or safetensors. Nothing
    in it is run. OUT holds the generator alone, with its settings, the sha256 of IN, and a note on
    the licence.
    """
    _check_paths(source, target, force)
    import torch

    from covary.files import file_sha256
    from covary_plugins.stylegan2.reader import build, read_snapshot, save_safetensors

    snapshot = read_snapshot(source)
    generator = build(source, snapshot)
    sha256 = file_sha256(source)
    metadata = {
        "license": licence or _known_licence(sha256, snapshot),
        "source_format": snapshot.format,
        "source_name": source.name,
        "source_sha256": sha256,
    }
    save_safetensors(generator, target, metadata, torch.float16 if half else torch.float32)
    if snapshot.note:
        click.echo(f"warning: {source}: {snapshot.note}", err=True)
    facts = _facts(generator, target, metadata, half)
    click.echo(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else _told(facts))


def _check_paths(source: Path, target: Path, force: bool) -> None:
    if target.suffix != ".safetensors":
        raise InputError(
            f"output {target}", expected="a name that ends in .safetensors", got=repr(target.name)
        )
    if not target.exists():
        return
    if source.exists() and os.path.samefile(source, target):
        raise InputError(
            f"output {target}", expected="another file than the input", got="the same file"
        )
    if not force:
        raise InputError(
            f"output {target}", expected="a new file", got="one that exists", fix="give --force"
        )


def _known_licence(sha256: str, snapshot: Snapshot) -> str:
    """What the file itself says, else what the catalogue says of a file with that hash."""
    if snapshot.license:
        return snapshot.license
    for entry in read_catalogue().checkpoint:
        if sha256 in (entry.sha256, *entry.also_sha256) and entry.weights_license:
            return entry.weights_license
    return _UNKNOWN


def _facts(
    generator: Generator, target: Path, metadata: dict[str, str], half: bool
) -> dict[str, Any]:
    return {
        "path": str(target),
        "bytes": target.stat().st_size,
        "dtype": "float16" if half else "float32",
        "resolution": generator.resolution,
        "num_ws": generator.num_ws,
        "z_dim": generator.z_dim,
        "w_dim": generator.w_dim,
        "parameters": sum(parameter.numel() for parameter in generator.parameters()),
        "init_kwargs": generator.architecture.init_kwargs(),
        **metadata,
    }


def _told(facts: dict[str, Any]) -> str:
    side = facts["resolution"]
    rows = (
        ("from", f"{facts['source_name']} ({facts['source_format']})"),
        ("resolution", f"{side} x {side}"),
        ("layers", f"{facts['num_ws']} codes of {facts['w_dim']}"),
        ("parameters", f"{facts['parameters']:,}"),
        ("size", f"{facts['bytes']:,} bytes, {facts['dtype']}"),
        ("licence", facts["license"]),
    )
    # Texts from the file must not pass for lines of this report.
    shown = ("".join(c if c.isprintable() else "?" for c in value) for _, value in rows)
    names = (name for name, _ in rows)
    lines = [f"  {name:<11} {value}" for name, value in zip(names, shown, strict=True)]
    return "\n".join([facts["path"], *lines])
