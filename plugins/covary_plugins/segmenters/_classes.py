"""Which labels of a network make up the classes of a segmenter."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from covary import InputError, UnknownNameError
from covary.errors import did_you_mean
from covary.interfaces import BACKGROUND

__all__ = ["ADE20K", "VOC", "ClassSet", "Classes", "class_names", "class_of_each"]

Classes = tuple[str, ...] | dict[str, tuple[int, ...]]
"""Names that the network has, or names of one's own with the numbers of its labels."""


@dataclass(frozen=True, slots=True)
class ClassSet:
    """What is kept of a data set's labels where nothing else is asked for."""

    name: str
    labels: int
    """How many the data set has."""
    ids: Mapping[str, tuple[int, ...]]
    """Class -> numbers of its labels, from 0."""


ADE20K = ClassSet(
    "ADE20K",
    150,
    MappingProxyType({"person": (12,), "table": (15,), "sofa": (23,), "coffee table": (64,)}),
)
VOC = ClassSet(
    "Pascal VOC",
    21,
    MappingProxyType({"cat": (8,), "table": (11,), "horse": (13,), "person": (15,), "sofa": (18,)}),
)


def class_names(classes: Classes | None, usual: ClassSet) -> tuple[str, ...]:
    """The names of a segmenter's classes, the background first."""
    return (BACKGROUND, *(usual.ids if classes is None else classes))


def class_of_each(
    classes: Classes | None, usual: ClassSet, labels: Sequence[str], what: str
) -> list[int]:
    """The class of each of a network's labels, 0 for those that belong to none.

    A name stands for every label of which it is one of the words: ``couch`` for ``sofa, couch,
    lounge``. Capitals, spaces, hyphens and underscores do not count.

    Args:
        classes: which to keep; None takes the usual ones.
        usual: for a network of that data set.
        labels: the network's, by number.
        what: the network's name, for messages.

    Raises:
        UnknownNameError: a name that none of the labels has.
        InputError: no classes are given and the network is of another data set; a number that it
            does not have; a label that two classes claim.
    """
    if classes is None and len(labels) != usual.labels:
        raise InputError(
            f"classes of {what}",
            expected=f"to be given, as its {len(labels)} labels are not the {usual.labels} of "
            f"{usual.name}",
            got="none",
            fix=f"choose among {', '.join(labels[:5])}, ...",
        )
    ids = _ids(usual.ids if classes is None else classes, labels, what)
    found = [0] * len(labels)
    names = [BACKGROUND, *ids]
    for number, (name, own) in enumerate(ids.items(), start=1):
        for i in own:
            if not 0 <= i < len(labels):
                expected = f"numbers of labels in 0..{len(labels) - 1}"
                raise InputError(f"class {name!r} of {what}", expected=expected, got=str(i))
            if found[i] not in (0, number):
                raise InputError(
                    f"classes of {what}",
                    expected="each label in one class",
                    got=f"{labels[i]!r} ({i}) in {names[found[i]]!r} and {name!r}",
                    fix="give the numbers of their labels: {'sofa': [23], ...}",
                )
            found[i] = number
    return found


def _ids(
    classes: Sequence[str] | Mapping[str, tuple[int, ...]], labels: Sequence[str], what: str
) -> Mapping[str, tuple[int, ...]]:
    if isinstance(classes, Mapping):
        return classes
    words = [_words(label) for label in labels]
    ids = {}
    for name in classes:
        ids[name] = tuple(i for i, own in enumerate(words) if _plain(name) in own)
        if not ids[name]:
            known = sorted({word for label in labels for word in _listed(label)})
            raise UnknownNameError(
                f"class {name!r}",
                expected=f"one of the {len(labels)} labels of {what}",
                got="none of that name",
                fix=did_you_mean(name, known),
            )
    return ids


def _words(label: str) -> set[str]:
    return {_plain(label), *map(_plain, _listed(label))}


def _listed(label: str) -> list[str]:
    """The synonyms that a label consists of."""
    return [word.strip() for word in re.split(r"[,;]", label) if word.strip()]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).lower()
