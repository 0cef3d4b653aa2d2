"""How many cores this process may use, which a container makes fewer than the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["cores"]

_GROUPS, _MINE = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores(groups: Path = _GROUPS, mine: Path = _MINE) -> int:
    """The cores that this process may run on, or what its share of time comes to, if that is less.

    Args:
        groups: where Linux tells the limits of control groups, which containers and batch systems
            set; other systems have no such folder.
        mine: the file that names the groups of this process.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, int(min([count, *_quotas(groups, mine)])))


def _quotas(groups: Path, mine: Path) -> Iterator[float]:
    """The limits that hold for this process, in cores: those of its groups, and of all above."""
    for folder in _folders(groups, mine):
        try:
            if (folder / "cpu.max").exists():
                quota, period = (folder / "cpu.max").read_text().split()
            else:  # version 1
                quota, period = (
                    (folder / f"cpu.cfs_{name}_us").read_text().strip()
                    for name in ("quota", "period")
                )
            if int(quota) > 0:
                yield int(quota) / int(period)
        except (OSError, ValueError, ZeroDivisionError):
            continue  # "max", or no limits of that kind


def _folders(groups: Path, mine: Path) -> Iterator[Path]:
    try:
        lines = mine.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = groups / controllers
        # In a container the names may be those of the host, and its own group is the top.
        for folder in (top / path.lstrip("/"), *(top / path.lstrip("/")).parents):
            yield folder
            if folder == top:
                break
