"""Classes of two inputs are brought together by name, or refused with both lists."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from covary import InputError
from covary.evaluation import Classes
from covary.evaluation.classes import IGNORED, MASK, parse_merge, with_background

FACE = ("background", "hair", "skin", "mouth")
NAMES = st.lists(st.sampled_from("abcdefg"), unique=True, min_size=2, max_size=5)


@given(NAMES, st.randoms(use_true_random=False))
def test_values_are_matched_by_name(names: list[str], random: object) -> None:
    other = sorted(names, reverse=True)
    classes = Classes.common(with_background(names), with_background(other))
    for value, name in enumerate(("background", *names)):
        assert classes.names[classes.prediction[value]] == name
    for value, name in enumerate(("background", *other)):
        assert classes.names[classes.truth[value]] == name


def test_a_mask_makes_everything_foreground() -> None:
    for classes in (Classes.common(MASK, FACE), Classes.common(FACE, MASK)):
        assert classes.names == MASK
        assert {classes.prediction, classes.truth} == {(0, 1), (0, 1, 1, 1)}
    assert Classes.common(FACE, FACE, masks=True).truth == (0, 1, 1, 1)


def test_parts_are_merged() -> None:
    merge = {"person": ("hair", "skin", "mouth")}
    classes = Classes.common(("background", "person"), FACE, merge=merge)
    assert classes == Classes(("background", "person"), (0, 1), (0, 1, 1, 1))


def test_a_class_can_be_made_background() -> None:
    merge = {"background": ("mouth",)}
    classes = Classes.common(("background", "skin", "hair"), FACE, merge=merge)
    assert classes == Classes(("background", "hair", "skin"), (0, 2, 1), (0, 1, 2, 0))


def test_what_is_not_chosen_is_background() -> None:
    classes = Classes.common(FACE, ("background", "skin", "ear"), chosen=["skin"])
    assert classes == Classes(("background", "skin"), (0, 0, 1, 0), (0, 1, 0))


@pytest.mark.parametrize(
    ("prediction", "truth", "options", "words"),
    [
        (FACE, ("background", "skin", "ear"), {}, "(skin, ear), got hair, skin, mouth; --classes"),
        (("background", "cat"), FACE, {}, "--merge NAME=hair,skin,mouth"),
        (FACE, FACE, {"chosen": ["nose"]}, "neither .* 'nose'; choose from: hair, mouth, skin"),
        (FACE, FACE, {"merge": {"x": ("hiar",)}}, "no class 'hiar' to merge; did you mean 'hair'"),
        (FACE, FACE, {"chosen": ["hair", "hair"]}, "different names"),
    ],
)
def test_refuses(prediction, truth, options, words: str) -> None:  # type: ignore[no-untyped-def]
    pattern = words.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(InputError, match=pattern):
        Classes.common(prediction, truth, **options)


def test_numbers_are_exchanged() -> None:
    classes = Classes.common(("background", "b", "a"), ("background", "a", "b"))
    assert classes.of_prediction(torch.tensor([[0, 1, 2]])).tolist() == [[0, 2, 1]]
    truth = classes.of_truth(torch.tensor([[0, 1, 9]]), ignore=9)
    assert truth.dtype == torch.uint8
    assert truth.tolist() == [[0, 1, IGNORED]]
    # The value of a class may be left out too.
    assert classes.of_truth(torch.tensor([[0, 1]]), ignore=0).tolist() == [[IGNORED, 1]]


def test_a_value_without_a_class_is_named() -> None:
    classes = Classes.common(MASK, MASK)
    with pytest.raises(InputError, match=r"prediction 7: expected values in 0\.\.1.*got 9.*ignore"):
        classes.of_prediction(torch.tensor([[9]]), "7")
    with pytest.raises(InputError, match=r"truth 7.*got -1"):
        classes.of_truth(torch.tensor([[-1]]), "7")


def test_merges_are_read() -> None:
    assert parse_merge(["person = hair, skin", "other=lamp"]) == {
        "person": ("hair", "skin"),
        "other": ("lamp",),
    }


@pytest.mark.parametrize(
    "texts", [["a"], ["=b"], ["a="], ["a=b,,c"], ["a=b", "a=c"], ["a=b", "c=b"]]
)
def test_refuses_merges(texts: list[str]) -> None:
    with pytest.raises(InputError, match="--merge"):
        parse_merge(texts)
