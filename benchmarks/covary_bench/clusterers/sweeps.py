"""How time grows with N, D and k: the settings of a report that differ in one of them only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from .merged import Entry, Group
from .schema import Setting, Track

__all__ = ["Axis", "Sweep", "sweeps"]

Axis = Literal["N", "D", "k"]

_FIELDS: dict[Axis, str] = {"N": "size", "D": "variants", "k": "k"}
_VALUES: dict[Axis, Callable[[Setting], int]] = {
    "N": lambda setting: setting.size**2,
    "D": lambda setting: 3 * setting.variants,
    "k": lambda setting: setting.k,
}


@dataclass(frozen=True, slots=True)
class Sweep:
    """Settings that differ along one axis.

    Attributes:
        axis: pixels N, features D, or clusters k.
        setting: one of them; what it says besides the axis holds for all.
        track: as the rows.
        place: where it was measured.
        lines: for each backend, its row at each value of the axis.
    """

    axis: Axis
    setting: Setting
    track: Track
    place: str
    lines: dict[str, dict[int, Entry]] = field(default_factory=dict)

    @property
    def points(self) -> int:
        return sum(map(len, self.lines.values()))

    @property
    def fixed(self) -> str:
        """The other two axes, in words."""
        known: Mapping[Axis, str] = {
            "N": f"{self.setting.size}×{self.setting.size}",
            "D": f"{self.setting.variants} variants",
            "k": f"k = {self.setting.k}",
        }
        others = [text for axis, text in known.items() if axis != self.axis]
        return ", ".join(others)


def sweeps(groups: Sequence[Group]) -> list[Sweep]:
    """The fullest sweep of each world, track, place and axis, in this order.

    A full grid has dozens of sweeps of each kind, which tell the same story.
    """
    fullest: dict[tuple[str, Track, str, Axis], Sweep] = {}
    for sweep in _all(groups):
        key = (sweep.setting.world, sweep.track, sweep.place, sweep.axis)
        if max(map(len, sweep.lines.values())) > 1 and (
            key not in fullest or sweep.points > fullest[key].points
        ):
            fullest[key] = sweep
    axes = list(_FIELDS)
    return sorted(
        fullest.values(),
        key=lambda one: (one.setting.world, one.track != "same start", one.place,
                         axes.index(one.axis)),
    )  # fmt: skip


def _all(groups: Sequence[Group]) -> list[Sweep]:
    found: dict[tuple[Axis, Setting, Track, str], Sweep] = {}
    for group in groups:
        for entry in group.entries:
            if not entry.has_times:
                continue
            for axis, name in _FIELDS.items():
                fixed = group.setting.model_copy(update={name: 0})
                key = (axis, fixed, group.track, entry.place)
                sweep = found.setdefault(key, Sweep(axis, group.setting, group.track, entry.place))
                line = sweep.lines.setdefault(entry.name, {})
                line.setdefault(_VALUES[axis](group.setting), entry)
    return list(found.values())
