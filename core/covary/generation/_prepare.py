"""A job from what a user asks for; everything that can be wrong with it is said here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any, cast, get_args

from .._metadata import installed_version
from .._registry import Registered, checkpoint_path, find, registry
from .._seeds import Seeds
from .._stages import Part, component
from ..context import resolve_device
from ..errors import CheckpointError, InputError, UnknownNameError
from ..files import file_sha256
from ..interfaces import SupportsLabels, SupportsParts, Writer
from ..pipeline import Pipeline
from ..provenance import components_data
from ..recipe import Recipe, Spec
from ..samples import BACKGROUND, Task
from ..types import Query
from ._filters import Filters
from ._job import Job

__all__ = ["prepare"]

_PACKAGES = ("covary", "torch", "numpy", "kornia", "numba", "pillow")


def prepare(
    pipeline: Pipeline,
    seeds: Seeds,
    *,
    name: str,
    task: str,
    classes: Sequence[str],
    writer: Part,
    filters: Filters,
    val: float,
    shard_size: int,
    together: int,
    seed: int | None,
    device: str,
) -> Job:
    """The job; see :func:`covary.generate` for its arguments.

    Raises:
        InputError: a value out of its range, a source that takes no seeds, classes that the task
            cannot have, or that are not known.
        UnknownNameError, ParamsError, MissingPackageError, PluginError: as ``covary.create``, of
            the writer.
        CheckpointError: weights that the recipe names are not on this machine.
    """
    if not seeds:
        raise InputError("seeds", expected="at least one", got="none")
    _check_name(name)
    pipeline.check_query(Query(seed=next(iter(seeds))))
    _check_ranges(val, shard_size, together)
    if task not in get_args(Task):
        raise InputError("task", expected=" or ".join(get_args(Task)), got=repr(task))
    made = _writer(writer)
    entry = find(made.id, "writer")
    recipe = pipeline.recipe
    return Job(
        name=name,
        task=cast(Task, task),
        classes=(BACKGROUND, *_classes(pipeline, task, classes)),
        recipe=recipe,
        seeds=str(seeds),
        seed=seed,
        filters=filters,
        val=val,
        shard_size=shard_size,
        together=together,
        device=device if device != "auto" else resolve_device(device).type,
        writer=Spec(use=made.id, **made.params.model_dump(mode="json")),
        components=components_data(recipe) | {"writer": _origin(entry)},
        versions=_versions(entry),
        inputs=dict(_inputs(recipe)),
    )


def _check_name(name: str) -> None:
    if not name.isprintable() or not name.strip():  # bytes that are no text are not printable
        raise InputError(
            "name of the data set",
            expected="printable text, which its files can hold",
            got=ascii(name),
            fix="give another by --name (in Python name=)",
        )


def _check_ranges(val: float, shard_size: int, together: int) -> None:
    if not 0 <= val <= 1:
        raise InputError("val", expected="a share in 0..1", got=repr(val))
    for name, value in {"shard_size": shard_size, "together": together}.items():
        if value < 1:
            raise InputError(name, expected="at least 1", got=repr(value))


def _writer(writer: Part) -> Writer:
    made = component("writer", writer)
    assert isinstance(made, Writer)  # noqa: S101  (for the type checker)
    if made.id.startswith("local/"):
        raise InputError(
            "writer",
            expected="a registered one, which workers can make by its name",
            got=type(made).__name__,
            fix="register it through a plugin (see the tutorial)",
        )
    return made


def _classes(pipeline: Pipeline, task: str, given: Sequence[str]) -> tuple[str, ...]:
    """The names of classes but the background."""
    if task == "instances":
        return _labels(pipeline, given)
    if given:
        raise InputError(
            "classes",
            expected="none, as they follow from the pipeline",
            got=", ".join(given),
            fix="leave them out, or ask for the task instances",
        )
    return ("foreground",) if task == "foreground" else _parts(pipeline)


def _parts(pipeline: Pipeline) -> tuple[str, ...]:
    rules = [pipeline.foreground]
    rules += [own["foreground"] for own in pipeline.classes.values() if "foreground" in own]  # type: ignore[misc]
    names = [name for r in rules if isinstance(r, SupportsParts) for name in r.part_names()]
    if not names:
        raise InputError(
            "task parts",
            expected="a foreground rule that names clusters from a fixed list",
            got=pipeline.foreground.id,
            fix="take the rule 'parts', e.g. the preset avatars-parts, or another task",
        )
    return tuple(dict.fromkeys(name for name in names if name != BACKGROUND))


def _labels(pipeline: Pipeline, given: Sequence[str]) -> tuple[str, ...]:
    detector = pipeline.detector
    if detector is None:
        raise InputError(
            "task instances",
            expected="a pipeline with a detector, which tells objects apart",
            got="none",
            fix="take for instance the preset rooms, or another task",
        )
    known: tuple[str, ...] = ()
    if isinstance(detector, SupportsLabels):
        known = tuple(detector.labels())
    strangers = [name for name in given if known and name not in known]
    if strangers:
        raise InputError(
            "classes",
            expected=f"labels of detector {detector.id}: {', '.join(known)}",
            got=repr(strangers[0]),
        )
    names = tuple(dict.fromkeys(given)) or known
    if not names or BACKGROUND in names:
        raise InputError(
            "classes of the task instances",
            expected="the labels of objects",
            got="none, and the detector does not say" if not names else f"{BACKGROUND!r}",
            fix="name them, e.g. --classes 'sofa,coffee table'",
        )
    return names


def _origin(entry: Registered) -> dict[str, str]:
    origin = entry.origin
    return {"id": entry.id, "distribution": origin.distribution, "version": origin.version}


def _versions(writer: Registered) -> dict[str, str]:
    """Versions of covary, of what it computes with, and of what the writer needs."""
    found = {name: installed_version(name) or "not installed" for name in _PACKAGES}
    for module in writer.component.requires:
        if known := installed_version(module):
            found[module] = known
            continue
        # A search through all distributions, for the few modules that are not named as theirs.
        for name in packages_distributions().get(module, ()):
            found[name] = version(name)
    return found


def _inputs(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Each file that the recipe names, by its name in the catalogue or its own, and its sha256."""
    for _, _, spec in recipe.specs():
        for parameter, value in spec.params.items():
            path = _named_file(parameter, value)
            if path is not None:
                name = Path(value).name if path == Path(value).expanduser() else value
                yield name, file_sha256(path)


def _named_file(parameter: str, value: Any) -> Path | None:
    """The file that a parameter names, if it does: a checkpoint of the catalogue, or a path."""
    if not isinstance(value, str) or not value:
        return None
    path = Path(value).expanduser()
    if parameter == "checkpoint" and not path.is_dir():
        return checkpoint_path(value)
    listed = value in {shelved.entry.name for shelved in registry().checkpoints}
    # A choice such as "auto" is no path, even where a file has that name.
    if not (listed or path.suffix or len(path.parts) > 1):
        return None
    try:
        return checkpoint_path(value)
    except (CheckpointError, UnknownNameError, OSError, ValueError):
        return None
