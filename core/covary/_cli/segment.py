"""``covary segment`` and ``covary run``: the main job, from a preset or a pipeline file."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import CovaryError, InputError
from ..settings import override, with_detector
from .batch import Batch, writable_folder
from .output import json_option, print_json, progress_bar, remark
from .queries import parse_queries

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["run", "segment"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "-o", "--out", required=True, metavar="DIR", help="Folder for the results; made if need be."
    ),
    click.option(
        "--detector",
        metavar="NAME",
        help="Segment inside the boxes of this detector, e.g. grounding-dino; its parameters by "
        "--set detector.PARAM=VALUE.",
    ),
    click.option(
        "--prompt", metavar="TEXT", help='What the detector looks for: "sofa, coffee table".'
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="SLOT.PARAM=VALUE",
        help="Change a parameter (clusterer.k=8), or a component (clusterer.use=faiss keeps the "
        "parameters, clusterer=faiss takes its own defaults); of objects of one label "
        "classes.sofa.clusterer.k=4. May be repeated.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0, 2**32 - 1),
        help="Seed of everything drawn at random. Otherwise a seed query's own, 0 for files.",
    ),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
    click.option("--force", is_flag=True, help="Do again what is already there."),
    click.option(
        "--sheet-columns", type=click.IntRange(1), help="Tiles in a row of the contact sheet."
    ),
    json_option,
)


def _shared_options(command: _Command) -> _Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(short_help="Segment images by a preset: the main job.")
@click.argument("queries", nargs=-1, metavar="QUERY...")
@click.option("--preset", metavar="NAME", help="What `covary list presets` shows.")
@_shared_options
def segment(queries: tuple[str, ...], preset: str | None, **options: Any) -> None:
    """Segment images by a preset.

    QUERY is a seed (7), an inclusive range of seeds (0-15), or a path; a folder is one query, an
    aligned stack of images. Each is written to DIR/NAME as image.png, clusters.png, overlay.png,
    mask.png and provenance.json, and all of them to DIR/sheet.png and DIR/summary.json.

    A query without confident foreground gets no mask.png and is marked on the sheet. Results that
    are there already, of the same pipeline, seed and inputs, are kept: a stopped command resumes
    when it is given again.

    Exits with 1 if any query failed, 2 if the command makes no sense, 130 on Ctrl-C.

    \b
      covary segment 0-15 --preset avatars -o out
      covary segment 7 --preset worlds --set clusterer.k=6 -o out/six
      covary segment 0-15 --preset rooms -o out/rooms
    """
    from .._registry import preset_names, registry

    if preset is None:
        choices = ", ".join(preset_names())
        raise InputError(
            "--preset", expected="a name", got="nothing", fix=f"choose from: {choices}"
        )
    _do(registry().preset(preset).recipe, queries, origin={"preset": preset}, **options)


@click.command(short_help="Segment images by a pipeline file.")
@click.argument("file", metavar="FILE")
@click.argument("queries", nargs=-1, metavar="QUERY...")
@_shared_options
def run(file: str, queries: tuple[str, ...], **options: Any) -> None:
    """Segment images by a pipeline in a TOML file; else as `covary segment`.

    \b
      covary run portrait.toml 0-3 -o out

    `covary show PRESET` prints a file to start from, `covary schema` what may be in one.
    """
    from ..recipe import Recipe

    _do(Recipe.from_toml(file), queries, origin={"file": file}, **options)


def _do(
    recipe: Recipe,
    texts: tuple[str, ...],
    *,
    origin: dict[str, str],
    out: str,
    detector: str | None,
    prompt: str | None,
    settings: tuple[str, ...],
    seed: int | None,
    device: str,
    force: bool,
    sheet_columns: int | None,
    as_json: bool,
) -> None:
    """Everything that can be wrong with the command is said before any work."""
    recipe = override(with_detector(recipe, detector, prompt), settings)
    from ..context import resolve_device
    from ..pipeline import Pipeline

    resolve_device(device)
    pipeline = Pipeline.from_recipe(recipe, device=device)
    queries = parse_queries(texts)
    for query in queries:
        pipeline.check_query(query)
    batch = Batch(pipeline, queries, writable_folder(out), seed, force)
    _run(batch)
    for text in batch.unused_classes():
        remark(f"warning: {text}")
    _write_sheet(batch, sheet_columns)
    summary = _summary(batch, origin)
    _write_summary(batch, summary)
    if as_json:
        print_json(summary)
    else:
        _report(batch)
    if batch.count("failed"):
        raise SystemExit(1)


def _run(batch: Batch) -> None:
    try:
        with progress_bar(len(batch.queries), "segmenting") as (next_step, progress):
            batch.run(next_step, progress)
    except KeyboardInterrupt:
        remark(f"stopped: {_how_far(batch)}; the same command resumes")
        raise SystemExit(130) from None
    except CovaryError:
        if batch.outcomes:
            remark(f"stopped: {_how_far(batch)}")
        raise


def _how_far(batch: Batch) -> str:
    whole = batch.count("done") + batch.count("kept")
    return f"{whole} of {len(batch.queries)} results are in {batch.out}"


def _write_sheet(batch: Batch, columns: int | None) -> None:
    """Draw the sheet of this command's results; without any, a sheet of old ones must go too."""
    from ..images import write_png
    from ..sheet import contact_sheet, saved_tile

    path = batch.out / "sheet.png"
    tiles = [saved_tile(one.folder) for one in batch.outcomes if one.status != "failed"]
    if tiles:
        write_png(contact_sheet(tiles, columns), path)
    else:
        path.unlink(missing_ok=True)


def _summary(batch: Batch, origin: dict[str, str]) -> dict[str, Any]:
    from .. import __version__

    whole = [outcome for outcome in batch.outcomes if outcome.status != "failed"]
    return {
        "format": 1,
        "covary": __version__,
        **origin,
        "recipe": batch.pipeline.recipe.model_dump(mode="json"),
        "seed": batch.seed,
        "out": str(batch.out),
        "sheet": "sheet.png" if whole else None,
        "counts": {
            "queries": len(batch.outcomes),
            "segmented": len(whole),
            "kept": batch.count("kept"),
            "without_foreground": sum(not outcome.found for outcome in whole),
            "failed": batch.count("failed"),
            **({} if batch.pipeline.detector is None else {"objects": batch.objects()}),
        },
        "results": [outcome.data() for outcome in batch.outcomes],
    }


def _write_summary(batch: Batch, summary: dict[str, Any]) -> None:
    from ..images import replacing

    with replacing(batch.out / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def _report(batch: Batch) -> None:
    whole = [outcome for outcome in batch.outcomes if outcome.status != "failed"]
    words = [f"{len(whole)} segmented"]
    if kept := batch.count("kept"):
        words[0] += f" ({kept} kept from before)"
    if batch.pipeline.detector is not None:
        names = batch.objects().items()
        found = ", ".join(f"{count} {label or 'without a name'}" for label, count in names)
        words.append(f"objects: {found or 'none'}")
    if missing := sum(not outcome.found for outcome in whole):
        words.append(f"{missing} without confident foreground")
    if failed := batch.count("failed"):
        words.append(f"{failed} failed")
    if whole:
        click.echo(str(batch.out / "sheet.png"))
    click.echo(", ".join(words))
