"""What the data card says that no other file says, and that chance has no part in it."""

from __future__ import annotations

import shlex
from itertools import permutations

import pytest

import covary
from covary import Filters
from covary._seeds import Seeds
from covary.generation._card import card, command
from covary.generation._finish import Counts
from covary.generation._job import Job
from covary.generation._prepare import prepare
from covary.generation._record import ShardRecord


def job(device: str = "cpu", val: float = 0.3, filters: Filters | None = None) -> Job:
    pipe = covary.Pipeline("worlds", "rgb", ("lloyd", {"k": 3}), "border", soft=True, device="cpu")
    return prepare(
        pipe, Seeds.of("0-8"), name="some", task="foreground", classes=(), writer="folder",
        filters=filters or Filters(), val=val, shard_size=3, together=1, seed=None, device=device,
    )  # fmt: skip


def writer() -> covary.Writer:
    made = covary.create("folder", kind="writer")
    assert isinstance(made, covary.Writer)
    return made


def test_the_order_in_which_shards_are_counted_changes_nothing() -> None:
    reasons = ("area 0.1 is below 0.2", "area 0.9 is above 0.8", "no confident foreground")
    records = [
        ShardRecord(f"train-{number:05d}", "train", str(number), "", {number: reason}, (), 1.0, "")
        for number, reason in enumerate(reasons)
    ]
    made = job()
    cards = set()
    for order in permutations(records):
        counts = Counts()
        for record in order:
            counts.add(record)
        cards.add(card(made, counts, writer(), made.dataset(), preview=False))
    assert len(cards) == 1


@pytest.mark.parametrize("share", [0.0, 0.05, 0.123456789, 1 / 3, 1.0])
def test_the_command_has_every_digit(share: float) -> None:
    words = shlex.split(command(job(val=share, filters=Filters(min_area=share)), writer()))
    assert float(words[words.index("--val") + 1]) == share
    if share:
        assert float(words[words.index("--min-area") + 1]) == share


def test_the_command_names_the_kind_of_device() -> None:
    words = shlex.split(command(job("cuda:1"), writer()))
    assert words[words.index("--device") + 1] == "cuda"


def test_which_gpu_it_was_is_no_part_of_the_data_set() -> None:
    assert job("cuda:1").published() == job("cuda:0").published()
    assert not job("cuda:1").differences(job("cuda"))
    assert job("cuda").differences(job("cpu")) == ["device: cuda -> cpu"]
