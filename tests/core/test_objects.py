"""Objects: what a detector finds, each box on its own, and whose each pixel is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import covary
from covary import Box, Detection, InputError, Pipeline, PluginError
from covary.segmentation import Region, Segmentation
from tiny_components import Boxed, Colours, Distinct, Given, Halved, Rest, Stripes, Widened

WHOLE = (0, 0, 16, 12, "all", 1.0)
LEFT, RIGHT, SMALL = (
    (0, 0, 9, 12, "left", 0.5), (5, 0, 16, 12, "right", 0.5), (6, 3, 8, 5, "small", 0.25)
)  # fmt: skip


def pipeline(*found: tuple[Any, ...], **parts: Any) -> Pipeline:
    """A pipeline of tiny components that looks into the given boxes."""
    default = {
        "source": Stripes(),
        "features": Colours(),
        "clusterer": Distinct(),
        "foreground": Rest(),
        "detector": Given(found=found),
    }
    return Pipeline(**{**default, **parts}, device="cpu")


def plain() -> Pipeline:
    return Pipeline(Stripes(), Colours(), Distinct(), Rest(), device="cpu")


class TestEachBox:
    def test_is_cropped_from_the_one_summary_and_clustered_on_its_own(self) -> None:
        summary = plain().summarise(seed=3)
        seg = pipeline(LEFT, RIGHT, SMALL)(seed=3)
        assert [(r.label, r.score) for r in seg.regions] == [
            ("left", 0.5), ("right", 0.5), ("small", 0.25)
        ]  # fmt: skip
        for region in seg.regions:
            alone = Distinct().fit(summary.crop(region.box))
            assert torch.equal(region.clusters.labels, alone.labels)
            assert torch.equal(region.clusters.centers, alone.centers)

    def test_of_the_whole_image_is_as_without_a_detector(self) -> None:
        parts = {"clusterer": ("lloyd", {"k": 3}), "foreground": "saliency"}
        with_box, without = pipeline(WHOLE, **parts)(seed=5), plain().replace(**parts)(seed=5)
        assert torch.equal(with_box.image, without.image)
        assert torch.equal(with_box.labels, without.labels)
        assert torch.equal(with_box.mask, without.mask)

    def test_sees_the_query_and_the_image(self) -> None:
        seen = []

        class Looking(Given):
            def detect(
                self, image: torch.Tensor, ctx: covary.RunContext | None = None
            ) -> Sequence[Detection]:
                assert ctx is not None
                seen.append((ctx.query, ctx.stage, image))
                return super().detect(image, ctx)

        seg = pipeline(detector=Looking(found=(LEFT,)))(4, seed=9)
        ((query, stage, image),) = seen
        assert (query, stage) == (covary.Query(seed=4), "detector:local/looking")
        assert torch.equal(image, seg.image)

    def test_progress_is_told(self) -> None:
        told: list[tuple[int, int, str]] = []
        pipeline(LEFT, RIGHT, SMALL)(seed=0, progress=lambda *args: told.append(args))
        assert [one for one in told if one[2] == "objects"] == [
            (1, 3, "objects"), (2, 3, "objects"), (3, 3, "objects")
        ]  # fmt: skip

    def test_none_at_all_is_a_result(self, tmp_path: Path) -> None:
        class Unread(Stripes):
            def _batches(self, images: torch.Tensor) -> Iterator[covary.VariantBatch]:
                raise AssertionError("variants that nobody needs")
                yield

        seg = pipeline(source=Unread())(seed=0)
        assert (seg.found, seg.objects, seg.reason) == (False, (), "the detector found nothing")
        assert not seg.mask.any()
        assert not seg.instances.any()
        seg.save(tmp_path)
        assert not (tmp_path / "mask.png").exists()
        assert (tmp_path / "instances.png").exists()

    @pytest.mark.parametrize("box", [(0, 0, 1, 1), (15, 11, 16, 12), (7, 0, 8, 12), (3, 3, 5, 4)])
    def test_may_be_tiny(self, box: tuple[int, ...]) -> None:
        tiny = (*box, "tiny", 0.5)
        seg = pipeline(tiny, WHOLE, clusterer=("lloyd", {"k": 3}))(seed=0)
        found = {one.label: one for one in seg.objects}
        assert not found["tiny"].found
        assert found["tiny"].reason.startswith("no cluster qualifies as foreground: the box cannot")
        assert "distinct pixels" in found["tiny"].reason
        assert found["all"].found
        region = seg.regions[0]
        inside = plain().summarise(seed=0).crop(region.box).matrix(torch.float64)
        assert torch.allclose(region.clusters.centers[0].double(), inside.mean(dim=0))
        assert region.clusters.inertia == pytest.approx(
            float((inside - inside.mean(dim=0)).square().sum()), rel=1e-5
        )

    def test_duplicates_share_nothing(self) -> None:
        seg = pipeline(LEFT, LEFT)(seed=3)
        first, second = seg.objects
        assert first.found
        assert not second.found
        assert second.reason == "all of its pixels belong to objects with smaller boxes"
        assert seg.regions[1].found

    def test_thousands(self) -> None:
        draw = np.random.RandomState(0)
        corners = np.sort(draw.randint(0, 13, (2000, 2, 2)), axis=1)
        corners[:, 1] += corners[:, 1] == corners[:, 0]
        found = [(x0, y0, x1, y1, str(i % 7), 1.0) for i, ((x0, y0), (x1, y1)) in
                 enumerate(np.minimum(corners, (16, 12)).tolist()) if y0 < y1]  # fmt: skip
        seg = pipeline(*found)(seed=1)
        assert len(seg.objects) == len(found) > 1900
        assert torch.equal(seg.instances > 0, seg.mask)

    def test_more_than_files_tell_apart(self) -> None:
        with pytest.raises(InputError, match="at most 10,000 boxes, got 10,001; raise its score"):
            pipeline(*[SMALL] * 10_001)(seed=0)


class TestSpaces:
    def test_the_variants_are_made_once_and_encoded_once_in_each_distinct_space(self) -> None:
        opened, encoded = [], []

        class Counted(Stripes):
            def open(self, query: covary.Query, ctx: covary.RunContext) -> covary.Variants:
                opened.append(query)
                return super().open(query, ctx)

        class CountedHalved(Halved):
            def encode(self, batch: covary.VariantBatch) -> torch.Tensor:
                encoded.append(len(batch.images))
                return super().encode(batch)

        half = CountedHalved()
        classes = {"left": {"features": half}, "small": {"features": half}}
        pipe = pipeline(LEFT, RIGHT, SMALL, source=Counted(), classes=classes)
        seg = pipe(seed=3)
        assert (len(opened), sum(encoded)) == (1, 4)
        halved = plain().replace(source=Counted(), features=Halved()).summarise(seed=3)
        alone = Distinct().fit(halved.crop(seg.regions[0].box))
        assert torch.equal(seg.regions[0].clusters.centers, alone.centers)

    def test_equal_spaces_are_one(self) -> None:
        classes = {name: {"features": "lab"} for name in ("left", "small")}
        pipe = pipeline(LEFT, features="lab", classes=classes)
        assert (
            len({id(own["features"]) for own in pipe.classes.values()} | {id(pipe.features)}) == 1
        )
        assert pipe.plan().summary_bytes == plain().replace(features="lab").plan().summary_bytes

    def test_a_space_that_no_box_needs_is_not_made(self) -> None:
        class Never(Halved):
            def encode(self, batch: covary.VariantBatch) -> torch.Tensor:
                raise AssertionError("nobody needs it")

        seg = pipeline(LEFT, classes={"lamp": {"features": Never()}})(seed=0)
        assert seg.regions[0].found
        assert pipeline(LEFT, features=Never(), classes={"left": {"features": Colours()}})(seed=0)

    def test_each_counts_in_the_plan(self) -> None:
        base, pipe = plain(), pipeline(LEFT, classes={"left": {"features": Halved()}})
        assert pipe.plan().summary_bytes == 2 * base.plan().summary_bytes
        stages = {stage.stage: stage.bytes for stage in pipe.plan().stages}
        assert set(stages) == {
            "summary", "source", "detector", "features", "clusterer", "foreground",
            "classes.left.features",
        }  # fmt: skip
        # A box may be the whole image; its crop is then as large as the summary.
        assert stages["clusterer"] == stages["foreground"] == base.plan().summary_bytes


class TestClasses:
    def test_have_their_own_stages(self) -> None:
        classes = {
            "left": {"clusterer": ("lloyd", {"k": 1})},
            "small": {"foreground": Rest(nothing=True)},
        }
        seg = pipeline(LEFT, RIGHT, SMALL, classes=classes)(seed=3)
        found = {region.label: region for region in seg.regions}
        assert found["left"].clusters.k == 1
        assert found["right"].clusters.k > 1
        assert found["small"].foreground.reason.startswith("no cluster qualifies")

    def test_draw_what_the_component_would_draw_anywhere(self) -> None:
        """The derived seed depends on stage and component, so a class changes nothing else."""
        lloyd = ("lloyd", {"k": 2})
        one = pipeline(LEFT, RIGHT, clusterer=lloyd)(seed=3)
        two = pipeline(LEFT, RIGHT, classes={"left": {"clusterer": lloyd}})(seed=3)
        assert torch.equal(one.regions[0].clusters.labels, two.regions[0].clusters.labels)
        assert torch.equal(one.image, two.image)

    def test_are_in_the_recipe_with_all_defaults(self) -> None:
        pipe = pipeline(LEFT, classes={"coffee table": {"clusterer": "lloyd"}})
        spec = pipe.recipe.classes["coffee table"].clusterer
        assert spec is not None
        assert spec.use == "covary/lloyd"
        assert set(spec.params) == set(type(covary.create("lloyd")).Params.model_fields)
        assert pipe.recipe.classes["coffee table"].features is None

    def test_that_the_detector_never_gives_are_told(self) -> None:
        seg = pipeline(LEFT, classes={"lfet": {"clusterer": "lloyd"}})(seed=0)
        assert seg.provenance["result"]["warnings"] == ["the detector gave no box of class 'lfet'"]
        seg = pipeline(LEFT, classes={"left": {"clusterer": Distinct()}})(seed=0)
        assert "warnings" not in seg.provenance["result"]


class TestMisuse:
    def test_a_rule_with_boxes_beside_a_detector(self) -> None:
        with pytest.raises(InputError, match="foreground local/boxed: expected a rule without"):
            pipeline(LEFT, foreground=Boxed())
        with pytest.raises(InputError, match=r"classes\.left\.foreground local/boxed: expected a"):
            pipeline(LEFT, classes={"left": {"foreground": Boxed()}})

    def test_classes_without_a_detector(self) -> None:
        with pytest.raises(InputError, match=r"classes 'left': expected a detector.*got none"):
            pipeline(detector=None, classes={"left": {"clusterer": "lloyd"}})

    @pytest.mark.parametrize("given", [{"clustrer": "lloyd"}, {"source": "worlds"}, "lloyd"])
    def test_a_stage_that_classes_do_not_have(self, given: Any) -> None:
        with pytest.raises(InputError, match="class 'left': expected some of features, clusterer"):
            pipeline(LEFT, classes={"left": given})

    def test_components_of_the_wrong_kind(self) -> None:
        with pytest.raises(InputError, match="detector: expected a Detector, got Rest"):
            pipeline(detector=Rest())
        with pytest.raises(InputError, match="refiner: expected a Refiner, got Rest"):
            pipeline(refine=[Rest()])
        with pytest.raises(covary.UnknownNameError):
            pipeline(detector="lloyd")

    @pytest.mark.parametrize(
        ("found", "message"),
        [
            (None, r"detect\(\): expected a sequence of covary.Detection, got None"),
            ("sofa", r"detect\(\): expected a sequence of covary.Detection, got a str"),
            ([Box(0, 0, 1, 1)], "detection 0: expected covary.Detection with a covary.Box"),
            ([Detection((0, 0, 1, 1))], "detection 0: expected .*covary.Box, got a tuple"),
            ([Detection(Box(0, 0, 1, 1), 3)], "detection 0, label: expected text, got 3"),
            ([Detection(Box(0, 0, 17, 1))], r"detection 0, box .*: expected inside the image"),
            ([Detection(Box(-1, 0, 1, 1))], r"detection 0, box .*: expected inside the image"),
            *(
                ([Detection(Box(0, 0, 1, 1), "a", s)], "detection 0, score: expected a number in")
                for s in (np.nan, np.inf, -0.1, 1.1, "0.5", None, True, torch.tensor(0.5))
            ),
        ],
    )
    def test_by_the_detector_is_refused_by_name(self, found: Any, message: str) -> None:
        class Wrong(Given):
            def detect(
                self, image: torch.Tensor, ctx: covary.RunContext | None = None
            ) -> Sequence[Detection]:
                return found

        with pytest.raises(PluginError, match=f"detector local/wrong, {message}"):
            pipeline(detector=Wrong())(seed=0)

    def test_numbers_of_numpy_are_scores(self) -> None:
        class Numpy(Given):
            def detect(
                self, image: torch.Tensor, ctx: covary.RunContext | None = None
            ) -> Iterator[Detection]:
                yield Detection(Box(0, 0, 9, 12), "a", np.float32(0.5))

        seg = pipeline(detector=Numpy())(seed=0)
        assert type(seg.regions[0].score) is float

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (lambda soft: soft.double(), "dtype float32, got float64"),
            (lambda soft: soft[:-1], "expected shape"),
            (lambda soft: soft + 1, r"values in 0\.\.1"),
            (lambda soft: soft * torch.nan, r"values in 0\.\.1"),
            (lambda soft: soft.add_(0), "left as it was"),
        ],
    )
    def test_by_a_refiner_is_refused_by_name(self, answer: Any, message: str) -> None:
        class Wrong(Widened):
            def refine(
                self, soft: torch.Tensor, image: torch.Tensor, ctx: Any = None
            ) -> torch.Tensor:
                return answer(soft)

        with pytest.raises(PluginError, match=f"refiner local/wrong.*{message}"):
            pipeline(LEFT, refine=[Wrong()])(seed=0)


class TestRefining:
    def test_gives_a_mask_beside_the_clusters_own(self) -> None:
        before, after = (
            pipeline(LEFT)(seed=3),
            pipeline(LEFT, refine=[Widened(), Widened()])(seed=3),
        )
        assert torch.equal(after.raw_mask, before.mask)
        wider = before.regions[0].mask.clone()
        for shift in (1, 2):
            wider[:, :-shift] |= before.regions[0].mask[:, shift:]
        assert torch.equal(after.regions[0].mask, wider)
        assert torch.equal(after.objects[0].inside, wider)
        assert after.soft is None
        assert not torch.equal(after.mask, after.raw_mask)

    def test_works_without_a_detector(self) -> None:
        seg = plain().replace(refine=[Widened()], soft=True)(seed=3)
        assert seg.soft is not None
        assert torch.equal(seg.soft > 0.5, seg.mask)
        assert int(seg.mask.sum()) > int(seg.raw_mask.sum())

    def test_may_leave_nothing(self) -> None:
        seg = pipeline(LEFT, refine=[Widened(nothing=True)])(seed=3)
        assert not seg.found
        assert seg.objects[0].reason.startswith("the refiners left nothing of it; before them: all")
        assert seg.raw_mask.any()

    def test_does_nothing_where_nothing_was_found(self) -> None:
        seg = pipeline(LEFT, foreground=Rest(nothing=True), refine=[Widened()], soft=True)(seed=3)
        assert seg.regions[0].refined is None
        assert seg.soft is not None
        assert not seg.soft.any()

    def test_the_largest_soft_value_counts(self) -> None:
        seg = pipeline(LEFT, RIGHT, soft=True)(seed=3)
        expected = np.zeros(seg.size, np.float32)
        for region in seg.regions:
            b, part = region.box, region.soft
            assert part is not None
            inside = expected[b.y0 : b.y1, b.x0 : b.x1]
            np.maximum(inside, part.numpy(), out=inside)
        assert seg.soft is not None
        assert np.array_equal(seg.soft.numpy(), expected)


def owners(regions: Sequence[tuple[Box, float, np.ndarray]], size: tuple[int, int]) -> np.ndarray:
    """Whose each pixel is, pixel by pixel: smallest box, then highest score, then first."""
    owner = np.zeros(size, np.int32)
    for y in range(size[0]):
        for x in range(size[1]):
            claims = [
                ((b.x1 - b.x0) * (b.y1 - b.y0), -score, index)
                for index, (b, score, mask) in enumerate(regions)
                if b.x0 <= x < b.x1 and b.y0 <= y < b.y1 and mask[y - b.y0, x - b.x0]
            ]
            owner[y, x] = min(claims)[2] + 1 if claims else 0
    return owner


@st.composite
def regions(draw: st.DrawFn) -> list[tuple[Box, float, np.ndarray]]:
    found = []
    for _ in range(draw(st.integers(0, 7))):
        x0, y0 = draw(st.integers(0, 9)), draw(st.integers(0, 7))
        box = Box(x0, y0, draw(st.integers(x0 + 1, 10)), draw(st.integers(y0 + 1, 8)))
        seed = draw(st.integers(0, 99))
        mask = np.random.RandomState(seed).rand(box.y1 - box.y0, box.x1 - box.x0) < 0.6
        found.append((box, draw(st.sampled_from([0.25, 0.5, 1.0])), mask))
    return found


def segmentation(given: Sequence[tuple[Box, float, np.ndarray]]) -> Segmentation:
    made = []
    for box, score, mask in given:
        labels = torch.from_numpy(mask.astype(np.int64))
        clusters = covary.ClusterMap(labels.int(), torch.zeros(2, 3), 0.0, 1)
        foreground = covary.Foreground(
            torch.tensor([False, True]), labels.bool(), bool(mask.any()), "drawn", torch.zeros(2)
        )
        made.append(Region(box, clusters, foreground, label="thing", score=score))
    image = torch.zeros(3, 8, 10, dtype=torch.uint8)
    return Segmentation(image, tuple(made), detected=True)


class TestOverlap:
    @given(regions())
    def test_the_smaller_box_wins(self, given: list[tuple[Box, float, np.ndarray]]) -> None:
        assert np.array_equal(segmentation(given).instances.numpy(), owners(given, (8, 10)))

    @given(regions())
    def test_instances_objects_and_mask_agree(
        self, given: list[tuple[Box, float, np.ndarray]]
    ) -> None:
        seg = segmentation(given)
        masks = [one.mask for one in seg.objects]
        times = torch.stack(masks).sum(dim=0) if masks else torch.zeros(8, 10)
        assert int(times.max()) <= 1
        assert torch.equal(times > 0, seg.mask)
        for number, (one, mask) in enumerate(zip(seg.objects, masks, strict=True), start=1):
            assert torch.equal(mask, seg.instances == number)
            assert (one.area, one.found) == (int(mask.sum()), bool(mask.any()))

    @given(regions(), st.randoms(use_true_random=False))
    def test_the_order_does_not_matter_but_for_ties(
        self, given: list[tuple[Box, float, np.ndarray]], random: Any
    ) -> None:
        distinct = {(box.area, score): (box, score, mask) for box, score, mask in given}
        one = list(distinct.values())
        two = random.sample(one, len(one))
        number = torch.tensor([0, *(two.index(each) + 1 for each in one)]) if one else None
        first, second = segmentation(one).instances, segmentation(two).instances
        if number is not None:
            assert torch.equal(number[first.long()].int(), second)

    def test_reasons(self) -> None:
        none = np.zeros((2, 2), bool)
        seg = segmentation(
            [(Box(0, 0, 2, 2), 1.0, none), (Box(0, 0, 3, 3), 1.0, np.ones((3, 3)) > 0)]
        )
        assert seg.reason == "1 of 2 detected objects have a confident foreground"
        seg = segmentation([(Box(0, 0, 2, 2), 1.0, none)] * 2)
        assert seg.reason == (
            "0 of 2 detected objects have a confident foreground; of the first: drawn"
        )


class TestParts:
    def test_have_the_names_that_the_rule_gives(self) -> None:
        class Named(Rest):
            def select(
                self, clusters: covary.ClusterMap, image: torch.Tensor, ctx: Any = None
            ) -> covary.Foreground:
                scores = torch.arange(clusters.k).float()
                names = ["", "stem", "leaf", "leaf"][: clusters.k]
                chosen = scores > 0
                return covary.Foreground.from_clusters(clusters, chosen, scores, "", names=names)

        seg = plain().replace(source=Stripes(stripes=4), foreground=Named())(seed=3)
        assert seg.part_names == ("leaf", "stem")
        labels = seg.labels.numpy()
        expected = np.choose(labels, [0, 2, 1, 1])
        assert np.array_equal(seg.parts.numpy(), expected)
        assert seg.provenance["result"]["parts"] == ["leaf", "stem"]

    def test_keep_their_numbers_where_the_rule_knows_all_names(self) -> None:
        class Known(Rest):
            def part_names(self) -> Sequence[str]:
                return ("stem", "flower", "leaf")

            def select(
                self, clusters: covary.ClusterMap, image: torch.Tensor, ctx: Any = None
            ) -> covary.Foreground:
                found = super().select(clusters, image, ctx)
                return dataclasses.replace(found, names=("", "leaf", "bud")[: clusters.k])

        seg = plain().replace(foreground=Known())(seed=3)
        assert seg.part_names == ("stem", "flower", "leaf", "bud")
        assert np.array_equal(seg.parts.numpy(), np.choose(seg.labels.numpy(), [0, 3, 4]))
        none = pipeline(foreground=Known())(seed=3)
        assert none.part_names == ("stem", "flower", "leaf")

    def test_are_none_without_names(self) -> None:
        seg = plain()(seed=3)
        assert seg.part_names == ()
        assert not seg.parts.any()
