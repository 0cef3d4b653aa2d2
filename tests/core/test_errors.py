"""Errors: one wording, catchable as builtins, and able to cross processes."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import covary
from covary import errors
from covary.errors import CovaryError, did_you_mean

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, CovaryError)
]
BUILTINS = {
    "InputError": ValueError,
    "ParamsError": ValueError,
    "UnknownNameError": LookupError,
    "AmbiguousNameError": LookupError,
    "PluginError": RuntimeError,
    "IncompatibleApiError": RuntimeError,
    "MissingPackageError": ImportError,
    "CheckpointError": ValueError,
    "MemoryBudgetError": MemoryError,
    "OutputError": OSError,
}

texts = st.text(st.characters(codec="utf-8"), max_size=20)


def test_every_class_is_public_and_in_the_drawing() -> None:
    assert {c.__name__ for c in CLASSES} == {"CovaryError", *BUILTINS}
    for c in CLASSES:
        assert getattr(covary, c.__name__) is c
        assert c.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("name", BUILTINS)
def test_each_is_caught_as_a_builtin(name: str) -> None:
    with pytest.raises(BUILTINS[name]) as caught:
        raise getattr(covary, name)("box 2", expected="four numbers", got="three", fix="add one")
    assert isinstance(caught.value, CovaryError)
    assert str(caught.value) == "box 2: expected four numbers, got three; add one"


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({}, "it"),
        ({"got": "b"}, "it: got b"),
        ({"expected": "a"}, "it: expected a"),
        ({"fix": "c"}, "it; c"),
    ],
)
def test_parts_that_are_not_given_leave_no_trace(parts: dict[str, str], text: str) -> None:
    assert str(CovaryError("it", **parts)) == text


@given(st.sampled_from(CLASSES), texts, texts, texts, texts)
def test_survives_pickling(
    cls: type[CovaryError], what: str, expected: str, got: str, fix: str
) -> None:
    error = cls(what, expected=expected, got=got, fix=fix)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert (again.what, again.expected, again.got, again.fix) == (what, expected, got, fix)
    assert str(again) == str(error)


@given(st.lists(st.from_regex(r"[a-z]{3,8}", fullmatch=True), min_size=1, unique=True), st.data())
def test_a_hint_names_something_known(known: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(known))
    assert did_you_mean(name, known) == f"did you mean {name!r}?"
    assert did_you_mean(name.upper(), known) == f"did you mean {name!r}?"
    far = did_you_mean("0123456789", known)
    assert far == f"choose from: {', '.join(sorted(known))}"


def test_a_hint_says_when_there_is_nothing() -> None:
    assert "none" in did_you_mean("x", [])
