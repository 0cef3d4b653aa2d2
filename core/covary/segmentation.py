"""The result of a pipeline: cluster maps, the mask, and how they came about."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from . import _drawing
from ._drawing import PALETTE
from .errors import InputError, OutputError
from .images import encode_png, output_folder, replacing, stored_values, to_pil
from .types import Box, ClusterMap, Crop, Foreground

__all__ = ["PALETTE", "Object", "Region", "Segmentation", "read_instances", "read_labels"]

_OUTSIDE = {"P": 255, "I;16": 65535}
"""Index in ``clusters.png`` of pixels that lie in no box, by the picture's mode."""
_SOMETIMES = frozenset(
    {
        "mask.png", "raw-mask.png", "soft.png", "instances.png", "objects.json", "parts.png",
        "reconstruction.png", "photo-overlay.png", "photo-mask.png",
    }
)  # fmt: skip
"""Files that not every result has."""


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One clustered area: the whole image, or a box of it."""

    box: Box
    """Where it lies in the image."""
    clusters: ClusterMap
    """Labels of the pixels inside the box."""
    foreground: Foreground
    """Which of these clusters are the content."""
    label: str = ""
    """What the detector says it is."""
    score: float = 1.0
    """How sure the detector is, in 0..1."""
    soft: torch.Tensor | None = None
    """float32 (h, w) in 0..1, how much of the foreground each pixel is; None if not asked for."""
    refined: torch.Tensor | None = None
    """bool (h, w), what refiners made of the mask; None where none ran."""

    @property
    def mask(self) -> torch.Tensor:
        """Its content, bool (h, w): refined where refiners ran; not a result unless ``found``."""
        return self.foreground.mask if self.refined is None else self.refined

    @property
    def found(self) -> bool:
        """Whether it has a confident foreground, of which any refiners left something."""
        return self.foreground.found and bool(self.mask.any())

    @property
    def reason(self) -> str:
        """Why this foreground, or why none."""
        if self.foreground.found and not self.found:
            return f"the refiners left nothing of it; before them: {self.foreground.reason}"
        return self.foreground.reason


@dataclass(frozen=True, slots=True, eq=False)
class Object:
    """One object of the image: what it is, and which pixels are its own."""

    label: str
    """What the detector says it is; empty without a detector."""
    score: float
    """How sure the detector is, in 0..1."""
    box: Box
    """Where it was looked for."""
    inside: torch.Tensor
    """bool (h, w), its pixels within the box; those that belong to another object are not."""
    size: tuple[int, int]
    """(H, W) of the image."""
    reason: str
    """Why this mask, or why it is empty."""

    @property
    def mask(self) -> torch.Tensor:
        """Its pixels, bool (H, W); made anew at each call."""
        mask = torch.zeros(self.size, dtype=torch.bool)
        mask[self.box.slices] = self.inside
        return mask

    @property
    def area(self) -> int:
        """Its number of pixels."""
        return int(self.inside.sum())

    @property
    def found(self) -> bool:
        """Whether it has any pixels."""
        return bool(self.inside.any())


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a pipeline made of one query."""

    image: torch.Tensor
    """X_0, uint8 (3, H, W), on the CPU."""
    regions: tuple[Region, ...]
    """What was clustered: one region over the whole image, or one per box; may be empty."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """What made it, as plain data; see ``covary.provenance``."""
    crop: Crop | None = None
    """Where X_0 was cut from a photo, if it was."""
    reconstruction: torch.Tensor | None = None
    """What the generator makes of a photo X_0, uint8 (3, H, W); a bad one means a bad mask."""
    detected: bool = False
    """Whether the regions are what a detector found."""
    known_parts: tuple[str, ...] = ()
    """Every name of a part that the foreground rules may give, where they say so."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return int(self.image.shape[1]), int(self.image.shape[2])

    @property
    def found(self) -> bool:
        """Whether any region has a confident foreground."""
        return any(region.found for region in self.regions)

    @property
    def reason(self) -> str:
        """Why this foreground, or why none, region by region; of detected objects, how many."""
        if not self.regions:
            missing = "the detector found nothing" if self.detected else ""
            return missing or "there is no box to segment in"
        if not self.detected:
            return "; ".join(region.reason for region in self.regions)
        found = sum(region.found for region in self.regions)
        words = f"{found} of {len(self.regions)} detected objects have a confident foreground"
        return words if found else f"{words}; of the first: {self.regions[0].reason}"

    @cached_property
    def mask(self) -> torch.Tensor:
        """Foreground of all regions placed back, bool (H, W); not a result unless ``found``.

        What the refiners made of it, where there are any; see ``raw_mask``.
        """
        return self._placed([region.mask for region in self.regions])

    @cached_property
    def raw_mask(self) -> torch.Tensor:
        """The clusters' own foreground, before any refiner, bool (H, W)."""
        return self._placed([region.foreground.mask for region in self.regions])

    @cached_property
    def soft(self) -> torch.Tensor | None:
        """How much of the foreground each pixel is, float32 (H, W) in 0..1, or None.

        There is one if the pipeline was asked for it (``soft=True``) and had something to
        segment. Where boxes overlap, the largest value counts. With refiners it is what they
        made of it; ``mask`` is then where it is above one half.
        """
        given = [region for region in self.regions if region.soft is not None]
        if not given:
            return None
        soft = torch.zeros(self.size)
        for region in given:
            place = soft[region.box.slices]
            torch.maximum(place, region.soft.cpu(), out=place)  # type: ignore[union-attr]
        return soft

    @cached_property
    def instances(self) -> torch.Tensor:
        """Which object each pixel belongs to, int32 (H, W): 0 none, i + 1 = ``objects[i]``.

        Where the masks of several overlap, the pixel belongs to the one with the smallest box: an
        object inside another or in front of it is mostly the smaller one. Of boxes of one size,
        the higher score decides, then the earlier place among the regions.
        """
        instances = torch.zeros(self.size, dtype=torch.int32)

        def strength(index: int) -> tuple[int, float, int]:
            region = self.regions[index]
            return -region.box.area, region.score, -index

        for index in sorted(range(len(self.regions)), key=strength):
            region = self.regions[index]
            instances[region.box.slices].masked_fill_(region.mask.cpu(), index + 1)
        return instances

    @cached_property
    def objects(self) -> tuple[Object, ...]:
        """One object for each region, in the same order; every pixel is of one at most.

        An object without confident foreground has an empty mask, and its reason.
        """
        return tuple(self._object(index) for index in range(len(self.regions)))

    @cached_property
    def part_names(self) -> tuple[str, ...]:
        """The names of parts: ``known_parts``, then others that were given, by the alphabet."""
        names = {name for region in self.regions for name in region.foreground.names}
        return (*self.known_parts, *sorted(names - {"", *self.known_parts}))

    @cached_property
    def parts(self) -> torch.Tensor:
        """Which part each pixel of an object is, int32 (H, W): 0 none, i + 1 = ``part_names[i]``.

        Several clusters of one name are one part. All 0 where the rule names no clusters.
        """
        parts = torch.zeros(self.size, dtype=torch.int32)
        numbers = {name: number for number, name in enumerate(self.part_names, start=1)}
        for region, one in zip(self.regions, self.objects, strict=True):
            if not region.foreground.names:
                continue
            number = torch.tensor([numbers.get(name, 0) for name in region.foreground.names])
            named = number.to(torch.int32)[region.clusters.labels.cpu().long()]
            place = parts[region.box.slices]
            place[one.inside] = named[one.inside]
        return parts

    @cached_property
    def photo_mask(self) -> torch.Tensor:
        """``mask`` in the pixels of the photo that X_0 was cut from, bool (H, W).

        Raises:
            InputError: X_0 was not cut from a photo.
        """
        if self.crop is None:
            raise InputError(
                "photo_mask", expected="an image cut from a photo", got="none", fix="use mask"
            )
        return self.crop.place(self.mask)

    @cached_property
    def labels(self) -> torch.Tensor:
        """Cluster ids of the whole image, int32 (H, W), -1 outside all boxes.

        With several regions the ids of each follow those of the one before; where boxes overlap
        the later one is shown.
        """
        labels = torch.full(self.size, -1, dtype=torch.int32)
        first = 0
        for region in self.regions:
            labels[region.box.slices] = region.clusters.labels.cpu() + first
            first += region.clusters.k
        return labels

    def overlay(self) -> torch.Tensor:
        """The image with its background greyed and the mask outlined, uint8 (3, H, W).

        Where nothing was found the whole image is greyed. Of detected objects each has a colour
        by its label, its box and its name.
        """
        return self._drawn_objects() if self.detected else _drawing.overlay(self.image, self.mask)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``image.png clusters.png overlay.png mask.png provenance.json`` to ``folder``.

        All files are written beside their names and take them when the last one is whole,
        ``provenance.json`` at the end, so its presence says that the result is complete; if
        writing fails, an earlier result in the folder stays as it was. ``mask.png`` is left out,
        and a stale one removed, where no foreground was found: an all-black mask would pass for
        a result. ``clusters.png`` is a palette image whose indices are the cluster ids (16-bit
        grey for more than 255 clusters); :func:`covary.segmentation.read_labels` reads it.

        Where there is more to say there are more files, and stale ones are removed:

        - of a photo ``reconstruction.png`` (what the generator makes of it) and, in the photo's
          own pixels, ``photo-overlay.png`` and ``photo-mask.png``;
        - with a detector ``instances.png``, whose indices are those of ``instances`` (16-bit grey
          for more than 255 objects), and ``objects.json`` with the label, score, box, area and
          reason of each;
        - with refiners ``raw-mask.png``, the clusters' own mask;
        - with soft masks ``soft.png``, 16-bit grey, 65535 for 1;
        - where the foreground rule names clusters ``parts.png``, a palette image whose index 0 is
          no part and i + 1 is ``part_names[i]``, which provenance lists.

        Raises:
            OutputError: the folder cannot be written, or there are more clusters than 16 bits
                tell apart.
        """
        target = output_folder(folder)
        pictures, texts = self._pictures(), self._texts()
        with ExitStack() as stack:  # gives the names in reverse: provenance.json last
            for name, text in texts.items():
                stack.enter_context(replacing(target / name)).write_text(text, encoding="utf-8")
            for name, picture in pictures.items():
                encode_png(picture, stack.enter_context(replacing(target / name)))
            # Stopped between here and the end, a mixture of two results must not look whole.
            (target / "provenance.json").unlink(missing_ok=True)
            for name in _SOMETIMES - pictures.keys() - texts.keys():
                (target / name).unlink(missing_ok=True)
        return target

    def _placed(self, masks: Sequence[torch.Tensor]) -> torch.Tensor:
        """The union of one mask for each region, bool (H, W)."""
        placed = torch.zeros(self.size, dtype=torch.bool)
        for region, mask in zip(self.regions, masks, strict=True):
            placed[region.box.slices] |= mask.cpu()
        return placed

    def _object(self, index: int) -> Object:
        region = self.regions[index]
        inside = self.instances[region.box.slices] == index + 1
        reason = region.reason
        if region.found and not bool(inside.any()):
            reason = "all of its pixels belong to objects with smaller boxes"
        return Object(region.label, region.score, region.box, inside, self.size, reason)

    def _pictures(self) -> dict[str, torch.Tensor | Image.Image]:
        pictures: dict[str, torch.Tensor | Image.Image] = {
            "image.png": self.image,
            "clusters.png": self._cluster_picture(),
            "overlay.png": self.overlay(),
        }
        if self.found:
            pictures["mask.png"] = self.mask
            if any(region.refined is not None for region in self.regions):
                pictures["raw-mask.png"] = self.raw_mask
        if self.soft is not None:
            grey = (self.soft.double() * 65535).round().numpy().astype(np.uint16)
            pictures["soft.png"] = Image.fromarray(grey)
        if self.detected:
            pictures["instances.png"] = _drawing.indexed(self.instances, self._object_colours())
        if self.part_names:
            colours = _drawing.name_colours(self.part_names)
            pictures["parts.png"] = _drawing.indexed(
                self.parts, [colours[n] for n in self.part_names]
            )
        if self.reconstruction is not None:
            pictures["reconstruction.png"] = self.reconstruction
        if self.crop is not None:
            pictures["photo-overlay.png"] = _drawing.overlay(self.crop.photo.cpu(), self.photo_mask)
            if self.found:
                pictures["photo-mask.png"] = self.photo_mask
        return pictures

    def _texts(self) -> dict[str, str]:
        """The files that hold no picture, provenance first."""
        texts = {"provenance.json": self.provenance}
        if self.detected:
            from .provenance import objects_data

            texts["objects.json"] = {
                "format": 1,
                "size": list(self.size),
                "objects": objects_data(self),
            }
        return {name: json.dumps(data, indent=2) + "\n" for name, data in texts.items()}

    def _cluster_picture(self) -> Image.Image:
        index = self.labels.numpy()
        highest = int(index.max(initial=0))
        if highest >= _OUTSIDE["I;16"]:
            raise OutputError(
                "clusters.png",
                expected=f"at most {_OUTSIDE['I;16']:,} clusters, which 16 bits tell apart",
                got=f"{highest + 1:,}",
                fix="ask for fewer clusters, or raise the detector's score threshold",
            )
        if highest >= _OUTSIDE["P"]:
            return Image.fromarray(np.where(index < 0, _OUTSIDE["I;16"], index).astype(np.uint16))
        picture = Image.fromarray(np.where(index < 0, _OUTSIDE["P"], index).astype(np.uint8))
        colours = [PALETTE[number % len(PALETTE)] for number in range(_OUTSIDE["P"])]
        picture.putpalette(_drawing.palette_bytes(colours))
        return picture

    def _drawn_objects(self) -> torch.Tensor:
        """Every object in the colour of its label, with its box and name."""
        colours = self._object_colours()
        picture = to_pil(_drawing.tinted(self.image, self.instances, colours))
        marks = [_drawing.Marked(one.label, one.score, one.box.corners) for one in self.regions]
        _drawing.draw_objects(picture, marks, colours)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()

    def _object_colours(self) -> list[_drawing.Colour]:
        labels = [region.label for region in self.regions]
        return _drawing.object_colours(labels, _drawing.name_colours(labels))

    def _repr_png_(self) -> bytes:
        """The overlay, shown by notebooks."""
        buffer = io.BytesIO()
        to_pil(self.overlay()).save(buffer, format="PNG")
        return buffer.getvalue()


def read_labels(path: str | os.PathLike[str]) -> torch.Tensor:
    """The cluster ids in a ``clusters.png``, int32 (H, W), -1 outside all boxes.

    Raises:
        InputError: no such file, or not one that :meth:`covary.Segmentation.save` wrote.
    """
    index, mode = _read_index(path, "labels", "clusters.png")
    index[index == _OUTSIDE[mode]] = -1
    return index


def read_instances(path: str | os.PathLike[str]) -> torch.Tensor:
    """The numbers in an ``instances.png`` or ``parts.png``, int32 (H, W), 0 for none.

    Raises:
        InputError: no such file, or not one that :meth:`covary.Segmentation.save` wrote.
    """
    return _read_index(path, "instances", "instances.png")[0]


def _read_index(path: str | os.PathLike[str], what: str, name: str) -> tuple[torch.Tensor, str]:
    """The indices of a picture, int32 (H, W), and its mode."""
    return stored_values(path, f"{what} {path}", f"a {name} that covary wrote", _OUTSIDE)
