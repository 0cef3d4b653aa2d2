"""What a data set is made of: pairs of image and mask, the shards that hold them, the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from .errors import InputError
from .interfaces import BACKGROUND
from .types import Box, check_image

__all__ = ["BACKGROUND", "DataSet", "Sample", "SampleObject", "Shard", "Task", "check_sample"]

Task = Literal["foreground", "parts", "instances"]
"""What the classes of a mask are: the content, its parts, or the labels of its objects."""

_MOST_CLASSES = 256


@dataclass(frozen=True, slots=True)
class SampleObject:
    """One object of a pair, of which it may have several."""

    category: int
    """Its class, an index into the classes of the data set; never 0."""
    box: Box
    """Where the detector saw it."""
    score: float = 1.0
    """How sure the detector is, in 0..1."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """An image and its mask.

    Raises:
        InputError: a field of another type or shape than it states, or of another size.
    """

    key: str
    """Its name in the data set, the seed with leading zeros: ``000000042``."""
    seed: int
    """The seed of its query."""
    image: torch.Tensor
    """uint8 (3, H, W), RGB, on the CPU."""
    mask: torch.Tensor
    """uint8 (H, W), the class of every pixel: an index into the classes of the data set."""
    instances: torch.Tensor | None = None
    """int32 (H, W), 0 for none and i + 1 for ``objects[i]``; None where the task knows none."""
    objects: tuple[SampleObject, ...] = ()
    """The objects, in the order in which ``instances`` numbers them."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What else there is to say of it, as plain data: share of the foreground, confidence."""

    def __post_init__(self) -> None:
        what = f"sample {self.key}"
        size = tuple(check_image(self.image, f"image of {what}").shape[1:])
        given = {"mask": (self.mask, torch.uint8)}
        if self.instances is not None:
            given["instances"] = (self.instances, torch.int32)
        for name, (values, dtype) in given.items():
            if values.dtype != dtype or tuple(values.shape) != size:
                raise InputError(
                    f"{name} of {what}",
                    expected=f"{str(dtype).removeprefix('torch.')} {size}, as its image",
                    got=f"{str(values.dtype).removeprefix('torch.')} {tuple(values.shape)}",
                )
        if self.instances is not None and int(self.instances.max()) > len(self.objects):
            raise InputError(
                f"instances of {what}",
                expected=f"numbers of its {len(self.objects)} objects, or 0",
                got=str(int(self.instances.max())),
            )


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a data set that is written in one go: all of it, or none."""

    name: str
    """Its split and number: ``train-00003``."""
    split: str
    """``train`` or ``val``."""
    seeds: tuple[int, ...]
    """The seeds of its queries, ascending; a filter may have left some of them out."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """What a data set is, for the files that describe it.

    Raises:
        InputError: the first class is not the background, two have one name, or they are too many.
    """

    name: str
    """The name of its folder."""
    task: Task
    """What the classes are."""
    classes: tuple[str, ...]
    """Names by the values of masks; the first is ``background``. 256 at most."""
    shards: tuple[Shard, ...] = ()
    """All its shards, by name."""
    pairs: Mapping[str, int] = field(default_factory=dict)
    """Number of pairs in each split."""

    def __post_init__(self) -> None:
        if not self.classes or self.classes[0] != BACKGROUND:
            raise InputError(
                f"classes of data set {self.name}",
                expected=f"{BACKGROUND!r} first",
                got=repr(list(self.classes[:3])),
            )
        if again := [name for name, times in Counter(self.classes).items() if times > 1]:
            raise InputError(
                f"classes of data set {self.name}",
                expected="different names",
                got=f"{again[0]!r} twice",
            )
        if len(self.classes) > _MOST_CLASSES:
            raise InputError(
                f"classes of data set {self.name}",
                expected=f"{_MOST_CLASSES} at most, which 8 bits tell apart",
                got=str(len(self.classes)),
            )


def check_sample(sample: Sample, dataset: DataSet) -> Sample:
    """``sample`` itself if it fits the data set: classes that it has, instances as its task says.

    Raises:
        InputError: a mask or an object of another class, instances missing, or not asked for.
    """
    what, most = f"sample {sample.key}", len(dataset.classes) - 1
    with_instances = dataset.task == "instances"
    if (sample.instances is not None) != with_instances or (sample.objects and not with_instances):
        raise InputError(
            what,
            expected=f"{'' if with_instances else 'no '}instances, as the task is {dataset.task}",
            got="none" if with_instances else "some",
        )
    if int(sample.mask.max()) > most:
        raise InputError(
            f"mask of {what}", expected=f"classes in 0..{most}", got=str(int(sample.mask.max()))
        )
    for each in sample.objects:
        if not 1 <= each.category <= most:
            raise InputError(
                f"object of {what}", expected=f"a class in 1..{most}", got=str(each.category)
            )
    return sample
