"""Pairs of image and mask to train on: exact, covary's, a baseline's, or of a data set on disk."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

import covary
from covary.evaluation.inputs import open_input
from covary.evaluation.pairs import LabelMap, Listed
from covary.files import output_folder, replacing
from covary.generation import measures, read_manifest
from covary.testing import worlds

from ..baselines import Baseline

__all__ = [
    "Make",
    "Pairs",
    "Refused",
    "Store",
    "by_baseline",
    "by_pipeline",
    "exact",
    "of_dataset",
    "of_photos",
    "photo_file",
]

_TOGETHER = 4


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Images, their masks, and how sure whoever made the masks was."""

    images: Tensor
    """uint8 (N, 3, H, W)."""
    masks: Tensor
    """uint8 (N, H, W), 1 for the content."""
    found: Tensor
    """bool (N,): False where there was no confident foreground."""
    confidence: Tensor
    """float32 (N,) in 0..1, see ``covary.Filters``; 1 where the maker does not say."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice | Tensor) -> Pairs:
        return Pairs(*(getattr(self, one.name)[index] for one in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Pairs:
        """One after another."""
        return Pairs(*(torch.cat([getattr(p, one.name) for p in parts]) for one in fields(cls)))

    @property
    def area(self) -> Tensor:
        """The content's share of each image, float64 (N,)."""
        return self.masks.double().mean(dim=(1, 2))

    def resized(self, side: int) -> Pairs:
        """At another size: images averaged, masks by the nearest pixel."""
        if self.images.shape[-2:] == (side, side):
            return self
        scaled = F.interpolate(
            self.images.float(), size=(side, side), mode="bilinear", antialias=True
        )
        images = scaled.round().clamp(0, 255).to(torch.uint8)
        return replace(self, images=images, masks=_nearest(self.masks, (side, side)))

    @classmethod
    def certain(cls, images: Tensor, masks: Tensor) -> Pairs:
        """Pairs whose maker has no doubts."""
        count = len(images)
        return Pairs(
            images, masks.to(torch.uint8), torch.ones(count, dtype=torch.bool), torch.ones(count)
        )


Refused = Callable[[bool, float, float], str]
"""Why a pair is left out, by found, area and confidence: ``covary.Filters(...).reason``."""

Make = Callable[[Sequence[int]], Pairs]
"""Gives the pairs of some seeds, in their order."""


def exact(side: int, world: str = "avatars") -> Make:
    """Rendered scenes with exact masks."""

    def make(seeds: Sequence[int]) -> Pairs:
        scenes = [worlds.get(world).scene(seed, (side, side)) for seed in seeds]
        images = [scene.images(seed)[0] for seed, scene in zip(seeds, scenes, strict=True)]
        masks = [scene.truth.foreground[0] for scene in scenes]
        return Pairs.certain(torch.stack(images), torch.stack(masks))

    return make


def by_pipeline(pipe: covary.Pipeline, side: int) -> Make:
    """Images of a pipeline's source with the masks of the pipeline."""
    # The soft mask says how sure a mask is.
    pipe = pipe.replace(soft=True)

    def make(seeds: Sequence[int]) -> Pairs:
        return Pairs.joined(
            [_pair(one).resized(side) for one in pipe.map(seeds, together=_TOGETHER)]
        )

    return make


def by_baseline(baseline: Baseline, side: int) -> Make:
    """Images of the generator that a fitted baseline looks at, with its masks."""
    return lambda seeds: Pairs.certain(*baseline.masks(seeds)).resized(side)


def _pair(result: covary.Segmentation) -> Pairs:
    about = measures(result, result.mask)
    return Pairs(
        images=result.image[None],
        masks=result.mask[None].to(torch.uint8),
        found=torch.tensor([about["found"]]),
        confidence=torch.tensor([about["confidence"] or 0.0]),
    )


@dataclass(frozen=True, slots=True)
class Store:
    """Where pairs are kept, so that a stopped run goes on where it was."""

    folder: Path
    """Made if need be."""
    first_seed: int
    """Of the pairs to train on; seeds go up from here."""
    chunk: int = 100
    """Seeds in one file."""

    def collect(
        self,
        make: Make,
        about: Mapping[str, Any],
        count: int,
        refused: Refused = lambda found, area, confidence: "",
    ) -> tuple[Pairs, list[int]]:
        """The first ``count`` pairs that are not refused, and their seeds.

        Args:
            make: gives pairs by seed.
            about: everything that decides on the pairs, as plain data: others get other files.
            count: how many.
            refused: why a pair is left out, or an empty text; others may be refused at no cost.

        Raises:
            InputError: nine of ten pairs are refused.
            OutputError: the folder cannot be written.
        """
        folder = output_folder(self.folder / _digest(about))
        kept: list[Pairs] = []
        used: list[int] = []
        start = self.first_seed
        while len(used) < count:
            seeds = range(start, start + self.chunk)
            chunk = _kept(folder / f"{start}.pt", make, seeds)
            good = _passing(chunk, refused).nonzero()[: count - len(used), 0]
            kept.append(chunk[good])
            used += [seeds[int(i)] for i in good]
            start += self.chunk
            seen = start - self.first_seed
            if seen >= 10 * self.chunk and 10 * len(used) < seen:
                raise covary.InputError(
                    "pairs that pass the filters",
                    expected="a tenth or more",
                    got=f"{len(used)} of {seen}",
                )
        return Pairs.joined(kept), used


def of_dataset(folder: Path, side: int, count: int) -> tuple[Pairs, list[int]]:
    """The first ``count`` pairs to train on in a data set of ``covary generate``, their seeds.

    Raises:
        InputError: there is no such data set, too few pairs, or its writer cannot read.
    """
    _, spec = read_manifest(folder)
    writer = spec.create("writer")
    if not isinstance(writer, covary.SupportsReading):
        raise covary.InputError(
            f"data set {folder}",
            expected="a format that covary can read",
            got=spec.use,
            fix="generate it with --format webdataset",
        )
    samples = list(islice(writer.read(folder, "train"), count))
    if len(samples) < count:
        raise covary.InputError(
            f"pairs to train on in {folder}",
            expected=f"{count}",
            got=f"{len(samples)}",
            fix="ask for fewer: --pairs",
        )
    pairs = [_sample(one) for one in samples]
    return Pairs.joined([one.resized(side) for one in pairs]), [one.seed for one in samples]


def of_photos(photos: Path, truth: Path | None, side: int, some: slice) -> Pairs:
    """Photos with masks by people, by the order of their names; whatever has a class is content.

    Args:
        photos: the root of CelebAMask-HQ or a data set, or else a folder of images.
        truth: masks of these images, of the same names; None where ``photos`` has them.
        side: of the pairs in pixels.
        some: which of them.

    Raises:
        InputError: no such folders, or too few photos.
    """
    listed = open_input(str(photos if truth is None else truth))
    if not isinstance(listed, Listed):
        raise covary.InputError(
            f"masks {truth or photos}", expected="a folder", got="what has masks of any image"
        )
    wanted = range(len(listed))[some]
    if len(wanted) < some.stop - some.start:
        raise covary.InputError(
            f"photos in {photos}",
            expected=f"{some.stop}: those to test on, then those to train on",
            got=f"{len(listed)}",
            fix="ask for fewer: --seeds to test on, --pairs to train on",
        )
    entries = islice(listed.entries(), wanted.start, wanted.stop)
    return Pairs.joined([_photo(one.load(), photos).resized(side) for one in entries])


def _sample(sample: covary.Sample) -> Pairs:
    found = bool(sample.metadata.get("found", True))
    confidence = sample.metadata.get("confidence")
    return Pairs(
        images=sample.image[None],
        masks=(sample.mask > 0).to(torch.uint8)[None],
        found=torch.tensor([found]),
        confidence=torch.tensor([1.0 if confidence is None else float(confidence)]),
    )


def _photo(labels: LabelMap, folder: Path) -> Pairs:
    image = labels.image
    if image is None:
        image = covary.read_image(photo_file(folder, labels.name))
    height, width = image.shape[-2:]
    mask = (labels.labels > 0)[None].to(torch.uint8)
    # CelebAMask-HQ's masks are half as large as its photos.
    return Pairs.certain(image[None], _nearest(mask, (height, width)))


def photo_file(folder: Path, name: str) -> Path:
    """The one file of that name in the folder, whatever it ends in.

    Raises:
        InputError: there is none, or there are several.
    """
    files = sorted(folder.glob(f"{glob.escape(name)}.*"))
    if len(files) != 1:
        got = ", ".join(file.name for file in files) or "none"
        raise covary.InputError(f"photo {name} in {folder}", expected="one file", got=got)
    return files[0]


def _nearest(masks: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(masks.shape[-2:]) == size:
        return masks
    made = F.interpolate(masks[:, None].float(), size=size, mode="nearest-exact")
    return made[:, 0].to(masks.dtype)


def _kept(path: Path, make: Make, seeds: Sequence[int]) -> Pairs:
    """What ``path`` holds: the pairs of ``seeds``, made first where there is no such file."""
    if path.exists():
        return Pairs(**torch.load(path, weights_only=True))
    pairs = make(seeds)
    with replacing(path) as temporary:
        torch.save({one.name: getattr(pairs, one.name) for one in fields(pairs)}, temporary)
    return pairs


def _passing(pairs: Pairs, refused: Refused) -> Tensor:
    """Which pairs to use, bool (N,)."""
    columns = (pairs.found.tolist(), pairs.area.tolist(), pairs.confidence.tolist())
    return torch.tensor([not refused(*row) for row in zip(*columns, strict=True)])


def _digest(about: Mapping[str, Any]) -> str:
    text = json.dumps(about, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
