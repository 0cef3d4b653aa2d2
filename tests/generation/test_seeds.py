"""Sets of seeds, and which shard each goes to."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covary import InputError
from covary._seeds import Seeds
from covary.generation._split import shards_of, split_of

few = st.sets(st.integers(0, 60) | st.integers(2**32 - 20, 2**32 - 1), max_size=40)
shares = st.sampled_from([0.0, 0.05, 0.3, 1.0])


class TestSeeds:
    @given(few)
    def test_is_the_set_ascending(self, seeds: set[int]) -> None:
        found = Seeds.of(list(seeds))
        assert list(found) == sorted(seeds)
        assert len(found) == len(seeds)
        assert all(seed in found for seed in seeds)
        assert 61 not in found

    @given(few)
    def test_text_is_read_back(self, seeds: set[int]) -> None:
        found = Seeds.of(seeds)
        assert Seeds.of(str(found)) == found

    @given(few)
    def test_neighbours_are_one_range(self, seeds: set[int]) -> None:
        ranges = Seeds.of(seeds).ranges
        gaps = [later.start - one.stop for one, later in pairwise(ranges)]
        assert all(gap >= 1 for gap in gaps)

    @given(few, few)
    def test_a_subset_is_one(self, some: set[int], others: set[int]) -> None:
        assert (Seeds.of(some) <= Seeds.of(others)) == (some <= others)
        assert Seeds.of(some) <= Seeds.of(some | others)

    @pytest.mark.parametrize(
        ("text", "seeds"),
        [("7", [7]), ("0-2, 9,4-5", [0, 1, 2, 4, 5, 9]), ("3-5,4-7,5", [3, 4, 5, 6, 7]), ("", [])],
    )
    def test_text(self, text: str, seeds: list[int]) -> None:
        assert list(Seeds.of(text)) == seeds

    def test_ten_million_take_no_room(self) -> None:
        assert Seeds.of(range(10_000_000)).ranges == (range(10_000_000),)
        assert len(Seeds.of("0-9999999,20000000")) == 10_000_001

    def test_other_integers_and_steps(self) -> None:
        assert list(Seeds.of(np.array([3, 1]))) == [1, 3]
        assert list(Seeds.of(range(10, 0, -3))) == [1, 4, 7, 10]

    def test_a_great_many_scattered_ones_are_compared_at_once(self) -> None:
        scattered = Seeds.of(range(0, 200_000, 2))
        assert scattered <= Seeds.of(range(0, 200_002, 2))
        assert not scattered <= Seeds.of([*range(0, 199_998, 2), 199_999])
        assert np.int64(4) in scattered
        assert 5 not in scattered
        assert "4" not in scattered

    @pytest.mark.parametrize(
        "wrong",
        [
            "a",
            "1-",
            "5-3",
            "1" * 5000,
            "1-" + "1" * 5000,
            "0-4294967296",
            [-1],
            [2**32],
            [1.5],
            [True],
            range(-1, 3),
        ],
    )
    def test_refuses_what_is_none(self, wrong: object) -> None:
        with pytest.raises(InputError):
            Seeds.of(wrong)  # type: ignore[arg-type]


class TestShards:
    @given(few, shares, st.integers(1, 9))
    def test_every_seed_is_in_one_shard(self, seeds: set[int], val: float, size: int) -> None:
        shards = list(shards_of(Seeds.of(seeds), val, size))
        assert Counter(seed for shard in shards for seed in shard.seeds) == Counter(seeds)
        assert len({shard.name for shard in shards}) == len(shards)
        for shard in shards:
            assert 1 <= len(shard.seeds) <= size
            assert list(shard.seeds) == sorted(shard.seeds)
            assert {split_of(seed, val) for seed in shard.seeds} == {shard.split}
            assert shard.name.startswith(f"{shard.split}-")

    @given(few, shares, st.integers(1, 9))
    def test_only_the_last_of_a_split_is_not_full(
        self, seeds: set[int], val: float, size: int
    ) -> None:
        shards = sorted(shards_of(Seeds.of(seeds), val, size), key=lambda shard: shard.name)
        for split in ("train", "val"):
            mine = [shard for shard in shards if shard.split == split]
            assert [shard.name for shard in mine] == [f"{split}-{i:05d}" for i in range(len(mine))]
            assert all(len(shard.seeds) == size for shard in mine[:-1])
            ordered = [seed for shard in mine for seed in shard.seeds]
            assert ordered == sorted(ordered)

    @given(few, st.integers(61, 10_000), shares, st.integers(1, 9))
    def test_more_seeds_at_the_end_change_no_full_shard(
        self, seeds: set[int], more: int, val: float, size: int
    ) -> None:
        low = {seed for seed in seeds if seed <= 60}
        before = {s.name: s for s in shards_of(Seeds.of(low), val, size) if len(s.seeds) == size}
        after = {s.name: s for s in shards_of(Seeds.of(low | {more, more + 1}), val, size)}
        assert before.items() <= after.items()

    def test_the_split_is_what_it_always_was(self) -> None:
        # Data sets exist: another hash would move their pairs between splits.
        assert [seed for seed in range(100) if split_of(seed, 0.05) == "val"] == VALIDATION

    def test_the_share_is_as_asked(self) -> None:
        # 20,000 draws at 5%: the standard deviation is 31.
        count = sum(split_of(seed, 0.05) == "val" for seed in range(20_000))
        assert abs(count - 1000) < 5 * 31
        assert all(split_of(seed, 0.0) == "train" for seed in range(1000))
        assert all(split_of(seed, 1.0) == "val" for seed in range(1000))


# By sha256sum: the first eight bytes below 0.05 of all.
VALIDATION = [32, 34, 35, 71, 98]
