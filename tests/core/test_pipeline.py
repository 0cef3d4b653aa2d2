"""The pipeline: four parts, one query, one result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import covary
from covary import InputError, MemoryBudgetError, Pipeline, PluginError, Query, Spec
from covary.pipeline import as_query
from tiny_components import Boxed, Colours, Distinct, Rest, Stripes, stripe_map


def pipeline(**parts: object) -> Pipeline:
    """A pipeline of tiny components, some of them exchanged."""
    default = {
        "source": Stripes(),
        "features": Colours(),
        "clusterer": Distinct(),
        "foreground": Rest(),
    }
    return Pipeline(**{**default, **parts}, device="cpu")  # type: ignore[arg-type]


def partition(labels: np.ndarray) -> set[frozenset[int]]:
    """The groups of pixels, whatever they are called."""
    flat = labels.reshape(-1)
    return {frozenset(np.flatnonzero(flat == label).tolist()) for label in np.unique(flat)}


class TestParts:
    @pytest.mark.parametrize(
        "part",
        [
            ("lloyd", {"k": 3}),
            "covary/lloyd",
            Spec(use="lloyd", k=3),
            {"use": "lloyd", "k": 3},
        ],
    )
    def test_by_name_in_every_form(self, part: object) -> None:
        clusterer = pipeline(clusterer=part).clusterer
        assert clusterer.id == "covary/lloyd"
        assert clusterer.params.k == (4 if part == "covary/lloyd" else 3)

    def test_as_a_component_of_your_own(self) -> None:
        mine = Distinct(need=5)
        pipe = pipeline(clusterer=mine)
        assert pipe.clusterer is mine
        assert pipe.recipe.clusterer == Spec(use="local/distinct", need=5)

    def test_as_a_registered_component_made_by_hand(self) -> None:
        lloyd = type(covary.create("lloyd"))(k=2)
        assert pipeline(clusterer=lloyd).recipe.clusterer.use == "covary/lloyd"

    @pytest.mark.parametrize("name", ["_Mine", "Größe", "__", "Å"])
    def test_a_class_of_any_name_has_an_id(self, name: str) -> None:
        mine = type(name, (Distinct,), {})
        use = pipeline(clusterer=mine()).recipe.clusterer.use
        assert use.startswith("local/")
        assert Spec(use=use).use == use

    def test_positional_order(self) -> None:
        pipe = Pipeline(Stripes(), Colours(), Distinct(), Rest(), device="cpu")
        assert [type(part) for part in (pipe.source, pipe.features, pipe.clusterer)] == [
            Stripes, Colours, Distinct
        ]  # fmt: skip
        assert "Stripes(" in repr(pipe)
        assert "Rest(" in repr(pipe)

    def test_in_the_wrong_place(self) -> None:
        with pytest.raises(InputError, match="clusterer: expected a Clusterer, got Rest"):
            pipeline(clusterer=Rest())
        with pytest.raises(covary.UnknownNameError, match="'lloyd' is a clusterer, not a features"):
            pipeline(features="lloyd")
        with pytest.raises(InputError, match="features: expected a registered name"):
            pipeline(features=Colours)

    def test_wrong_parameters(self) -> None:
        with pytest.raises(covary.ParamsError, match="no parameter 'kk'; did you mean 'k'"):
            pipeline(clusterer=("lloyd", {"kk": 3}))
        with pytest.raises(covary.ParamsError, match="greater than or equal to 1 or 'auto', got 0"):
            pipeline(clusterer=("lloyd", {"k": 0}))


class TestReplace:
    def test_shares_the_other_parts_and_changes_nothing(self) -> None:
        pipe = pipeline()
        before = pipe.recipe
        other = pipe.replace(clusterer=("lloyd", {"k": 3}))
        assert other.source is pipe.source
        assert other.features is pipe.features
        assert other.foreground is pipe.foreground
        assert (
            other.recipe.clusterer
            == covary.Pipeline(Stripes(), Colours(), ("lloyd", {"k": 3}), Rest()).recipe.clusterer
        )
        assert pipe.recipe == before
        assert isinstance(pipe.clusterer, Distinct)

    def test_keeps_device_and_memory(self) -> None:
        pipe = Pipeline(Stripes(), Colours(), Distinct(), Rest(), device="cpu", memory=12345)
        assert pipe.replace(features="rgb").plan().budget == 12345


class TestRecipes:
    def test_defaults_are_spelt_out(self) -> None:
        params = pipeline(clusterer="lloyd").recipe.clusterer.params
        fields = set(type(covary.create("lloyd")).Params.model_fields)
        assert set(params) == fields

    @pytest.mark.parametrize("name", [preset.name for preset in covary.read_catalogue().preset])
    def test_every_preset_makes_a_pipeline_and_survives_a_file(
        self, tmp_path: Path, name: str
    ) -> None:
        pipe = Pipeline.preset(name, device="cpu")
        pipe.save(tmp_path / "pipe.toml")
        again = Pipeline.load(tmp_path / "pipe.toml", device="cpu")
        assert again.recipe == pipe.recipe
        given = next(p for p in covary.read_catalogue().preset if p.name == name).recipe
        for slot in ("source", "features", "clusterer", "foreground"):
            spec = getattr(given, slot)
            made = getattr(pipe.recipe, slot)
            assert made.use == f"covary/{spec.use}"
            # Through Params, which spells out the defaults of what is nested, too.
            params = getattr(pipe, slot).Params
            assert params(**spec.params) == params(**made.params)

    @given(k=st.integers(1, 20), n=st.integers(1, 50), tol=st.floats(0, 1))
    def test_a_pipeline_has_an_equal_recipe_after_a_file(
        self, tmp_path_factory: pytest.TempPathFactory, k: int, n: int, tol: float
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "pipe.toml"
        clusterer = ("lloyd", {"k": k, "tol": tol})
        pipe = Pipeline(("worlds", {"n": n}), "rgb", clusterer, "corner")
        pipe.save(path)
        assert Pipeline.load(path).recipe == pipe.recipe

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(covary.OutputError, match="cannot write"):
            pipeline().save(tmp_path / "no" / "pipe.toml")


class TestRun:
    @pytest.mark.parametrize("seed", range(5))
    def test_finds_what_was_drawn(self, seed: int) -> None:
        seg = pipeline()(seed=seed)
        truth = stripe_map(seed)
        assert partition(seg.labels.numpy()) == partition(truth)
        widest = np.bincount(truth.ravel()).max()
        assert seg.found
        assert int((~seg.mask).sum()) == widest
        assert seg.image.device.type == "cpu"

    def test_a_seed_may_be_written_in_several_ways(self) -> None:
        pipe = pipeline()
        one = pipe(seed=3)
        for other in (pipe(3), pipe("3"), pipe(np.int64(3)), pipe(Query(seed=3)), pipe(3, seed=3)):
            assert torch.equal(one.image, other.image)
            assert torch.equal(one.labels, other.labels)
            assert other.provenance["seed"] == 3

    def test_the_runs_seed_changes_what_is_drawn_and_the_query_stays(self) -> None:
        pipe = pipeline()
        one, two = pipe(3), pipe(3, seed=4)
        assert partition(one.labels.numpy()) == partition(two.labels.numpy())
        assert not torch.equal(one.image, two.image)
        assert (two.provenance["query"], two.provenance["seed"]) == ({"seed": 3}, 4)

    def test_files(self, tmp_path: Path) -> None:
        path = tmp_path / "five.txt"
        path.write_text("5")
        pipe = pipeline()
        results = [pipe(path), pipe(str(path)), pipe([path]), pipe(Query(paths=(path,)))]
        for seg in results:
            assert partition(seg.labels.numpy()) == partition(stripe_map(5))
            assert seg.provenance["seed"] == 0
            assert torch.equal(seg.image, results[0].image)

    def test_runs_twice_alike(self) -> None:
        pipe = pipeline(clusterer=("lloyd", {"k": 3}))
        one, two = pipe(seed=1), pipe(seed=1)
        assert torch.equal(one.labels, two.labels)
        assert torch.equal(one.image, two.image)

    @pytest.mark.parametrize(
        "exchange",
        [
            {"clusterer": ("lloyd", {"k": 3})},
            {"clusterer": Distinct(need=1)},
            {"foreground": "corner"},
            {"features": "rgb"},
        ],
    )
    def test_another_part_leaves_the_variants_unchanged(self, exchange: dict[str, object]) -> None:
        pipe = pipeline()
        other = pipe.replace(**exchange)  # type: ignore[arg-type]
        one, two = pipe.summarise(seed=7), other.summarise(seed=7)
        assert torch.equal(one.data, two.data)
        assert torch.equal(pipe(seed=7).image, other(seed=7).image)

    def test_another_source_of_the_same_kind_is_seeded_anew(self) -> None:
        class Other(Stripes):
            pass

        one, two = pipeline()(seed=7), pipeline(source=Other())(seed=7)
        assert not torch.equal(one.image, two.image)

    def test_summarise_is_the_stack_of_variants(self) -> None:
        pipe = pipeline(source=Stripes(n=5))
        summary = pipe.summarise(seed=2)
        truth = stripe_map(2).ravel()
        assert (summary.size, summary.features, summary.dtype) == ((12, 16), 15, torch.uint8)
        rows = summary.matrix().numpy()
        for stripe in range(3):
            assert len(np.unique(rows[truth == stripe], axis=0)) == 1
        assert len(np.unique(rows, axis=0)) == 3

    def test_tells_its_progress(self) -> None:
        told: list[tuple[int, int, str]] = []
        pipeline(source=Stripes(n=5))(seed=0, progress=lambda *args: told.append(args))
        done = [args[0] for args in told if args[2] == "variants"]
        assert done == sorted(done)
        assert done[-1] == 5
        assert {args[1:] for args in told} == {(5, "variants")}

    def test_nothing_found_is_a_result_with_a_reason(self) -> None:
        seg = pipeline(foreground=Rest(nothing=True))(seed=0)
        assert not seg.found
        assert not seg.mask.any()
        assert seg.reason == "no cluster qualifies as foreground: all but the largest"
        assert seg.provenance["result"]["found"] is False

    @pytest.mark.parametrize("stage", ["open", "batches", "encode", "fit", "select", "progress"])
    def test_can_be_stopped_anywhere(self, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
        def stop(*_: object) -> Iterator[covary.VariantBatch]:
            raise KeyboardInterrupt

        owner = {"open": Stripes, "encode": Colours, "fit": Distinct, "select": Rest}
        if stage in owner:
            monkeypatch.setattr(owner[stage], stage, stop)
        if stage == "batches":
            monkeypatch.setattr(Stripes, "_batches", stop)
        with pytest.raises(KeyboardInterrupt):
            pipeline()(seed=0, progress=stop if stage == "progress" else None)


class TestQueries:
    @pytest.mark.parametrize(
        ("query", "seed", "message"),
        [
            (None, None, "a seed or paths, got nothing; give seed=7"),
            ("nowhere.png", None, "query 'nowhere.png': .*no such file"),
            (["nowhere.png"], 3, "no such file"),
            (-1, None, r"seed: expected an integer in 0\.\.2\^32-1, got -1"),
            (2**32, None, "seed: expected an integer"),
            (None, -1, "seed: expected an integer"),
            (None, 1.5, "seed: expected an integer in .*, got 1.5"),
            (None, "7", "seed: expected an integer"),
            (None, True, "seed: expected an integer"),
            (3, 0.5, "seed: expected an integer"),
            (1.5, None, "query: expected a seed or paths, got 1.5"),
            ([1, 2], None, r"query: expected a seed or paths, got \[1, 2\]"),
            ([], None, "either a seed or paths"),
            (b"a", None, "query: expected a seed or paths"),
        ],
    )
    def test_that_are_none(self, query: object, seed: object, message: str) -> None:
        with pytest.raises(InputError, match=message):
            pipeline()(query, seed=seed)  # type: ignore[arg-type]

    def test_of_another_kind_than_the_source_takes(self, tmp_path: Path) -> None:
        class Seeds(Stripes):
            accepts = frozenset({"seed"})

        class Files(Stripes):
            accepts = frozenset({"files"})

        with pytest.raises(InputError, match=r"local/seeds: expected a seed, e\.g\. 7, got path"):
            pipeline(source=Seeds())(tmp_path)
        with pytest.raises(InputError, match="expected image files or a folder, got seed 3"):
            pipeline(source=Files())(seed=3)
        with pytest.raises(InputError, match="expected image files or a folder, got seed 3"):
            pipeline(source=Files()).summarise(seed=3)

    @given(st.integers(0, 2**32 - 1))
    def test_digits_are_a_seed(self, seed: int) -> None:
        assert as_query(str(seed)) == as_query(seed) == as_query(None, seed) == Query(seed=seed)

    def test_a_file_named_like_a_seed_is_given_as_a_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("7").touch()
        assert as_query("7") == Query(seed=7)
        assert as_query(Path("7")) == as_query("./7") == Query(paths=(Path("7"),))


class TestSourcesThatLie:
    def test_about_the_number_of_variants(self) -> None:
        with pytest.raises(PluginError, match="source local/stripes, variants: expected 4 of them"):
            pipeline(source=Stripes(off_by=1))(seed=0)
        with pytest.raises(PluginError, match=r"4 of them, as Variants\.count says, got 3"):
            pipeline(source=Stripes(off_by=-1))(seed=0)

    def test_about_the_size(self) -> None:
        with pytest.raises(
            PluginError, match=r"source local/stripes.*12, 16\).*got .*12, 9\).*same size"
        ):
            pipeline(source=Stripes(last_width=9))(seed=0)

    def test_about_finite_numbers(self) -> None:
        class Broken(Colours):
            dtype = "float16"

            def encode(self, batch: covary.VariantBatch) -> torch.Tensor:
                features = batch.images.half()
                features[:, 1, 2, 3] = torch.nan
                return features

        with pytest.raises(
            PluginError, match=f"features local/broken.*NaN or infinity at pixel {2 * 16 + 3}"
        ):
            pipeline(features=Broken())(seed=0)


class TestPlan:
    def test_adds_up(self) -> None:
        pipe = pipeline(source=Stripes(n=7, height=20, width=30), clusterer=Distinct(need=5000))
        plan = pipe.plan()
        assert (plan.size, plan.variants, plan.features) == ((20, 30), 7, 21)
        assert plan.summary_bytes == pipe.summarise(seed=0).nbytes == 20 * 30 * 21
        assert {s.stage: s.bytes for s in plan.stages} == {
            "summary": 0, "source": 1000, "features": None, "clusterer": 5000, "foreground": None
        }  # fmt: skip
        assert plan.peak_bytes == plan.summary_bytes + 5000
        assert plan.fits
        assert plan.check() is None

    @pytest.mark.parametrize("space", ["rgb", "lab"])
    def test_predicts_the_summary_of_the_builtin_spaces(self, space: str) -> None:
        pipe = pipeline(features=space)
        assert pipe.plan().summary_bytes == pipe.summarise(seed=0).nbytes

    def test_of_another_size_and_number(self) -> None:
        plan = pipeline().plan(size=(1024, 512), variants=50)
        assert plan.summary_bytes == 1024 * 512 * 150

    def test_needs_to_know_size_and_number(self) -> None:
        class Unsized(Stripes):
            size = None

        class Unnumbered(Stripes):
            class Params(covary.Params):
                height: int = 4
                width: int = 4

        with pytest.raises(InputError, match=r"local/unsized.*give plan\(size=\(H, W\)\)"):
            pipeline(source=Unsized()).plan()
        with pytest.raises(InputError, match=r"local/unnumbered.*give plan\(variants=n\)"):
            pipeline(source=Unnumbered()).plan()
        assert pipeline(source=Unnumbered()).plan(variants=2).variants == 2

    @pytest.mark.parametrize(
        ("memory", "need", "stage"),
        [
            (12 * 16 * 12 - 1, 0, "'summary' will"),
            (12 * 16 * 12 + 999, 0, r"'source' \(local/stripes\)"),
            (12 * 16 * 12 + 1000, 1001, r"'clusterer' \(local/distinct\)"),
        ],
    )
    def test_refuses_by_name_before_anything_runs(
        self, monkeypatch: pytest.MonkeyPatch, memory: int, need: int, stage: str
    ) -> None:
        def never(*_: object) -> None:
            raise AssertionError("it ran")

        monkeypatch.setattr(Colours, "encode", never)
        monkeypatch.setattr(Distinct, "fit", never)
        pipe = Pipeline(
            Stripes(), Colours(), Distinct(need=need), Rest(), device="cpu", memory=memory
        )
        plan = pipe.plan()
        assert not plan.fits
        for refuse in (plan.check, lambda: pipe(seed=0)):
            with pytest.raises(MemoryBudgetError, match=rf"stage {stage}.*12x16 with 4 variants"):
                refuse()

    def test_runs_at_exactly_its_budget(self) -> None:
        memory = 12 * 16 * 12 + 1000
        pipe = Pipeline(Stripes(), Colours(), Distinct(), Rest(), device="cpu", memory=memory)
        assert pipe(seed=0).found


class TestRegions:
    def test_each_box_is_clustered_on_its_own(self) -> None:
        boxes = ((0, 0, 16, 6), (4, 6, 16, 12))
        seg = pipeline(foreground=Boxed(boxes=boxes))(seed=1)
        truth = stripe_map(1)
        assert [region.box for region in seg.regions] == [covary.Box(*box) for box in boxes]
        for (x0, y0, x1, y1), region in zip(boxes, seg.regions, strict=True):
            inner = truth[y0:y1, x0:x1]
            assert partition(region.clusters.labels.numpy()) == partition(inner)
            assert torch.equal(seg.mask[y0:y1, x0:x1], region.foreground.mask)
        assert (seg.labels[6:, :4] == -1).all()
        assert not seg.mask[6:, :4].any()

    def test_a_box_that_is_the_whole_image_changes_nothing(self) -> None:
        one = pipeline()(seed=2)
        two = pipeline(foreground=Boxed(boxes=((0, 0, 16, 12),)))(seed=2)
        assert torch.equal(one.labels, two.labels)
        assert torch.equal(one.mask, two.mask)

    def test_masks_of_overlapping_boxes_are_united(self) -> None:
        boxes = ((0, 0, 12, 12), (5, 0, 16, 12))
        pipe = pipeline(foreground=Boxed(boxes=boxes))
        alone = [pipe.replace(foreground=Boxed(boxes=(box,)))(seed=3).mask for box in boxes]
        both = pipe(seed=3)
        assert torch.equal(both.mask, alone[0] | alone[1])
        later = both.labels[:, 5:]
        assert torch.equal(later - later.min(), both.regions[1].clusters.labels)

    def test_no_box_is_a_result_with_a_reason(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(*_: object) -> None:
            raise AssertionError("variants were made although there is nowhere to look")

        monkeypatch.setattr(Colours, "encode", never)
        seg = pipeline(foreground=Boxed())(seed=0)
        assert (seg.found, seg.regions) == (False, ())
        assert "no box" in seg.reason
        seg.save(tmp_path)
        assert not (tmp_path / "mask.png").exists()

    def test_a_box_outside_is_refused_before_the_variants_are_made(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(*_: object) -> None:
            raise AssertionError("it ran")

        monkeypatch.setattr(Colours, "encode", never)
        pipe = pipeline(foreground=Boxed(boxes=((0, 0, 4, 4), (3, 3, 17, 5))))
        with pytest.raises(InputError, match=r"box \(3, 3, 17, 5\): expected inside the image"):
            pipe(seed=0)
