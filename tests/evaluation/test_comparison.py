"""Predictions and truths meet by name, one at a time; what is alone or broken is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.transform import resize as scaled

from covary import InputError, PluginError
from covary.evaluation import Entry, Judge, LabelMap, Listed, SupportsBatches, compare
from covary.evaluation.pairs import natural

NAMES = st.lists(
    st.one_of(st.integers(0, 30).map(str), st.integers(0, 30).map("{:05d}".format), st.text("ab")),
    unique_by=natural,
    max_size=8,
)


class Given:
    """A few masks: each a map, or an error that reading it raises."""

    classes = ("background", "foreground")

    def __init__(self, maps: dict[str, Any]) -> None:
        self.maps = maps
        self.read: list[str] = []

    def __len__(self) -> int:
        return len(self.maps)

    def entries(self) -> Iterator[Entry]:
        for name in sorted(self.maps, key=natural):
            yield Entry(name, lambda name=name: self._load(name))  # type: ignore[misc]

    def describe(self) -> dict[str, Any]:
        return {"kind": "given"}

    def _load(self, name: str) -> LabelMap:
        self.read.append(name)
        if isinstance(self.maps[name], Exception):
            raise self.maps[name]
        return LabelMap(name, torch.as_tensor(self.maps[name]))


class Opposite:
    """A judge that says the opposite of what it is given."""

    classes = ("background", "foreground")

    def judge(self, given: LabelMap) -> LabelMap:
        return LabelMap(given.name, 1 - given.labels)

    def describe(self) -> dict[str, Any]:
        return {"kind": "opposite"}


MASK = [[0, 1], [1, 0]]


def masks(names: list[str]) -> Given:
    return Given(dict.fromkeys(names, MASK))


def test_stand_ins_are_what_they_stand_for() -> None:
    assert isinstance(Given({}), Listed)
    assert isinstance(Opposite(), Judge)
    assert not isinstance(Opposite(), Listed)
    assert not isinstance(Given({}), Judge)


@given(NAMES, NAMES)
def test_names_meet_whatever_their_zeros(ours: list[str], theirs: list[str]) -> None:
    mine, other = {natural(name): name for name in ours}, {natural(name): name for name in theirs}
    both = mine.keys() & other.keys()
    if not both:
        with pytest.raises(InputError, match="images"):
            compare(masks(ours), masks(theirs))
        return
    evaluation = compare(masks(ours), masks(theirs))
    assert [natural(row.name) for row in evaluation.images] == sorted(both)
    expected = [other[key] for key in sorted(other.keys() - both)]
    assert evaluation.problems["missing"] == expected
    assert evaluation.problems["extra"] == [mine[key] for key in sorted(mine.keys() - both)]


def test_reads_one_pair_at_a_time() -> None:
    ours, theirs = masks(["1", "2", "3"]), masks(["2", "3", "4"])
    said: list[tuple[str, int, int]] = []
    compare(ours, theirs, report=lambda name: said.append((name, len(ours.read), len(theirs.read))))
    assert said == [("2", 0, 0), ("3", 1, 1)]


def test_what_cannot_be_read_is_left_out() -> None:
    broken = Given({"1": MASK, "2": InputError("mask 2", got="rubbish"), "3": [[0, 9]]})
    evaluation = compare(broken, masks(["1", "2", "3"]))
    assert [row.name for row in evaluation.images] == ["1"]
    failed = evaluation.problems["failed"]
    assert failed["2"] == "mask 2: got rubbish"
    assert failed["3"].startswith("prediction 3: expected values in 0..1")


def test_what_would_fail_for_all_stops_it() -> None:
    with pytest.raises(PluginError, match="broken"):
        compare(Given({"1": PluginError("it is broken"), "2": MASK}), masks(["1", "2"]))


def test_what_a_plugin_trips_over_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Given({"1": ZeroDivisionError("oh"), "2": MASK})
    monkeypatch.delenv("COVARY_RAISE", raising=False)
    evaluation = compare(given, masks(["1", "2"]))
    assert "ZeroDivisionError: oh" in evaluation.problems["failed"]["1"]
    monkeypatch.setenv("COVARY_RAISE", "1")
    with pytest.raises(ZeroDivisionError):
        compare(given, masks(["1", "2"]))


def test_all_failures_are_an_error_that_names_one() -> None:
    with pytest.raises(InputError, match="all 1 failed; 1: mask 1: got rubbish"):
        compare(Given({"1": InputError("mask 1", got="rubbish")}), masks(["1"]))


def test_a_judge_is_asked_about_each() -> None:
    for ours, theirs in ((masks(["1", "2"]), Opposite()), (Opposite(), masks(["1", "2"]))):
        evaluation = compare(ours, theirs)
        assert [row.figures.pixel_accuracy for row in evaluation.images] == [0, 0]
        assert not evaluation.problems["missing"]


class Together(Opposite):
    """The same for several at a time; notes how many, and refuses what it is told."""

    def __init__(self, refused: str = "") -> None:
        self.refused, self.asked = refused, list[list[str]]()

    def judge_many(self, given: Sequence[LabelMap]) -> list[LabelMap]:
        self.asked.append([one.name for one in given])
        return [self.judge(one) for one in given]

    def judge(self, given: LabelMap) -> LabelMap:
        if given.name == self.refused:
            raise MemoryError("too large")
        return super().judge(given)


@pytest.mark.parametrize("batch", [1, 2, 7, None])
def test_figures_do_not_depend_on_the_batch(batch: int | None) -> None:
    draw = np.random.RandomState(1)
    given = {str(number): draw.randint(0, 2, (4, 5)) for number in range(5)}
    alone = compare(Given(given), Opposite()).summary()
    judge = Together()
    assert isinstance(judge, SupportsBatches)
    together = compare(Given(given), judge, batch=batch)
    assert together.summary() == alone
    sizes = [len(names) for names in judge.asked]
    assert sizes == {1: [], 2: [2, 2], 7: [5], None: [5]}[batch]


@pytest.mark.parametrize("batch", [1, 3])
def test_one_failure_of_a_batch_is_its_own(batch: int) -> None:
    given = Given({"1": MASK, "2": MASK, "3": InputError("mask 3", got="rubbish"), "4": MASK})
    evaluation = compare(given, Together("2"), batch=batch)
    assert [row.name for row in evaluation.images] == ["1", "4"]
    failed = evaluation.problems["failed"]
    assert list(failed) == ["2", "3"]
    assert "too large" in failed["2"]


def test_a_batch_has_an_image_at_least() -> None:
    with pytest.raises(InputError, match="batch: expected at least 1, got 0"):
        compare(masks(["1"]), Together(), batch=0)


def test_other_sizes_are_refused_or_scaled() -> None:
    draw = np.random.RandomState(3)
    small = draw.randint(0, 2, (5, 7))
    large = np.kron(small, np.ones((2, 2), int))
    refused = compare(Given({"1": small, "2": MASK}), Given({"1": large, "2": MASK}))
    assert "7x5" in refused.problems["failed"]["1"]
    assert "14x10" in refused.problems["failed"]["1"]
    evaluation = compare(Given({"1": small}), Given({"1": large}), resize="nearest")
    assert evaluation.images[0].figures.miou == 1
    down = compare(Given({"1": large}), Given({"1": small}), resize="nearest")
    assert down.images[0].figures.miou == 1


@given(st.tuples(*[st.integers(1, 9)] * 4), st.randoms(use_true_random=False))
def test_scaling_is_that_of_scikit_image(sides: tuple[int, ...], random: Any) -> None:
    values = np.array([[random.randint(0, 1) for _ in range(sides[1])] for _ in range(sides[0])])
    expected = scaled(values, sides[2:], order=0, preserve_range=True, anti_aliasing=False)
    # A pixel whose centre lies between two has no nearest one.
    if all(odd(one, other) for one, other in zip(sides[:2], sides[2:], strict=True)):
        evaluation = compare(
            Given({"1": values}), Given({"1": expected.astype(int)}), resize="nearest"
        )
        assert evaluation.images[0].figures.pixel_accuracy == 1


def odd(old: int, new: int) -> bool:
    """Whether no centre of a new pixel lies on the edge of an old one."""
    return all((2 * place + 1) * old % (2 * new) for place in range(new))


def test_a_value_of_the_truth_is_left_out() -> None:
    truth = Given({"1": [[0, 1, 255, 255]]})
    evaluation = compare(Given({"1": [[0, 1, 1, 0]]}), truth, ignore=255)
    assert evaluation.images[0].figures.miou == 1
    assert evaluation.inputs["ignore"] == 255
