"""A picture of what is in a data set: its first pairs on one sheet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .._drawing import Marked, overlay
from ..images import encode_png
from ..sheet import Drawing, Tile, contact_sheet
from ..types import Box
from ._durable import replacing_for_good

if TYPE_CHECKING:
    from ..samples import Sample, Shard
    from ._job import Job

__all__ = ["Preview", "write_preview"]

_PAIRS = 24
"""How many pairs the sheet shows."""


class Preview:
    """The first pairs of a shard, kept aside: nobody need read the data set to draw its sheet.

    Args:
        most: how many to keep.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._samples: list[Sample] = []

    @classmethod
    def of(cls, shard: Shard, job: Job) -> Preview:
        """That of a shard: empty unless it is one of its split's first, which fill the sheet."""
        number = int(shard.name.rpartition("-")[2])
        return cls(_PAIRS if number * job.shard_size < _PAIRS else 0)

    def add(self, sample: Sample) -> None:
        """Keep a pair if there is room."""
        if len(self._samples) < self._most:
            self._samples.append(sample)

    def write(self, path: Path) -> None:
        """Write it, or remove an old one if there is nothing in it.

        Raises:
            OutputError: it cannot be written.
        """
        tensors, about = {}, []
        for number, sample in enumerate(self._samples):
            tensors[f"{number}.image"] = sample.image.contiguous()
            tensors[f"{number}.mask"] = sample.mask.contiguous()
            if sample.instances is not None:
                tensors[f"{number}.instances"] = sample.instances.contiguous()
            objects = [(one.category, one.score, one.box.corners) for one in sample.objects]
            about.append({"seed": sample.seed, "objects": objects})
        if tensors:
            # save_file would tell of a full disk with an error of its own.
            data = save(tensors, {"about": json.dumps(about)})
            with replacing_for_good(path) as temporary:
                temporary.write_bytes(data)
        else:
            path.unlink(missing_ok=True)


def write_preview(previews: Iterable[Path], job: Job, path: Path) -> bool:
    """Draw the sheet from the previews of shards, in their order; False where they are empty.

    Raises:
        OutputError: it cannot be written.
    """
    tiles = [tile for preview in previews for tile in _tiles(preview, job)][:_PAIRS]
    if tiles:
        with replacing_for_good(path) as temporary:
            encode_png(contact_sheet(tiles), temporary)
    else:
        path.unlink(missing_ok=True)
    return bool(tiles)


def _tiles(preview: Path, job: Job) -> Iterator[Tile]:
    try:
        with safe_open(preview, framework="pt") as file:
            for number, about in enumerate(json.loads(file.metadata()["about"])):
                names = ("image", "mask", "instances")
                known = [f"{number}.{name}" for name in names]
                there = set(file.keys())
                yield _tile(job, about, *(file.get_tensor(k) for k in known if k in there))
    except (OSError, SafetensorError):
        return  # its shard has no pairs


def _tile(
    job: Job,
    about: dict[str, Any],
    image: torch.Tensor,
    mask: torch.Tensor,
    instances: torch.Tensor | None = None,
) -> Tile:
    found, scene = bool(mask.any()), None
    if job.task == "parts":
        scene = Drawing(image, mask.to(torch.int32), parts=job.classes[1:])
    elif instances is not None:
        marks = [
            Marked(job.classes[category], score, Box(*box).corners)
            for category, score, box in about["objects"]
        ]
        scene = Drawing(image, instances, tuple(marks))
    return Tile(str(about["seed"]), overlay(image, mask > 0), found, scene)
