"""``covary export``: saved results in the formats of other tools."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError
from .output import remark
from .results import results_in

if TYPE_CHECKING:
    from PIL import Image

    from ..saved import SavedResult

__all__ = ["export"]

_SUFFIXES = {"palette": "png", "rgba": "png", "svg": "svg"}


@click.command(short_help="Write results as COCO, palette PNG, cut-outs or SVG.")
@click.argument(
    "folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RESULT..."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["coco", "palette", "rgba", "svg"]),
    required=True,
    help="coco.json with RLE masks; palette PNGs; cut-outs with alpha; outlines.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder for the files.",
)
@click.option(
    "--map",
    "show",
    type=click.Choice(["instances", "classes", "parts", "clusters"]),
    default="instances",
    show_default=True,
    help="palette: what the indices stand for.",
)
@click.option("--each", is_flag=True, help="rgba: a file for each object.")
@click.option("--trim", is_flag=True, help="rgba: cut off what is transparent on all sides.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=0.0,
    metavar="PIXELS",
    help="svg: by how much lines may be simplified.",
)
def export(
    folders: tuple[Path, ...],
    form: str,
    out: Path,
    show: str,
    each: bool,
    trim: bool,
    tolerance: float,
) -> None:
    """Write saved results in the formats of other tools.

    RESULT is the folder of a result, or a folder of such folders. A result without foreground gets
    no file, and a COCO image without annotations.

    \b
      covary export out --format coco -o dataset
      covary export out/7 --format rgba --each --trim -o cut-outs
    """
    from .. import exports
    from ..files import output_folder
    from ..saved import SavedResult

    results = [SavedResult.read(found) for folder in folders for found in results_in(folder)]
    _check_names(results)
    target = output_folder(out)
    for result in results:
        if not result.found:
            remark(f"{result.name}: no foreground: {result.reason}")
            if form != "coco":  # an earlier export's must not pass for this result's
                (target / f"{result.name}.{_SUFFIXES[form]}").unlink(missing_ok=True)
    shown = [result for result in results if result.found]
    if form == "coco":
        files = [_relative(result, target) for result in results]
        _write_texts(target, {"coco.json": json.dumps(exports.coco(results, files)) + "\n"})
    elif form == "svg":
        for one in shown:
            _write_texts(target, {f"{one.name}.svg": exports.svg(one, tolerance=tolerance)})
    elif form == "rgba":
        for one in shown:
            _write_pictures(target, exports.cut_outs(one, each=each, trim=trim))
    else:
        _export_palettes(shown, show, target)


def _export_palettes(results: Sequence[SavedResult], show: str, target: Path) -> None:
    """Palette pictures and, where indices mean the same in all of them, what they mean."""
    from .. import exports

    finders = {"classes": exports.class_names, "parts": exports.named_parts}
    names = finders[show](results) if show in finders else None
    for one in results:
        picture = exports.palette(one, show, names)  # type: ignore[arg-type]
        _write_pictures(target, [(one.name, picture)])
    if names is not None:
        meanings = {str(index): name for index, name in enumerate(names, start=1)}
        _write_texts(target, {f"{show}.json": json.dumps(meanings, indent=2) + "\n"})


def _check_names(results: Sequence[SavedResult]) -> None:
    """Refuse two results that would be written to one file."""
    folders: dict[str, SavedResult] = {}
    for result in results:
        if other := folders.get(result.name):
            raise InputError(
                f"results {other.folder} and {result.folder}",
                expected="folders of different names, as files are named after them",
                got=f"{result.name!r} twice",
                fix="export them to different folders",
            )
        folders[result.name] = result


def _relative(result: SavedResult, target: Path) -> str:
    """Where the result's image is, as seen from the COCO file."""
    assert result.folder is not None  # noqa: S101  (for the type checker)
    path = os.path.relpath(result.folder.resolve() / "image.png", target.resolve())
    return Path(path).as_posix()


def _write_texts(target: Path, texts: Mapping[str, str]) -> None:
    from ..files import replacing

    for name, text in texts.items():
        with replacing(target / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        click.echo(str(target / name))


def _write_pictures(target: Path, pictures: Sequence[tuple[str, Image.Image]]) -> None:
    from ..images import write_png

    for name, picture in pictures:
        write_png(picture, target / f"{name}.png")
        click.echo(str(target / f"{name}.png"))
