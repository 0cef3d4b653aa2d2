"""``covary eval``: masks judged by the truth, with a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import CovaryError, InputError
from ..settings import override, toml_value
from .batch import writable_folder
from .output import Report, json_option, print_json, print_table, remark
from .pace import pace, shown

if TYPE_CHECKING:
    from ..evaluation import Evaluation, EvaluationProgress, InputOptions, Judge, Listed

__all__ = ["eval_"]

_SEGMENTER = "segmenter."
_SHOWN = 5
"""Names said of those that were left out."""


@click.command("eval", short_help="Judge masks by the truth: IoU, trimap, boundary IoU.")
@click.argument("predictions", required=False)
@click.argument("truth", required=False)
@click.option(
    "-o", "--out", required=True, metavar="DIR", help="Folder for the report; made if need be."
)
@click.option("--preset", metavar="NAME", help="Judge this preset instead of saved predictions.")
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Judge the pipeline of a TOML file instead of saved predictions.",
)
@click.option("--seeds", metavar="SEEDS", help="Of --preset or --file: 1000-1099, or 7,12.")
@click.option(
    "--against",
    metavar="NAME",
    help="Instead of TRUTH: a segmenter that looks at the images (`covary list segmenter`), or "
    "`exact` for rendered scenes.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="SLOT.PARAM=VALUE",
    help="Change a parameter of the pipeline (clusterer.k=8) or of the segmenter "
    "(segmenter.world=rooms). May be repeated.",
)
@click.option(
    "--task",
    type=click.Choice(["foreground", "parts", "instances"]),
    help="What to judge: everything but the background as one class, parts, or objects by their "
    "labels. Otherwise the mask of results and pipelines, and all classes of data sets.",
)
@click.option(
    "--classes",
    metavar="NAMES",
    help="Classes to judge, by name; the others are background. Where a folder of masks says no "
    "names, they name its values from 1.",
)
@click.option(
    "--merge",
    multiple=True,
    metavar="NAME=NAMES",
    help="Make several classes of either input one: person=hair,skin,clothes. May be repeated.",
)
@click.option("--ignore", type=int, metavar="VALUE", help="Leave out this value of the truth.")
@click.option(
    "--resize",
    type=click.Choice(["nearest"]),
    help="Scale predictions of another size to the truth's, rather than refuse them.",
)
@click.option(
    "--trimap-width",
    type=click.FloatRange(0, min_open=True),
    default=3.0,
    show_default=True,
    metavar="PIXELS",
    help="Reach of the trimap to either side of a boundary.",
)
@click.option(
    "--boundary-ratio",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.02,
    show_default=True,
    metavar="SHARE",
    help="Width of boundary IoU's boundaries, as a share of the image's diagonal.",
)
@click.option(
    "--worst",
    type=click.IntRange(0, 200),
    default=12,
    show_default=True,
    help="Images of lowest mIoU that the report shows.",
)
@click.option(
    "--batch",
    type=click.IntRange(1),
    metavar="N",
    help="Images of one size that a segmenter looks at together; 16 unless given, 1 beside a "
    "pipeline. Figures do not depend on it.",
)
@click.option(
    "--allow-missing", is_flag=True, help="Exit with 0 though names have no partner on one side."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@json_option
def eval_(
    predictions: str | None,
    truth: str | None,
    out: str,
    preset: str | None,
    file: Path | None,
    seeds: str | None,
    against: str | None,
    settings: tuple[str, ...],
    task: str | None,
    classes: str | None,
    merge: tuple[str, ...],
    ignore: int | None,
    resize: str | None,
    trimap_width: float,
    boundary_ratio: float,
    worst: int,
    batch: int | None,
    allow_missing: bool,
    device: str,
    as_json: bool,
) -> None:
    """Judge PREDICTIONS by TRUTH, image by image, matched by name.

    Either is a folder of mask PNGs, the results of `covary segment`, a data set of `covary
    generate`, the folder of CelebAMask-HQ, `worlds:avatars` or `worlds:rooms` (exact masks of
    rendered scenes by seed), or `segmenter:NAME`. Writes DIR/report.html, DIR/summary.json and
    DIR/per-image.csv.

    What cannot be read or judged is left out, and named with the reason in all three. Stop it at
    any moment, by Ctrl-C or any other way: the same command goes on with the images that are left,
    and ends as if nothing had happened.

    Exits with 1 if an image could not be judged or a name has no partner on one side, 2 if the
    command makes no sense, 130 on Ctrl-C.

    \b
      covary eval masks truth -o judged
      covary eval out worlds:avatars -o judged
      covary eval --preset worlds --seeds 1000-1099 --against exact -o judged
      covary eval dataset --against worlds-unet -o judged
    """
    from ..evaluation import InputOptions, Rules
    from ..evaluation.classes import parse_merge
    from ..pages import templates

    chosen = _names(classes)
    ours, theirs = _split(settings)
    options = InputOptions(task=task, classes=chosen, device=device, segmenter=theirs)  # type: ignore[arg-type]
    merged = parse_merge(merge)
    if preset is None and file is None:
        if ours:
            raise InputError(f"--set {ours[0]}", expected="--preset or --file", got="neither")
        prediction = _saved(predictions, seeds, options)
    else:
        if predictions is not None and truth is None:
            predictions, truth = None, predictions
        if predictions is not None:
            raise _one_of("predictions", "PREDICTIONS or a pipeline", "both")
        prediction = _pipeline(preset, file, seeds, ours, options)
    judge = _truth(truth, against, prediction, options)
    _check_batch(batch, prediction, judge)
    templates("covary.evaluation")  # what is not installed should not be found out at the end
    folder = writable_folder(out)
    evaluation = _judged(
        prediction,
        judge,
        folder,
        classes=chosen,
        merge=merged,
        masks=task == "foreground",
        ignore=ignore,
        resize=resize,
        rules=Rules(trimap_width, boundary_ratio),
        worst=worst,
        batch=batch,
    )
    evaluation.save(folder)
    good = _tell_problems(evaluation, allow_missing)
    if as_json:
        print_json(evaluation.summary())
    else:
        _print(evaluation, folder)
    if not good:
        raise SystemExit(1)


def _judged(
    prediction: Listed | Judge, truth: Listed | Judge, folder: Path, **options: Any
) -> Evaluation:
    """The evaluation, with a bar; what is judged when it stops is kept in the folder."""
    from ..evaluation import compare

    last: list[EvaluationProgress] = []
    try:
        with shown("evaluating", "images") as (show, inside):
            _report_to(prediction, inside)

            def hear(progress: EvaluationProgress) -> None:
                if not last and progress.kept:
                    remark(f"{progress.kept:,} of {progress.images:,} images were judged before")
                last[:] = [progress]
                show(progress.done, progress.images, pace(progress.rate, progress.seconds_left))

            return compare(prediction, truth, keep_in=folder, progress=hear, **options)
    except KeyboardInterrupt:
        remark(f"stopped: {_how_far(last)}; the same command resumes")
        raise SystemExit(130) from None
    except CovaryError:
        if last and last[0].done > last[0].failed:
            remark(f"stopped: {_how_far(last)}")
        raise


def _how_far(last: Sequence[EvaluationProgress]) -> str:
    judged, images = (last[0].done - last[0].failed, last[0].images) if last else (0, 0)
    return f"{judged:,} of {images:,} images are judged"


def _check_batch(batch: int | None, *inputs: Listed | Judge) -> None:
    """Refuse a setting without effect."""
    from ..evaluation import SupportsBatches

    if batch is not None and not any(isinstance(one, SupportsBatches) for one in inputs):
        raise InputError(
            f"--batch {batch}",
            expected="a segmenter, which looks at images together",
            got="none on either side",
            fix="leave it out",
        )


def _names(text: str | None) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",")) if text is not None else ()
    if not all(names):
        raise InputError("--classes", expected="names, e.g. hair,skin", got=repr(text))
    return names


def _split(settings: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Settings of the pipeline as they are, and the parameters of the segmenter."""
    pipeline, segmenter = [], {}
    for setting in settings:
        if not setting.startswith(_SEGMENTER):
            pipeline.append(setting)
            continue
        name, equals, value = setting.removeprefix(_SEGMENTER).partition("=")
        if not equals or not name.strip():
            raise InputError(
                f"--set {setting}", expected="segmenter.PARAM=VALUE", got=repr(setting)
            )
        segmenter[name.strip()] = toml_value(value.strip())
    return pipeline, segmenter


def _saved(predictions: str | None, seeds: str | None, options: InputOptions) -> Listed | Judge:
    from ..evaluation import open_input

    if predictions is None:
        raise _one_of("predictions", "a folder, or --preset or --file with --seeds", "nothing")
    if seeds is not None:
        raise InputError("--seeds", expected="--preset or --file beside it", got="neither")
    return open_input(predictions, options)


def _pipeline(
    preset: str | None,
    file: Path | None,
    seeds: str | None,
    settings: Sequence[str],
    options: InputOptions,
) -> Listed:
    from .._registry import registry
    from .._seeds import Seeds
    from ..context import resolve_device
    from ..evaluation.inputs import PipelineResults
    from ..pipeline import Pipeline
    from ..recipe import Recipe

    if preset is not None and file is not None:
        raise _one_of("pipeline", "--preset or --file", "both")
    if seeds is None:
        raise InputError(
            "--seeds", expected="seeds to judge", got="nothing", fix="add --seeds 1000-1099"
        )
    recipe = registry().preset(preset).recipe if preset is not None else Recipe.from_toml(str(file))
    resolve_device(options.device)
    pipeline = Pipeline.from_recipe(override(recipe, settings), device=options.device)
    return PipelineResults(pipeline, Seeds.of(seeds), options)


def _truth(
    truth: str | None, against: str | None, prediction: Listed | Judge, options: InputOptions
) -> Listed | Judge:
    from ..evaluation import exact, open_input

    if (truth is None) == (against is None):
        got = "nothing" if truth is None else "both"
        raise _one_of("truth", "TRUTH or --against", got)
    if against == "exact":
        return exact(prediction, options)
    return open_input(truth if truth is not None else f"segmenter:{against}", options)


def _one_of(what: str, expected: str, got: str) -> InputError:
    return InputError(what, expected=expected, got=got, fix="see `covary eval --help`")


def _report_to(prediction: Listed | Judge, progress: Report) -> None:
    """Let a pipeline tell how far it is within an image."""
    from ..evaluation.inputs import PipelineResults

    if isinstance(prediction, PipelineResults):
        prediction.progress = progress


def _tell_problems(evaluation: Evaluation, allow_missing: bool) -> bool:
    """Say what was left out; gives whether that is in order."""
    problems = evaluation.problems
    alike: dict[str, list[str]] = {}
    for name, why in problems["failed"].items():
        alike.setdefault(why, []).append(name)
    for why, names in list(alike.items())[:_SHOWN]:
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        remark(f"error: {names[0]}{more}: {why}")
    if rest := sum(map(len, list(alike.values())[_SHOWN:])):
        remark(f"error: {rest:,} more could not be judged; summary.json has them")
    for key, words in (("missing", "have no prediction"), ("extra", "have no truth")):
        if names := problems[key]:
            shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
            level = "warning" if allow_missing else "error"
            remark(f"{level}: {len(names):,} {words}: {shown}")
    alone = bool(problems["missing"] or problems["extra"])
    return not problems["failed"] and (allow_missing or not alone)


def _print(evaluation: Evaluation, folder: Path) -> None:
    from ..evaluation.report import HEADS, figure_rows

    rows = [(images, how, *values) for images, how, values in figure_rows(evaluation.summary())]
    print_table(", ".join(evaluation.classes), ("images", "figure", *HEADS.values()), rows)
    click.echo(str(folder / "report.html"))
    words = [f"{len(evaluation.images):,} judged"]
    if missing := sum(not row.found for row in evaluation.images):
        words[0] += f" ({missing:,} without confident foreground)"
    problems = evaluation.problems
    for key, what in (
        ("failed", "failed"),
        ("missing", "without a prediction"),
        ("extra", "without a truth"),
    ):
        words += [f"{len(problems[key]):,} {what}"] if problems[key] else []
    click.echo(", ".join(words))
