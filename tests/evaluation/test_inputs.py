"""Every kind of input reads what its own kind of file says, or says what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import covary
from covary import InputError, PluginError
from covary._seeds import Seeds
from covary.evaluation import InputOptions, Judge, LabelMap, Listed, compare, exact, open_input
from covary.evaluation.inputs import DataSetFolder, PipelineResults, Segmented, read_values
from covary.evaluation.inputs._celeba import PARTS
from covary.generation._here import HereExecutor
from covary.generation._manifest import read_records
from covary.testing import worlds
from tiny_components import Colours, Distinct, Rest, Stripes, stripe_map

SIDE = 24


def maps(source: Listed | Judge) -> dict[str, LabelMap]:
    assert isinstance(source, Listed)
    found = {entry.name: entry.load() for entry in source.entries()}
    assert len(source) == len(found)
    return found


def save(folder: Path, **pictures: Image.Image) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.png")
    return folder


def grey(values: Iterable[Iterable[int]]) -> Image.Image:
    return Image.fromarray(np.array(list(values), np.uint8))


def scenes(source: str = "worlds", **params: object) -> covary.Pipeline:
    """A pipeline of rendered scenes that is quick and good."""
    source_params = {"resolution": SIDE, "n": 6, **params}
    return covary.Pipeline(
        (source, source_params), "rgb", ("lloyd", {"k": 4}), ("border", {"sides": "upper"})
    )


def stripes(nothing: bool = False) -> covary.Pipeline:
    return covary.Pipeline(Stripes(), Colours(), Distinct(), Rest(nothing=nothing), device="cpu")


def content(seed: int) -> np.ndarray:
    """The mask that ``stripes`` makes: all but the widest stripe, the first of equal ones."""
    index = stripe_map(seed)
    return index != np.bincount(index.ravel()).argmax()


class TestValues:
    @settings(max_examples=20)
    @given(values=hnp.arrays(np.uint8, (3, 4)), mode=st.sampled_from(["L", "P", "RGB"]))
    def test_are_those_that_are_stored(
        self, values: np.ndarray, mode: str, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        path = tmp_path_factory.mktemp("values") / "mask.png"
        picture = Image.fromarray(values)
        if mode == "P":
            picture.putpalette(bytes(range(255, -1, -1)) * 3)
        elif mode == "RGB":
            picture = Image.fromarray(np.repeat(values[..., None], 3, axis=2))
        picture.save(path)
        assert np.array_equal(read_values(path).numpy(), values)

    def test_of_1_and_16_bits(self, tmp_path: Path) -> None:
        values = np.array([[0, 1], [1, 0]])
        Image.fromarray(values.astype(bool)).save(tmp_path / "one.png")
        Image.fromarray((values * 40000).astype(np.uint16)).save(tmp_path / "many.png")
        assert read_values(tmp_path / "one.png").tolist() == values.tolist()
        assert read_values(tmp_path / "many.png").tolist() == (values * 40000).tolist()

    @pytest.mark.parametrize("kind", ["text", "cut short", "colours", "alpha", "missing"])
    def test_refuses(self, kind: str, tmp_path: Path) -> None:
        path = tmp_path / "mask.png"
        picture = Image.fromarray(np.arange(3000, dtype=np.uint8).reshape(25, 40, 3))
        if kind == "text":
            path.write_text("not a picture")
        elif kind == "alpha":
            picture.convert("RGBA").save(path)
        elif kind != "missing":
            (picture.convert("L") if kind == "cut short" else picture).save(path)
        if kind == "cut short":
            path.write_bytes(path.read_bytes()[:80])
        with pytest.raises(InputError, match=r"mask .*mask\.png"):
            read_values(path)

    @pytest.mark.parametrize("mode", ["LA", "RGBA"])
    def test_may_be_opaque_but_not_transparent(self, mode: str, tmp_path: Path) -> None:
        values = np.array([[0, 3], [7, 3]], np.uint8)
        picture = Image.fromarray(values).convert(mode)
        picture.save(tmp_path / "mask.png")
        assert np.array_equal(read_values(tmp_path / "mask.png").numpy(), values)
        picture.putalpha(254)
        picture.save(tmp_path / "mask.png")
        with pytest.raises(InputError, match=f"got mode {mode}"):
            read_values(tmp_path / "mask.png")


class TestMasks:
    def test_of_16_bits(self, tmp_path: Path) -> None:
        white = Image.fromarray(np.array([[0, 65535]], np.uint16))
        [found] = maps(open_input(str(save(tmp_path, a=white)))).values()
        assert found.labels.tolist() == [[0, 1]]

    def test_are_files_that_are_not_hidden(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="none of these"):
            open_input(str(save(tmp_path, **{"._a": grey([[0]])})))
        (tmp_path / "folder.png").mkdir()
        (tmp_path / "notes.txt").write_text("")
        assert list(maps(open_input(str(save(tmp_path, a=grey([[0]])))))) == ["a"]

    def test_of_two_values(self, tmp_path: Path) -> None:
        folder = save(tmp_path, **{
            "b": grey([[0, 255]]), "10": grey([[1, 0]]), "9": grey([[0, 0]]), "a": grey([[255]]),
        })  # fmt: skip
        found = maps(open_input(str(folder)))
        assert list(found) == ["9", "10", "a", "b"]
        values = [one.labels.tolist() for one in found.values()]
        assert values == [[[0, 0]], [[1, 0]], [[1]], [[0, 1]]]

    def test_of_more_values_need_names(self, tmp_path: Path) -> None:
        folder = save(tmp_path, a=grey([[0, 3, 7]]))
        with pytest.raises(InputError, match=r"got 3, 7; .*--classes"):
            maps(open_input(str(folder)))
        named = open_input(str(folder), InputOptions(classes=("x", "y")))
        assert named.classes == ("background", "x", "y")
        assert maps(named)["a"].labels.tolist() == [[0, 3, 7]]

    @pytest.mark.parametrize(
        ("file", "data"),
        [
            ("classes.json", {"1": "sofa", "2": "lamp"}),
            ("parts.json", {"1": "sofa", "2": "lamp"}),
            ("classes.json", ["background", "sofa", "lamp"]),
        ],
    )
    def test_know_names_beside_them(self, file: str, data: object, tmp_path: Path) -> None:
        folder = save(tmp_path, a=grey([[0, 1, 2]]))
        (folder / file).write_text(json.dumps(data))
        assert open_input(str(folder)).classes == ("background", "sofa", "lamp")

    def test_refuses_names_that_are_none(self, tmp_path: Path) -> None:
        folder = save(tmp_path, a=grey([[0]]))
        (folder / "classes.json").write_text('{"2": "lamp"}')
        with pytest.raises(InputError, match=r"classes\.json"):
            open_input(str(folder))

    def test_refuses_two_of_one_name(self, tmp_path: Path) -> None:
        folder = save(tmp_path, **{"7": grey([[0]]), "007": grey([[0]])})
        with pytest.raises(InputError, match="different names"):
            open_input(str(folder))

    @pytest.mark.parametrize("text", ["", "absent"])
    def test_refuses_what_is_no_input(self, text: str, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="mask PNGs"):
            open_input(str(tmp_path / text))


class TestResults:
    def test_are_masks_with_images(self, tmp_path: Path) -> None:
        for seed in (11, 2):
            stripes()(seed=seed).save(tmp_path / str(seed))
        stripes(nothing=True)(seed=3).save(tmp_path / "3")
        found = maps(open_input(str(tmp_path)))
        assert [(name, one.found) for name, one in found.items()] == [
            ("2", True), ("3", False), ("11", True),
        ]  # fmt: skip
        for seed in (2, 11):
            assert np.array_equal(found[str(seed)].labels.numpy(), content(seed))
            assert torch.equal(found[str(seed)].image, stripes()(seed=seed).image)
        assert not bool(found["3"].labels.any())
        with pytest.raises(InputError, match="parts, which a rule that names clusters gives"):
            open_input(str(tmp_path), InputOptions(task="parts"))

    def test_a_damaged_one_costs_no_other(self, tmp_path: Path) -> None:
        for seed in (1, 2):
            stripes()(seed=seed).save(tmp_path / str(seed))
        (tmp_path / "1" / "provenance.json").write_text("{")
        evaluation = compare(open_input(str(tmp_path)), Flat())
        assert [row.name for row in evaluation.images] == ["2"]
        assert "provenance.json" in evaluation.problems["failed"]["1"]
        (tmp_path / "2" / "provenance.json").write_text("{")
        with pytest.raises(InputError, match=r"provenance\.json"):
            open_input(str(tmp_path))

    def test_have_objects_by_their_labels(self, tmp_path: Path) -> None:
        detector = ("worlds", {"world": "rooms"})
        rooms = ("worlds", {"world": "rooms", "resolution": 48, "n": 6})
        pipe = covary.Pipeline(rooms, "rgb", "lloyd", "border", detector=detector)
        pipe(seed=1).save(tmp_path / "1")
        source = open_input(str(tmp_path), InputOptions(task="instances"))
        saved = covary.testing.worlds.get("rooms").objects
        assert set(source.classes[1:]) == set(saved)
        (found,) = maps(source).values()
        result = pipe(seed=1)
        for number, one in enumerate(result.objects, start=1):
            values = found.labels[result.instances == number].unique().tolist()
            assert values in ([], [source.classes.index(one.label)])

    def test_have_parts_by_their_names(self, tmp_path: Path) -> None:
        pipe = covary.Pipeline.preset("worlds-parts").replace(
            source=("worlds", {"resolution": 48, "n": 8})
        )
        result = pipe(seed=5)
        result.save(tmp_path / "5")
        options = InputOptions(task="parts")
        source = open_input(str(tmp_path), options)
        assert source.classes == ("background", *result.part_names)
        (saved,) = maps(source).values()
        (made,) = maps(PipelineResults(pipe, Seeds.of("5"), options)).values()
        assert torch.equal(saved.labels, result.parts)
        assert torch.equal(made.labels, result.parts)


class TestPipelines:
    def test_make_what_they_would_save(self) -> None:
        source = PipelineResults(stripes(), Seeds.of("3,1"), InputOptions())
        found = maps(source)
        assert list(found) == ["1", "3"]
        for seed in (1, 3):
            assert np.array_equal(found[str(seed)].labels.numpy(), content(seed))

    @pytest.mark.parametrize(
        ("seeds", "options", "words"),
        [
            ("", InputOptions(), "seeds"),
            ("1", InputOptions(task="parts"), "names clusters"),
            ("1", InputOptions(task="instances", classes=("sofa",)), "detector"),
        ],
    )
    def test_refuse(self, seeds: str, options: InputOptions, words: str) -> None:
        with pytest.raises(InputError, match=words):
            PipelineResults(stripes(), Seeds.of(seeds), options)

    def test_refuse_seeds_where_the_source_wants_files(self) -> None:
        pipe = covary.Pipeline("images", "rgb", "lloyd", "border")
        with pytest.raises(InputError, match="seed 1"):
            PipelineResults(pipe, Seeds.of("1"), InputOptions())


class TestDataSets:
    @pytest.mark.parametrize("writer", ["folder", "webdataset"])
    def test_are_read_by_their_writers(self, writer: str, tmp_path: Path) -> None:
        pipe = scenes()
        covary.generate(pipe, "0-5", tmp_path, writer, val=0.5, shard_size=2, on=HereExecutor(pipe))
        source = open_input(str(tmp_path))
        found = maps(source)
        assert list(found) == [str(seed) for seed in range(6)]
        for seed in range(6):
            result = pipe(seed=seed)
            assert torch.equal(found[str(seed)].labels.bool(), result.mask)
            assert torch.equal(found[str(seed)].image, result.image)
        judge = exact(source, InputOptions())
        assert judge.world == "avatars"
        evaluation = compare(source, judge)
        assert len(evaluation.images) == 6
        assert evaluation.classes == ("background", "foreground")

    @pytest.mark.parametrize("writer", ["folder", "webdataset", "hf", "coco", "mmseg"])
    def test_damage_costs_what_is_damaged(self, writer: str, tmp_path: Path) -> None:
        pipe = stripes()
        covary.generate(pipe, "0-8", tmp_path, writer, val=0, shard_size=3, on=HereExecutor(pipe))
        source = open_input(str(tmp_path))
        whole = maps(source)
        first, _, third = (record.files for record in read_records(tmp_path))
        damage(tmp_path, [one.path for one in first], at=1)
        for one in third:
            (tmp_path / one.path).unlink()
        evaluation = compare(open_input(str(tmp_path)), Flat())
        names = ["0", "2", "3", "4", "5"]
        assert [row.name for row in evaluation.images] == names
        assert list(evaluation.problems["failed"]) == ["1", "6", "7", "8"]
        for why in evaluation.problems["failed"].values():
            assert "train-00000" in why or "train-00002" in why or "00000000" in why
        left = {entry.name: entry for entry in source.entries()}  # type: ignore[union-attr]
        for name in names:
            assert torch.equal(left[name].load().labels, whole[name].labels)
        assert left["0"].stamp != left["3"].stamp
        again = compare(open_input(str(tmp_path)), Flat())
        assert again.summary() == evaluation.summary()

    def test_a_shard_that_is_cut_short_costs_its_end(self, tmp_path: Path) -> None:
        pipe = stripes()
        covary.generate(pipe, "0-5", tmp_path, val=0, shard_size=3, on=HereExecutor(pipe))
        path = tmp_path / "train-00000.tar"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        evaluation = compare(open_input(str(tmp_path)), Flat())
        judged = [row.name for row in evaluation.images]
        failed = evaluation.problems["failed"]
        assert sorted([*judged, *failed]) == [str(seed) for seed in range(6)]
        assert "2" in failed
        assert {"0", "3", "4", "5"} <= set(judged)

    def test_of_a_writer_that_reads_all_at_once_the_rest_is_lost(self, tmp_path: Path) -> None:
        class Whole:
            def read(self, root: Path, split: str | None = None) -> Iterator[covary.Sample]:
                return covary.create("folder", kind="writer").read(root, split)

        assert not isinstance(Whole(), covary.SupportsShards)
        pipe = stripes()
        covary.generate(pipe, "0-5", tmp_path, "folder", shard_size=3, on=HereExecutor(pipe))
        damage(tmp_path, [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")], 2)
        source = DataSetFolder(tmp_path)
        source._reader = Whole()
        evaluation = compare(source, Flat())
        assert [row.name for row in evaluation.images] == ["0", "1"]
        assert list(evaluation.problems["failed"]) == ["2", "3", "4", "5"]

    def test_refuse_a_damaged_manifest(self, tmp_path: Path) -> None:
        (tmp_path / "manifest.jsonl").write_text("{}\n")
        with pytest.raises(InputError, match="manifest"):
            open_input(str(tmp_path))


class Flat:
    """A judge that sees nothing but background."""

    classes = ("background", "foreground")

    def judge(self, given: LabelMap) -> LabelMap:
        return LabelMap(given.name, torch.zeros_like(given.labels))

    def describe(self) -> dict[str, object]:
        return {"kind": "flat"}


def damage(root: Path, files: list[str], at: int) -> None:
    """Make the pictures of a seed rubbish of the same length, within a shard or beside it."""
    own = [root / file for file in files if f"{at:09d}" in file]
    for path in own:
        path.write_bytes(b"x" * path.stat().st_size)
    if own:
        return
    [path] = (root / file for file in files)
    data = path.read_bytes()
    starts = [found.start() for found in re.finditer(rb"\x89PNG", data)]
    # Of columns each has the pictures of its own.
    for start in starts[at::3] if path.suffix == ".parquet" else starts[2 * at : 2 * at + 2]:
        data = data[:start] + b"xxxx" + data[start + 4 :]
    path.write_bytes(data)


def celeba(root: Path, faces: dict[int, dict[str, np.ndarray]]) -> Path:
    """CelebAMask-HQ as it is laid out, with images twice as large as masks."""
    for number, parts in faces.items():
        folder = root / "CelebAMask-HQ-mask-anno" / str(number // 2000)
        for part, mask in parts.items():
            picture = Image.fromarray(mask.astype(np.uint8) * 255).convert("RGB")
            save(folder, **{f"{number:05d}_{part}": picture})
        images = root / "CelebA-HQ-img"
        images.mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (number % 256, 0, 0)).save(images / f"{number}.jpg")
    return root


class TestCelebA:
    def test_later_parts_overwrite(self, tmp_path: Path) -> None:
        draw = np.random.RandomState(0)
        numbers = (0, 2001, 17)
        faces = {
            number: {part: draw.rand(8, 8) < 0.3 for part in PARTS if draw.rand() < 0.7}
            for number in numbers
        }
        source = open_input(str(celeba(tmp_path, faces)))
        assert source.classes == ("background", *PARTS)
        found = maps(source)
        assert list(found) == ["0", "17", "2001"]
        for number in numbers:
            expected = np.zeros((8, 8), int)
            for value, part in enumerate(PARTS, start=1):
                for y, x in np.argwhere(faces[number].get(part, np.zeros((8, 8)))):
                    expected[y, x] = value
            assert np.array_equal(found[str(number)].labels.numpy(), expected)
            assert found[str(number)].image.shape == (3, 16, 16)

    def test_a_face_without_masks_is_named(self, tmp_path: Path) -> None:
        root = celeba(tmp_path, {5: {"hair": np.ones((8, 8), bool)}})
        Image.new("RGB", (16, 16)).save(root / "CelebA-HQ-img" / "6.jpg")
        source = open_input(str(root))
        assert isinstance(source, Listed)
        _, last = source.entries()
        with pytest.raises(InputError, match="face 6"):
            last.load()

    def test_stray_files_are_none_of_it(self, tmp_path: Path) -> None:
        root = celeba(tmp_path, {5: {"hair": np.ones((8, 8), bool)}})
        for name in ("5.txt", "\u00b2.jpg", "Thumbs.db", "list.csv"):
            (root / "CelebA-HQ-img" / name).write_text("stray")
        assert list(maps(open_input(str(root)))) == ["5"]

    def test_parts_of_different_sizes_are_refused(self, tmp_path: Path) -> None:
        parts = {"skin": np.ones((8, 8), bool), "hair": np.ones((4, 4), bool)}
        with pytest.raises(InputError, match=r"00005_hair.*\(8, 8\), got \(4, 4\)"):
            maps(open_input(str(celeba(tmp_path, {5: parts}))))


class TestRendered:
    @pytest.mark.parametrize(
        ("task", "classes"),
        [
            (None, ("background", "hair", "skin", "clothes", "eyes", "mouth")),
            ("foreground", ("background", "foreground")),
            ("instances", ("background", "person")),
        ],
    )
    def test_is_the_truth_at_any_size(self, task: str | None, classes: tuple[str, ...]) -> None:
        judge = open_input("worlds:avatars", InputOptions(task=task))  # type: ignore[arg-type]
        assert isinstance(judge, Judge)
        assert judge.classes == classes
        found = judge.judge(LabelMap("0042", torch.zeros(32, 48)))
        truth = worlds.get("avatars").scene(42, (32, 48)).truth
        assert torch.equal(found.labels > 0, truth.foreground[0])

    @pytest.mark.parametrize("world", worlds.WORLDS)
    def test_every_part_of_the_content_has_a_class(self, world: str) -> None:
        found = worlds.get(world)
        members = [part for parts in found.classes.values() for part in parts]
        assert sorted(members) == sorted(found.foreground)

    def test_names_that_are_no_seeds_are_refused(self) -> None:
        judge = open_input("worlds:rooms")
        assert isinstance(judge, Judge)
        with pytest.raises(InputError, match="'cat'"):
            judge.judge(LabelMap("cat", torch.zeros(32, 32)))

    def test_other_scenes_are_refused(self, tmp_path: Path) -> None:
        stripes()(seed=1).save(tmp_path / "stripes" / "1")
        scenes()(seed=1).save(tmp_path / "scenes" / "1")
        other = open_input(str(tmp_path / "stripes"))
        with pytest.raises(InputError, match=r"exact masks.*images of local/"):
            exact(other, InputOptions())
        with pytest.raises(InputError, match="exact masks of avatars"):
            compare(other, open_input("worlds:avatars"))
        with pytest.raises(InputError, match="covary/worlds, avatars"):
            compare(open_input(str(tmp_path / "scenes")), open_input("worlds:rooms"))

    def test_two_judges_have_no_images(self) -> None:
        with pytest.raises(InputError, match="which images there are"):
            compare(open_input("worlds:avatars"), open_input("worlds:avatars"))


class Bright(covary.Segmenter):
    """What is brighter than a level is a star."""

    class Params(covary.Params):
        level: int = 127
        wrong: bool = False

    params: Params

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", "star")

    def segment(self, images: torch.Tensor, ctx: covary.RunContext | None = None) -> torch.Tensor:
        bright = images.float().mean(1) > self.params.level
        return bright.int() if self.params.wrong else bright.long()


class TestSegmented:
    def test_looks_at_the_image(self) -> None:
        image = torch.randint(0, 256, (3, 5, 6), dtype=torch.uint8)
        found = Segmented(Bright(), "cpu").judge(LabelMap("a", torch.zeros(5, 6), image))
        assert torch.equal(found.labels, (image.float().mean(0) > 127).long())

    def test_without_an_image_there_is_nothing_to_see(self) -> None:
        with pytest.raises(InputError, match="a mask alone"):
            Segmented(Bright(), "cpu").judge(LabelMap("a", torch.zeros(5, 6)))

    def test_looks_at_images_of_one_size_together(self) -> None:
        seen: list[tuple[int, ...]] = []

        class Noting(Bright):
            def segment(self, images: torch.Tensor, ctx: object = None) -> torch.Tensor:
                seen.append(tuple(images.shape))
                return super().segment(images)

        sizes = [(5, 6), (4, 4), (5, 6)]
        images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]
        given = [LabelMap(str(i), torch.zeros(size), images[i]) for i, size in enumerate(sizes)]
        found = Segmented(Noting(), "cpu").judge_many(given)
        assert seen == [(2, 3, 5, 6), (1, 3, 4, 4)]
        for one, image in zip(found, images, strict=True):
            assert torch.equal(one.labels, (image.float().mean(0) > 127).long())

    def test_tells_other_weights_of_the_same_name(self) -> None:
        class Weighted(Bright):
            sha256 = "a"
            read: dict[str, str] = {}

            def inputs(self) -> dict[str, str]:
                return self.read

            def segment(self, images: torch.Tensor, ctx: object = None) -> torch.Tensor:
                self.read = {"some/network": self.sha256}
                return super().segment(images)

        class Others(Weighted):
            sha256 = "b"

        one, same, other = (
            Segmented(kind(), "cpu").fingerprint() for kind in (Weighted, Weighted, Others)
        )
        assert one == same
        assert one != other

    def test_what_it_gives_is_checked(self) -> None:
        image = torch.zeros(3, 5, 6, dtype=torch.uint8)
        with pytest.raises(PluginError, match=r"int64 \(1, 5, 6\), got Tensor torch.int32"):
            Segmented(Bright(wrong=True), "cpu").judge(LabelMap("a", torch.zeros(5, 6), image))

    def test_can_be_judged_itself(self, tmp_path: Path) -> None:
        pipe = stripes()
        for seed in range(3):
            pipe(seed=seed).save(tmp_path / str(seed))
        evaluation = compare(Segmented(Bright(), "cpu"), open_input(str(tmp_path)))
        for row in evaluation.images:
            image = pipe(seed=int(row.name)).image
            prediction, truth = (image.float().mean(0) > 127).numpy(), content(int(row.name))
            assert row.figures.pixel_accuracy == pytest.approx((prediction == truth).mean())
