"""Predictions and truths, brought together by name without holding more than one of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch

from .._failures import HOPELESS, in_words
from .._registry import raising
from ..errors import InputError
from ..types import check_image
from .classes import Classes

__all__ = [
    "Entry",
    "Judge",
    "LabelMap",
    "Listed",
    "Match",
    "Matching",
    "Pair",
    "SupportsBatches",
    "SupportsFingerprint",
    "natural",
]

Resize = Literal["nearest"]

_INTEGERS = (torch.bool, torch.uint8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A prediction and the truth of the same image.

    Raises:
        InputError: maps of other dtypes, or of different sizes.
    """

    name: str
    """Of the image."""
    prediction: torch.Tensor
    """The class of every pixel, bool or integers (H, W)."""
    truth: torch.Tensor
    """As ``prediction``, or 255 for pixels that are left out."""
    image: torch.Tensor | None = None
    """uint8 (3, H, W), RGB, of any size; only drawn."""
    found: bool = True
    """False: no confident foreground, so the prediction is empty and no answer."""

    def __post_init__(self) -> None:
        for what, labels in (("prediction", self.prediction), ("truth", self.truth)):
            if (
                not isinstance(labels, torch.Tensor)
                or labels.dtype not in _INTEGERS
                or labels.ndim != 2
                or not labels.numel()
            ):
                got = f"{type(labels).__name__} {getattr(labels, 'dtype', '')}".rstrip()
                raise InputError(
                    f"{what} of {self.name}",
                    expected="bool or integers (H, W)",
                    got=f"{got} {tuple(getattr(labels, 'shape', ()))}",
                )
        if self.image is not None:
            check_image(self.image, f"image of {self.name}")
        if self.prediction.shape != self.truth.shape:
            raise InputError(
                f"sizes of {self.name}",
                expected=f"a prediction of the truth's {_size(self.truth)}",
                got=_size(self.prediction),
                fix="give it in the size of the truth; --resize nearest scales it",
            )


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """What an input says of one image."""

    name: str
    """Of the image: a seed, or a file's name without its ending."""
    labels: torch.Tensor
    """Integers (H, W), indices into the input's classes."""
    image: torch.Tensor | None = None
    """uint8 (3, H, W), where the input has it."""
    found: bool = True
    """False: no confident foreground."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One map of an input, read when it is asked for."""

    name: str
    load: Callable[[], LabelMap]
    stamp: str = ""
    """Another one where the files that it is read from have changed; empty without files."""


@runtime_checkable
class Listed(Protocol):
    """An input that knows its images: a folder, a data set, a pipeline with its seeds."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by the values of its maps; the first is ``background``."""

    def __len__(self) -> int:
        """How many maps it has."""

    def entries(self) -> Iterator[Entry]:
        """Its maps by ascending names, each once; numbers count as such, so 9 comes before 10."""

    def describe(self) -> dict[str, Any]:
        """What it is, as plain data."""


@runtime_checkable
class Judge(Protocol):
    """An input that has a map of whatever image it is asked about: a renderer, a segmenter."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by the values of its maps; the first is ``background``."""

    def judge(self, given: LabelMap) -> LabelMap:
        """Its map of the image of ``given``.

        Raises:
            InputError: it cannot tell from what is given.
        """

    def describe(self) -> dict[str, Any]:
        """What it is, as plain data."""


@runtime_checkable
class SupportsBatches(Protocol):
    """A judge that is faster for several images at a time."""

    def judge_many(self, given: Sequence[LabelMap]) -> list[LabelMap]:
        """What ``judge`` gives for each.

        Raises:
            InputError: it cannot tell of one of them.
        """


@runtime_checkable
class SupportsFingerprint(Protocol):
    """An input that says what its maps depend on beside what it describes.

    Figures that a stopped run has kept are used again only where that is the same.
    """

    def fingerprint(self) -> dict[str, Any]:
        """Versions, weights, files of the whole, as plain data."""


def natural(name: str) -> tuple[bool, int, str]:
    """The place of a name among others: numbers by value, then text; ``7`` and ``007`` are one."""
    return (False, int(name), "") if re.fullmatch(r"[0-9]+", name) else (True, 0, name)


@dataclass(frozen=True, slots=True)
class Match:
    """An image that both inputs can say something of."""

    name: str
    prediction: Entry | None
    """None: the prediction is asked about the truth."""
    truth: Entry | None
    """None: the truth is asked about the prediction."""

    @property
    def stamp(self) -> str:
        """Another one where a file of either has changed."""
        return " ".join(one.stamp for one in (self.prediction, self.truth) if one is not None)


@dataclass(slots=True)
class Matching:
    """The pairs of two inputs, and what had no partner or could not be read.

    Args:
        prediction: what is judged.
        truth: what it is judged by; at least one of the two lists its images.
        classes: how their values are numbered.
        ignore: a value of the truth's own maps that is left out.
        resize: ``"nearest"`` scales predictions of another size to the truth's; None refuses.
    """

    prediction: Listed | Judge
    truth: Listed | Judge
    classes: Classes
    ignore: int | None = None
    resize: Resize | None = None
    missing: list[str] = field(default_factory=list)
    """Names in the truth that have no prediction."""
    extra: list[str] = field(default_factory=list)
    """Names in the prediction that have no truth."""
    failed: dict[str, str] = field(default_factory=dict)
    """Name -> why it could not be judged."""

    def __len__(self) -> int:
        """How many pairs there are at most."""
        return min(len(one) for one in (self.prediction, self.truth) if isinstance(one, Listed))

    def pairs(self, report: Callable[[str], None] = lambda name: None) -> Iterator[Pair]:
        """The pairs by name, one at a time.

        Args:
            report: called with a name before its maps are read.

        Raises:
            CovaryError: what would fail for every image.
        """
        for match in self.matches():
            yield from self.read([match], report)

    def matches(self) -> Iterator[Match]:
        """What there is of both, by name; nothing is read."""
        ours, theirs = self.prediction, self.truth
        if isinstance(ours, Listed) and isinstance(theirs, Listed):
            yield from self._merged(ours.entries(), theirs.entries())
        elif isinstance(ours, Listed):
            yield from (Match(entry.name, entry, None) for entry in ours.entries())
        elif isinstance(theirs, Listed):
            yield from (Match(entry.name, None, entry) for entry in theirs.entries())

    def read(
        self, matches: Sequence[Match], report: Callable[[str], None] = lambda name: None
    ) -> Iterator[Pair]:
        """Their pairs, all of which are held at a time; those that fail are left out.

        Args:
            matches: some of ``matches()``.
            report: called with a name before its maps are read.

        Raises:
            CovaryError: what would fail for every image.
        """
        ours, theirs = dict[str, LabelMap](), dict[str, LabelMap]()
        for match in matches:
            report(match.name)
            with self._noting(match.name):
                for side, entry in ((ours, match.prediction), (theirs, match.truth)):
                    if entry is not None:
                        side[match.name] = entry.load()
        if not isinstance(self.truth, Listed):
            theirs = self._judged(self.truth, ours)
        elif not isinstance(self.prediction, Listed):
            ours = self._judged(self.prediction, theirs)
        for match in matches:
            pair = None
            if match.name in ours and match.name in theirs:
                with self._noting(match.name):
                    pair = self._pair(match.name, ours.pop(match.name), theirs.pop(match.name))
            if pair is not None:
                yield pair

    def _judged(self, judge: Judge, given: dict[str, LabelMap]) -> dict[str, LabelMap]:
        """What a judge says of each of them, as far as it can."""
        if len(given) > 1 and isinstance(judge, SupportsBatches):
            try:
                return dict(zip(given, judge.judge_many(list(given.values())), strict=True))
            except HOPELESS:
                raise
            except Exception:  # noqa: S110
                pass  # one of them alone, or too little memory for all: each shows for itself
        judged = dict[str, LabelMap]()
        for name, one in given.items():
            with self._noting(name):
                judged[name] = judge.judge(one)
        return judged

    @contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        """Note what goes wrong in the block as a failure of that image alone."""
        try:
            yield
        except HOPELESS:
            raise
        except Exception as error:  # a plugin's own, too, is of this image alone
            if raising():
                raise
            self.failed[name] = in_words(error)

    def _merged(self, ours: Iterator[Entry], theirs: Iterator[Entry]) -> Iterator[Match]:
        """Those of equal names; both sides are in order, so each is passed once."""
        one, other = next(ours, None), next(theirs, None)
        while one is not None and other is not None:
            if natural(one.name) < natural(other.name):
                self.extra.append(one.name)
                one = next(ours, None)
            elif natural(other.name) < natural(one.name):
                self.missing.append(other.name)
                other = next(theirs, None)
            else:
                yield Match(other.name, one, other)
                one, other = next(ours, None), next(theirs, None)
        for rest, last, names in ((ours, one, self.extra), (theirs, other, self.missing)):
            names.extend([last.name] if last is not None else [])
            names.extend(entry.name for entry in rest)

    def _pair(self, name: str, prediction: LabelMap, truth: LabelMap) -> Pair:
        ours = self.classes.of_prediction(prediction.labels, name)
        theirs = self.classes.of_truth(truth.labels, name, self.ignore)
        if self.resize is not None and ours.shape != theirs.shape:
            ours = _nearest(ours, theirs)
        image = truth.image if prediction.image is None else prediction.image
        return Pair(name, ours, theirs, image, prediction.found)


def _nearest(labels: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Labels uint8 (H, W) at another size: of each pixel, the one that its centre falls in."""
    size = tuple(like.shape)
    scaled = torch.nn.functional.interpolate(labels[None, None], size=size, mode="nearest-exact")
    return scaled[0, 0]


def _size(labels: torch.Tensor) -> str:
    """Width x height, as pictures are measured."""
    return f"{labels.shape[1]}x{labels.shape[0]}"
