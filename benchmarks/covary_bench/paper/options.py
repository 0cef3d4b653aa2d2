"""What the tables' commands share: their options, and what these say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..command_line import command_line, device_option, json_option, remark_option

if TYPE_CHECKING:
    import covary

    from .reference import Reference
    from .study import Study

__all__ = [
    "BUNDLED",
    "FOLDER",
    "NEW_FOLDER",
    "PRESET",
    "Run",
    "names",
    "numbers",
    "pipeline_options",
    "resolution_option",
    "with_run",
]

PRESET, BUNDLED = "avatars", "worlds-unet"
"""What is measured and who judges it, where neither is named."""
CHOSEN_BELOW = 1000
"""Smaller seeds were used to choose presets, and are what baselines are fitted on."""
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
NEW_FOLDER = click.Path(file_okay=False, path_type=Path)

_WITHOUT_NAMES = frozenset({"as_json", "out", "remark", "work"})

_Command = Callable[..., Any]
_Option = Callable[[_Command], _Command]


def pipeline_options(preset: str = PRESET, example: str = "ffhq") -> tuple[_Option, ...]:
    """Which pipeline is measured, and who says what is true."""
    return (
        click.option(
            "--preset", default=preset, show_default=True, help=f"What is measured, e.g. {example}."
        ),
        click.option(
            "--checkpoint", metavar="FILE_OR_NAME", help="The generator, if not the preset's own."
        ),
        click.option(
            "--against",
            default=BUNDLED,
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


def resolution_option(default: int, what: str) -> _Option:
    """The side of rendered images."""
    return click.option(
        "--resolution",
        type=click.IntRange(min=16, max=2048),
        default=default,
        show_default=True,
        help=f"Side of {what}, pixels.",
    )


_SHARED = (
    click.option("--seeds", type=click.IntRange(min=1), default=200, show_default=True),
    click.option(
        "--first-seed",
        type=click.IntRange(min=CHOSEN_BELOW),
        default=CHOSEN_BELOW,
        show_default=True,
        help="Smaller ones were used to choose presets and to fit baselines.",
    ),
    click.option(
        "-o",
        "--out",
        type=NEW_FOLDER,
        help="Folder of the results; benchmarks/results unless given.",
    ),
    click.option(
        "--work",
        type=NEW_FOLDER,
        default=Path("bench/paper"),
        show_default=True,
        help="Folder of unfinished work: a stopped command goes on when it is given again.",
    ),
    device_option,
    remark_option,
    json_option,
)


@dataclass(frozen=True, slots=True)
class Run:
    """What the options that all tables share say: each field is the option of its name."""

    preset: str
    checkpoint: str | None
    against: str
    settings: Sequence[str]
    seeds: int
    first_seed: int
    out: Path | None
    work: Path
    device: str
    remark: str
    as_json: bool

    @property
    def bundled(self) -> bool:
        """Whether it is the bundled preset with the bundled judge."""
        return (self.preset, self.against) == (PRESET, BUNDLED)

    @property
    def of_pipeline(self) -> list[str]:
        """The settings that change the pipeline."""
        return [one for one in self.settings if not _of_segmenter(one)]

    def pipeline(self, detector: str | None = None, prompt: str | None = None) -> covary.Pipeline:
        """What is measured."""
        import covary
        from covary.settings import override, with_detector

        recipe = covary.Pipeline.preset(self.preset).recipe
        recipe = with_detector(recipe, detector, prompt)
        if self.checkpoint is not None:
            recipe = override(recipe, [f"source.checkpoint={json.dumps(self.checkpoint)}"])
        recipe = override(recipe, self.of_pipeline)
        return covary.Pipeline.from_recipe(recipe, device=self.device)

    def reference(self, **params: Any) -> Reference:
        """Who says what is true.

        Args:
            params: of the segmenter, where the settings say nothing else.
        """
        from .reference import Reference

        return Reference(self.against, {**params, **self._of_segmenter()}, self.device)

    def study(self) -> Study:
        """The study of the running command; in one thread, so that times mean something."""
        import torch

        from ..report import RESULTS
        from .study import Study

        torch.set_num_threads(1)
        context = click.get_current_context()
        table = str(context.command.name)
        [usual] = [one.default for one in context.command.params if one.name == "preset"]
        other = "" if self.preset == usual else f"-{self.preset}"
        return Study(
            name=f"paper-{table}{other}",
            seeds=range(self.first_seed, self.first_seed + self.seeds),
            command=command_line(context, f"covary bench paper {table}", _WITHOUT_NAMES),
            remark=self.remark,
            out=self.out or RESULTS,
            work=self.work,
            device=self.device,
        )

    def skill(self, reference: Reference, study: Study) -> dict[str, Any]:
        """For the results: what the judge's masks of rendered avatars are worth."""
        return {"skill": reference.skill("avatars", study.seeds, 64)} if self.bundled else {}

    def show(self, study: Study, data: Mapping[str, Any]) -> None:
        """Print the table, and on stderr where it was written."""
        from .tables import print_tables

        for kind in ("json", "webp"):
            path = study.out / f"{study.name}.{kind}"
            if path.exists():
                click.echo(str(path), err=True)
        if self.as_json:
            click.echo(json.dumps(data, indent=2))
        else:
            print_tables(study.name, data)

    def _of_segmenter(self) -> dict[str, Any]:
        """The parameters of the segmenter among the settings."""
        from covary.errors import InputError
        from covary.settings import toml_value

        params = {}
        for setting in filter(_of_segmenter, self.settings):
            name, equals, value = setting.partition("=")
            _, _, field = name.strip().partition(".")
            if not equals or not field:
                raise InputError(
                    f"--set {setting}", expected="segmenter.PARAM=VALUE", got=repr(setting)
                )
            params[field] = toml_value(value.strip())
        return params


def _of_segmenter(setting: str) -> bool:
    return setting.partition("=")[0].strip().partition(".")[0] == "segmenter"


def with_run(pipeline: Sequence[_Option] | None = None) -> Callable[[_Command], _Command]:
    """Gives a command the shared options, and calls it with what they say as its first argument.

    Args:
        pipeline: those of `pipeline_options`, if not the usual ones.
    """

    def decorate(command: _Command) -> _Command:
        @wraps(command)
        def called(**given: Any) -> None:
            run = Run(**{one.name: given.pop(one.name) for one in fields(Run)})
            command(run, **given)

        for option in reversed((*(pipeline or pipeline_options()), *_SHARED)):
            called = option(called)
        return called

    return decorate


def names(text: str) -> tuple[str, ...]:
    """A comma-separated text as names, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",")))


def numbers(text: str) -> tuple[int, ...]:
    """``2,3,5-8`` as numbers, ascending.

    Raises:
        BadParameter: another form, numbers below 1, or none.
    """
    found: set[int] = set()
    try:
        for part in text.split(","):
            low, dash, high = part.partition("-")
            found |= set(range(int(low), int(high if dash else low) + 1))
    except ValueError:
        found.clear()
    if not found or min(found) < 1:
        raise click.BadParameter(f"{text!r}; write for instance 2,3,5-8")
    return tuple(sorted(found))
