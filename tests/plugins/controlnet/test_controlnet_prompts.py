"""The words that change what a subject looks like."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import covary
from covary_plugins.sources._controlnet.prompts import choose_prompts
from covary_plugins.sources.controlnet import APPEARANCES

WORDS = [word for group in APPEARANCES.values() for word in group]


def drawn(seed: int, n: int, given: tuple[str, ...] | None = None) -> list[str]:
    return choose_prompts("a cat", given, n, torch.Generator().manual_seed(seed))


def test_there_are_enough_words_and_no_word_twice() -> None:
    assert len(WORDS) >= 60
    assert len(APPEARANCES) >= 4
    assert len({word.lower() for word in WORDS}) == len(WORDS)
    assert all(word == word.strip() for word in WORDS)


@given(st.integers(0, 2**32 - 1), st.integers(1, len(WORDS)))
def test_prompts_are_drawn_without_replacement(seed: int, n: int) -> None:
    prompts = drawn(seed, n)
    assert len(set(prompts)) == n
    assert {prompt.removeprefix("a cat ") for prompt in prompts} <= set(WORDS)
    assert prompts == drawn(seed, n)


def test_prompts_depend_on_the_seed() -> None:
    assert drawn(1, 20) != drawn(2, 20)


def test_prompts_of_ones_own_are_taken_as_they_are() -> None:
    given = tuple(f"a dog number {index}" for index in range(9))
    assert sorted(drawn(5, 9, given)) == sorted(given)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"subject": " "}, "a subject"),
        ({"prompts": ("one", "two")}, "at least n = 3 prompts, not 2"),
        ({"n": len(WORDS) + 1}, f"n of at most {len(WORDS)}"),
        ({"canny_low": 300}, "canny_low of at most canny_high"),
        ({"control_start": 0.5, "control_end": 0.5}, "control_start before control_end"),
        ({"strength": 0.2, "steps": 4}, "steps . strength of at least 1"),
        ({"size": 100}, "multiple of 8"),
        ({"latents": "same"}, "'shared' or 'distinct'"),
    ],
)
def test_parameters_that_make_no_sense_together(params: dict[str, object], message: str) -> None:
    others = {"model": "m", "controlnet": "c", "subject": "a cat", "n": 3} | params
    with pytest.raises(covary.ParamsError, match=message):
        covary.create("controlnet", **others)
