"""What the metadata of installed packages says: versions, and plugins that covary never sees."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import (
    Distribution,
    EntryPoint,
    EntryPoints,
    PackageNotFoundError,
    distributions,
    version,
)

from ._hooks import COMMANDS, GROUP

__all__ = [
    "installed_version",
    "misspelt_groups",
    "plugin_without_entry_point",
    "silent_dependents",
]

_OURS = (GROUP, COMMANDS)


def installed_version(distribution: str) -> str:
    """The version of an installed distribution, or "" where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def misspelt_groups(points: EntryPoints) -> Iterator[tuple[EntryPoint, str]]:
    """Entry points of groups that nobody reads, such as ``covery``, with the group they mean."""
    for group in sorted(points.groups - set(_OURS)):
        if meant := _meant(group):
            yield from ((point, meant) for point in points.select(group=group))


def silent_dependents() -> list[str]:
    """Installed distributions that require covary and offer it no plugin and no command."""
    return sorted({name for name, each in _named() if _requires_covary(each) and not _offers(each)})


def plugin_without_entry_point(namespace: str) -> str:
    """The installed distribution that ``namespace`` must mean and that offers no plugin, or ""."""
    likely = {namespace, f"covary-{namespace}", f"{namespace}-covary"}
    for name, each in _named():
        words = name.split("-")
        named = name in likely or (namespace in words and _requires_covary(each))
        if named and not any(point.group == GROUP for point in each.entry_points):
            return name
    return ""


def _meant(group: str) -> str:
    if re.match(r"covary[._-]?command", group):
        return COMMANDS
    if group.lower().startswith("covary") or difflib.get_close_matches(
        group.lower(), _OURS, n=1, cutoff=0.8
    ):
        return GROUP
    return ""


def _named() -> Iterator[tuple[str, Distribution]]:
    """Every installed distribution whose metadata are whole, by its normalised name."""
    for each in distributions():
        try:
            yield re.sub(r"[-_.]+", "-", each.name).lower(), each
        except Exception:  # what an interrupted uninstall leaves  # noqa: S112
            continue


def _requires_covary(distribution: Distribution) -> bool:
    """Whether it does so always; in an extra, it is an option of something else."""
    return any(_is_covary(text) for text in distribution.requires or ())


def _is_covary(requirement: str) -> bool:
    name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
    return name.lower() == GROUP and "extra ==" not in requirement


def _offers(distribution: Distribution) -> bool:
    points: Iterable[EntryPoint] = distribution.entry_points
    return any(point.group in _OURS or _meant(point.group) for point in points)
