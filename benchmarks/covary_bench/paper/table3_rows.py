"""The rows of table 3: which pairs each network is trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import covary
from covary.errors import unknown_name

from ..baselines import BASELINES, create
from .pairs import Make, Pairs, Store, by_baseline, by_pipeline, exact, of_dataset, of_photos
from .reference import Reference, exact_mask
from .table1 import fit, worlds_pipeline
from .table3 import EXACT, Part, Row

__all__ = ["Setup"]

WORLD = "avatars"
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Setup:
    """What the rows are made of."""

    pipe: covary.Pipeline
    """Gives the generator and covary's masks of its images."""
    reference: Reference
    """Judges masks of generated images."""
    side: int
    """Of all images, pixels."""
    seeds: range
    """Of the test."""
    store: Store
    """Keeps the pairs."""
    work: Path
    """Folder of the baselines' checkpoints."""
    filters: covary.Filters
    """Which pairs of the row ``ours`` are used."""
    data: Path | None = None
    """A data set of ``covary generate``, for a row of its own."""
    photos: Path | None = None
    """Photos to test on, see `of_photos`; None is rendered avatars."""
    truth: Path | None = None
    """Their masks, where they are not beside them."""

    def __post_init__(self) -> None:
        if self.truth is not None and self.photos is None:
            raise covary.InputError(
                "--truth",
                expected="photos that it has the masks of",
                got="none",
                fix="add --photos",
            )
        first, tested = self.store.first_seed, self.seeds
        if self.photos is None and first < tested.stop:
            raise covary.InputError(
                f"--first-pair {first}",
                expected=f"{tested.stop} or more",
                got=f"seeds that go up into the test's, {tested.start} to {tested.stop - 1}",
            )

    def names(self) -> tuple[str, ...]:
        """The rows that there may be, in the order of the table."""
        rendered = self.photos is None
        return (
            EXACT,
            *(("worlds",) if rendered else ()),
            "ours",
            *(("mixed",) if rendered else ()),
            *(("data",) if self.data is not None else ()),
            "judge",
            *BASELINES,
        )

    def row(self, name: str) -> Row:
        """The row of that name.

        Raises:
            UnknownNameError: there is none; the message suggests the closest.
        """
        if name == "data" and self.data is None:
            raise covary.InputError("the row data", expected="a data set", fix="give it by --data")
        if name not in self.names():
            raise unknown_name("the row", name, self.names())
        if name in BASELINES:
            return self._baseline(name)
        found: Row = getattr(self, f"_{name}")()
        return found

    def tested_on(self) -> str:
        """What the images of the test are."""
        if self.photos is None:
            return "rendered avatars with exact masks"
        return f"the first {len(self.seeds)} photos of {self.photos.name}"

    def tests(self) -> Pairs:
        """The images to test on, with their true masks."""
        if self.photos is None:
            return exact(self.side, WORLD)(self.seeds)
        return of_photos(self.photos, self.truth, self.side, slice(0, len(self.seeds)))

    def _exact(self) -> Row:
        if self.photos is not None:
            return self._other_photos(self.photos)
        about = {"world": WORLD, "side": self.side, "masks": "exact"}
        return Row(EXACT, "exact", [self._part(exact(self.side, WORLD), about, self._exact_masks)])

    def _other_photos(self, photos: Path) -> Row:
        """The photos that come after those of the test."""

        def collect(count: int) -> tuple[Pairs, Sequence[int]]:
            some = slice(len(self.seeds), len(self.seeds) + count)
            return of_photos(photos, self.truth, self.side, some), range(some.start, some.stop)

        return Row(EXACT, "exact", [Part(collect, _own_masks, {"photos": photos.name})])

    def _worlds(self) -> Row:
        pipe = worlds_pipeline(self.side, "cpu")
        make = by_pipeline(pipe, self.side)
        return Row("worlds", "ours", [self._part(make, self._recipe(pipe), self._exact_masks)])

    def _ours(self) -> Row:
        make, about = by_pipeline(self.pipe, self.side), self._recipe(self.pipe)

        def collect(count: int) -> tuple[Pairs, Sequence[int]]:
            return self.store.collect(make, about, count, self.filters.reason)

        filtered = {**about, "filters": asdict(self.filters)}
        return Row("ours", "ours", [Part(collect, self._judged, filtered)])

    def _mixed(self) -> Row:
        return Row("mixed", "ours", [*self._worlds().parts, *self._ours().parts])

    def _data(self) -> Row:
        folder = self.data
        assert folder is not None  # names() has seen to it

        def collect(count: int) -> tuple[Pairs, Sequence[int]]:
            return of_dataset(folder, self.side, count)

        return Row("data", "ours", [Part(collect, self._judged, {"data": folder.name})])

    def _judge(self) -> Row:
        def make(seeds: Sequence[int]) -> Pairs:
            ctx = covary.RunContext()
            queries = [covary.Query(seed=seed) for seed in seeds]
            images = torch.stack([self.pipe.source.open(query, ctx).image for query in queries])
            return Pairs.certain(images, self.reference.masks(images)).resized(self.side)

        about = {**self._recipe(self.pipe), "masks": self.reference.about()}
        return Row("judge", "judge", [self._part(make, about, self._judged)])

    def _baseline(self, name: str) -> Row:
        fitted: list[Make] = []

        def make(seeds: Sequence[int]) -> Pairs:
            # Not before its pairs are asked for: it may take minutes.
            if not fitted:
                baseline = fit(name, self.pipe, self.reference, self.work / name)
                fitted.append(by_baseline(baseline, self.side))
            return fitted[0](seeds)

        about = {
            **self._recipe(self.pipe),
            "masks": name,
            "settings": dict(create(name).settings),
            "judge": self.reference.about(),
        }
        return Row(name, "baseline", [self._part(make, about, self._judged)])

    def _part(
        self,
        make: Make,
        about: dict[str, Any],
        truth: Callable[[Pairs, Sequence[int]], Tensor],
    ) -> Part:
        return Part(lambda count: self.store.collect(make, about, count), truth, about)

    def _exact_masks(self, pairs: Pairs, seeds: Sequence[int]) -> Tensor:
        return torch.stack([exact_mask(WORLD, seed, self.side) for seed in seeds])

    def _judged(self, pairs: Pairs, seeds: Sequence[int]) -> Tensor:
        """The judge's masks of the images."""
        return torch.cat([self.reference.masks(some) for some in pairs.images.split(_AT_ONCE)])

    def _recipe(self, pipe: covary.Pipeline) -> dict[str, Any]:
        return {"recipe": pipe.recipe.model_dump(mode="json"), "side": self.side}


def _own_masks(pairs: Pairs, seeds: Sequence[int]) -> Tensor:
    return pairs.masks.bool()
