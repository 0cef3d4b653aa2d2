"""The data card: what a data set is, how it was made, what may be done with it, what it is not."""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .._registry import find, registry
from ..catalogue import Checkpoint
from ..errors import CovaryError, UnknownNameError
from ..interfaces import SupportsFrontMatter, SupportsReading, Writer
from ..samples import DataSet
from ._filters import Filters
from ._folder import MANIFEST, PIPELINE, PREVIEW
from ._job import Job

if TYPE_CHECKING:
    from ._finish import Counts

__all__ = ["card", "command"]

_HUB_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M")
_CLASSES = {
    "foreground": "The mask says where the content of the image is.",
    "parts": "The mask says which part of the content each pixel is; background is the rest.",
    "instances": "The mask says what kind of object each pixel belongs to; the objects are also "
    "numbered one by one.",
}


def card(job: Job, counts: Counts, writer: Writer, dataset: DataSet, *, preview: bool) -> str:
    """The data set's README, in Markdown.

    Args:
        job: what was made.
        counts: what it came to.
        writer: of the format.
        dataset: with its shards and pairs.
        preview: whether there is a picture to show.
    """
    sections = [
        _front_matter(job, counts, writer, dataset),
        f"# {job.name}\n\n{_summary(job, counts)}",
        f"![The first pairs, with their masks drawn in]({PREVIEW})" if preview else "",
        _pairs(counts, dataset),
        _classes(job),
        _layout(job, writer, dataset),
        _left_out(job, counts),
        _making(job, writer),
        _licences(job),
        _limits(job),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def command(job: Job, writer: Writer) -> str:
    """The command that makes the data set again, from the recipe beside it."""
    words = ["covary", "generate", "--file", PIPELINE, "--seeds", job.seeds]
    words += ["--format", job.writer.use.removeprefix("covary/"), "--task", job.task]
    if job.task == "instances":
        words += ["--classes", ",".join(job.classes[1:])]
    words += ["--val", _exact(job.val), "--shard-size", str(job.shard_size)]
    words += ["--together", str(job.together)] if job.together != 1 else []
    words += ["--seed", str(job.seed)] if job.seed is not None else []
    default, filters = Filters(), job.filters
    words += [] if filters.require_foreground else ["--keep-without-foreground"]
    for name in ("min_area", "max_area", "min_confidence"):
        value = getattr(filters, name)
        if value != getattr(default, name):
            words += [f"--{name.replace('_', '-')}", _exact(value)]
    for name, value in _own_params(writer).items():
        words += ["--set", f"writer.{name}={json.dumps(value)}"]
    # Left to itself it would take a GPU where there is one, which rounds differently.
    words += ["--device", job.kind_of_device]
    return shlex.join([*words, "--name", job.name, "-o", "DIR"])


def _exact(value: float) -> str:
    """A number that reads back as the same, in few digits where they do: ``1``, ``0.05``."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _front_matter(job: Job, counts: Counts, writer: Writer, dataset: DataSet) -> str:
    total = sum(counts.pairs.values())
    size = next(
        (name for power, name in enumerate(_HUB_SIZES, start=3) if total < 10**power), "n>100M"
    )
    data: dict[str, Any] = {
        "pretty_name": job.name,
        **_hub_licence(job),
        "task_categories": ["image-segmentation"],
        "size_categories": [size],
        "tags": ["synthetic", "covary"],
    }
    if isinstance(writer, SupportsFrontMatter):
        data |= writer.front_matter(dataset)
    # JSON is YAML, so values of any shape need no other library.
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in data.items()]
    return "\n".join(["---", *lines, "---"])


def _hub_licence(job: Job) -> dict[str, str]:
    """A licence by its name on the hub where there is one for all, else where to read of them."""
    weights = {entry.weights_license for entry in _checkpoints(job)}
    if weights == {"Apache-2.0"} and len(job.inputs) == len(_checkpoints(job)):
        return {"license": "apache-2.0"}
    return {"license": "other", "license_name": "see-the-licences-below"}


def _own_params(writer: Writer) -> dict[str, Any]:
    """The writer's parameters that are not its defaults."""
    own: dict[str, Any] = writer.params.model_dump(mode="json", exclude_defaults=True)
    return own


def _summary(job: Job, counts: Counts) -> str:
    total = sum(counts.pairs.values())
    weights = " and ".join(_code(entry.name) for entry in _checkpoints(job))
    source = f"source {_code(job.recipe.source.use)}{weights and f' with the weights {weights}'}"
    detector = job.recipe.detector
    boxes = f" inside the boxes of the detector {_code(detector.use)}" if detector else ""
    return (
        f"{total:,} images with segmentation masks, made by covary {job.versions['covary']}. The "
        f"images come from the {source}, and so do the masks: it makes variants of each image that "
        "keep its structure and change its appearance, pixels that vary together are "
        f"clustered{boxes}, and the rule {_code(job.recipe.foreground.use)} chooses among the "
        "clusters. No segmentation network took part, and nobody drew a mask."
    )


def _pairs(counts: Counts, dataset: DataSet) -> str:
    shards = [shard.split for shard in dataset.shards]
    rows = [
        (split, f"{number:,}", f"{shards.count(split):,}")
        for split, number in counts.by_split().items()
        if split in shards
    ]
    return (
        f"## Pairs\n\n{_table(('split', 'pairs', 'shards'), rows)}\n\n"
        "A pair's key is its seed with leading zeros. Which split it is in follows from a hash of "
        "the seed alone, so more seeds can be added without moving any."
    )


def _classes(job: Job) -> str:
    rows = [(str(value), name) for value, name in enumerate(job.classes)]
    return f"## Classes\n\n{_CLASSES[job.task]}\n\n{_table(('value', 'class'), rows)}"


def _layout(job: Job, writer: Writer, dataset: DataSet) -> str:
    about = inspect.getdoc(type(writer)) or ""
    # Docstrings mark code with two signs, Markdown with one.
    text = f"## Files\n\n{about.replace('``', '`')}"
    if isinstance(writer, SupportsFrontMatter) and "configs" in writer.front_matter(dataset):
        text += (
            "\n\nHugging Face's `datasets` loads it from this folder or from a hub:\n\n```python\n"
            'from datasets import load_dataset\n\ndata = load_dataset(".")\n```'
        )
    if isinstance(writer, SupportsReading):
        own = [f"{name}={value!r}" for name, value in _own_params(writer).items()]
        arguments = ", ".join([f'"{job.writer.use}"', 'kind="writer"', *own])
        text += (
            "\n\nWith covary, each pair as tensors:\n\n```python\n"
            "from pathlib import Path\n\nimport covary\n\n"
            f"writer = covary.create({arguments})\n"
            'for sample in writer.read(Path("."), "train"):\n'
            "    print(sample.key, sample.image.shape, sample.mask.unique())\n```"
        )
    return (
        f"{text}\n\nThe metadata of a pair are `area`, the foreground's share of the image; "
        "`confidence`, the mean over the foreground of how far its pixels are from the border "
        "between foreground and background clusters, 0 on it and 1 at a foreground centre; "
        "`found`; and `reason`, by which the rule chose.\n\n"
        f"`{MANIFEST}` lists every shard with its seeds and the sha256 of its files."
    )


def _left_out(job: Job, counts: Counts) -> str:
    filters = job.filters
    asked = ["a confident foreground"] if filters.require_foreground else []
    if filters.min_area > 0:
        asked.append(f"an area of at least {filters.min_area:g}")
    if filters.max_area < 1:
        asked.append(f"an area of at most {filters.max_area:g}")
    if filters.min_confidence > 0:
        asked.append(f"a confidence of at least {filters.min_confidence:g}")
    rule = f"A pair needs {', '.join(asked)}." if asked else "There were no filters."
    # By name where two are as frequent: the order in which shards were counted is chance.
    listed = sorted(counts.left_out.items(), key=lambda item: (-item[1], item[0]))
    rows = [(kind, f"{number:,}") for kind, number in listed]
    rows += [("failed", f"{counts.failures:,}")] if counts.failures else []
    if not rows:
        return f"## What was left out\n\n{rule} No seed was left out."
    return (
        f"## What was left out\n\n{rule} `{MANIFEST}` has the reason of each seed.\n\n"
        f"{_table(('reason', 'seeds'), rows)}"
    )


def _making(job: Job, writer: Writer) -> str:
    rows = [
        (where, _code(data["id"]), f"{data['distribution']} {data.get('version', '')}".strip())
        for where, data in job.components.items()
    ]
    device = job.kind_of_device.upper()
    text = (
        f"## How it was made\n\n```console\n$ {command(job, writer)}\n```\n\n"
        f"`{PIPELINE}` is the whole recipe. With the versions below the command gives the same "
        f"bytes on a {device} of the same kind, however often it is interrupted.\n\n"
        f"{_table(('stage', 'component', 'from'), rows)}\n\n"
        f"{_table(('package', 'version'), list(job.versions.items()))}"
    )
    if job.inputs:
        files = [(name, _code(digest)) for name, digest in job.inputs.items()]
        text += f"\n\n{_table(('file', 'sha256'), files)}"
    return text


def _licences(job: Job) -> str:
    rows = [
        (
            f"weights {_code(entry.name)}" + (f": {entry.summary}" if entry.summary else ""),
            entry.code_license or "not stated",
            entry.weights_license or "not stated",
        )
        for entry in _checkpoints(job)
    ]
    rows += [(_code(name), licence or "not stated", "") for name, licence in _code_licences(job)]
    unknown = [name for name in job.inputs if name not in {e.name for e in _checkpoints(job)}]
    rows += [(f"file {_code(name)}", "", "not known to covary's catalogue") for name in unknown]
    return (
        "## Licences\n\n"
        "What a generator's licence allows may bind its images too, and what was trained on them: "
        "read that of the weights before you use or publish this data set.\n\n"
        f"{_table(('what', 'licence of the code', 'licence of the weights'), rows)}"
    )


def _limits(job: Job) -> str:
    lines = [
        "Nobody has looked at these masks one by one. They are as good as the clusters: where "
        "content and background vary alike, the border between them is wrong.",
        "The images show what the source shows, with its gaps and its bias; a model that is "
        "trained on them alone has seen nothing else.",
    ]
    if job.filters != Filters(require_foreground=False):
        lines.append(
            "Filters remove what is doubtful, and so what is hard: the pairs are easier than the "
            "source's images at large."
        )
    if job.task == "parts":
        lines.append(
            "Parts are told apart by where they usually are; a part that an image does not show, "
            "or that shares its cluster with another, is missing from its mask."
        )
    if job.task == "instances":
        lines.append(
            "There are only objects that the detector saw; the others are background in the mask."
        )
    listed = "\n".join(f"- {line}" for line in lines)
    return f"## Limits\n\n{listed}"


def _checkpoints(job: Job) -> tuple[Checkpoint, ...]:
    """The catalogue's entries of the weights that the recipe names."""
    found = []
    for name in job.inputs:
        try:
            found.append(registry().checkpoint(name))
        except UnknownNameError:
            continue  # a file of the user's own
    return tuple(found)


def _code_licences(job: Job) -> Iterator[tuple[str, str]]:
    seen = set()
    specs = [(kind, spec.use) for _, kind, spec in job.recipe.specs()]
    for kind, name in [*specs, ("writer", job.writer.use)]:
        if (kind, name) in seen or name.startswith("local/"):
            continue
        seen.add((kind, name))
        try:
            yield name, find(name, kind).component.license
        except CovaryError:
            yield name, ""


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _code(text: str) -> str:
    return f"`{text}`"
