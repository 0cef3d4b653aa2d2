"""Prompts as the paper writes them, taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covary_plugins.detectors._prompts import Prompt

PAPER = "sofa, coffee table, lamp, side table, rug, in a livingroom"


def test_the_papers_prompt() -> None:
    prompt = Prompt.parse(PAPER)
    assert prompt.classes == ("sofa", "coffee table", "lamp", "side table", "rug")
    assert prompt.context == "in a livingroom"
    assert prompt.phrases()[1] == "coffee table in a livingroom"


@pytest.mark.parametrize(
    ("text", "classes", "context"),
    [
        ("sofa", ("sofa",), ""),
        ("  a  Cat ,dog,, ", ("a Cat", "dog"), ""),
        ("a cat. a remote control.", ("a cat", "a remote control"), ""),
        ("cat;dog\nhorse, On grass", ("cat", "dog", "horse"), "On grass"),
        ("in-line skates, on-ramp", ("in-line skates", "on-ramp"), ""),
        ("chaise longue, lit à deux places", ("chaise longue", "lit à deux places"), ""),
    ],
)
def test_ways_to_write_classes(text: str, classes: tuple[str, ...], context: str) -> None:
    assert Prompt.parse(text) == Prompt(classes, context)


@pytest.mark.parametrize("text", ["", " , .", "in a livingroom"])
def test_no_classes(text: str) -> None:
    with pytest.raises(ValueError, match="separated by commas"):
        Prompt.parse(text)


def test_a_class_twice() -> None:
    with pytest.raises(ValueError, match="not 'Sofa' twice"):
        Prompt.parse("sofa, lamp, Sofa")


names = st.lists(st.text("abcxyz", min_size=3, max_size=6), min_size=1, max_size=5, unique=True)


@given(names, st.sampled_from([", ", ". ", ";", "\n"]))
def test_classes_come_back_in_order(classes: list[str], separator: str) -> None:
    assert Prompt.parse(separator.join(classes)).classes == tuple(classes)
