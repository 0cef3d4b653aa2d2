"""What several results files say together: rows by setting and track, fastest first."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from ..report import spread
from .schema import Results, Row, Setting, Track

__all__ = ["CLOSE", "DEFAULT", "Entry", "Group", "Run", "groups", "letters", "plain", "title"]

DEFAULT = "covary/lloyd"
"""What the others are compared with: the clusterer that one gets without asking."""

CLOSE = 1 + 1e-4
"""Inertia over that of a converged Lloyd up to which a result counts as converged too."""

# Size, variants and k of the case that the goals are stated for.
_MAIN = (1024, 50, 3)

_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


@dataclass(frozen=True, slots=True)
class Run:
    """One results file and the letter that it goes by in a report."""

    letter: str
    results: Results


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a report.

    Attributes:
        run: where it was measured.
        row: what was measured.
        default_warm: median warm seconds of the default clusterer in the same run, setting and
            track on the same device; None where it did not run.
    """

    run: Run
    row: Row
    default_warm: float | None = None

    @property
    def name(self) -> str:
        """The short name of a built-in or the id of another's, and what tells it apart."""
        return plain(f"{self.row.id.removeprefix('covary/')} {self.row.variation}")

    @property
    def place(self) -> str:
        """The letter of the run and the device."""
        return plain(f"{self.run.letter}: {self.device}")

    @property
    def device(self) -> str:
        return "CPU" if self.row.device == "cpu" else plain(self.row.device)

    @property
    def is_default(self) -> bool:
        return self.row.id == DEFAULT and not self.row.variation

    @property
    def ok(self) -> bool:
        return self.row.status == "ok"

    @property
    def warm(self) -> float | None:
        """Median seconds of the warm fits; None where there were none."""
        return None if (quartiles := self.quartiles) is None else quartiles[1]

    @property
    def quartiles(self) -> tuple[float, float, float] | None:
        """Lower quartile, median and upper quartile of the warm fits, seconds."""
        if self.row.times is None or not self.row.times.warm:
            return None
        found = spread(self.row.times.warm)
        return found["q1"], found["median"], found["q3"]

    @property
    def has_times(self) -> bool:
        """Whether it ran and its warm times can be drawn on a logarithmic axis."""
        return self.ok and self.quartiles is not None and self.quartiles[0] > 0

    @property
    def ratio(self) -> float | None:
        """Warm seconds over the default's; more than 1 is slower."""
        if self.warm is None or not self.default_warm:
            return None
        return self.warm / self.default_warm

    @property
    def memory(self) -> int | None:
        """Peak extra bytes where the work is done: of the GPU's memory for a GPU."""
        memory = self.row.memory
        if memory is None:
            return None
        return self.host if self.row.device == "cpu" else memory.device

    @property
    def host(self) -> int | None:
        """Peak extra main memory of a warm fit; of the first where only that is known."""
        memory = self.row.memory
        if memory is None:
            return None
        return memory.host if memory.host_warm is None else memory.host_warm

    @property
    def excess(self) -> float | None:
        """Inertia over that of the converged reference; None where it is not known."""
        return None if self.row.quality is None else self.row.quality.reference_ratio

    @property
    def close(self) -> bool:
        """Whether the inertia is known to be that of a converged fit."""
        return self.excess is not None and self.excess <= CLOSE

    @property
    def poor(self) -> bool:
        """Whether the inertia is known to be above that of a converged fit."""
        return self.excess is not None and self.excess > CLOSE


@dataclass(frozen=True, slots=True)
class Group:
    """All rows of a setting and a track: those with times first, the fastest at the top."""

    setting: Setting
    track: Track
    entries: tuple[Entry, ...]

    @property
    def places(self) -> list[str]:
        return sorted({entry.place for entry in self.entries})

    def at(self, place: str) -> list[Entry]:
        """The rows measured there, in order."""
        return [entry for entry in self.entries if entry.place == place]


def letters(results: Sequence[Results]) -> list[Run]:
    """The results files as runs A, B, ..., Z, AA, ..."""
    return [Run(_letter(index), one) for index, one in enumerate(results)]


def groups(runs: Sequence[Run]) -> list[Group]:
    """Every row of the runs in its group; 1024×1024 with 50 variants and k = 3 first."""
    entries: dict[tuple[Setting, Track], list[Entry]] = {}
    for run in runs:
        warm = _default_times(run)
        for row in run.results.rows:
            found = entries.setdefault((row.setting, row.track), [])
            found.append(Entry(run, row, warm.get((row.setting, row.track, row.device))))
    return [
        Group(setting, track, tuple(sorted(entries[setting, track], key=_order)))
        for setting, track in sorted(entries, key=_importance)
    ]


def title(setting: Setting) -> str:
    """The setting in words, without what is at its default."""
    words = [
        plain(setting.world),
        f"{setting.size}×{setting.size}",
        f"{setting.variants} variants",
        f"k = {setting.k}",
    ]
    words += [] if setting.space == "lab" else [plain(setting.space)]
    words += [] if setting.seed == 0 else [f"seed {setting.seed}"]
    words += [] if setting.start == "k-means++" else [f"{setting.start} start"]
    return ", ".join(words)


def plain(text: object) -> str:
    """One line of text without what a terminal or a page would obey instead of show."""
    line = " ".join(_TERMINAL_CODES.sub("", str(text)).split())
    return "".join(c for c in line if unicodedata.category(c)[0] != "C")


def _default_times(run: Run) -> dict[tuple[Setting, Track, str], float]:
    found = {}
    for row in run.results.rows:
        entry = Entry(run, row)
        if entry.is_default and entry.ok and entry.warm is not None:
            found[row.setting, row.track, row.device] = entry.warm
    return found


def _order(entry: Entry) -> tuple[bool, float, str, str, str]:
    warm = math.inf if entry.warm is None else entry.warm
    return not entry.ok, warm, entry.row.status, entry.name, entry.place


def _importance(key: tuple[Setting, Track]) -> tuple[object, ...]:
    setting, track = key
    main = (setting.size, setting.variants, setting.k) == _MAIN
    size, variants = -setting.size, -setting.variants
    words = setting.world, size, variants, setting.k, setting.space, setting.seed
    return not main, *words, track != "same start"


def _letter(index: int) -> str:
    more, index = divmod(index, len(ascii_uppercase))
    return (_letter(more - 1) if more else "") + ascii_uppercase[index]
