"""What the tables should show, each statement held against the figures of a results file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Claim", "claims", "own_space"]

_EDGE = 1 / 3
"""The share of the cutoffs on either side that is not the middle."""
_WITHOUT_LABELS = ("sis", "labels4free")
_RULES = ("saliency", "corner", "border")


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement, whether the figures bear it out, and which they are."""

    claim: str
    where: str
    """In which settings."""
    holds: bool
    figures: Mapping[str, float]
    sure: bool | None = None
    """Whether the spread leaves no doubt; None where it was not measured."""
    judged: bool = True
    """Whether the difference is larger than the error of the network that says what is true."""

    @property
    def text(self) -> str:
        """The statement with its figures."""
        figures = ", ".join(f"{name} {value:.3f}" for name, value in self.figures.items())
        return f"{self.claim} ({self.where}): {figures}"

    @property
    def verdict(self) -> str:
        """Confirmed or refuted, in a word or two."""
        word = "confirmed" if self.holds else "refuted"
        if self.sure is False:
            return f"{word}, within chance"
        return word if self.judged else f"{word}, by less than the judge's error"


def claims(kind: str, data: Mapping[str, Any]) -> list[Claim]:
    """The statements that a table tests.

    Args:
        kind: of the table, e.g. ``paper-table4``.
        data: its results.
    """
    return list(_TESTS[kind](data)) if kind in _TESTS else []


def _row(rows: Sequence[Mapping[str, Any]], **wanted: Any) -> Mapping[str, Any] | None:
    """The row with these values."""
    matching = (row for row in rows if all(row[key] == value for key, value in wanted.items()))
    return next(matching, None)


def _table1(data: Mapping[str, Any]) -> Iterator[Claim]:
    """Ours against baselines, and against what looks at nothing."""
    parts = data["parts"]
    generated = parts.get("generated", {})
    rows = {row["what"]: row["miou"] for row in generated.get("rows", ())}
    for names, what in (
        (_WITHOUT_LABELS, "every baseline without labels"),
        (("datasetgan",), "a network on activations that learned from 16 labelled images"),
    ):
        others = {name: rows[name] for name in names if name in rows}
        if others:
            ours, best = rows["preset"], max(others.values())
            yield Claim(
                f"our masks are better than those of {what}",
                "generated images, mIoU",
                ours > best,
                {"ours": ours, **others},
                _sure(generated, list(others)),
                _judged(data, ours - best),
            )
    photos = {row["what"]: row["miou"] for row in parts.get("photos", {}).get("rows", ())}
    if photos:
        one_for_all = "the same mask for all"
        blind = photos[one_for_all]
        yield Claim(
            "masks of inverted photos are better than one mask for all",
            "photos of rendered avatars, mIoU",
            photos["preset"] > blind,
            {"ours": photos["preset"], "one mask for all": blind},
            _sure(parts["photos"], [one_for_all]),
        )


def _table2(data: Mapping[str, Any]) -> Iterator[Claim]:
    """The preset made for these rooms against the paper's parameters."""
    means = {row["what"]: row["miou"] for row in data["rows"] if row["object"] == "mean"}
    figures = {name: means[name] for name in ("preset rooms", "preset deeprooms") if name in means}
    if len(figures) == 2:
        yield Claim(
            "the parameters of the paper's Table S1 for rooms serve rendered rooms as well as "
            "those chosen for them, within 0.03",
            "objects in exact boxes, mIoU",
            figures["preset deeprooms"] >= figures["preset rooms"] - 0.03,
            figures,
        )


def _table3(data: Mapping[str, Any]) -> Iterator[Claim]:
    """How much a network loses by covary's masks."""
    miou = {row["name"]: row["miou"] for row in data["rows"]}
    for name, what in (("worlds", "the same rendered images"), ("ours", "generated images")):
        if name in miou and "exact" in miou:
            ours, exact, goal = miou[name], miou["exact"], data["goal"]
            holds = ours["mean"] >= exact["mean"] - goal
            # Every network of ours against every one of the exact masks.
            sure = (
                ours["min"] >= exact["max"] - goal if holds else ours["max"] < exact["min"] - goal
            )
            yield Claim(
                f"a network trained on our masks of {what} is within {goal:.2f} mIoU of one "
                "trained on exact masks",
                data.get("tests", "rendered avatars, exact masks"),
                holds,
                {"ours": ours["mean"], "exact": exact["mean"]},
                sure if ours["sd"] is not None and exact["sd"] is not None else None,
            )


def _table4(data: Mapping[str, Any]) -> Iterator[Claim]:
    """The three expectations of the plan."""
    yield from _best_k(data)
    yield from _middle_c(data)
    yield from _highlights(data)


def _best_k(data: Mapping[str, Any]) -> Iterator[Claim]:
    """k = 4 beats 2 and 10, at the preset's cutoff in its colour space."""
    rows, space = data["rows"], own_space(data)
    for rule in _RULES:
        found = {k: _row(rows, c=data["c"], space=space, k=k, rule=rule) for k in (2, 4, 10)}
        figures = {f"k = {k}": row["miou"] for k, row in found.items() if row is not None}
        if len(figures) == 3:
            four, two, ten = figures["k = 4"], figures["k = 2"], figures["k = 10"]
            yield Claim(
                f"k = 4 beats k = 2 and k = 10 with the rule {rule}",
                f"{space.upper()}, c = {data['c']}, mIoU",
                four > two and four > ten,
                figures,
                _sure(data, [f"{rule}, {space}, k = 4 over {k}" for k in (2, 10)]),
                _judged(data, four - max(two, ten)),
            )


def _middle_c(data: Mapping[str, Any]) -> Iterator[Claim]:
    """A cutoff in the middle third of those tried is the best, in the preset's colour space."""
    space = own_space(data)
    rows = [row for row in data["rows"] if (row["k"], row["space"]) == (4, space)]
    cutoffs = sorted({row["c"] for row in rows})
    middle = middle_third(cutoffs)
    if not middle:
        return
    for rule in _RULES:
        own = [row for row in rows if row["rule"] == rule]
        best, other = (
            max(row["miou"] for row in own if (row["c"] in middle) is inside)
            for inside in (True, False)
        )
        yield Claim(
            f"a middle cutoff, {middle[0]} to {middle[-1]} of {cutoffs[0]} to {cutoffs[-1]}, "
            f"is the best with the rule {rule}",
            f"{space.upper()}, k = 4, mIoU",
            best > other,
            {f"c = {row['c']}": row["miou"] for row in own},
            _sure(data, [f"{rule}, {space}, a middle c over the others"]),
            _judged(data, best - other),
        )


def _highlights(data: Mapping[str, Any]) -> Iterator[Claim]:
    """LAB beats RGB where light is strong; the same under usual light stands beside."""
    rows = data["highlights"]
    if not {"lab", "rgb"} <= {row["space"] for row in rows}:
        return
    for what in dict.fromkeys(row["what"] for row in rows):
        own = [row for row in rows if row["what"] == what]
        figures = {
            f"{row['space'].upper()}, {row['light']} light": row["iou"]
            for row in sorted(own, key=lambda row: (row["light"], row["space"]))
        }
        yield Claim(
            "LAB beats RGB on highlights",
            f"{what}, IoU",
            figures["LAB, strong light"] > figures["RGB, strong light"],
            figures,
            _sure(data, [f"{what}, strong, LAB over RGB"]),
        )


def _s3(data: Mapping[str, Any]) -> Iterator[Claim]:
    """Whether more variants help."""
    psi = data["recipe"]["source"]["psi"]
    own = {row["n"]: row["miou"] for row in data["rows"] if row["psi"] == psi}
    if len(own) > 1:
        few, many = min(own), max(own)
        found = data.get("difference")
        yield Claim(
            f"{many} variants give better masks than {few}",
            f"psi = {psi:g}, mIoU",
            own[many] > own[few],
            {f"n = {n}": value for n, value in sorted(own.items())},
            found and _beyond_doubt([found]),
            _judged(data, own[many] - own[few]),
        )


_TESTS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[Claim]]] = {
    "paper-table1": _table1,
    "paper-table2": _table2,
    "paper-table3": _table3,
    "paper-table4": _table4,
    "paper-s3": _s3,
}


def middle_third(cutoffs: Sequence[int]) -> Sequence[int]:
    """Those in the middle of ascending cutoffs, without a third at either end; none of very few."""
    edge = round(len(cutoffs) * _EDGE)
    return cutoffs[edge : len(cutoffs) - edge] if edge else ()


def own_space(data: Mapping[str, Any]) -> str:
    """The colour space of the preset."""
    return str(data["recipe"]["features"]["use"]).removeprefix("covary/")


def _sure(data: Mapping[str, Any], names: Sequence[str]) -> bool | None:
    """Whether the differences of these names leave no doubt; None where one was not measured."""
    known = data.get("differences", {})
    found = [known[name] for name in names if name in known]
    return _beyond_doubt(found) if len(found) == len(names) else None


def _beyond_doubt(found: Sequence[Mapping[str, float | None]]) -> bool:
    """Whether the 95 % intervals leave no doubt that all differences are above 0, or one below."""
    # A single pair has no interval, and leaves every doubt.
    ends = [(one["low"] or 0.0, one["high"] or 0.0) for one in found]
    return all(low > 0 for low, _ in ends) or any(high < 0 for _, high in ends)


def _judged(data: Mapping[str, Any], difference: float) -> bool:
    """Whether a difference in mIoU is larger than what the judge itself lacks on exact masks."""
    return "skill" not in data or abs(difference) > 1 - float(data["skill"]["miou"])
