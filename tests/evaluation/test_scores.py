"""Figures of images and of sets against torchmetrics, scikit-image and the benchmarks' own."""

from __future__ import annotations

import json
import math
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.morphology import dilation, disk
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.functional.classification import multiclass_jaccard_index

import covary
from covary import InputError, Pair
from covary.evaluation import Rules
from covary.metrics import boundary_distance
from covary_bench.quality import score

CLASSES = ("background", "sofa", "lamp")
IGNORED = 255
FIGURES = (
    *("miou", "iou_foreground", "iou_background"),
    *("pixel_accuracy", "trimap_miou", "boundary_iou"),
)


@st.composite
def images(draw: st.DrawFn, highest: int = 2, ignored: bool = False) -> Pair:
    """A pair of maps in which classes are often missing."""
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    kinds = st.integers(0, draw(st.integers(0, highest)))
    prediction = draw(hnp.arrays(np.uint8, shape, elements=kinds))
    kinds = st.integers(0, draw(st.integers(0, highest)))
    truth = draw(hnp.arrays(np.uint8, shape, elements=kinds))
    if ignored:
        truth[draw(hnp.arrays(bool, shape))] = IGNORED
    found = draw(st.booleans())
    return Pair("", *map(torch.from_numpy, (prediction, truth)), found=found)


def sets(**kinds: Any) -> st.SearchStrategy[list[Pair]]:
    """Several pairs, each of a name of its own."""

    def named(pairs: list[Pair]) -> list[Pair]:
        return [
            Pair(str(number), pair.prediction, pair.truth, found=pair.found)
            for number, pair in enumerate(pairs)
        ]

    return st.lists(images(**kinds), min_size=1, max_size=5).map(named)


def jaccard(prediction: torch.Tensor, truth: torch.Tensor) -> float:
    """torchmetrics' mean IoU of the classes that there are; NaN without pixels."""
    if not bool((truth != IGNORED).any()):
        return math.nan
    return float(
        multiclass_jaccard_index(
            prediction.int(), truth.int(), len(CLASSES), average="macro", ignore_index=IGNORED
        )
    )


def mean(values: Sequence[float]) -> float | None:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else None


def same(found: float | None, expected: float | None) -> bool:
    if found is None or expected is None:
        return found is None and (expected is None or math.isnan(expected))
    return found == pytest.approx(expected, abs=1e-5)


class TestAgainstTorchmetrics:
    @settings(max_examples=25)
    @given(sets(ignored=True))
    def test_mean_over_images(self, pairs: list[Pair]) -> None:
        figures = covary.evaluate(pairs, CLASSES).summary()["figures"]
        for name, chosen in (("all", pairs), ("found", [pair for pair in pairs if pair.found])):
            expected = mean([jaccard(pair.prediction, pair.truth) for pair in chosen])
            assert same(figures[name]["per_image_mean"]["miou"], expected)
            assert figures[name]["images"] == len(chosen)

    @settings(max_examples=25)
    @given(sets(ignored=True))
    def test_whole_set(self, pairs: list[Pair]) -> None:
        figures = covary.evaluate(pairs, CLASSES).summary()["figures"]
        for name, chosen in (("all", pairs), ("found", [pair for pair in pairs if pair.found])):
            metric = MulticlassJaccardIndex(3, average="macro", ignore_index=IGNORED)
            some = False
            for pair in chosen:
                metric.update(pair.prediction.int(), pair.truth.int())
                some |= bool((pair.truth != IGNORED).any())
            expected = float(metric.compute()) if some else None
            assert same(figures[name]["whole_set"]["miou"], expected)

    @settings(max_examples=25)
    @given(sets())
    def test_each_class(self, pairs: list[Pair]) -> None:
        rows = covary.evaluate(pairs, CLASSES).summary()["classes"]
        metric = MulticlassJaccardIndex(3, average="none")
        for pair in pairs:
            metric.update(pair.prediction.int(), pair.truth.int())
        for number, (row, expected) in enumerate(zip(rows, metric.compute(), strict=True)):
            assert row["name"] == CLASSES[number]
            have = [pair for pair in pairs if number in {*map(int, torch.cat([
                pair.prediction.flatten(), pair.truth.flatten()]))}]  # fmt: skip
            assert row["images"] == len(have)
            # torchmetrics says 0 of a class that nobody has.
            assert same(row["whole_set_iou"], float(expected) if have else None)

    @given(sets(), st.sampled_from([1.0, 3.0]))
    def test_within_the_trimap(self, pairs: list[Pair], width: float) -> None:
        evaluation = covary.evaluate(pairs, CLASSES, rules=Rules(trimap_width=width))
        for row, pair in zip(evaluation.images, pairs, strict=True):
            truth = pair.truth.numpy()
            others = [dilation(truth != value, disk(int(width))) for value in range(3)]
            band = np.choose(truth, others)
            masked = torch.from_numpy(np.where(band, truth, IGNORED))
            found = row.figures.trimap_miou
            assert same(None if math.isnan(found) else found, jaccard(pair.prediction, masked))


class TestFigures:
    @given(images(highest=1))
    def test_of_masks_are_those_of_the_benchmarks(self, pair: Pair) -> None:
        """They count an empty foreground in both as 1, which makes no other mean of two classes."""
        row = covary.evaluate([pair]).rows()[0]
        expected = score(pair.prediction.bool(), pair.truth.bool())
        assert row["miou"] == pytest.approx(expected.miou)
        if row["iou_foreground"] is not None:
            assert row["iou_foreground"] == pytest.approx(expected.foreground)

    @given(images())
    def test_foreground_is_everything_but_background(self, pair: Pair) -> None:
        figures = covary.evaluate([pair], CLASSES).images[0].figures
        binary = covary.evaluate([(pair.prediction > 0, pair.truth > 0)]).images[0].figures
        for name in ("iou_foreground", "iou_background", "boundary_iou"):
            one, other = getattr(figures, name), getattr(binary, name)
            assert one == other or (math.isnan(one) and math.isnan(other))

    @given(images(ignored=True))
    def test_boundaries_are_those_of_eroded_masks(self, pair: Pair) -> None:
        rules = Rules(boundary_ratio=0.2)
        figures = covary.evaluate([pair], CLASSES, rules=rules).images[0].figures
        d = boundary_distance(tuple(pair.truth.shape), 0.2)  # type: ignore[arg-type]
        left = (pair.truth == IGNORED).numpy()

        def edge(mask: np.ndarray) -> np.ndarray:
            mask = mask & ~left
            grown = dilation(np.pad(~mask, d, constant_values=True), disk(d))[d:-d, d:-d]
            return mask & grown

        prediction, truth = pair.prediction.numpy(), pair.truth.numpy()
        masks = [(prediction > 0, truth > 0), *((prediction == c, truth == c) for c in (1, 2))]
        found = [figures.boundary_iou, *figures.class_boundary_iou]
        for value, (ours, theirs) in zip(found, masks, strict=True):
            one, other = edge(ours), edge(theirs)
            either = (one | other).sum()
            expected = (one & other).sum() / either if either else None
            assert same(None if math.isnan(value) else value, expected)

    @settings(max_examples=25)
    @given(sets())
    def test_of_one_pixel_or_class_are_defined_or_not_but_never_wrong(
        self, pairs: list[Pair]
    ) -> None:
        for row in covary.evaluate(pairs, CLASSES).rows():
            for name in FIGURES:
                assert row[name] is None or 0 <= row[name] <= 1

    @given(images())
    def test_of_the_truth_itself_are_perfect(self, pair: Pair) -> None:
        row = covary.evaluate([(pair.truth, pair.truth)], CLASSES).rows()[0]
        assert {row[name] for name in FIGURES} <= {1.0, None}
        assert row["miou"] == 1

    def test_one_pixel_has_no_trimap(self) -> None:
        row = covary.evaluate([(torch.ones(1, 1).bool(), torch.ones(1, 1).bool())]).rows()[0]
        assert row["trimap_miou"] is None
        assert (row["miou"], row["boundary_iou"], row["iou background"]) == (1, 1, None)

    def test_an_image_that_is_left_out_altogether_says_nothing(self) -> None:
        nothing = torch.full((2, 2), IGNORED, dtype=torch.uint8)
        evaluation = covary.evaluate([(torch.zeros(2, 2).int(), nothing)])
        assert evaluation.rows()[0]["miou"] is None
        assert evaluation.summary()["figures"]["all"]["per_image_mean"]["miou"] is None

    def test_nothing_found_counts_as_empty_and_is_told_apart(self) -> None:
        truth = torch.tensor([[True, False], [True, False]])
        pairs = [
            Pair("good", truth, truth),
            Pair("none", torch.zeros_like(truth), truth, found=False),
        ]
        summary = covary.evaluate(pairs).summary()
        assert summary["counts"] == {"images": 2, "found": 1, "not_found": 1}
        every, found = summary["figures"]["all"], summary["figures"]["found"]
        assert every["per_image_mean"]["miou"] == (1 + 0.25) / 2
        assert every["whole_set"]["iou_foreground"] == 0.5
        assert found["per_image_mean"]["miou"] == found["whole_set"]["miou"] == 1


class TestEvaluate:
    def test_keeps_the_worst_alone(self) -> None:
        alive: list[int] = []
        made: list[weakref.ref[torch.Tensor]] = []

        def pairs() -> Iterator[Pair]:
            truth = torch.zeros(1, 40, dtype=torch.bool)
            truth[:, :20] = True
            for number in range(30):
                prediction = truth.roll(number * 7 % 20)
                made.append(weakref.ref(prediction))
                yield Pair(str(number), prediction, truth)
                del prediction
                alive.append(sum(one() is not None for one in made))

        evaluation = covary.evaluate(pairs(), worst=4)
        assert max(alive) <= 5
        ordered = sorted(evaluation.images, key=lambda row: row.figures.miou)
        assert [pair.name for pair in evaluation.worst] == [row.name for row in ordered[:4]]
        assert len(evaluation.images) == 30

    def test_names_pairs_of_maps_by_number(self) -> None:
        mask = torch.ones(2, 2).bool()
        assert [row.name for row in covary.evaluate([(mask, mask)] * 2).images] == ["0", "1"]

    @pytest.mark.parametrize(
        ("pairs", "classes", "words"),
        [
            ([], CLASSES, "at least one"),
            ([Pair("a", *[torch.zeros(1, 1).int()] * 2)] * 2, CLASSES, "'a' twice"),
            ([(torch.zeros(2, 2).int(), torch.full((2, 2), 3))], CLASSES, r"truth.*0\.\.2"),
            ([], ("background",), "beside background"),
            ([], ("a", "a"), "different names"),
        ],
    )
    def test_refuses(self, pairs: Any, classes: Sequence[str], words: str) -> None:
        with pytest.raises(InputError, match=words):
            covary.evaluate(pairs, classes)

    def test_sizes_that_differ_are_named(self) -> None:
        with pytest.raises(InputError, match=r"sizes of 7: expected .* 3x2, got 5x4;.*--resize"):
            Pair("7", torch.zeros(4, 5).int(), torch.zeros(2, 3).int())

    @pytest.mark.parametrize("labels", [torch.zeros(2, 2), torch.zeros(2).int(), None])
    def test_refuses_what_is_no_map(self, labels: Any) -> None:
        with pytest.raises(InputError, match="prediction of 7"):
            Pair("7", labels, torch.zeros(2, 2).int())

    def test_refuses_what_is_no_image(self) -> None:
        with pytest.raises(InputError, match="image of 7"):
            Pair("7", *[torch.zeros(2, 2).int()] * 2, image=torch.zeros(2, 2))

    def test_saves_what_it_says(self, tmp_path: Path) -> None:
        truth = torch.tensor([[0, 1], [2, 0]])
        evaluation = covary.evaluate([(truth, truth), (truth * 0, truth)], CLASSES)
        folder = evaluation.save(tmp_path / "out" / "judged", report=False)
        assert {path.name for path in folder.iterdir()} == {"per-image.csv", "summary.json"}
        saved = json.loads((folder / "summary.json").read_text())
        assert saved == json.loads(json.dumps(evaluation.summary()))
        lines = (folder / "per-image.csv").read_text().splitlines()
        heads = lines[0].split(",")
        assert heads == ["name", "found", *FIGURES, *(f"iou {name}" for name in CLASSES)]
        assert lines[1].split(",")[:3] == ["0", "true", "1.0"]
        assert dict(zip(heads, lines[2].split(","), strict=True))["iou sofa"] == "0.0"
