"""``covary bench paper``; what it needs is imported when it runs."""

from __future__ import annotations

from pathlib import Path

import click

from ..command_line import timeout_option
from .options import (
    BUNDLED,
    FOLDER,
    NEW_FOLDER,
    PRESET,
    Run,
    names,
    numbers,
    pipeline_options,
    resolution_option,
    with_run,
)

__all__ = ["paper"]

_PHOTO_PRESET = "avatars-photo"


@click.group(short_help="The paper's tables, on data that anyone can make again.")
def paper() -> None:
    """The paper's tables, on rendered scenes and the bundled generator or on your checkpoints.

    Each table writes benchmarks/results/paper-TABLE.json and prints itself; `report` puts all of
    them on one page. A table of another preset has a file of its own beside.
    """


@paper.command(short_help="Whole images: generated, rendered, inverted photos.")
@click.option(
    "--photo-preset",
    metavar="NAME",
    help=f"The preset that inverts photos; {_PHOTO_PRESET} for the preset {PRESET}.",
)
@click.option("--photos", type=FOLDER, help="Your photos, judged by --against.")
@click.option("--data", type=FOLDER, help="Root of CelebAMask-HQ: photos with masks by people.")
@click.option(
    "--baselines",
    default="all",
    show_default=True,
    metavar="NAMES",
    help="Baselines, comma-separated, or all or none.",
)
@resolution_option(64, "rendered scenes")
@with_run()
def table1(
    run: Run,
    photo_preset: str | None,
    photos: Path | None,
    data: Path | None,
    baselines: str,
    resolution: int,
) -> None:
    """Masks of whole images against a network's or exact ones, beside baselines.

    \b
      covary bench paper table1 --seeds 5
      covary bench paper table1 --preset ffhq --against upernet --set segmenter.checkpoint=DIR
      covary bench paper table1 --preset ffhq --photo-preset NAME --data CelebAMask-HQ
    """
    from . import table1 as table

    pipe, judge, study = run.pipeline(), run.reference(), run.study()
    parts = [table.generated(pipe, judge, study.seeds, _baselines(baselines), run.work)]
    if run.preset == PRESET:
        photo_preset = photo_preset or _PHOTO_PRESET
    if run.bundled:
        worlds = table.worlds_pipeline(resolution, run.device)
        parts.append(table.rendered(worlds, study.seeds, resolution))
    if run.bundled or photos is not None or data is not None:
        inverting = table.inverting(photo_preset, run.device)
        if run.bundled:
            parts.append(table.photos(inverting, judge, study.seeds, run.work / "photos"))
        if photos is not None:
            parts.append(table.own_photos(inverting, photos, judge))
        if data is not None:
            parts.append(table.labelled_photos(inverting, data, run.seeds))
    run.show(study, table.run(study, parts, run.skill(judge, study)))


def _baselines(text: str) -> tuple[str, ...]:
    """The baselines that a text names.

    Raises:
        UnknownNameError: one of them is none.
    """
    from ..baselines import BASELINES, create

    if text in ("all", "none"):
        return tuple(BASELINES) if text == "all" else ()
    for name in names(text):
        create(name)
    return names(text)


@paper.command(short_help="Objects of rooms inside boxes, by class.")
@click.option("--detector", metavar="NAME", help="Gives the boxes, e.g. grounding-dino.")
@click.option("--prompt", metavar="TEXT", help="What the detector looks for.")
@resolution_option(256, "rendered rooms")
@click.option(
    "--variants", type=click.IntRange(min=1), default=50, show_default=True, help="Of each room."
)
@with_run(pipeline_options("rooms", "deeprooms"))
def table2(
    run: Run, detector: str | None, prompt: str | None, resolution: int, variants: int
) -> None:
    """Masks of objects in boxes: rendered rooms with exact masks, or your generator's.

    \b
      covary bench paper table2 --seeds 5
      covary bench paper table2 --preset deeprooms --checkpoint FILE --detector grounding-dino
        --prompt "sofa, coffee table" --against upernet --set segmenter.checkpoint=DIR
    """
    from . import table2 as table

    if run.preset == "rooms":
        table.check_rendered([run.checkpoint, detector, prompt, *run.of_pipeline])
        params = {"world": "rooms"} if run.against == BUNDLED else {}
        judge, study = run.reference(**params), run.study()
        found = table.run(study, judge, resolution=resolution, variants=variants)
    else:
        pipe, judge, study = run.pipeline(detector, prompt), run.reference(), run.study()
        found = table.run_detected(study, pipe, judge)
    run.show(study, found)


@paper.command(short_help="Networks trained on the masks, against exact ones.")
@click.option(
    "--rows",
    default="all",
    show_default=True,
    metavar="NAMES",
    help="What networks are trained on, comma-separated: exact, worlds, ours, mixed, data, judge, "
    "or a baseline.",
)
@click.option("--pairs", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=300, show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True)
@click.option(
    "--networks", type=click.IntRange(min=1), default=2, show_default=True, help="Of each row."
)
@click.option(
    "--first-pair",
    type=click.IntRange(min=0),
    default=2000,
    show_default=True,
    help="Seed of the first pair to train on.",
)
@resolution_option(64, "all images")
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Of the pairs of the row ours, as in covary generate.",
)
@click.option("--data", type=FOLDER, help="A data set of covary generate, for a row of its own.")
@click.option(
    "--photos",
    type=FOLDER,
    help="Test on photos: the root of CelebAMask-HQ, or a folder of images with --truth.",
)
@click.option("--truth", type=FOLDER, help="Masks of these photos, of the same names.")
@with_run()
def table3(
    run: Run,
    rows: str,
    pairs: int,
    steps: int,
    batch: int,
    networks: int,
    first_pair: int,
    resolution: int,
    min_confidence: float,
    data: Path | None,
    photos: Path | None,
    truth: Path | None,
) -> None:
    """A U-Net trained from scratch on covary's pairs, tested on images with exact masks.

    \b
      covary bench paper table3 --rows exact,ours --pairs 200 --steps 100 --networks 1
      covary bench paper table3 --data DIR
      covary bench paper table3 --preset ffhq --resolution 256 --photos CelebAMask-HQ
        --against upernet --set segmenter.checkpoint=DIR
    """
    import covary

    from . import table3 as table
    from .pairs import Store
    from .table3_rows import Setup

    judge, study = run.reference(), run.study()
    setup = Setup(
        run.pipeline(),
        judge,
        resolution,
        study.seeds,
        Store(study.work / study.name / "pairs", first_pair),
        run.work / "baselines",
        covary.Filters(min_confidence=min_confidence),
        data=data,
        photos=photos,
        truth=truth,
    )
    chosen = [setup.row(name) for name in (setup.names() if rows == "all" else names(rows))]
    training = table.Training(pairs, steps, batch, networks=networks)
    extra = {**run.skill(judge, study), "judge": judge.about(), "tests": setup.tested_on()}
    run.show(study, table.run(study, chosen, setup.tests(), training, extra))


@paper.command(short_help="Cutoff c x colour space x k x rule.")
@click.option("--cutoffs", default="2-8", show_default=True, help="Values of c.")
@click.option("--ks", default="2-6,8,10", show_default=True, help="Numbers of clusters.")
@click.option(
    "--space",
    "spaces",
    multiple=True,
    default=("lab", "rgb"),
    show_default=True,
    help="Colour space; may be repeated.",
)
@with_run()
def table4(run: Run, cutoffs: str, ks: str, spaces: tuple[str, ...]) -> None:
    """Every cutoff, colour space, number of clusters and rule on the same images.

    \b
      covary bench paper table4 --seeds 5 --cutoffs 3,4 --ks 2,4,10
      covary bench paper table4 --preset ffhq --cutoffs 2-14 --against upernet
        --set segmenter.checkpoint=DIR
    """
    from . import table4 as table

    pipe, judge, study = run.pipeline(), run.reference(), run.study()
    grid = table.Grid(pipe, numbers(cutoffs), tuple(dict.fromkeys(spaces)), numbers(ks))
    run.show(study, table.run(study, grid, judge, run.skill(judge, study)))


@paper.command(short_help="What each method needs: labels, training, memory, seconds.")
@click.option(
    "--methods",
    default="ours,sis,datasetgan,labels4free,worlds-unet",
    show_default=True,
    help="Comma-separated: ours, worlds-unet and baselines.",
)
@click.option("--scenes", type=click.IntRange(min=16), help="Scenes that worlds-unet learns from.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps of its training.")
@timeout_option
@with_run()
def s2(run: Run, methods: str, scenes: int | None, steps: int | None, timeout: float) -> None:
    """Labels, training, memory and seconds an image of each method, in processes of their own.

    \b
      covary bench paper s2 --seeds 3 --methods ours,sis
    """
    from . import s2 as table

    pipe, study = run.pipeline(), run.study()
    changed = {"scenes": scenes, "steps": steps}
    training = {name: value for name, value in changed.items() if value is not None}
    found = table.run(
        study, pipe, run.reference(), names(methods), timeout=timeout, training=training
    )
    run.show(study, found)
    if any(row["status"] != "ok" for row in found["rows"]):
        click.get_current_context().exit(1)


@paper.command(short_help="Number of variants n and truncation psi.")
@click.option("--variants", default="5,10,20,50,100", show_default=True, help="Values of n.")
@click.option(
    "--psi",
    "psis",
    multiple=True,
    type=click.FloatRange(0, 1),
    default=(0.5, 0.7, 0.8, 1.0),
    show_default=True,
    help="Truncation; may be repeated.",
)
@with_run()
def s3(run: Run, variants: str, psis: tuple[float, ...]) -> None:
    """Masks and seconds for every number of variants n and truncation psi.

    \b
      covary bench paper s3 --seeds 5 --variants 5,10 --psi 0.8
    """
    from . import s3 as table

    pipe, judge, study = run.pipeline(), run.reference(), run.study()
    what = table.Sensitivity(pipe, numbers(variants), tuple(dict.fromkeys(psis)))
    run.show(study, table.run(study, what, judge, run.skill(judge, study)))


@paper.command(short_help="All tables on one page.")
@click.option(
    "--results",
    type=FOLDER,
    help="Folder with paper-*.json; benchmarks/results unless given.",
)
@click.option("-o", "--out", type=NEW_FOLDER, help="Folder for paper.html.")
def report(results: Path | None, out: Path | None) -> None:
    """Put the tables that have been measured on one page, paper.html, which loads nothing."""
    from ..report import RESULTS
    from .report import write_report

    folder = results or RESULTS
    click.echo(str(write_report(folder, out or folder)))
