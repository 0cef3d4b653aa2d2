"""What the user asks to be segmented, and the names under which results are filed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .._seeds import seed_range
from ..errors import InputError

if TYPE_CHECKING:
    from ..types import Query

__all__ = ["RESERVED", "parse_queries"]

RESERVED = ("sheet.png", "summary.json")
"""Files that the command writes beside the results' folders."""

_MOST = 1_000_000


def parse_queries(texts: Sequence[str]) -> list[Query]:
    """The queries in the order in which they were asked; one that is asked twice counts once.

    Args:
        texts: each a seed, an inclusive range of seeds such as ``0-15``, or the path of a file or
            folder. A path is one query, and so is a whole folder.

    Raises:
        InputError: nothing asked, none of these, a range that runs backwards, or two queries
            whose results would share a folder.
    """
    if not texts:
        raise InputError(
            "query",
            expected="a seed, a range of seeds such as 0-15, or a file or folder",
            got="nothing",
        )
    queries = list(dict.fromkeys(query for text in texts for query in _parse(text)))
    _check_names(queries)
    return queries


def _parse(text: str) -> Iterable[Query]:
    from ..pipeline import as_query
    from ..types import Query

    if (seeds := seed_range(text)) is not None:
        if len(seeds) > _MOST:
            raise InputError(
                f"range {text!r}",
                expected=f"at most {_MOST:,} seeds",
                got=f"{len(seeds):,}",
                fix="do it in parts",
            )
        return [Query(seed=seed) for seed in seeds]
    if not text or not Path(text).exists():
        raise InputError(
            f"query {text!r}",
            expected="a seed, a range of seeds such as 0-15, or a file or folder that exists",
            got="none of these",
            fix="check the path",
        )
    return [as_query(text)]


def _check_names(queries: Sequence[Query]) -> None:
    """Refuse queries whose results would overwrite each other's or the command's own files."""
    taken: dict[str, Query] = {}
    for query in queries:
        # Some file systems take A and a for the same name.
        name = query.name.casefold()
        if name in RESERVED:
            raise InputError(
                f"query {_words(query)}",
                expected=f"a name other than {' and '.join(RESERVED)}, which the command writes",
                got=query.name,
                fix="rename it",
            )
        if name in taken:
            raise InputError(
                f"{_words(taken[name])} and {_words(query)} would both be written to "
                f"{query.name!r}",
                fix="rename one of them, or give them in two runs with different output folders",
            )
        taken[name] = query


def _words(query: Query) -> str:
    return f"seed {query.seed}" if query.kind == "seed" else str(query.paths[0])
