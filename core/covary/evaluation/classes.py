"""Which classes two inputs have in common, and what the values of each one's maps mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from ..errors import InputError, did_you_mean
from ..samples import BACKGROUND

__all__ = ["FOREGROUND", "IGNORED", "MASK", "Classes", "parse_merge", "with_background"]

FOREGROUND = "foreground"
"""The class of everything that is not background, where an input tells no more."""

MASK = (BACKGROUND, FOREGROUND)
"""The classes of a mask."""

IGNORED = 255
"""The value of truth that is left out, once classes are numbered alike."""

_MOST = 255


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes that are judged, and the number of each input's values among them."""

    names: tuple[str, ...]
    """Of the judged classes; the first is ``background``."""
    prediction: tuple[int, ...]
    """For each class of the prediction its index into ``names``."""
    truth: tuple[int, ...]
    """For each class of the truth its index into ``names``."""

    @classmethod
    def common(
        cls,
        prediction: Sequence[str],
        truth: Sequence[str],
        *,
        chosen: Sequence[str] = (),
        merge: Mapping[str, Sequence[str]] | None = None,
        masks: bool = False,
    ) -> Classes:
        """The classes of two inputs, matched by name.

        Names are merged first. An input that knows ``background`` and ``foreground`` alone then
        makes everything else in the other foreground. What is not chosen is background; without
        a choice both inputs must have the same classes.

        Args:
            prediction: names by value; the first is ``background``.
            truth: names by value; the first is ``background``.
            chosen: the classes to judge, after merging; none chooses all.
            merge: new class -> those of either input that become it, be it ``background``.
            masks: whether to take all but the background of both as foreground.

        Raises:
            InputError: a name that neither input has, or classes of one that the other lacks.
        """
        lists = _merged(prediction, truth, merge or {})
        if masks or any(set(one) == set(MASK) for one in lists):
            lists = _as_mask(lists[0]), _as_mask(lists[1])
        names = _chosen(*lists, chosen) if chosen else _shared(*lists)
        if len(names) > _MOST:
            raise InputError("classes", expected=f"{_MOST} at most", got=str(len(names)))
        numbers = {name: number for number, name in enumerate(names)}
        tables = [tuple(numbers.get(name, 0) for name in one) for one in lists]
        return cls(names, *tables)

    def of_prediction(self, labels: torch.Tensor, name: str = "") -> torch.Tensor:
        """Values of the prediction as indices into ``names``, uint8 (H, W)."""
        return _renumbered(labels, self.prediction, f"prediction {name}".rstrip(), None)

    def of_truth(
        self, labels: torch.Tensor, name: str = "", ignore: int | None = None
    ) -> torch.Tensor:
        """Values of the truth as indices into ``names``, or ``IGNORED``, uint8 (H, W)."""
        return _renumbered(labels, self.truth, f"truth {name}".rstrip(), ignore)


def with_background(names: Iterable[str]) -> tuple[str, ...]:
    """Names of classes by value, from ``background``, which may be given or not.

    Raises:
        InputError: a name is empty or given twice.
    """
    found = [BACKGROUND, *(name for name in names if name != BACKGROUND)]
    for name in found:
        if not name.strip() or found.count(name) > 1:
            raise InputError(
                "classes", expected="different names", got=", ".join(map(repr, found[1:]))
            )
    return tuple(found)


def parse_merge(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """``{"person": ("hair", "skin")}`` of ``"person=hair,skin"``.

    Raises:
        InputError: another form, or a class that is merged twice.
    """
    merge: dict[str, tuple[str, ...]] = {}
    for text in texts:
        target, equals, members = (part.strip() for part in text.partition("="))
        names = tuple(name.strip() for name in members.split(","))
        if not equals or not target or not all(names):
            raise InputError(
                f"--merge {text}",
                expected="CLASS=CLASS,CLASS,...",
                got=repr(text),
                fix="write for instance --merge person=hair,skin,clothes",
            )
        taken = {name for members in merge.values() for name in members}
        if target in merge or taken & set(names):
            raise InputError(f"--merge {text}", expected="each class once", got=repr(text))
        merge[target] = names
    return merge


def _merged(
    prediction: Sequence[str], truth: Sequence[str], merge: Mapping[str, Sequence[str]]
) -> tuple[list[str], list[str]]:
    known = {*prediction, *truth}
    for member in (name for members in merge.values() for name in members):
        if member not in known:
            raise InputError(
                f"there is no class {member!r} to merge", fix=did_you_mean(member, known)
            )
    target = {name: new for new, members in merge.items() for name in members}
    first, second = ([target.get(name, name) for name in one] for one in (prediction, truth))
    return first, second


def _as_mask(names: Iterable[str]) -> list[str]:
    """The classes of a mask in the places of all that there are."""
    return [name if name == BACKGROUND else FOREGROUND for name in names]


def _chosen(
    prediction: Sequence[str], truth: Sequence[str], chosen: Sequence[str]
) -> tuple[str, ...]:
    known = {*prediction, *truth}
    names = with_background(chosen)
    for name in names[1:]:
        if name not in known:
            raise InputError(
                f"neither the prediction nor the truth has a class {name!r}",
                fix=did_you_mean(name, known - {BACKGROUND}),
            )
    return names


def _shared(prediction: Sequence[str], truth: Sequence[str]) -> tuple[str, ...]:
    ours, theirs = (
        [name for name in dict.fromkeys(one) if name != BACKGROUND] for one in (prediction, truth)
    )
    if set(ours) == set(theirs):
        return (BACKGROUND, *theirs)
    both = [name for name in theirs if name in ours]
    fix = f"--classes {','.join(both)} judges those of both" if both else ""
    example = ",".join(ours if len(ours) > 1 else theirs)
    merging = f"--merge NAME={example} makes several one"
    raise InputError(
        "classes of the prediction",
        expected=f"those of the truth ({', '.join(theirs)})",
        got=", ".join(ours),
        fix=f"{fix}; {merging}" if fix else merging,
    )


def _renumbered(
    labels: torch.Tensor, table: Sequence[int], what: str, ignore: int | None
) -> torch.Tensor:
    labels = labels.to(torch.int64)
    left_out = None if ignore is None else labels == ignore
    if left_out is not None:
        labels = labels.masked_fill(left_out, 0)
    low, high = (int(end) for end in labels.aminmax())
    if low < 0 or high >= len(table):
        raise InputError(
            what,
            expected=f"values in 0..{len(table) - 1}, one a class",
            got=f"{low if low < 0 else high}",
            fix="name all classes, or leave a value of the truth out with --ignore",
        )
    found = torch.tensor(table, dtype=torch.uint8)[labels]
    return found if left_out is None else found.masked_fill_(left_out, IGNORED)
