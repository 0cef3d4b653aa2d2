"""What the paper's tables should show, each held against the figures of a results file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Claim", "claims"]

MIDDLE = 1 / 3
"""The share of the cutoffs, ordered, on either side of the middle third."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement, whether it holds here, and by which figures."""

    claim: str
    where: str
    """Of the settings, in which."""
    holds: bool
    figures: Mapping[str, float]
    sure: bool | None = None
    """Whether the 95 % interval of every difference is on its side; None where there is none."""

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def claims(data: Mapping[str, Any]) -> list[Claim]:
    """The claims of Table 4, tested on its results.

    Args:
        data: with ``rows``, ``highlights``, ``differences`` and the preset's cutoff ``c``.
    """
    return [*_best_k(data), *_middle_c(data), *_highlights(data)]


def row_of(rows: Sequence[Mapping[str, Any]], **wanted: Any) -> Mapping[str, Any]:
    """The row with these values."""
    return next(row for row in rows if all(row[name] == value for name, value in wanted.items()))


def _best_k(data: Mapping[str, Any]) -> Iterator[Claim]:
    """k = 4 beats 2 and 10 with saliency."""
    ks = sorted({row["k"] for row in data["rows"]})
    if not {2, 4, 10} <= set(ks):
        return
    for rule in ("saliency", "corner", "border"):
        for space in sorted({row["space"] for row in data["rows"]}):
            figures = {
                f"k = {k}": row_of(data["rows"], c=data["c"], space=space, k=k, rule=rule)["miou"]
                for k in (2, 4, 10)
            }
            four = figures["k = 4"]
            yield Claim(
                f"k = 4 beats k = 2 and k = 10 with the rule {rule}",
                f"{space.upper()}, c = {data['c']}",
                four > figures["k = 2"] and four > figures["k = 10"],
                figures,
                _sure(data, [f"{rule}, {space}, k = 4 over {k}" for k in (2, 10)]),
            )


def _middle_c(data: Mapping[str, Any]) -> Iterator[Claim]:
    """A cutoff in the middle third of those tried is the best."""
    cutoffs = sorted({row["c"] for row in data["rows"]})
    edge = round(len(cutoffs) * MIDDLE)
    middle = cutoffs[edge : len(cutoffs) - edge]
    if not middle or edge == 0 or 4 not in {row["k"] for row in data["rows"]}:
        return
    for rule in ("saliency", "corner", "border"):
        for space in sorted({row["space"] for row in data["rows"]}):
            figures = {
                f"c = {c}": row_of(data["rows"], c=c, space=space, k=4, rule=rule)["miou"]
                for c in cutoffs
            }
            best = max(figures, key=figures.__getitem__)
            yield Claim(
                f"a middle cutoff ({middle[0]} to {middle[-1]} of {cutoffs[0]} to {cutoffs[-1]}) "
                f"is the best with the rule {rule}",
                f"{space.upper()}, k = 4",
                best in {f"c = {c}" for c in middle},
                figures,
            )


def _highlights(data: Mapping[str, Any]) -> Iterator[Claim]:
    """LAB beats RGB where light is strong; the same under usual light stands beside."""
    rows = data["highlights"]
    if {"lab", "rgb"} - {row["space"] for row in rows}:
        return
    for what in dict.fromkeys(row["what"] for row in rows):
        figures = {
            f"{space.upper()}, {light} light": row_of(rows, what=what, light=light, space=space)[
                "iou"
            ]
            for light in ("strong", "usual")
            for space in ("lab", "rgb")
        }
        yield Claim(
            "LAB beats RGB on highlights",
            what,
            figures["LAB, strong light"] > figures["RGB, strong light"],
            figures,
            _sure(data, [f"{what}, strong, LAB over RGB"]),
        )


def _sure(data: Mapping[str, Any], names: Sequence[str]) -> bool | None:
    """Whether all intervals of these differences exclude 0 on one and the same side."""
    found = [data["differences"][name] for name in names if name in data["differences"]]
    if len(found) < len(names):
        return None
    return all(one["low"] > 0 for one in found) or any(one["high"] < 0 for one in found)
