"""The values that travel between the stages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import covary
from covary import Box, ClusterMap, Foreground, InputError, Query, StyleSummary, SummaryBuilder
from covary.testing import strategies
from covary.testing.reference import canonical
from covary.types import VariantBatch, Variants, check_image
from stored_summaries import Stored, stored


def cluster_map(labels: torch.Tensor, k: int) -> ClusterMap:
    """A map whose centre i is (i, i, i) before the ids become canonical."""
    centers = torch.arange(k).float()[:, None].repeat(1, 3)
    size = (labels.shape[0], labels.shape[1])
    return ClusterMap.from_labels(labels, centers, size=size, inertia=1, iterations=2)


class TestClusterMap:
    @given(strategies.label_maps())
    def test_ids_fall_in_size_and_ties_go_to_the_first_pixel(
        self, drawn: tuple[torch.Tensor, int]
    ) -> None:
        labels, k = drawn
        clusters = cluster_map(labels, k)
        assert clusters.labels.flatten().tolist() == canonical(labels.flatten()).tolist()
        assert clusters.labels.dtype == torch.int32
        assert clusters.size == tuple(labels.shape)
        assert clusters.k == k
        assert clusters.counts.tolist() == sorted(clusters.counts.tolist(), reverse=True)
        # Each centre follows its cluster.
        old = clusters.centers[clusters.labels.long()][..., 0]
        assert torch.equal(old, labels.float())

    @given(strategies.label_maps(), st.randoms(use_true_random=False))
    def test_the_numbering_of_the_labels_does_not_matter(
        self, drawn: tuple[torch.Tensor, int], random: Random
    ) -> None:
        labels, k = drawn
        shuffled = list(range(k))
        random.shuffle(shuffled)
        permutation = torch.tensor(shuffled)
        centers = torch.rand(k, 2)
        permuted = torch.empty_like(centers)
        permuted[permutation] = centers
        size = (labels.shape[0], labels.shape[1])
        one = ClusterMap.from_labels(labels, centers, size=size, inertia=0, iterations=1)
        two = ClusterMap.from_labels(
            permutation[labels], permuted, size=size, inertia=0, iterations=1
        )
        assert torch.equal(one.labels, two.labels)
        used = one.counts > 0
        assert torch.equal(one.centers[used], two.centers[used])

    @given(strategies.label_maps())
    def test_canonical_labels_stay_as_they_are(self, drawn: tuple[torch.Tensor, int]) -> None:
        once = cluster_map(*drawn)
        again = cluster_map(once.labels, once.k)
        assert torch.equal(once.labels, again.labels)
        assert torch.equal(again.centers, cluster_map(again.labels, once.k).centers)

    @pytest.mark.parametrize(
        ("labels", "centers", "message"),
        [
            (torch.zeros(5), torch.zeros(1, 2), "tensor of integers"),
            (torch.zeros(5, dtype=torch.bool), torch.zeros(1, 2), "tensor of integers"),
            (np.zeros(5, np.int64), torch.zeros(1, 2), "ndarray int64"),
            (torch.zeros(5, dtype=torch.int64), torch.zeros(1, 2), "2x3 pixels"),
            (torch.zeros(6, dtype=torch.int64), torch.zeros(2), r"shape \(K, D\)"),
            (torch.full((6,), 2), torch.zeros(2, 2), r"0\.\.1, got 2\.\.2"),
            (torch.full((6,), -1), torch.zeros(2, 2), r"0\.\.1, got -1\.\.-1"),
        ],
    )
    def test_refuses_what_does_not_fit(
        self, labels: torch.Tensor, centers: torch.Tensor, message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            ClusterMap.from_labels(labels, centers, size=(2, 3), inertia=0, iterations=1)

    def test_refuses_an_empty_image(self) -> None:
        with pytest.raises(InputError, match="at least one"):
            ClusterMap.from_labels(
                torch.zeros(0, dtype=torch.int64),
                torch.zeros(1, 1),
                size=(0, 4),
                inertia=0,
                iterations=1,
            )


class TestForeground:
    @given(strategies.label_maps(), st.data())
    def test_the_mask_is_the_union_of_the_chosen_clusters(
        self, drawn: tuple[torch.Tensor, int], data: st.DataObject
    ) -> None:
        clusters = cluster_map(*drawn)
        chosen = data.draw(st.lists(st.booleans(), min_size=clusters.k, max_size=clusters.k))
        found = Foreground.from_clusters(
            clusters, torch.tensor(chosen), torch.rand(clusters.k), "because"
        )
        union = {i for i, pick in enumerate(chosen) if pick}
        expected = [label in union for label in clusters.labels.flatten().tolist()]
        assert found.found == (any(expected) and not all(expected))
        assert found.mask.flatten().tolist() == (
            expected if found.found else [False] * len(expected)
        )
        assert found.clusters.tolist() == chosen
        assert "because" in found.reason
        assert found.mask.dtype == torch.bool
        assert found.scores.dtype == torch.float32

    def test_says_why_nothing_or_everything_is_no_foreground(self) -> None:
        clusters = cluster_map(torch.tensor([[0, 1]]), 2)
        none = Foreground.from_clusters(clusters, torch.zeros(2) > 0, torch.zeros(2), "why")
        everything = Foreground.from_clusters(clusters, torch.ones(2) > 0, torch.ones(2), "why")
        assert none.reason == "no cluster qualifies as foreground: why"
        assert everything.reason == "every pixel qualifies as foreground: why"

    def test_choosing_only_an_empty_cluster_finds_nothing(self) -> None:
        clusters = cluster_map(torch.zeros(2, 2, dtype=torch.int64), 2)
        found = Foreground.from_clusters(
            clusters, torch.tensor([False, True]), torch.zeros(2), "empty"
        )
        assert not found.found

    @pytest.mark.parametrize(
        ("chosen", "scores", "message"),
        [
            (torch.zeros(3) > 0, torch.zeros(2), r"chosen: expected shape \(2,\), got \(3,\)"),
            (torch.zeros(2) > 0, torch.zeros(2, 1), r"scores: expected shape \(2,\)"),
            # Indices of clusters instead of a mask would otherwise choose the wrong ones.
            (torch.tensor([0, 1]), torch.zeros(2), "chosen: expected dtype bool, got torch.int64"),
        ],
    )
    def test_refuses_what_does_not_fit(
        self, chosen: torch.Tensor, scores: torch.Tensor, message: str
    ) -> None:
        clusters = cluster_map(torch.tensor([[0, 1]]), 2)
        with pytest.raises(InputError, match=message):
            Foreground.from_clusters(clusters, chosen, scores, "")

    def test_may_say_how_sure_it_is_and_what_each_cluster_is(self) -> None:
        clusters = cluster_map(torch.tensor([[0, 0, 1]]), 2)
        chosen, scores = torch.tensor([False, True]), torch.zeros(2)
        sure = torch.tensor([0.5, 1.0], dtype=torch.float64)
        found = Foreground.from_clusters(clusters, chosen, scores, "", sure, ["wall", "hair"])
        assert found.confidence.tolist() == [0.5, 1.0]
        assert found.confidence.dtype == torch.float32
        assert found.names == ("wall", "hair")
        assert found.cpu().names == found.names

    def test_is_sure_and_nameless_where_it_does_not_say(self) -> None:
        """As a plugin of version 1.0 makes it, by from_clusters or by hand."""
        clusters = cluster_map(torch.tensor([[0, 0, 1]]), 2)
        chosen, scores = torch.tensor([False, True]), torch.tensor([0.25, 4])
        made = Foreground.from_clusters(clusters, chosen, scores, "")
        by_hand = Foreground(
            clusters=chosen, mask=made.mask, found=True, reason="", scores=scores.float()
        )
        for found in (made, by_hand):
            assert found.confidence.tolist() == [1, 1]
            assert found.confidence.dtype == torch.float32
            assert found.names == ()

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ({"confidence": torch.ones(3)}, r"confidence: expected shape \(2,\), got \(3,\)"),
            ({"confidence": torch.tensor([0, 1.1])}, r"values in 0\.\.1, got \[0.0, 1.1\]"),
            ({"confidence": torch.tensor([0, torch.nan])}, r"values in 0\.\.1, got \[0.0, nan\]"),
            ({"names": ["hair"]}, "names: expected a name for each of 2 clusters, .*got 1 names"),
        ],
    )
    def test_refuses_confidence_and_names_that_do_not_fit(
        self, more: dict[str, Any], message: str
    ) -> None:
        clusters = cluster_map(torch.tensor([[0, 1]]), 2)
        with pytest.raises(InputError, match=message):
            Foreground.from_clusters(clusters, torch.ones(2) > 0, torch.zeros(2), "", **more)


class TestBox:
    def test_measures(self) -> None:
        box = Box(2, 3, 12, 7)
        assert (box.width, box.height, box.area) == (10, 4, 40)
        assert Box(*box.corners) == box

    @given(strategies.sizes().flatmap(lambda s: st.tuples(st.just(s), strategies.boxes(s))))
    def test_indexes_exactly_its_pixels(self, drawn: tuple[tuple[int, int], Box]) -> None:
        size, box = drawn
        assert box.inside(size) is box
        picked = torch.zeros(size)
        picked[box.slices] = 1
        expected = {(y, x) for y in range(box.y0, box.y1) for x in range(box.x0, box.x1)}
        assert {(y, x) for y, x in picked.nonzero().tolist()} == expected

    @pytest.mark.parametrize("box", [(3, 0, 3, 5), (0, 4, 2, 4), (5, 0, 2, 5)])
    def test_refuses_empty_ones(self, box: tuple[int, int, int, int]) -> None:
        with pytest.raises(InputError, match="x0 < x1 and y0 < y1"):
            Box(*box)

    @pytest.mark.parametrize(
        "box", [(-1, 0, 4, 4), (0, -1, 4, 4), (0, 0, 9, 4), (0, 0, 8, 5), (8, 4, 9, 5)]
    )
    def test_is_never_clipped(self, box: tuple[int, int, int, int]) -> None:
        with pytest.raises(InputError, match=r"x in 0\.\.8 and y in 0\.\.4"):
            Box(*box).inside((4, 8))

    @pytest.mark.parametrize("bad", [0.5, "1", None, True])
    def test_takes_integers_only(self, bad: object) -> None:
        with pytest.raises(InputError, match="box y1: expected an integer"):
            Box(0, 0, 4, bad)  # type: ignore[arg-type]

    def test_keeps_numpy_integers_as_plain_ones(self) -> None:
        box = Box(*np.array([0, 1, 2, 3]))
        assert box == Box(0, 1, 2, 3)
        assert type(box.x0) is int


class TestQuery:
    @given(st.integers(0, 2**32 - 1))
    def test_a_seed_is_kept(self, seed: int) -> None:
        query = Query(seed=seed)
        assert (query.seed, query.kind, query.name) == (seed, "seed", str(seed))

    @pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "7", True])
    def test_refuses_other_seeds(self, seed: object) -> None:
        with pytest.raises(InputError, match=r"integer in 0\.\.2\^32-1"):
            Query(seed=seed)  # type: ignore[arg-type]

    def test_keeps_a_numpy_seed_as_a_plain_integer(self) -> None:
        assert type(Query(seed=np.uint32(7)).seed) is int  # type: ignore[arg-type]

    def test_is_either_a_seed_or_paths(self) -> None:
        for query in ({}, {"seed": 1, "paths": (Path("a"),)}):
            with pytest.raises(InputError, match="either a seed or paths"):
                Query(**query)  # type: ignore[arg-type]

    def test_is_named_after_its_first_file(self) -> None:
        query = Query(paths=(Path("in/cat.png"), Path("in/dog.png")))
        assert (query.kind, query.name) == ("files", "cat")

    def test_a_folder_without_a_name_in_its_path_has_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "stack" / "inner").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "stack" / "inner")
        for path, name in {".": "inner", "..": "stack", "/": "root"}.items():
            assert Query(paths=(Path(path),)).name == name


class TestImages:
    @pytest.mark.parametrize(
        "image",
        [
            torch.zeros(3, 4, 4),
            torch.zeros(4, 4, dtype=torch.uint8),
            torch.zeros(1, 4, 4, dtype=torch.uint8),
            torch.zeros(4, 4, 3, dtype=torch.uint8),
            torch.zeros(3, 0, 4, dtype=torch.uint8),
            np.zeros((3, 4, 4), np.uint8),
            None,
        ],
    )
    def test_an_image_is_uint8_rgb_channels_first(self, image: torch.Tensor) -> None:
        with pytest.raises(InputError, match="X_0: expected"):
            check_image(image, "X_0")
        with pytest.raises(InputError, match="X_0: expected"):
            Variants(image=image, count=1, batches=iter(()))

    def test_a_reconstruction_is_an_image_of_the_same_size(self) -> None:
        image = torch.zeros(3, 4, 6, dtype=torch.uint8)
        for other in (torch.zeros(3, 6, 4, dtype=torch.uint8), image.float()):
            with pytest.raises(InputError, match="reconstruction: expected"):
                Variants(image=image, count=1, batches=iter(()), reconstruction=other)

    @pytest.mark.parametrize(
        "images",
        [
            torch.zeros(2, 3, 4, 4),
            torch.zeros(3, 4, 4, dtype=torch.uint8),
            torch.zeros(2, 4, 4, 3, dtype=torch.uint8),
            torch.zeros(0, 3, 4, 4, dtype=torch.uint8),
            np.zeros((2, 3, 4, 4), np.uint8),
        ],
    )
    def test_a_batch_is_uint8_rgb_channels_first(self, images: torch.Tensor) -> None:
        with pytest.raises(InputError, match="variants: expected"):
            VariantBatch(images)

    @pytest.mark.parametrize("count", [0, -3])
    def test_there_is_at_least_one_variant(self, count: int) -> None:
        image = torch.zeros(3, 4, 4, dtype=torch.uint8)
        with pytest.raises(InputError, match="at least 1"):
            Variants(image=image, count=count, batches=iter(()))


class TestSummary:
    @given(stored())
    def test_tells_its_shape(self, stored: Stored) -> None:
        summary = StyleSummary(stored.data, stored.size)
        assert (summary.pixels, summary.features) == stored.plain.shape
        assert summary.nbytes == stored.plain.size * stored.data.element_size()
        assert summary.dtype == stored.data.dtype
        assert f"{stored.size[0]}x{stored.size[1]} pixels" in repr(summary)

    @given(stored(), st.data())
    def test_every_reader_agrees_with_plain_numpy(
        self, stored: Stored, data: st.DataObject
    ) -> None:
        summary, plain = StyleSummary(stored.data, stored.size), stored.plain
        start = data.draw(st.integers(0, len(plain)))
        stop = data.draw(st.integers(start, len(plain)))
        index = data.draw(st.lists(st.integers(0, len(plain) - 1)))
        rows, picked = summary.rows(start, stop), summary.gather(torch.tensor(index).long())
        assert rows.dtype == picked.dtype == torch.float32
        assert np.array_equal(rows.numpy(), plain[start:stop])
        assert np.array_equal(picked.numpy(), plain[index])
        for dtype in (torch.float32, torch.float64):
            whole = summary.matrix(dtype)
            assert whole.dtype == dtype
            assert whole.is_contiguous()
            assert np.array_equal(whole.numpy(), plain)

    @given(stored(), st.integers(1, 64))
    def test_the_matrix_is_the_same_in_however_many_chunks_it_is_made(
        self, stored: Stored, limit: int
    ) -> None:
        with mock.patch("covary.summary._CONVERTED_BYTES", limit):
            for dtype in (torch.uint8, torch.float16, torch.float32, torch.float64):
                whole = StyleSummary(stored.data, stored.size).matrix(dtype)
                assert whole.dtype == dtype
                assert whole.is_contiguous()
                assert np.array_equal(whole.numpy(), stored.plain)

    @given(stored(), st.integers(1, 200))
    def test_chunks_cover_every_pixel_once_within_their_bytes(
        self, stored: Stored, limit: int
    ) -> None:
        summary = StyleSummary(stored.data, stored.size)
        chunks = list(summary.chunks(limit))
        starts = [start for start, _ in chunks]
        assert starts == [0, *np.cumsum([len(rows) for _, rows in chunks])[:-1]]
        assert np.array_equal(torch.cat([rows for _, rows in chunks]).numpy(), stored.plain)
        row = 4 * summary.features
        assert all(len(rows) * row <= max(limit, row) for _, rows in chunks)

    @given(stored(), st.data())
    def test_a_crop_holds_the_pixels_of_its_box(self, stored: Stored, data: st.DataObject) -> None:
        box = data.draw(strategies.boxes(stored.size))
        crop = StyleSummary(stored.data, stored.size).crop(box)
        inner = stored.plain.reshape(*stored.size, -1)[box.slices]
        assert crop.size == inner.shape[:2]
        assert crop.dtype == stored.data.dtype
        assert np.array_equal(crop.matrix().numpy(), inner.reshape(-1, inner.shape[2]))

    def test_a_crop_outside_is_refused(self) -> None:
        summary = StyleSummary(torch.zeros(6, 1), (2, 3))
        with pytest.raises(InputError, match=r"box \(0, 0, 4, 2\)"):
            summary.crop(Box(0, 0, 4, 2))

    def test_reading_copies_nothing_into_the_stored_data(self) -> None:
        data = torch.arange(6, dtype=torch.uint8).reshape(3, 2)
        summary = StyleSummary(data, (1, 3))
        summary.matrix().zero_()
        summary.rows(0, 3).zero_()
        assert data.flatten().tolist() == list(range(6))

    @given(
        stored().filter(lambda s: s.data.dtype != torch.uint8),
        st.sampled_from([float("nan"), float("inf"), float("-inf")]),
        st.data(),
    )
    def test_names_the_first_pixel_that_is_not_finite(
        self, stored: Stored, bad: float, data: st.DataObject
    ) -> None:
        pixels = data.draw(st.sets(st.integers(0, len(stored.plain) - 1), min_size=1))
        spoilt = stored.data.clone()
        for pixel in pixels:
            spoilt[pixel, data.draw(st.integers(0, spoilt.shape[1] - 1))] = bad
        with pytest.raises(InputError, match=rf"NaN or infinity at pixel {min(pixels)};"):
            StyleSummary(spoilt, stored.size)

    def test_finds_a_bad_value_beyond_the_first_chunk(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("covary.summary._CHUNK_BYTES", 32)
        data = torch.zeros(100, 4)
        data[77, 2] = torch.inf
        with pytest.raises(InputError, match="pixel 77"):
            StyleSummary(data, (10, 10))

    @pytest.mark.parametrize(
        ("data", "size", "message"),
        [
            (torch.zeros(6, 2, dtype=torch.float64), (2, 3), "got Tensor torch.float64"),
            (torch.zeros(6, 2, dtype=torch.int64), (2, 3), "from_matrix, which converts"),
            (np.zeros((6, 2), np.float32), (2, 3), "got ndarray float32"),
            (torch.zeros(6), (2, 3), r"shape \(N, D\), not empty, got \(6,\)"),
            (torch.zeros(6, 0), (2, 3), "not empty"),
            (torch.zeros(2, 3, 2), (2, 3), r"got \(2, 3, 2\)"),
            (torch.zeros(6, 2), (2, 4), r"H\*W = 6, got \(2, 4\)"),
            (torch.zeros(6, 2), (-2, -3), r"got \(-2, -3\)"),
            (torch.zeros(6, 2), (1.5, 4), r"got \(1.5, 4\)"),
            (torch.zeros(6, 2), (6,), r"got \(6,\)"),
            (torch.zeros(6, 2), 6, "got 6"),
        ],
    )
    def test_refuses_what_does_not_fit(
        self, data: torch.Tensor, size: tuple[int, int], message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            StyleSummary(data, size)


class TestFromMatrix:
    @pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
    def test_compact_arrays_are_shared(self, dtype: type) -> None:
        array = np.arange(12).astype(dtype).reshape(6, 2)
        summary = StyleSummary.from_matrix(array, (2, 3))
        assert summary.matrix(summary.dtype).numpy().dtype == dtype
        array[0, 0] = 9
        assert summary.rows(0, 1)[0, 0] == 9

    @pytest.mark.parametrize(
        "dtype", [np.float64, np.longdouble, np.int8, np.uint16, np.int64, np.uint64, ">f4", ">i2"]
    )
    def test_other_real_numbers_become_float32(self, dtype: str) -> None:
        array = np.arange(12).astype(dtype).reshape(6, 2)
        summary = StyleSummary.from_matrix(array, (2, 3))
        assert summary.dtype == torch.float32
        assert np.array_equal(summary.matrix().numpy(), np.arange(12.0).reshape(6, 2))

    def test_takes_reversed_and_read_only_arrays(self, recwarn: pytest.WarningsRecorder) -> None:
        array = np.arange(12, dtype=np.float32).reshape(6, 2)
        array.flags.writeable = False
        for view in (array, array[::-1], array[:, ::-1], np.asfortranarray(array)):
            summary = StyleSummary.from_matrix(view, (3, 2))
            assert np.array_equal(summary.matrix().numpy(), view)
        assert not recwarn.list

    def test_takes_tensors_that_need_gradients(self) -> None:
        tensor = torch.ones(4, 2, dtype=torch.bfloat16, requires_grad=True)
        assert not StyleSummary.from_matrix(tensor, (2, 2)).data.requires_grad

    @pytest.mark.parametrize(
        "matrix",
        [
            np.zeros((4, 2), bool),
            np.zeros((4, 2), complex),
            np.full((4, 2), "a"),
            np.full((4, 2), None),
            torch.zeros(4, 2, dtype=torch.bool),
            torch.zeros(4, 2, dtype=torch.complex64),
            [[1.0, 2.0]] * 4,
        ],
    )
    def test_refuses_what_is_not_real(self, matrix: np.ndarray) -> None:
        with pytest.raises(InputError, match=r"real numbers|numpy array or torch tensor"):
            StyleSummary.from_matrix(matrix, (2, 2))

    def test_numbers_too_large_for_float32_are_reported(self) -> None:
        with (
            np.errstate(over="ignore"),
            pytest.raises(InputError, match="pixel 2"),
        ):
            StyleSummary.from_matrix(np.array([[1.0], [2.0], [1e300], [4.0]]), (2, 2))


class TestBuilder:
    @given(strategies.stacks(most=5), st.data())
    def test_equals_the_stacked_features_however_they_are_batched(
        self, stack: torch.Tensor, data: st.DataObject
    ) -> None:
        n, c, h, w = stack.shape
        builder = SummaryBuilder(
            count=n, channels=c, size=(h, w), dtype=stack.dtype, device=stack.device
        )
        while builder.done < n:
            some = data.draw(st.integers(1, n - builder.done))
            builder.add(stack[builder.done : builder.done + some])
        summary = builder.finish()
        expected = stack.numpy().transpose(2, 3, 0, 1).reshape(h * w, n * c)
        assert summary.size == (h, w)
        assert summary.dtype == torch.uint8
        assert np.array_equal(summary.matrix().numpy(), expected)

    @pytest.mark.parametrize(
        ("features", "message"),
        [
            (torch.zeros(1, 3, 4, 5), r"variant 1: expected \(B, 3, 4, 4\), got \(1, 3, 4, 5\)"),
            (torch.zeros(1, 4, 4, 4), r"variant 1: expected \(B, 3, 4, 4\)"),
            (torch.zeros(3, 4, 4), r"variant 1: expected \(B, 3, 4, 4\)"),
            (torch.zeros(2, 3, 4, 4), "expected 2 of them, got 3 or more"),
            (torch.zeros(1, 3, 4, 4).half(), "variant 1: expected dtype float32, got float16"),
        ],
    )
    def test_refuses_what_was_not_promised(self, features: torch.Tensor, message: str) -> None:
        builder = self.builder()
        builder.add(torch.zeros(1, 3, 4, 4))
        with pytest.raises(InputError, match=message):
            builder.add(features)

    def test_refuses_to_finish_early(self) -> None:
        builder = self.builder()
        builder.add(torch.zeros(1, 3, 4, 4))
        with pytest.raises(InputError, match="expected 2 of them, got 1"):
            builder.finish()

    def test_a_feature_that_is_not_finite_is_reported(self) -> None:
        builder = self.builder()
        features = torch.zeros(2, 3, 4, 4)
        features[1, 2, 3, 1] = torch.nan
        builder.add(features)
        with pytest.raises(InputError, match="NaN or infinity at pixel 13"):
            builder.finish()

    def test_says_so_where_there_is_no_memory(self) -> None:
        with pytest.raises(covary.MemoryBudgetError, match="no memory for the style summary"):
            SummaryBuilder(
                count=2**40,
                channels=3,
                size=(1024, 1024),
                dtype=torch.float32,
                device=torch.device("cpu"),
            )

    @staticmethod
    def builder() -> SummaryBuilder:
        return SummaryBuilder(
            count=2, channels=3, size=(4, 4), dtype=torch.float32, device=torch.device("cpu")
        )


class TestFromImages:
    @given(strategies.stacks())
    def test_rgb_is_the_stack_itself(self, stack: torch.Tensor) -> None:
        n, c, h, w = stack.shape
        expected = stack.numpy().transpose(2, 3, 0, 1).reshape(h * w, n * c)
        for given_as in (stack, stack.numpy()):
            summary = StyleSummary.from_images(given_as, space="rgb")
            assert np.array_equal(summary.matrix().numpy(), expected)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: np.zeros((2, 3, 4, 4)),
            lambda: np.zeros((2, 4, 4, 3), np.uint8),
            lambda: torch.zeros(3, 4, 4, dtype=torch.uint8),
            lambda: [[1]],
        ],
    )
    def test_refuses_other_stacks(self, make: Callable[[], torch.Tensor]) -> None:
        with pytest.raises(InputError, match="variants: expected"):
            StyleSummary.from_images(make(), space="rgb")

    def test_suggests_a_feature_space(self) -> None:
        with pytest.raises(covary.UnknownNameError, match="did you mean 'lab'"):
            StyleSummary.from_images(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), space="labs")
