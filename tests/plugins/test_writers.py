"""The writers through their contract, and their files as other libraries read them."""

from __future__ import annotations

import io
import json
import runpy
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import covary
from covary import DataSet, InputError, Sample, Shard
from covary._deep import Trial, attempt
from covary.testing import WriterContract
from covary.testing._data_sets import (
    SHARDS,
    TASKS,
    compose,
    contents,
    data_set,
    pairs,
    sample,
    write_shard,
)

# Of pycocotools, with numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# Lists in metadata whose elements are of several types are JSON, and no table.
PLAIN = {"area": 0.25, "found": True, "reason": "größter Bereich"}


class TestFolder(WriterContract):
    name = "folder"


class TestWebDataset(WriterContract):
    name = "webdataset"


class TestHuggingFace(WriterContract):
    name = "hf"


class TestCoco(WriterContract):
    name = "coco"


class TestMMSeg(WriterContract):
    name = "mmseg"


CONTRACTS = (TestFolder, TestWebDataset, TestHuggingFace, TestCoco, TestMMSeg)
NAMES = tuple(contract.name for contract in CONTRACTS)


def test_no_built_in_is_left_out() -> None:
    entries = covary.components("writer")
    assert {entry.name for entry in entries if entry.origin.namespace == "covary"} == {*NAMES}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("image", ["webp", "jpg"])
def test_other_formats_of_images(name: str, image: str, tmp_path: Path) -> None:
    writer = covary.create(name, "writer", image=image, png_level=6)
    made = compose(lambda: writer, tmp_path, "instances", SHARDS[:1], flat)
    for read in writer.read(made.root):
        given = flat_sample(read.seed, "instances")
        assert torch.equal(read.mask, given.mask)
        assert torch.equal(read.instances, given.instances)
        far = (read.image.int() - given.image.int()).abs().max()
        assert far == 0 if image == "webp" else 0 < far < 8


def flat_sample(seed: int, task: str) -> Sample:
    """A sample whose colours change slowly, as JPEG can hold them."""
    one = sample(seed, task, (40, 48))
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(48), indexing="ij")
    image = torch.stack([rows * 5, columns * 4, rows + columns + seed]).to(torch.uint8)
    return replace(one, image=image, metadata=PLAIN)


def flat(shard: Shard, task: str) -> Iterator[Sample]:
    return (flat_sample(seed, task) for seed in shard.seeds)


Made = Callable[..., Path]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Makes a data set of three shards, with covary's own files beside."""

    def make(name: str, task: str, empty: str = "", **params: Any) -> Path:
        writer = covary.create(name, "writer", **params)

        def samples(shard: Shard, task: str) -> Iterator[Sample]:
            return iter(()) if shard.name == empty else flat(shard, task)

        root = compose(lambda: writer, tmp_path / name, task, samples=samples).root
        front = "# A data set\n"
        if isinstance(writer, covary.SupportsFrontMatter):
            shards = tuple(
                replace(shard, seeds=()) if shard.name == empty else shard for shard in SHARDS
            )
            matter = writer.front_matter(data_set(task, shards))
            front = f"---\n{yaml_of(matter)}---\n{front}"
        (root / "README.md").write_text(front, encoding="utf-8")
        (root / "manifest.jsonl").write_text('{"covary": "0"}\n')
        (root / ".covary").mkdir()
        (root / ".covary/job.json").write_text("{}")
        covary.write_png(torch.zeros(3, 8, 8, dtype=torch.uint8), root / "preview.png")
        return root

    return make


def yaml_of(matter: Any) -> str:
    # JSON is YAML.
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in matter.items())


def values(picture: Image.Image) -> torch.Tensor:
    """A picture's values as they are stored, (H, W) or (H, W, 3)."""
    return torch.from_numpy(np.array(picture).astype(np.int32))


def check_pictures(given: Sample, image: Any, mask: Any, instances: Any = None) -> None:
    """Pictures of Pillow's against the sample that they show."""
    assert (image.mode, mask.mode in "LP") == ("RGB", True)
    assert torch.equal(values(image).byte().movedim(-1, 0), given.image)
    assert torch.equal(values(mask).byte(), given.mask)
    if given.instances is not None:
        assert torch.equal(values(instances), given.instances)


def seeds_of(split: str) -> list[int]:
    return sorted(seed for shard in SHARDS for seed in shard.seeds if shard.split == split)


# --- webdataset ------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_webdataset_reads_the_tar_files(made: Made, task: str) -> None:
    import webdataset as wds

    root = made("webdataset", task)
    urls = sorted(map(str, root.glob("train-*.tar")))
    found = list(wds.WebDataset(urls, shardshuffle=False))
    assert [int(each["__key__"]) for each in found] == seeds_of("train")
    for each in found:
        given = flat_sample(int(each["__key__"]), task)
        opened = [
            Image.open(io.BytesIO(each[f"{name}.png"]))
            for name in ("image", "mask", "instances")
            if f"{name}.png" in each
        ]
        check_pictures(given, *opened)
        about = json.loads(each["json"])
        assert (about["seed"], about["metadata"]) == (given.seed, PLAIN)
        boxes = [tuple(one["box"]) for one in about.get("objects", ())]
        assert boxes == [one.box.corners for one in given.objects]


def test_tar_files_say_nothing_of_who_wrote_them_when(made: Made) -> None:
    for path in made("webdataset", "parts").glob("*.tar"):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
        assert {(one.mtime, one.uid, one.gid, one.mode) for one in members} == {(0, 0, 0, 0o444)}
        assert path.stat().st_size % tarfile.RECORDSIZE == 0


def test_a_tar_file_that_ends_between_two_samples_is_damaged(made: Made) -> None:
    root = made("webdataset", "parts")
    path = root / "train-00000.tar"
    with tarfile.open(path) as tar:
        ends = tar.getmembers()[3].offset  # of the second sample
    path.write_bytes(path.read_bytes()[:ends])
    with pytest.raises(InputError, match=r"train-00000\.tar: .*ends early"):
        list(covary.create("webdataset", "writer").read(root))


@pytest.mark.parametrize("task", ["foreground", "instances"])
@pytest.mark.parametrize("begins", ["without", "empty"])
def test_datasets_loads_tar_files_whose_first_samples_tell_little(
    load: Any, tmp_path: Path, task: str, begins: str
) -> None:
    """It would guess the columns from five, which may have neither confidence nor objects."""
    writer = covary.create("webdataset", "writer")

    def samples(shard: Shard, task: str) -> Iterator[Sample]:
        for given in flat(shard, task):
            found = shard.name != "train-00000"
            if begins == "without" or found:
                nothing = {"mask": torch.zeros_like(given.mask), "objects": ()}
                if given.instances is not None:
                    nothing["instances"] = torch.zeros_like(given.instances)
                metadata = {"area": 0.25, "confidence": 0.5 if found else None, "found": found}
                metadata["reason"] = "largest"
                yield replace(given, metadata=metadata, **({} if found else nothing))

    root = compose(lambda: writer, tmp_path / "data", task, samples=samples).root
    train = tuple(shard for shard in SHARDS if shard.split == "train")
    matter = writer.front_matter(data_set(task, train))
    (root / "README.md").write_text(f"---\n{yaml_of(matter)}---\n", encoding="utf-8")
    rows = [row["json"] for row in load(root)["train"]]
    read = {one.seed: one for one in writer.read(root, "train")}
    assert sorted(row["seed"] for row in rows) == sorted(read)
    for row in rows:
        given = read[row["seed"]]
        assert row["metadata"] == given.metadata
        boxes = [tuple(one["box"]) for one in row.get("objects", ())]
        assert boxes == [one.box.corners for one in given.objects]


# --- Hugging Face ----------------------------------------------------------------------------


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Any]:
    """``datasets.load_dataset`` without a network."""
    import datasets

    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    return lambda root: datasets.load_dataset(str(root), cache_dir=str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("name", "task"),
    [("hf", "foreground"), ("hf", "instances"), ("folder", "instances"), ("webdataset", "parts")],
)
def test_datasets_loads_the_folder(made: Made, load: Any, name: str, task: str) -> None:
    found = load(made(name, task))
    assert set(found) == {"train", "validation"}
    dotted = ".png" if name == "webdataset" else ""
    for split, ours in (("train", "train"), ("validation", "val")):
        assert [row["json"]["seed"] if dotted else row["seed"] for row in found[split]] == seeds_of(
            ours
        )
        for row in found[split]:
            seed = row["json"]["seed"] if dotted else row["seed"]
            given = flat_sample(seed, task)
            pictures = [row.get(f"{each}{dotted}") for each in ("image", "mask", "instances")]
            check_pictures(given, *pictures)
            assert len(row.get("objects", ())) == len(given.objects)


@pytest.mark.parametrize("name", ["hf", "folder", "webdataset"])
@pytest.mark.parametrize(
    ("empty", "rows"),
    [("train-00000", {"train": 2, "validation": 2}), ("val-00000", {"train": 5})],
)
def test_datasets_loads_what_filters_left(
    made: Made, load: Any, name: str, empty: str, rows: dict[str, int]
) -> None:
    found = load(made(name, "parts", empty))
    assert {split: len(table) for split, table in found.items()} == rows


def test_datasets_knows_the_names_of_classes(made: Made, load: Any) -> None:
    train = load(made("hf", "instances"))["train"]
    names = train.features["classes"].feature.names
    assert tuple(names) == TASKS["instances"]
    row, given = train[0], flat_sample(0, "instances")
    assert row["classes"] == sorted(set(given.mask.flatten().tolist()))
    assert json.loads(row["metadata"]) == PLAIN
    assert row["objects"] == [
        {"category": one.category, "box": list(one.box.corners), "score": one.score}
        for one in given.objects
    ]


def test_parquet_files_have_groups_that_fit_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr("covary_plugins.writers.hf._ROWS", 4)
    shard = Shard("train-00000", "train", tuple(range(10)))
    folder = tmp_path / "shard"
    write_shard(covary.create("hf", "writer"), pairs(shard), shard, data_set(), folder)
    file = pq.ParquetFile(folder / "data/train-00000.parquet")
    groups = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
    assert groups == [4, 4, 2]
    assert file.schema_arrow.field("image").type.field("bytes").type == "binary"


# --- COCO ------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_pycocotools_reads_the_annotations(
    made: Made, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from pycocotools.coco import COCO

    root = made("coco", task)
    for split in ("train", "val"):
        coco = COCO(str(root / f"annotations/instances_{split}.json"))
        assert sorted(coco.imgs) == seeds_of(split)
        categories = {one["id"]: one["name"] for one in coco.dataset["categories"]}
        assert categories == dict(list(enumerate(TASKS[task]))[1:])
        assert len({one["id"] for one in coco.dataset["annotations"]}) == len(coco.anns)
        for seed, about in coco.imgs.items():
            given = flat_sample(seed, task)
            with Image.open(root / f"images/{split}" / about["file_name"]) as image:
                assert image.size == (about["width"], about["height"])
                assert torch.equal(values(image).byte().movedim(-1, 0), given.image)
            check_annotations(coco, given)


def check_annotations(coco: Any, given: Sample) -> None:
    """One for each class that is there, or for each object that has pixels."""
    numbers = given.mask if given.instances is None else given.instances
    shown = [number for number in numbers.unique().tolist() if number]
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=given.seed))
    assert len(annotations) == len(shown)
    for number, one in zip(shown, annotations, strict=True):
        mask = numbers == number
        assert np.array_equal(coco.annToMask(one).astype(bool), mask.numpy())
        rows, columns = (mask.any(dim).nonzero().flatten().tolist() for dim in (1, 0))
        assert one["area"] == int(mask.sum())
        assert one["bbox"] == [
            columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]
        ]  # fmt: skip
        assert one["iscrowd"] == 0
        category = number if given.instances is None else given.objects[number - 1].category
        assert one["category_id"] == category


def test_coco_refuses_a_mask_that_is_not_its_objects(tmp_path: Path) -> None:
    one = sample(0, "instances")
    wrong = replace(one, mask=torch.zeros_like(one.mask))
    with pytest.raises(InputError, match="the categories of its objects"):
        write_shard(
            covary.create("coco", "writer"), [wrong], SHARDS[0], data_set("instances"),
            tmp_path / "shard",
        )  # fmt: skip


# --- MMSegmentation --------------------------------------------------------------------------


def test_mmsegs_masks_are_palette_pictures_of_their_classes(made: Made) -> None:
    root = made("mmseg", "parts", image="webp")
    for split in ("train", "val"):
        images = sorted((root / f"img_dir/{split}").iterdir())
        masks = sorted((root / f"ann_dir/{split}").iterdir())
        assert [path.stem for path in images] == [path.stem for path in masks]
        for image, mask in zip(images, masks, strict=True):
            with Image.open(image) as shown, Image.open(mask) as indexed:
                assert indexed.mode == "P"
                check_pictures(flat_sample(int(image.stem), "parts"), shown, indexed)


def test_mmsegs_configuration_names_classes_and_folders(made: Made) -> None:
    root = made("mmseg", "parts", image="webp")
    config = runpy.run_path(str(root / "dataset.py"))
    assert config["metainfo"]["classes"] == TASKS["parts"]
    for split in ("train", "val"):
        dataset = config[f"{split}_dataloader"]["dataset"]
        place = dataset["data_root"].replace("{{ fileDirname }}", str(root))
        images = [path.name for path in Path(place, dataset["data_prefix"]["img_path"]).iterdir()]
        assert all(name.endswith(dataset["img_suffix"]) for name in images)
        for name in images:
            mask = name.removesuffix(dataset["img_suffix"]) + dataset["seg_map_suffix"]
            path = Path(place, dataset["data_prefix"]["seg_map_path"], mask)
            with Image.open(path) as indexed:
                colours = [indexed.getpalette()[3 * i : 3 * i + 3] for i in range(5)]
            assert colours == config["metainfo"]["palette"]


def test_mmsegs_colours_are_those_of_pascal_voc() -> None:
    from covary_plugins.writers.mmseg import _colour

    # Aeroplane, bicycle, bird, ..., tv/monitor, and what VOC leaves undecided.
    assert [_colour(number) for number in (0, 1, 2, 3, 7, 8, 15, 20, 255)] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (128, 128, 128), (64, 0, 0),
        (192, 128, 128), (0, 64, 128), (224, 224, 192),
    ]  # fmt: skip
    assert len({_colour(number) for number in range(256)}) == 256


# --- folder ----------------------------------------------------------------------------------


def test_folders_hold_pictures_and_a_list_of_them(made: Made) -> None:
    root = made("folder", "instances")
    for split in ("train", "val"):
        lines = (root / split / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
        records = list(map(json.loads, lines))
        assert [record["seed"] for record in records] == seeds_of(split)
        for record in records:
            opened = [
                Image.open(root / split / record[f"{name}_file_name"])
                for name in ("image", "mask", "instances")
            ]
            check_pictures(flat_sample(record["seed"], "instances"), *opened)
            assert [picture.mode for picture in opened] == ["RGB", "L", "I;16"]
    assert json.loads((root / "classes.json").read_text("utf-8")) == list(TASKS["instances"])


def test_a_list_that_ends_between_two_lines_is_damaged(made: Made) -> None:
    root = made("folder", "parts")
    path = root / "records/train-00000.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:1]))
    with pytest.raises(InputError, match="ends early"):
        list(covary.create("folder", "writer").read(root))


def test_a_picture_that_is_gone_is_named(made: Made) -> None:
    root = made("folder", "parts")
    (root / "train/masks/000000002.png").unlink()
    with pytest.raises(InputError, match=r"masks/000000002\.png: .*No such file"):
        list(covary.create("folder", "writer").read(root))


# --- all -------------------------------------------------------------------------------------


def test_more_objects_than_16_bits_number_are_refused(tmp_path: Path) -> None:
    one = sample(0, "instances")
    many = replace(one, objects=one.objects[:1] * 2**16, instances=(one.instances > 0).int())
    for name in ("folder", "coco"):
        with pytest.raises(InputError, match="65535 at most"):
            write_shard(
                covary.create(name, "writer"), [many], SHARDS[0], data_set("instances"),
                tmp_path / name,
            )  # fmt: skip


@pytest.mark.parametrize("name", ["folder", "hf"])
def test_metadata_that_json_does_not_hold_is_refused(name: str, tmp_path: Path) -> None:
    for number, value in enumerate((float("nan"), torch.zeros(1), {1, 2})):
        one = replace(sample(0), metadata={"value": value})
        with pytest.raises(InputError, match="metadata of sample 000000000: expected plain data"):
            write_shard(
                covary.create(name, "writer"), [one], SHARDS[0], data_set(), tmp_path / str(number)
            )


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match=r"classes of data set d: .*'sofa' twice"):
        DataSet("d", "instances", ("background", "sofa", "sofa"))


def test_shards_are_read_by_their_numbers(tmp_path: Path) -> None:
    shards = tuple(Shard(f"train-{n}", "train", (n,)) for n in (99999, 100000))
    writer = covary.create("webdataset", "writer")
    root = compose(lambda: writer, tmp_path, shards=shards).root
    assert [read.seed for read in writer.read(root)] == [99999, 100000]


@pytest.mark.parametrize("name", ["folder", "coco"])
def test_a_data_set_that_lost_a_shard_is_not_finished(name: str, tmp_path: Path) -> None:
    writer = covary.create(name, "writer")
    root = compose(lambda: writer, tmp_path).root
    (root / "records/train-00001.jsonl").unlink()
    (tmp_path / "end").mkdir()
    with pytest.raises(InputError, match=r"records/train-00001\.jsonl"):
        writer.finish(data_set(shards=SHARDS), root, tmp_path / "end")


def test_several_threads_may_share_a_writer(tmp_path: Path) -> None:
    writer = covary.create("webdataset", "writer")
    folders = [tmp_path / shard.name for shard in SHARDS]
    threads = [
        threading.Thread(target=write_shard, args=(writer, pairs(shard), shard, data_set(), place))
        for shard, place in zip(SHARDS, folders, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = [
        write_shard(writer, pairs(shard), shard, data_set(), tmp_path / f"alone-{shard.name}")
        for shard in SHARDS
    ]
    assert [contents(folder) for folder in folders] == alone


def test_the_doctor_writes_a_shard() -> None:
    entry = ("covary/folder", "writer")
    outcome = attempt(Trial("folder", ("covary_plugins.writers.folder",), entry), timeout=60)
    assert (outcome.status, outcome.note) == ("ok", "")
