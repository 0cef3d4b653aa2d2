"""``covary generate``: data sets of image and mask pairs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import CovaryError, InputError
from ..recipe import Recipe, Spec
from ..settings import override, toml_value
from .output import json_option, print_json, remark
from .pace import duration, pace, shown

if TYPE_CHECKING:
    from ..generation import GenerationProgress, GenerationReport

__all__ = ["generate"]

_NAMED = 10
"""Seeds whose failure is told one by one."""


@click.command(short_help="Make a data set of image and mask pairs.")
@click.option("--preset", metavar="NAME", help="What `covary list presets` shows.")
@click.option("--file", metavar="FILE", help="A pipeline in a TOML file, instead of a preset.")
@click.option("--seeds", metavar="RANGES", help="Of the images: 0-9999, or 0-99,200-299.")
@click.option(
    "--format", "writer", default="webdataset", show_default=True, metavar="NAME",
    help="A writer: webdataset, hf, coco, mmseg, folder; `covary list writer` shows all.",
)  # fmt: skip
@click.option("-o", "--out", metavar="DIR", help="Folder of the data set; made if need be.")
@click.option(
    "--task",
    type=click.Choice(["foreground", "parts", "instances"]),
    default="foreground",
    show_default=True,
    help="What the classes of masks are.",
)
@click.option(
    "--classes", metavar="A,B", help="Labels of objects, where the detector does not say."
)
@click.option(
    "--set", "settings", multiple=True, metavar="SLOT.PARAM=VALUE",
    help="Change a parameter or component as in `covary segment`, or of the writer "
    "(writer.image=jpg). May be repeated.",
)  # fmt: skip
@click.option(
    "--val", default=0.05, show_default=True, help="Share of seeds that go to the split val."
)
@click.option(
    "--shard-size", default=500, show_default=True, type=click.IntRange(1), help="Seeds a shard."
)
@click.option(
    "--workers", type=click.IntRange(1), metavar="N",
    help="Processes; one for each core, or one on a GPU, unless given.",
)  # fmt: skip
@click.option(
    "--together", default=1, show_default=True, type=click.IntRange(1), metavar="Q",
    help="Images to make in one batch, if the source can.",
)  # fmt: skip
@click.option("--min-area", default=0.0, help="Smallest share of the image for a foreground.")
@click.option("--max-area", default=1.0, help="Largest share of the image for a foreground.")
@click.option("--min-confidence", default=0.0, help="Smallest mean confidence, 0 to 1.")
@click.option(
    "--keep-without-foreground", is_flag=True,
    help="Keep images without confident foreground, with an empty mask.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="As in `covary segment`.")
@click.option("--name", metavar="NAME", help="Of the data set; the folder's unless given.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--on", type=click.Choice(["local", "ray"]), default="local", show_default=True,
    help="Processes of this machine, or actors of Ray.",
)  # fmt: skip
@click.option("--address", metavar="ADDR", help="Of a Ray cluster; a local one unless given.")
@click.option("--gpu-share", type=click.FloatRange(0), help="GPU of each Ray actor: 0.5 for two.")
@click.option("--cpus", type=click.FloatRange(0), help="Cores of each Ray actor.")
@click.option("--extend", is_flag=True, help="Add seeds to the data set in DIR, best at the end.")
@click.option("--verify", is_flag=True, help="Compare what is there with its sha256.")
@click.option("--retry-failed", is_flag=True, help="Make shards again in which seeds failed.")
@click.option("--cost-per-hour", type=click.FloatRange(0), help="Of all workers, to tell the cost.")
@click.option("--status", metavar="DIR", help="Only say how far the data set in DIR is.")
@json_option
def generate(status: str | None, as_json: bool, **options: Any) -> None:
    """Make a data set of image and mask pairs in DIR.

    Shards are written whole or not at all. Stop it at any moment, by Ctrl-C or any other way: the
    same command goes on, and ends with the same bytes as if nothing had happened.

    Exits with 1 if any seed or shard failed, 2 if the command makes no sense, 130 on Ctrl-C.

    \b
      covary generate --preset avatars --seeds 0-9999 -o out/avatars
      covary generate --preset rooms --seeds 0-999 --task instances --format coco -o out/rooms
      covary generate --status out/avatars
    """
    if status is not None:
        _print_status(status, as_json)
        return
    for name in ("seeds", "out"):
        if not options[name]:
            flag = {"seeds": "--seeds", "out": "-o"}[name]
            what = {"seeds": "seeds, e.g. 0-9999", "out": "a folder"}[name]
            raise InputError(flag, expected=what, got="nothing")
    report = _generate(**options)
    if as_json:
        print_json(_report_data(report))
    else:
        _print_report(report)
    if report.failures or report.given_up:
        raise SystemExit(1)


def _generate(
    *,
    preset: str | None,
    file: str | None,
    seeds: str,
    writer: str,
    out: str,
    settings: tuple[str, ...],
    classes: str | None,
    min_area: float,
    max_area: float,
    min_confidence: float,
    keep_without_foreground: bool,
    device: str,
    **options: Any,
) -> GenerationReport:
    from ..generation import Filters
    from ..generation import generate as make
    from ..pipeline import Pipeline

    mine = [text for text in settings if not text.startswith("writer.")]
    recipe = override(_recipe(preset, file), mine)
    filters = Filters(not keep_without_foreground, min_area, max_area, min_confidence)
    last: list[GenerationProgress] = []
    address, gpu_share, cpus = (options.pop(name) for name in ("address", "gpu_share", "cpus"))
    if options["on"] == "ray":
        options["on"] = _ray(options["workers"], address, gpu_share, cpus)
        device = "cuda" if gpu_share and device == "auto" else device
    elif (address, gpu_share, cpus) != (None, None, None):
        raise InputError("--address, --gpu-share, --cpus", expected="--on ray", got="--on local")
    try:
        with shown("generating", "seeds") as (show, _):

            def hear(progress: GenerationProgress) -> None:
                last[:] = [progress]
                show(progress.done, progress.seeds, _pace(progress))

            return make(
                Pipeline.from_recipe(recipe, device=device),
                seeds,
                out,
                _writer(writer, settings),
                classes=[name.strip() for name in classes.split(",")] if classes else (),
                filters=filters,
                progress=hear,
                **options,
            )
    except KeyboardInterrupt:
        remark(f"stopped: {_how_far(last, out)}; the same command resumes")
        raise SystemExit(130) from None
    except CovaryError:
        if last:
            remark(f"stopped: {_how_far(last, out)}")
        raise


def _recipe(preset: str | None, file: str | None) -> Recipe:
    from .._registry import preset_names, registry

    if (preset is None) == (file is None):
        raise InputError(
            "--preset, --file",
            expected="one of the two",
            got="neither" if file is None else "both",
            fix=f"presets are: {', '.join(preset_names())}",
        )
    return Recipe.from_toml(file) if file is not None else registry().preset(preset or "").recipe


def _writer(name: str, settings: tuple[str, ...]) -> Spec:
    params: dict[str, Any] = {}
    for text in settings:
        where, equals, value = text.partition("=")
        slot, _, parameter = where.strip().partition(".")
        if slot == "writer":
            if not equals or not parameter:
                fix = "write for instance --set writer.image=jpg"
                raise InputError(
                    f"--set {text}", expected="writer.parameter=value", got=repr(text), fix=fix
                )
            params[parameter] = toml_value(value.strip())
    return Spec.parse({**params, "use": name}, origin="--format")


def _ray(
    workers: int | None, address: str | None, gpu_share: float | None, cpus: float | None
) -> Any:
    from ..generation._ray import RayExecutor

    return RayExecutor(workers, address, 1.0 if cpus is None else cpus, gpu_share)


def _how_far(last: list[GenerationProgress], out: str) -> str:
    if not last:
        return f"nothing has been made in {out}"
    shards, done = last[0].shards, last[0].shards_done
    return f"{done:,} of {shards:,} shards ({last[0].pairs:,} pairs) are in {out}"


def _pace(progress: GenerationProgress) -> str:
    return pace(progress.rate, progress.seconds_left, progress.cost)


def _print_status(folder: str, as_json: bool) -> None:
    from ..generation import read_status

    status = read_status(folder)
    if as_json:
        print_json(asdict(status) | {"folder": str(status.folder)})
        return
    click.echo(f"{folder}: {status.state}")
    progress = status.progress
    if progress is None:
        return
    left_out, failed = f"{progress.left_out:,} left out", f"{progress.failed:,} failed"
    click.echo(
        f"{progress.done:,} of {progress.seeds:,} seeds, "
        f"{progress.shards_done:,} of {progress.shards:,} shards: "
        f"{progress.pairs:,} pairs, {left_out}, {failed}"
    )
    words = [_pace(progress), f"{duration(progress.seconds)} so far"]
    click.echo(", ".join(filter(None, words)))


def _report_data(report: GenerationReport) -> dict[str, Any]:
    return asdict(report) | {"folder": str(report.folder), "finished": report.finished}


def _print_report(report: GenerationReport) -> None:
    for seed, reason in list(report.failed.items())[:_NAMED]:
        remark(f"error: seed {seed}: {reason}")
    if report.failures > _NAMED:
        remark(f"error: {report.failures - _NAMED:,} more seeds failed; manifest.jsonl has them")
    for shard, reason in report.given_up.items():
        remark(f"error: shard {shard} is missing: {reason}; the same command tries again")
    if report.finished:
        if not report.total:
            remark("there is no pair in it: every seed was left out or failed")
        click.echo(str(Path(report.folder, "README.md")))
    words = [f"{number:,} pairs in {split}" for split, number in report.pairs.items()]
    words += [f"{number:,} left out ({kind})" for kind, number in report.left_out.items()]
    words += [f"{report.failures:,} failed"] if report.failures else []
    if not report.made and report.finished:
        words.append("all of it was there")
    elif report.made < report.shards:
        words.append(f"{report.made:,} of {report.shards:,} shards made now")
    click.echo(", ".join(words))
