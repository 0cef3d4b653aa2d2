"""The result of a pipeline: cluster maps, the mask, and how they came about."""

from __future__ import annotations

import io
import json
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .errors import InputError
from .images import encode_png, output_folder, replacing, to_pil
from .types import Box, ClusterMap, Crop, Foreground

__all__ = ["PALETTE", "Region", "Segmentation", "read_labels"]

# Paul Tol's "bright" and "muted" sets: told apart by colour-blind readers and in print.
PALETTE = (
    (68, 119, 170), (238, 102, 119), (34, 136, 51), (204, 187, 68), (102, 204, 238),
    (170, 51, 119), (187, 187, 187), (51, 34, 136), (136, 204, 238), (68, 170, 153),
    (17, 119, 51), (153, 153, 51), (221, 204, 119), (204, 102, 119), (136, 34, 85),
)  # fmt: skip
_ROWS = 512
_OUTSIDE = {"P": 255, "I;16": 65535}
"""Index in ``clusters.png`` of pixels that lie in no box, by the picture's mode."""
_SOMETIMES = frozenset({"mask.png", "reconstruction.png", "photo-overlay.png", "photo-mask.png"})
"""Pictures that not every result has."""


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One clustered area: the whole image, or a box of it."""

    box: Box
    """Where it lies in the image."""
    clusters: ClusterMap
    """Labels of the pixels inside the box."""
    foreground: Foreground
    """Which of these clusters are the content."""


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

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return int(self.image.shape[1]), int(self.image.shape[2])

    @property
    def found(self) -> bool:
        """Whether any region has a confident foreground."""
        return any(region.foreground.found for region in self.regions)

    @property
    def reason(self) -> str:
        """Why this foreground, or why none, region by region."""
        if not self.regions:
            return "there is no box to segment in"
        return "; ".join(region.foreground.reason for region in self.regions)

    @cached_property
    def mask(self) -> torch.Tensor:
        """Foreground of all regions placed back, bool (H, W); not a result unless ``found``."""
        mask = torch.zeros(self.size, dtype=torch.bool)
        for region in self.regions:
            mask[region.box.slices] |= region.foreground.mask.cpu()
        return mask

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

        Where nothing was found the whole image is greyed.
        """
        return _overlay(self.image, self.mask)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``image.png clusters.png overlay.png mask.png provenance.json`` to ``folder``.

        All files are written beside their names and take them when the last one is whole,
        ``provenance.json`` at the end, so its presence says that the result is complete; if
        writing fails, an earlier result in the folder stays as it was. ``mask.png`` is left out,
        and a stale one removed, where no foreground was found: an all-black mask would pass for
        a result. ``clusters.png`` is a palette image whose indices are the cluster ids (16-bit
        grey for more than 255 clusters); :func:`covary.segmentation.read_labels` reads it. Of a
        photo there are also ``reconstruction.png`` (what the generator makes of it) and, in the
        photo's own pixels, ``photo-overlay.png`` and ``photo-mask.png``.

        Raises:
            OutputError: the folder cannot be written.
        """
        target = output_folder(folder)
        pictures = self._pictures()
        provenance = json.dumps(self.provenance, indent=2) + "\n"
        with ExitStack() as stack:  # gives the names in reverse: provenance.json last
            temporary = stack.enter_context(replacing(target / "provenance.json"))
            temporary.write_text(provenance, encoding="utf-8")
            for name, picture in pictures.items():
                encode_png(picture, stack.enter_context(replacing(target / name)))
            # Stopped between here and the end, a mixture of two results must not look whole.
            (target / "provenance.json").unlink(missing_ok=True)
            for name in _SOMETIMES - pictures.keys():
                (target / name).unlink(missing_ok=True)
        return target

    def _pictures(self) -> dict[str, torch.Tensor | Image.Image]:
        pictures: dict[str, torch.Tensor | Image.Image] = {
            "image.png": self.image,
            "clusters.png": self._cluster_picture(),
            "overlay.png": self.overlay(),
        }
        if self.found:
            pictures["mask.png"] = self.mask
        if self.reconstruction is not None:
            pictures["reconstruction.png"] = self.reconstruction
        if self.crop is not None:
            pictures["photo-overlay.png"] = _overlay(self.crop.photo.cpu(), self.photo_mask)
            if self.found:
                pictures["photo-mask.png"] = self.photo_mask
        return pictures

    def _cluster_picture(self) -> Image.Image:
        index = self.labels.numpy()
        if index.max() >= _OUTSIDE["P"]:
            return Image.fromarray(np.where(index < 0, _OUTSIDE["I;16"], index).astype(np.uint16))
        picture = Image.fromarray(np.where(index < 0, _OUTSIDE["P"], index).astype(np.uint8))
        picture.putpalette(_palette_bytes())
        return picture

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
    expected, fix = "a clusters.png that covary wrote", "segment the image again"
    try:
        with Image.open(path) as picture:
            mode, index = picture.mode, np.array(picture).astype(np.int32)
    except (OSError, SyntaxError) as error:
        raise InputError(f"labels {path}", expected=expected, got=str(error), fix=fix) from error
    if mode not in _OUTSIDE:
        raise InputError(f"labels {path}", expected=expected, got=f"mode {mode}", fix=fix)
    index[index == _OUTSIDE[mode]] = -1
    return torch.from_numpy(index)


def _overlay(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    shown = torch.empty_like(image)
    for first in range(0, len(mask), _ROWS):
        rows = slice(first, first + _ROWS)
        part = image[:, rows].float()
        grey = part.mean(dim=0, keepdim=True) * 0.35 + 20
        shown[:, rows] = torch.where(mask[rows], part, grey).round().to(torch.uint8)
    shown[:, _outline(mask)] = 255
    return shown


def _outline(mask: torch.Tensor) -> torch.Tensor:
    """The outermost pixels of ``mask`` (4-neighbours), one pixel for every 256 of its side.

    Not along the image's own border.
    """
    inner = mask
    for _ in range(max(1, round(min(mask.shape) / 256))):
        smaller = inner.clone()
        smaller[1:] &= inner[:-1]
        smaller[:-1] &= inner[1:]
        smaller[:, 1:] &= inner[:, :-1]
        smaller[:, :-1] &= inner[:, 1:]
        inner = smaller
    return mask & ~inner


def _palette_bytes() -> bytes:
    colours = [PALETTE[i % len(PALETTE)] for i in range(_OUTSIDE["P"])]
    return bytes(channel for colour in [*colours, (0, 0, 0)] for channel in colour)
