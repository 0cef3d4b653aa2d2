"""Names of classes against the labels that networks have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import covary
from covary import InputError, ParamsError, UnknownNameError
from covary_plugins.segmenters._classes import ADE20K, VOC, ClassSet, class_of_each

LABELS = ("wall", "sofa, couch, lounge", "coffee table, cocktail table", "table", "diningtable")
TWO_SCREENS = ("screen door, screen", "screen, silver screen")


def kept(classes: Any, labels: Any = LABELS, usual: ClassSet = VOC) -> list[int]:
    return class_of_each(classes, usual, labels, "tiny")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sofa", 1),
        ("couch", 1),
        ("sofa, couch, lounge", 1),
        ("Coffee-Table", 2),
        ("coffee_table", 2),
        ("table", 3),  # of which "coffee table" is no synonym
        ("dining table", 4),
    ],
)
def test_a_name_finds_the_label_that_lists_it(name: str, found: int) -> None:
    assert kept((name,)) == [int(i == found) for i in range(len(LABELS))]


def test_a_name_of_several_labels_stands_for_all_of_them() -> None:
    assert kept(("screen",), TWO_SCREENS) == [1, 1]


def test_names_of_ones_own_take_numbers() -> None:
    assert kept({"furniture": (1, 3), "rest": (0,)}) == [2, 1, 0, 1, 0]


@given(st.permutations(range(4)), st.integers(1, 4))
def test_classes_are_numbered_in_their_order(order: list[int], count: int) -> None:
    names = ("wall", "couch", "coffee table", "diningtable")
    places = {"wall": 0, "couch": 1, "coffee table": 2, "diningtable": 4}
    chosen = tuple(names[i] for i in order[:count])
    expected = [0] * len(LABELS)
    for number, name in enumerate(chosen, start=1):
        expected[places[name]] = number
    assert kept(chosen) == expected


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"class 'sofas'.*labels of tiny.*'sofa'"):
        kept(("sofas",))
    with pytest.raises(UnknownNameError, match="choose from: cocktail table, coffee table"):
        kept(("zzzzz",))


def test_a_label_has_one_class() -> None:
    with pytest.raises(InputError, match=r"'sofa, couch, lounge' \(1\) in 'sofa' and 'couch'"):
        kept(("sofa", "couch"))


@pytest.mark.parametrize("number", [-1, 5])
def test_a_number_is_one_of_the_labels(number: int) -> None:
    with pytest.raises(InputError, match=rf"class 'rug' of tiny.*in 0\.\.4, got {number}"):
        kept({"rug": (number,)})


def test_the_usual_classes_want_the_usual_labels() -> None:
    with pytest.raises(InputError, match="its 5 labels are not the 21 of Pascal VOC"):
        kept(None)


@pytest.mark.parametrize("usual", [ADE20K, VOC])
def test_the_usual_classes_are_those_of_their_data_set(usual: ClassSet) -> None:
    labels = [f"label {i}" for i in range(usual.labels)]
    found = class_of_each(None, usual, labels, "a published one")
    names = ("background", *usual.ids)
    # Measured on the published configurations.
    known = {
        "ADE20K": {12: "person", 15: "table", 23: "sofa", 64: "coffee table"},
        "Pascal VOC": {8: "cat", 11: "table", 13: "horse", 15: "person", 18: "sofa"},
    }[usual.name]
    assert {i: names[c] for i, c in enumerate(found) if c} == known


@pytest.mark.parametrize(
    ("component", "names"),
    [
        ("upernet", ("background", "person", "table", "sofa", "coffee table")),
        ("mask2former", ("background", "person", "table", "sofa", "coffee table")),
        ("deeplab", ("background", "cat", "table", "horse", "person", "sofa")),
    ],
)
def test_classes_are_known_before_any_file_is_read(component: str, names: tuple[str, ...]) -> None:
    assert covary.create(component, kind="segmenter").classes == names
    given = covary.create(component, kind="segmenter", classes={"a": [3], "b": [1, 2]})
    assert given.classes == ("background", "a", "b")


@pytest.mark.parametrize(
    "classes", [["background", "sofa"], {"background": [0]}, ["sofa", "sofa"], [""], []]
)
def test_classes_that_cannot_be_are_refused(classes: Any) -> None:
    with pytest.raises(ParamsError, match="'classes'"):
        covary.create("upernet", kind="segmenter", classes=classes)
