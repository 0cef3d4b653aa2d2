"""``covary bench paper``; what it needs is imported when it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..command_line import command_line, device_option, json_option, remark_option, timeout_option

if TYPE_CHECKING:
    import covary

    from .reference import Reference
    from .study import Study

__all__ = ["paper"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_PRESET, _PHOTO_PRESET = "avatars", "avatars-photo"
_BUNDLED = "worlds-unet"
_WITHOUT_NAMES = frozenset({"as_json", "out", "remark", "work"})

_SHARED = (
    click.option("--seeds", type=click.IntRange(min=1), default=200, show_default=True),
    click.option("--first-seed", type=click.IntRange(min=0), default=1000, show_default=True),
    click.option(
        "-o",
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of the results; benchmarks/results unless given.",
    ),
    click.option(
        "--work",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("bench/paper"),
        show_default=True,
        help="Folder of unfinished work: a stopped command goes on when it is given again.",
    ),
    device_option,
    remark_option,
    json_option,
)

_PIPELINE = (
    click.option(
        "--preset", default=_PRESET, show_default=True, help="What is measured, e.g. ffhq."
    ),
    click.option(
        "--checkpoint", metavar="FILE_OR_NAME", help="The generator, if not the preset's own."
    ),
    click.option(
        "--against",
        default=_BUNDLED,
        show_default=True,
        help="The segmenter that says what is true, e.g. upernet.",
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="SLOT.PARAM=VALUE",
        help="Change a parameter of the preset (clusterer.k=8) or of the segmenter "
        "(segmenter.checkpoint=DIR). May be repeated.",
    ),
)


def _with(*groups: Sequence[Callable[[_Command], _Command]]) -> Callable[[_Command], _Command]:
    def decorate(command: _Command) -> _Command:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return decorate


@click.group(short_help="The paper's tables, on data that anyone can make again.")
def paper() -> None:
    """The paper's tables, on rendered scenes and the bundled generator or on your checkpoints.

    Each table writes benchmarks/results/paper-TABLE.json and prints itself; `report` puts all of
    them on one page. A table of another preset has a file of its own beside.
    """


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the options of `_PIPELINE` say."""

    pipe: covary.Pipeline
    reference: Reference
    bundled: bool
    """Whether it is the bundled preset with the bundled judge."""
    suffix: str
    """Of the results file, for another preset."""


def _asked(
    preset: str,
    checkpoint: str | None,
    against: str,
    settings: Sequence[str],
    device: str,
    *,
    detector: str | None = None,
    prompt: str | None = None,
) -> _Asked:
    import covary
    from covary.settings import override, with_detector

    from .reference import Reference

    recipe = covary.Pipeline.preset(preset).recipe
    recipe = with_detector(recipe, detector, prompt)
    if checkpoint is not None:
        recipe = override(recipe, [f"source.checkpoint={json.dumps(checkpoint)}"])
    recipe = override(recipe, [one for one in settings if not _of_segmenter(one)])
    return _Asked(
        covary.Pipeline.from_recipe(recipe, device=device),
        Reference(against, _params(settings), device),
        bundled=(preset, against) == (_PRESET, _BUNDLED),
        suffix="" if preset == _PRESET else f"-{preset}",
    )


def _of_segmenter(setting: str) -> bool:
    return setting.partition("=")[0].strip().partition(".")[0] == "segmenter"


def _params(settings: Sequence[str]) -> dict[str, Any]:
    """The parameters of the segmenter among the settings."""
    from covary.settings import toml_value
    from covary.errors import InputError

    params = {}
    for setting in filter(_of_segmenter, settings):
        name, equals, value = setting.partition("=")
        _, _, field = name.strip().partition(".")
        if not equals or not field:
            raise InputError(
                f"--set {setting}", expected="segmenter.PARAM=VALUE", got=repr(setting)
            )
        params[field] = toml_value(value.strip())
    return params


def _study(name: str, options: Mapping[str, Any], **about: Any) -> Study:
    """The study of the running command; in one thread, so that times mean something."""
    import torch

    from ..report import RESULTS
    from .study import Study

    torch.set_num_threads(1)
    context = click.get_current_context()
    first, count = options["first_seed"], options["seeds"]
    return Study(
        name=name,
        seeds=range(first, first + count),
        command=command_line(context, f"covary bench paper {context.command.name}", _WITHOUT_NAMES),
        remark=options["remark"],
        out=options["out"] or RESULTS,
        work=options["work"],
        device=options["device"],
        about=about,
    )


def _show(study: Study, data: Mapping[str, Any], as_json: bool) -> None:
    from .tables import print_tables

    for kind in ("json", "webp"):
        path = study.out / f"{study.name}.{kind}"
        if path.exists():
            click.echo(str(path), err=True)
    if as_json:
        click.echo(json.dumps(data, indent=2))
    else:
        print_tables(study.name, data)


def _skill(reference: Reference, seeds: range, bundled: bool) -> dict[str, Any]:
    """For the results: what the judge's masks of rendered avatars are worth."""
    return {"skill": reference.skill("avatars", seeds, 64)} if bundled else {}


@paper.command(short_help="Whole images: generated, rendered, inverted photos.")
@click.option(
    "--photo-preset",
    default=_PHOTO_PRESET,
    show_default=True,
    help="The preset that inverts photos.",
)
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Your photos, judged by --against.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Root of CelebAMask-HQ: photos with masks by people.",
)
@click.option(
    "--baselines",
    default="all",
    show_default=True,
    metavar="NAMES",
    help="Baselines, comma-separated, or all or none.",
)
@click.option(
    "--resolution",
    type=click.IntRange(min=16, max=2048),
    default=64,
    show_default=True,
    help="Side of rendered scenes, pixels.",
)
@_with(_PIPELINE, _SHARED)
def table1(
    photo_preset: str,
    photos: Path | None,
    data: Path | None,
    baselines: str,
    resolution: int,
    preset: str,
    checkpoint: str | None,
    against: str,
    settings: tuple[str, ...],
    **options: Any,
) -> None:
    """Masks of whole images against a network's or exact ones, beside baselines.

    \b
      covary bench paper table1 --seeds 5
      covary bench paper table1 --preset ffhq --against upernet --set segmenter.checkpoint=DIR
      covary bench paper table1 --preset ffhq --photo-preset NAME --data CelebAMask-HQ
    """
    import covary

    from . import table1 as table

    asked = _asked(preset, checkpoint, against, settings, options["device"])
    study = _study(f"paper-table1{asked.suffix}", options)
    parts = [
        table.generated(
            asked.pipe, asked.reference, study.seeds, _names(baselines), options["work"]
        )
    ]
    inverting = covary.Pipeline.preset(photo_preset, device=options["device"])
    if asked.bundled:
        spec = covary.Pipeline.preset("worlds").recipe.source
        source = (spec.use, {**spec.params, "resolution": resolution})
        worlds = covary.Pipeline.preset("worlds", device=options["device"]).replace(source=source)
        files = options["work"] / "photos"
        parts += [
            table.rendered(worlds, study.seeds, resolution),
            table.photos(inverting, asked.reference, study.seeds, files),
        ]
    if photos is not None:
        parts.append(table.own_photos(inverting, photos, asked.reference))
    if data is not None:
        parts.append(table.labelled_photos(inverting, data, len(study.seeds)))
    found = table.run(study, parts, _skill(asked.reference, study.seeds, asked.bundled))
    _show(study, found, options["as_json"])


def _names(baselines: str) -> tuple[str, ...]:
    """The baselines that a comma-separated text names.

    Raises:
        UnknownNameError: one of them is none.
    """
    from ..baselines import BASELINES, create

    if baselines in ("all", "none"):
        return tuple(BASELINES) if baselines == "all" else ()
    names = tuple(name.strip() for name in baselines.split(","))
    for name in names:
        create(name)
    return names


@paper.command(short_help="Objects of rooms inside boxes, by class.")
@click.option(
    "--preset", default="rooms", show_default=True, help="What is measured, e.g. deeprooms."
)
@click.option("--checkpoint", metavar="FILE_OR_NAME", help="The generator of that preset.")
@click.option("--detector", metavar="NAME", help="Gives the boxes, e.g. grounding-dino.")
@click.option("--prompt", metavar="TEXT", help="What the detector looks for.")
@click.option(
    "--resolution",
    type=click.IntRange(min=16, max=2048),
    default=256,
    show_default=True,
    help="Side of rendered rooms, pixels.",
)
@click.option(
    "--variants", type=click.IntRange(min=1), default=50, show_default=True, help="Of each room."
)
@_with(_PIPELINE[2:], _SHARED)
def table2(
    preset: str,
    checkpoint: str | None,
    detector: str | None,
    prompt: str | None,
    resolution: int,
    variants: int,
    against: str,
    settings: tuple[str, ...],
    **options: Any,
) -> None:
    """Masks of objects in boxes: rendered rooms with exact masks, or your generator's.

    \b
      covary bench paper table2 --seeds 5
      covary bench paper table2 --preset deeprooms --checkpoint FILE --detector grounding-dino
        --prompt "sofa, coffee table" --against upernet --set segmenter.checkpoint=DIR
    """
    from . import table2 as table
    from .reference import Reference

    if preset == "rooms":
        study = _study("paper-table2", options)
        judge = Reference(against, {"world": "rooms", **_params(settings)}, options["device"])
        found = table.run(study, judge, resolution=resolution, variants=variants)
    else:
        asked = _asked(
            preset, checkpoint, against, settings, options["device"],
            detector=detector, prompt=prompt,
        )  # fmt: skip
        study = _study(f"paper-table2-{preset}", options)
        found = table.run_detected(study, asked.pipe, asked.reference)
    _show(study, found, options["as_json"])


def _numbers(text: str) -> tuple[int, ...]:
    """``2,3,5-8`` as numbers, ascending.

    Raises:
        BadParameter: another form.
    """
    found: set[int] = set()
    try:
        for part in text.split(","):
            low, _, high = part.partition("-")
            found |= set(range(int(low), int(high or low) + 1))
    except ValueError:
        raise click.BadParameter(f"{text!r}; write for instance 2,3,5-8") from None
    return tuple(sorted(found))


@paper.command(short_help="Networks trained on the masks, against exact ones.")
@click.option(
    "--rows",
    "names",
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
@click.option(
    "--resolution",
    type=click.IntRange(min=16, max=2048),
    default=64,
    show_default=True,
    help="Side of all images, pixels.",
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Of the pairs of the row ours, as in covary generate.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A data set of covary generate, for a row of its own.",
)
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Test on photos: the root of CelebAMask-HQ, or a folder of images with --truth.",
)
@click.option(
    "--truth",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Masks of these photos, of the same names.",
)
@_with(_PIPELINE, _SHARED)
def table3(
    names: str,
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
    preset: str,
    checkpoint: str | None,
    against: str,
    settings: tuple[str, ...],
    **options: Any,
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

    asked = _asked(preset, checkpoint, against, settings, options["device"])
    study = _study(f"paper-table3{asked.suffix}", options)
    if photos is None and first_pair < study.seeds.stop:
        raise click.BadParameter(f"it is within the test: {study.seeds}", param_hint="first-pair")
    work = study.work / study.name
    setup = Setup(
        asked.pipe,
        asked.reference,
        resolution,
        study.seeds,
        Store(work / "pairs", first_pair),
        options["work"] / "baselines",
        covary.Filters(min_confidence=min_confidence),
        data=data,
        photos=photos,
        truth=truth,
    )
    chosen = setup.names() if names == "all" else [name.strip() for name in names.split(",")]
    rows = [setup.row(name) for name in chosen]
    training = table.Training(pairs, steps, batch, networks=networks)
    skill = _skill(asked.reference, study.seeds, asked.bundled)
    extra = {**skill, "judge": asked.reference.about()}
    _show(study, table.run(study, rows, setup.tests(), training, extra), options["as_json"])


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
@_with(_PIPELINE, _SHARED)
def table4(
    cutoffs: str,
    ks: str,
    spaces: tuple[str, ...],
    preset: str,
    checkpoint: str | None,
    against: str,
    settings: tuple[str, ...],
    **options: Any,
) -> None:
    """Every cutoff, colour space, number of clusters and rule on the same images.

    \b
      covary bench paper table4 --seeds 5 --cutoffs 3,4 --ks 2,4,10
      covary bench paper table4 --preset ffhq --cutoffs 2-14 --against upernet
        --set segmenter.checkpoint=DIR
    """
    from . import table4 as table

    asked = _asked(preset, checkpoint, against, settings, options["device"])
    grid = table.Grid(asked.pipe, _numbers(cutoffs), spaces, _numbers(ks))
    study = _study(f"paper-table4{asked.suffix}", options)
    skill = _skill(asked.reference, study.seeds, asked.bundled)
    _show(study, table.run(study, grid, asked.reference, skill), options["as_json"])


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
@_with(_PIPELINE, _SHARED)
def s2(
    methods: str,
    scenes: int | None,
    steps: int | None,
    timeout: float,
    preset: str,
    checkpoint: str | None,
    against: str,
    settings: tuple[str, ...],
    **options: Any,
) -> None:
    """Labels, training, memory and seconds an image of each method, in processes of their own.

    \b
      covary bench paper s2 --seeds 3 --methods ours,sis
    """
    from . import s2 as table

    asked = _asked(preset, checkpoint, against, settings, options["device"])
    names = tuple(name.strip() for name in methods.split(","))
    _names(",".join(set(names) - {table.OURS, table.UNET}) or "none")
    study = _study(f"paper-s2{asked.suffix}", options)
    changed = {"scenes": scenes, "steps": steps}
    training = {name: value for name, value in changed.items() if value is not None}
    found = table.run(study, asked.pipe, asked.reference, names, timeout=timeout, training=training)
    _show(study, found, options["as_json"])
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
@_with(_PIPELINE, _SHARED)
def s3(
    variants: str,
    psis: tuple[float, ...],
    preset: str,
    checkpoint: str | None,
    against: str,
    settings: tuple[str, ...],
    **options: Any,
) -> None:
    """Masks and seconds for every number of variants n and truncation psi.

    \b
      covary bench paper s3 --seeds 5 --variants 5,10 --psi 0.8
    """
    from . import s3 as table

    asked = _asked(preset, checkpoint, against, settings, options["device"])
    what = table.Sensitivity(asked.pipe, _numbers(variants), psis)
    study = _study(f"paper-s3{asked.suffix}", options)
    skill = _skill(asked.reference, study.seeds, asked.bundled)
    _show(study, table.run(study, what, asked.reference, skill), options["as_json"])


@paper.command(short_help="All tables on one page.")
@click.option(
    "--results",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with paper-*.json; benchmarks/results unless given.",
)
@click.option(
    "-o", "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for paper.html."
)
def report(results: Path | None, out: Path | None) -> None:
    """Put the tables that have been measured on one page, paper.html, which loads nothing."""
    from ..report import RESULTS
    from .report import write_report

    folder = results or RESULTS
    click.echo(str(write_report(folder, out or folder)))
