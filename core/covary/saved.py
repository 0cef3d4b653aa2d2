"""Results to be put to use: read back from the folders they were saved in, or as they are."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .errors import InputError
from .images import read_image, stored_values
from .provenance import read_provenance, saved_query
from .segmentation import Object, Segmentation, read_instances, read_labels
from .types import Box

__all__ = ["SavedResult", "as_saved"]

_AGAIN = "segment the image again"
_ABOVE = float(np.nextafter(np.float32(0.5), np.float32(1)))
"""The smallest share that is foreground."""


@dataclass(frozen=True, slots=True, eq=False)
class SavedResult:
    """What a folder of :meth:`covary.Segmentation.save` holds, apart from the clusters' centres."""

    name: str
    """A short name fit for a file: the folder's, or the seed or photo that was segmented."""
    image: torch.Tensor
    """X_0, uint8 (3, H, W)."""
    objects: tuple[Object, ...]
    """Detected objects, or the whole foreground as one; those without pixels were not found."""
    labels: torch.Tensor
    """Cluster ids, int32 (H, W), -1 outside all boxes."""
    parts: torch.Tensor
    """int32 (H, W): 0 none, i + 1 = ``part_names[i]``."""
    part_names: tuple[str, ...]
    """Names of parts; none where the foreground rule names no clusters."""
    soft: torch.Tensor | None
    """How much of the foreground each pixel is, float32 (H, W) in 0..1, if it was asked for."""
    reason: str
    """Why this foreground, or why none."""
    folder: Path | None = None
    """Where it was saved."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return int(self.image.shape[1]), int(self.image.shape[2])

    @property
    def found(self) -> bool:
        """Whether there is any foreground."""
        return any(one.found for one in self.objects)

    @property
    def mask(self) -> torch.Tensor:
        """The foreground, bool (H, W); not a result unless ``found``."""
        return self.instances > 0

    @property
    def share(self) -> torch.Tensor | None:
        """The soft mask, or None; moved to the mask's side of 0.5 where the two differ."""
        return self.share_of(self.mask)

    def share_of(self, mask: torch.Tensor) -> torch.Tensor | None:
        """The soft mask of some of the objects: above 0.5 within ``mask``, 0 in other objects."""
        if self.soft is None:
            return None
        others = self.mask & ~mask
        below = self.soft.clamp(max=0.5).masked_fill(others, 0)
        return torch.where(mask, self.soft.clamp(min=_ABOVE), below)

    @property
    def instances(self) -> torch.Tensor:
        """int32 (H, W): 0 none, i + 1 = ``objects[i]``.

        Raises:
            InputError: two objects claim one pixel.
        """
        instances = torch.zeros(self.size, dtype=torch.int32)
        for number, one in enumerate(self.objects, start=1):
            place = instances[one.box.slices]
            if bool((place[one.inside] > 0).any()):
                raise InputError(
                    f"object {number} of result {self.name}",
                    expected="pixels of its own",
                    got="some that an object before it has as well",
                    fix="give each pixel to one object; Segmentation.objects does",
                )
            place[one.inside] = number
        return instances

    @classmethod
    def of(cls, result: Segmentation, name: str = "") -> SavedResult:
        """A result in memory as if it had been saved and read back.

        Args:
            result: what a pipeline gave.
            name: for its files; "" takes the seed or the photo's name.
        """
        if not name:
            name = saved_query(result.provenance).name if result.provenance else "result"
        objects = result.objects
        if not result.detected:
            objects = (_whole(result.mask, result.reason),)
        return cls(
            name=name,
            image=result.image,
            objects=objects,
            labels=result.labels,
            parts=result.parts,
            part_names=result.part_names,
            soft=result.soft,
            reason=result.reason,
        )

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> SavedResult:
        """The result in a folder.

        Raises:
            InputError: there is no whole result, or its files do not belong together.
        """
        folder = Path(folder)
        data = read_provenance(folder)
        outcome = data.get("result", {})
        image = read_image(folder / "image.png")
        names = tuple(outcome.get("parts", ()))
        labels = read_labels(folder / "clusters.png")
        parts = read_instances(folder / "parts.png") if names else torch.zeros_like(labels)
        maps = {"clusters.png": labels, "parts.png": parts}
        soft = mask = None
        if (folder / "soft.png").exists():
            soft = maps["soft.png"] = _read_soft(folder / "soft.png")
        if outcome.get("found"):
            mask = maps["mask.png"] = _read_mask(folder / "mask.png")
        reason = str(outcome.get("reason", ""))
        if (folder / "objects.json").exists():
            maps["instances.png"] = read_instances(folder / "instances.png")
            objects = _read_objects(folder / "objects.json", maps["instances.png"])
        else:
            found = torch.zeros(image.shape[1:], dtype=torch.bool) if mask is None else mask
            objects = (_whole(found, reason),)
        for name, one in maps.items():
            if one.shape != image.shape[1:]:
                expected = f"{tuple(image.shape[1:])}, the size of image.png"
                got = str(tuple(one.shape))
                raise InputError(str(folder / name), expected=expected, got=got, fix=_AGAIN)
        return cls(
            name=folder.resolve().name, image=image, objects=objects, labels=labels, parts=parts,
            part_names=names, soft=soft, reason=reason, folder=folder,
        )  # fmt: skip


def as_saved(result: SavedResult | Segmentation | str | os.PathLike[str]) -> SavedResult:
    """A result in any of the forms that a user may have."""
    if isinstance(result, SavedResult):
        return result
    if isinstance(result, Segmentation):
        return SavedResult.of(result)
    return SavedResult.read(result)


def _whole(mask: torch.Tensor, reason: str) -> Object:
    """The foreground of a whole image as one object."""
    height, width = mask.shape
    return Object("", 1.0, Box(0, 0, width, height), mask, (height, width), reason)


def _read_mask(path: Path) -> torch.Tensor:
    values = _read_grey(path, "L")
    if bool(((values > 0) & (values < 255)).any()):
        raise InputError(
            str(path), expected="a mask of 0 and 255", got="greys between them", fix=_AGAIN
        )
    return values > 0


def _read_soft(path: Path) -> torch.Tensor:
    return _read_grey(path, "I;16").double().div(65535).float()


def _read_grey(path: Path, mode: str) -> torch.Tensor:
    """The values of a grey picture, int32 (H, W)."""
    expected = f"a picture of mode {mode}, as covary writes it"
    return stored_values(path, str(path), expected, {mode})[0]


def _read_objects(path: Path, instances: torch.Tensor) -> tuple[Object, ...]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != 1:
            raise ValueError(f"format {data['format']}")
        objects = tuple(_object(one, instances) for one in data["objects"])
    except (OSError, ValueError, KeyError, TypeError, InputError) as error:
        got = f"{type(error).__name__}: {error}"
        expected = "the objects of instances.png beside it, format 1"
        raise InputError(str(path), expected=expected, got=got, fix=_AGAIN) from error
    if int(instances.max()) > len(objects):
        got = f"{len(objects)}, of which instances.png shows number {int(instances.max())}"
        raise InputError(str(path), expected="all objects", got=got, fix=_AGAIN)
    return objects


def _object(data: dict[str, Any], instances: torch.Tensor) -> Object:
    size = int(instances.shape[0]), int(instances.shape[1])
    box = Box(*data["box"]).inside(size)
    inside = instances[box.slices] == data["id"]
    if int(inside.sum()) != data["area"]:
        raise ValueError(f"object {data['id']} has {int(inside.sum())} pixels, not {data['area']}")
    return Object(data["label"], data["score"], box, inside, size, data["reason"])
