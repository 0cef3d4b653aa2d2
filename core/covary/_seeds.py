"""Sets of seeds, of any size, as the ranges that they are made of."""

from __future__ import annotations

import operator
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, SupportsIndex

from .errors import InputError

__all__ = ["Seeds", "seed_range"]

_RANGE = re.compile(r"(\d{1,20})-(\d{1,20})", re.ASCII)
_ONE = re.compile(r"\d{1,20}", re.ASCII)
"""More digits are no seed; a great many Python would not even read."""
_END = 2**32
"""numpy.random.RandomState, the published convention of generators, takes no seed beyond."""


def seed_range(text: str) -> range | None:
    """The seeds of ``"7"`` or of an inclusive range ``"0-15"``; None where it is neither.

    Raises:
        InputError: a range that runs backwards, or a seed beyond 2^32-1.
    """
    if _ONE.fullmatch(text):
        first = last = int(text)
    elif match := _RANGE.fullmatch(text):
        first, last = int(match[1]), int(match[2])
    else:
        return None
    if last < first:
        fix = f"write {last}-{first}"
        raise InputError(f"range {text!r}", expected="first-last", got="it backwards", fix=fix)
    if last >= _END:
        raise InputError(f"range {text!r}", expected="seeds in 0..2^32-1", got=str(last))
    return range(first, last + 1)


@dataclass(frozen=True, slots=True)
class Seeds:
    """A set of seeds, ascending; ten million of them take no more room than two."""

    ranges: tuple[range, ...] = ()
    """Ascending; no two touch or overlap."""

    @classmethod
    def of(cls, seeds: str | Iterable[int]) -> Seeds:
        """The set of seeds in any form: ``"0-99,200-299"``, a range, a list.

        Raises:
            InputError: text of another form, or something that is no seed.
        """
        if isinstance(seeds, Seeds):
            return seeds
        if isinstance(seeds, str):
            return cls._joined(_parsed(seeds))
        if isinstance(seeds, range) and seeds.step == 1:
            ends = [_checked(seeds[0]), _checked(seeds[-1])] if seeds else []
            return cls((range(ends[0], ends[1] + 1),)) if ends else cls()
        return cls._joined(_runs(map(_checked, seeds)))

    @classmethod
    def _joined(cls, given: Iterable[range]) -> Seeds:
        joined: list[range] = []
        for one in sorted(given, key=lambda one: one.start):
            if joined and one.start <= joined[-1].stop:
                joined[-1] = range(joined[-1].start, max(joined[-1].stop, one.stop))
            else:
                joined.append(one)
        return cls(tuple(joined))

    def __len__(self) -> int:
        return sum(map(len, self.ranges))

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self.ranges)

    def __contains__(self, seed: object) -> bool:
        return isinstance(seed, SupportsIndex) and seed in self._around(operator.index(seed))

    def __le__(self, other: Seeds) -> bool:
        """Whether all of them are in the other."""
        # The ranges of a set do not touch, so one of ours lies within one of theirs, or not at all.
        return all(one.stop <= other._around(one.start).stop for one in self.ranges)

    def _around(self, seed: int) -> range:
        """The range that has ``seed``, else an empty one."""
        # Of the ranges that begin at or before it the last, as there may be a great many.
        number = bisect_right(self.ranges, seed, key=lambda one: one.start) - 1
        found = self.ranges[number] if number >= 0 else range(0)
        return found if seed in found else range(0)

    def __str__(self) -> str:
        """As :meth:`of` reads it: ``0-99,200``."""
        return ",".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in self.ranges)


def _runs(seeds: Iterable[int]) -> Iterator[range]:
    """Seeds that follow one another as one range, so that long lists come to a few."""
    run = range(0)
    for seed in seeds:
        if run and seed == run.stop:
            run = range(run.start, seed + 1)
            continue
        if run:
            yield run
        run = range(seed, seed + 1)
    if run:
        yield run


def _parsed(text: str) -> Iterator[range]:
    for part in text.split(",") if text else ():
        found = seed_range(part.strip())
        if found is None:
            raise InputError(
                f"seeds {text!r}",
                expected="seeds and ranges of them, e.g. 0-9999 or 0-99,200",
                got=repr(part),
            )
        yield found


def _checked(seed: Any) -> int:
    try:
        value = -1 if isinstance(seed, bool) else operator.index(seed)
    except TypeError:
        value = -1
    if not 0 <= value < _END:
        raise InputError("seed", expected="an integer in 0..2^32-1", got=repr(seed))
    return value
