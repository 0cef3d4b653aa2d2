"""Two results files against each other: what became slower, hungrier, worse or impossible."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from ..report import spread
from .schema import Results, Row

__all__ = ["Change", "Comparison", "Limits", "compare"]

_MEMORY_FLOOR = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """Ratios, after over before, beyond which a change counts."""

    time: float = 1.1
    """Of the median warm fit; the quartiles must be apart as well."""
    memory: float = 1.1
    """Of the peak memory; differences below 4 MiB never count."""
    inertia: float = 1.0001
    """Of the inertia, each relative to the converged reference."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of one row that is no longer what it was."""

    row: str
    """Which row: backend, setting, track and device."""
    what: Literal["status", "warm fit, s", "host memory, bytes", "device memory, bytes", "inertia"]
    before: float | str
    after: float | str
    worse: bool

    @property
    def ratio(self) -> float | None:
        """After over before; None for words."""
        if isinstance(self.before, str) or isinstance(self.after, str) or not self.before:
            return None
        return self.after / self.before


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that two results files have to say about each other."""

    changes: tuple[Change, ...]
    """Beyond the limits, for better or worse."""
    compared: int
    """Rows that both have."""
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    machines: tuple[str, ...]
    """What the machines and versions differ in."""

    @property
    def regressions(self) -> tuple[Change, ...]:
        """The changes for the worse."""
        return tuple(change for change in self.changes if change.worse)


def compare(before: Results, after: Results, limits: Limits | None = None) -> Comparison:
    """What changed from ``before`` to ``after``, row by row.

    Rows belong together by backend, variation, setting, track and device; versions may differ.
    """
    limits = limits or Limits()
    old, new = _by_name(before), _by_name(after)
    both = [name for name in old if name in new]
    changes = [
        change
        for name in both
        for change in _changes(name, old[name], new[name], limits or Limits())
    ]
    return Comparison(
        changes=tuple(changes),
        compared=len(both),
        only_before=tuple(name for name in old if name not in new),
        only_after=tuple(name for name in new if name not in old),
        machines=tuple(_differences(before.machine, after.machine)),
    )


def _by_name(results: Results) -> dict[str, Row]:
    return {_name(row): row for row in results.rows}


def _name(row: Row) -> str:
    setting = row.setting
    parts = [
        " ".join(filter(None, (row.id, row.variation))),
        f"{setting.world} {setting.size}x{setting.size}",
        f"n = {setting.variants}",
        f"k = {setting.k}",
        "" if setting.space == "lab" else setting.space,
        "" if setting.seed == 0 else f"seed {setting.seed}",
        "" if setting.start == "k-means++" else f"{setting.start} start",
        row.track,
        row.device,
    ]
    return ", ".join(filter(None, parts))


def _changes(name: str, old: Row, new: Row, limits: Limits) -> Iterator[Change]:
    if old.status != new.status:
        words = [f"{row.status}: {row.reason}".removesuffix(": ") for row in (old, new)]
        yield Change(name, "status", words[0], words[1], worse=old.status == "ok")
    if old.times and new.times:
        yield from _times(name, old.times.warm, new.times.warm, limits.time)
    if old.memory and new.memory:
        host, device = "host memory, bytes", "device memory, bytes"
        used = old.memory.host_warm, new.memory.host_warm
        if None in used:  # one of them knows the first fit only
            used = old.memory.host, new.memory.host
        yield from _memory(name, host, used[0], used[1], limits.memory)
        yield from _memory(name, device, old.memory.device, new.memory.device, limits.memory)
    if old.quality and new.quality:
        ratios = old.quality.reference_ratio, new.quality.reference_ratio
        yield from _beyond(name, "inertia", ratios[0], ratios[1], limits.inertia)


def _times(
    name: str, old: tuple[float, ...], new: tuple[float, ...], limit: float
) -> Iterator[Change]:
    """A change of the median whose quartiles are apart, so that noise does not raise an alarm."""
    if not old or not new:
        return
    a, b = spread(old), spread(new)
    if a["q3"] < b["q1"] or b["q3"] < a["q1"]:
        yield from _beyond(name, "warm fit, s", median(old), median(new), limit)


def _memory(
    name: str, what: Any, old: int | None, new: int | None, limit: float
) -> Iterator[Change]:
    if old is not None and new is not None and abs(new - old) > _MEMORY_FLOOR:
        # From nothing to something is a change as well.
        yield from _beyond(name, what, max(old, 1), max(new, 1), limit)


def _beyond(
    name: str, what: Any, old: float | None, new: float | None, limit: float
) -> Iterator[Change]:
    if old is None or new is None:
        return
    if new > old * limit or old > new * limit:
        yield Change(name, what, old, new, worse=new > old)


def _differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield f"{key}: {old.get(key)} -> {new.get(key)}"
