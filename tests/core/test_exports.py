"""Exports, each read back by something that shares no code with what wrote it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageDraw
from scipy import ndimage

import covary
from covary import Box, InputError, Object, exports
from covary.saved import SavedResult, as_saved

Array = np.ndarray[Any, Any]


def result(
    instances: Array, labels: tuple[str, ...], soft: Array | None = None, name: str = "scene"
) -> SavedResult:
    """A result whose objects are numbered in ``instances``, int (H, W), from 1."""
    height, width = instances.shape
    numbers = torch.from_numpy(instances.astype(np.int32))
    box, size = Box(0, 0, width, height), (height, width)
    draw = torch.Generator().manual_seed(0)
    return SavedResult(
        name=name,
        image=torch.randint(0, 256, (3, *size), generator=draw, dtype=torch.uint8),
        objects=tuple(
            Object(label, 0.5, box, numbers == number, size, "as the test says")
            for number, label in enumerate(labels, start=1)
        ),
        labels=numbers - 1,
        parts=(numbers % 3).int(),
        part_names=("arm", "leg"),
        soft=None if soft is None else torch.from_numpy(soft.astype(np.float32)),
        reason="as the test says",
    )


@st.composite
def results(draw: st.DrawFn, most: int = 4) -> SavedResult:
    """A result of up to ``most`` objects, of which some may have no pixels, but not all."""
    count = draw(st.integers(1, most))
    size = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    instances = draw(hnp.arrays(np.int32, size, elements=st.integers(0, count)))
    assume(instances.any())
    names = st.sampled_from(["", "sofa", "side table", "<lamp> & 'rug'"])
    labels = tuple(draw(st.lists(names, min_size=count, max_size=count)))
    soft = draw(st.none() | hnp.arrays(np.float32, size, elements=st.floats(0, 1, width=32)))
    return result(instances, labels, soft)


# --- COCO ------------------------------------------------------------------------------------


def read_back(data: dict[str, Any], folder: Path) -> Any:
    """What pycocotools makes of the file."""
    from pycocotools.coco import COCO

    path = folder / "coco.json"
    path.write_text(json.dumps(data))
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@settings(max_examples=40, deadline=None)
@given(given_results=st.lists(results(), min_size=1, max_size=3))
def test_pycocotools_reads_back_the_very_masks(
    given_results: list[SavedResult], tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = [f"{i}/image.png" for i in range(len(given_results))]
    data = read_back(exports.coco(given_results, files), tmp_path_factory.mktemp("coco"))
    for image_id, (file, one) in enumerate(zip(files, given_results, strict=True), start=1):
        height, width = one.size
        about = {"id": image_id, "file_name": file, "height": height, "width": width}
        assert data.loadImgs(image_id) == [about]
        annotations = data.loadAnns(data.getAnnIds(imgIds=image_id))
        found = [each for each in one.objects if each.found]
        assert len(annotations) == len(found)
        for annotation, each in zip(annotations, found, strict=True):
            mask = each.mask.numpy()
            assert np.array_equal(data.annToMask(annotation), mask)
            (name,) = data.loadCats(annotation["category_id"])
            assert name["name"] == (each.label or "foreground")
            ys, xs = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
            box = [xs[0], ys[0], xs[-1] - xs[0] + 1, ys[-1] - ys[0] + 1]
            assert annotation["bbox"] == box
            assert annotation["area"] == mask.sum()
            assert (annotation["iscrowd"], annotation["score"]) == (0, 0.5)
    assert [c["name"] for c in data.loadCats(data.getCatIds())] == sorted(
        {each.label or "foreground" for one in given_results for each in one.objects if each.found}
    )


def test_an_image_without_foreground_has_no_annotations() -> None:
    empty = result(np.zeros((4, 5)), ("sofa",), name="empty")
    data = exports.coco([empty, result(np.ones((4, 5)), ("rug",))])
    assert [image["file_name"] for image in data["images"]] == ["empty.png", "scene.png"]
    assert [annotation["image_id"] for annotation in data["annotations"]] == [2]
    assert [category["name"] for category in data["categories"]] == ["rug"]
    with pytest.raises(InputError, match="expected 1, one a result, got 2"):
        exports.coco([empty], ["a", "b"])


# --- palettes --------------------------------------------------------------------------------


@settings(deadline=None)
@given(one=results())
def test_a_palettes_indices_say_what_a_pixel_is(one: SavedResult) -> None:
    def index(show: exports.Map, names: tuple[str, ...] | None = None) -> Array:
        picture = exports.palette(one, show, names)
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        again = Image.open(buffer)
        assert again.mode == "P"
        assert np.array(again.convert("RGB"))[np.array(again) == 0].sum() == 0
        return np.array(again)

    instances = np.zeros(one.size, int)
    classes = np.zeros(one.size, int)
    names = ("a", *exports.class_names([one]), "z")
    for number, each in enumerate(one.objects, start=1):
        instances[each.mask.numpy()] = number
        if each.found:
            classes[each.mask.numpy()] = names.index(each.label or "foreground") + 1
    assert np.array_equal(index("instances"), instances)
    assert np.array_equal(index("classes", names), classes)
    assert np.array_equal(index("clusters"), one.labels.numpy() + 1)
    assert np.array_equal(index("parts"), one.parts.numpy())
    assert np.array_equal(index("parts", ("leg", "arm")), (-one.parts.numpy()) % 3)


def test_more_than_255_objects_are_16_bit() -> None:
    many = result(np.arange(400).reshape(20, 20), tuple(f"object {i}" for i in range(399)))
    picture = exports.palette(many)
    assert picture.mode.startswith("I;16")
    assert np.array_equal(np.array(picture), np.arange(400).reshape(20, 20))


def test_classes_have_one_colour_each() -> None:
    one = result(np.array([[1, 2, 3]]), ("sofa", "rug", "sofa"))
    colours = np.array(exports.palette(one, "classes").convert("RGB"))[0].tolist()
    assert colours[0] == colours[2] != colours[1]
    shades = np.array(exports.palette(one).convert("RGB"))[0].tolist()
    assert len({tuple(shade) for shade in shades}) == 3


def test_palettes_that_cannot_be_are_refused() -> None:
    one = result(np.array([[1, 2]]), ("sofa", "rug"))
    with pytest.raises(InputError, match="no 'sofa'"):
        exports.palette(one, "classes", ["rug"])
    with pytest.raises(InputError, match="instances, classes, parts or clusters"):
        exports.palette(one, "labels")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a foreground rule that names clusters"):
        exports.palette(replace(one, part_names=()), "parts")


def test_overlapping_objects_are_refused() -> None:
    one = result(np.array([[1, 2]]), ("sofa", "rug"))
    both = replace(one.objects[1], inside=torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(InputError, match="object 2 of result scene: expected pixels of its own"):
        exports.palette(replace(one, objects=(one.objects[0], both)))


# --- cut-outs --------------------------------------------------------------------------------


def test_cut_outs_of_each_object_and_of_all() -> None:
    instances = np.zeros((9, 12), int)
    instances[2:5, 1:4], instances[6:8, 5:11] = 1, 3
    one = result(instances, ("sofa", "gone", "side table"))
    ((name, whole),) = exports.cut_outs(one)
    assert (name, whole.mode, whole.size) == ("scene", "RGBA", (12, 9))
    assert np.array_equal(np.array(whole)[..., 3] > 0, instances > 0)
    image = one.image.permute(1, 2, 0).numpy()
    assert np.array_equal(np.array(whole)[instances > 0][:, :3], image[instances > 0])
    pictures = dict(exports.cut_outs(one, each=True, trim=True))
    assert {name: picture.size for name, picture in pictures.items()} == {
        "scene-1-sofa": (3, 3), "scene-3-side-table": (6, 2)
    }  # fmt: skip
    assert np.array_equal(np.array(pictures["scene-1-sofa"])[..., :3], image[2:5, 1:4])


def test_a_cut_outs_border_is_soft_but_never_of_another_object() -> None:
    instances = np.repeat([[0, 0, 0, 1, 1, 1, 2, 2, 2, 0]], 10, axis=0)
    soft = np.repeat([[0, 0, 0.3, 0.7, 1, 1, 1, 0.9, 0.8, 0.2]], 10, axis=0)
    one = result(instances, ("left", "right"), soft)
    alpha = [np.array(picture)[5, :, 3] for _, picture in exports.cut_outs(one, each=True, edge=1)]
    assert alpha[0].tolist() == [0, 0, 76, 178, 255, 255, 0, 0, 0, 0]
    assert alpha[1].tolist() == [0, 0, 0, 0, 0, 0, 255, 255, 204, 51]


# --- outlines --------------------------------------------------------------------------------


def drawn(svg: str, size: tuple[int, int], scale: int = 8) -> list[Array]:
    """Each path of a drawing filled by Pillow, bool, several pixels to a unit.

    By the even-odd rule: where an odd number of its lines run around.
    """
    pictures = []
    for path in ET.fromstring(svg):
        inside = np.zeros((size[0] * scale, size[1] * scale), bool)
        for line in path.attrib["d"].split("Z"):
            numbers = [float(number) * scale for number in re.findall(r"-?[\d.]+", line)]
            if numbers:
                canvas = Image.new("1", (inside.shape[1], inside.shape[0]))
                # Pillow's polygons include the pixels that their corners lie on.
                ImageDraw.Draw(canvas).polygon([n - 0.5 for n in numbers], fill=1)
                inside ^= np.array(canvas)
        pictures.append(inside)
    return pictures


@settings(max_examples=60, deadline=None)
@given(one=results())
def test_outlines_filled_again_are_the_masks_up_to_their_border(one: SavedResult) -> None:
    drawing = ET.fromstring(exports.svg(one))
    height, width = one.size
    assert drawing.attrib["viewBox"] == f"0 0 {width} {height}"
    assert drawing.attrib["fill-rule"] == "evenodd"
    found = [each for each in one.objects if each.found]
    assert [path[0].text for path in drawing] == [each.label or "foreground" for each in found]
    for each, inside in zip(found, drawn(exports.svg(one), one.size), strict=True):
        # The middle of each pixel is on the right side of the line, if no line runs through it.
        middles = inside[4::8, 4::8] & inside[3::8, 3::8]
        outer = inside[4::8, 4::8] | inside[3::8, 3::8]
        mask = each.mask.numpy()
        frame = np.pad(mask, 1)
        deep = ndimage.binary_erosion(frame, np.ones((3, 3)))[1:-1, 1:-1]
        far = ~ndimage.binary_dilation(mask, np.ones((3, 3)))
        assert middles[deep].all()
        assert not outer[far].any()


def test_outlines_of_a_hard_mask_hold_exactly_its_pixels() -> None:
    rng = np.random.default_rng(4)
    blobs = ndimage.gaussian_filter(rng.standard_normal((60, 80)), 3) > 0.02
    one = result(blobs.astype(int), ("blob",))
    (inside,) = drawn(exports.svg(one), one.size)
    assert np.array_equal(inside[4::8, 4::8], blobs)
    assert abs(inside.mean() - blobs.mean()) < 0.01


def test_holes_are_left_open() -> None:
    ring = np.ones((12, 12), int)
    ring[4:8, 4:8] = 0
    one = result(ring, ("ring",))
    (inside,) = drawn(exports.svg(one), one.size)
    assert np.array_equal(inside[4::8, 4::8], ring.astype(bool))


def test_outlines_follow_the_soft_mask_between_pixels() -> None:
    soft = np.repeat([[0.0, 0.25, 0.75, 1.0, 1.0]], 5, axis=0)  # 0.5 lies between pixels 1 and 2
    shifted = np.repeat([[0.0, 0.45, 0.95, 1.0, 1.0]], 5, axis=0)  # a tenth beyond pixel 1
    for share, x in ((soft, 2.0), (shifted, 1.6)):
        svg = exports.svg(result((share > 0.5).astype(int), ("edge",), share))
        assert min(float(n) for n in re.findall(r"(-?[\d.]+) -?[\d.]+", svg.split('d="')[1])) == (
            pytest.approx(x, abs=0.01)
        )


def test_lines_can_be_simplified() -> None:
    square = np.zeros((30, 30), int)
    square[5:25, 5:25] = 1
    one = result(square, ("square",))
    assert exports.svg(one).count(" L") > 70
    simple = exports.svg(one, tolerance=0.8)
    assert simple.count(" L") <= 8
    (inside,) = drawn(simple, one.size)
    assert abs(inside.mean() - square.mean()) < 0.03


# --- results that cannot be exported ---------------------------------------------------------


@pytest.mark.parametrize("export", [exports.palette, exports.cut_outs, exports.svg])
def test_nothing_found_is_never_a_picture(export: Any) -> None:
    with pytest.raises(InputError, match="result scene: expected a foreground, got none: as the"):
        export(result(np.zeros((3, 4)), ("sofa",)))


@pytest.mark.parametrize(
    ("package", "export"),
    [("pycocotools.mask", lambda one: exports.coco([one])), ("skimage.measure", exports.svg)],
)
def test_a_missing_package_is_named_with_its_extra(
    package: str, export: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(covary.MissingPackageError, match=r"pip install 'covary\[masks\]'"):
        export(result(np.ones((2, 2)), ("sofa",)))


# --- results in memory, saved, and read back -------------------------------------------------


@pytest.fixture(scope="module")
def rooms() -> covary.Segmentation:
    pipe = covary.Pipeline(
        ("worlds", {"world": "rooms", "resolution": 64, "n": 8}), "rgb", ("lloyd", {"k": 3}),
        "saliency", detector=("worlds", {"world": "rooms"}), soft=True,
    )  # fmt: skip
    return pipe(seed=1)


@pytest.fixture(scope="module")
def avatar() -> covary.Segmentation:
    source = ("worlds", {"resolution": 32, "n": 8})
    return covary.Pipeline(source, "rgb", ("lloyd", {"k": 3}), "corner", refine=["guided"])(seed=2)


@pytest.mark.parametrize("which", ["rooms", "avatar"])
def test_a_saved_result_exports_as_it_did_in_memory(
    which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    seg = request.getfixturevalue(which)
    folder = seg.save(tmp_path / str(seg.provenance["query"]["seed"]))
    in_memory, read = as_saved(seg), as_saved(folder)
    assert in_memory.name == read.name
    assert read.folder == folder
    assert torch.equal(read.mask, seg.mask)
    assert torch.equal(read.image, seg.image)
    assert torch.equal(read.labels, seg.labels)
    if seg.detected:
        assert torch.equal(read.instances, seg.instances)
    assert [(o.label, o.score, o.box, o.reason) for o in read.objects] == [
        (o.label, pytest.approx(o.score), o.box, o.reason) for o in in_memory.objects
    ]
    assert (read.soft is None) is (seg.soft is None)
    if seg.soft is not None and read.soft is not None:
        assert float((read.soft - seg.soft).abs().max()) <= 0.5 / 65535 + 1e-7
    assert exports.coco([folder]) == exports.coco([seg])
    assert np.array_equal(exports.palette(folder), exports.palette(seg))


def test_without_a_detector_the_foreground_is_one_object(avatar: covary.Segmentation) -> None:
    saved = SavedResult.of(avatar, "mine")
    assert [(each.label, saved.name) for each in saved.objects] == [("", "mine")]
    assert torch.equal(saved.objects[0].mask, avatar.mask)


def test_a_result_without_foreground_reads_back_as_none(tmp_path: Path) -> None:
    pipe = covary.Pipeline(
        ("worlds", {"resolution": 32, "n": 4}), "rgb", ("lloyd", {"k": 1}), "corner"
    )
    read = SavedResult.read(pipe(seed=0).save(tmp_path / "0"))
    assert not read.found
    assert "no cluster qualifies" in read.reason


def break_mask(folder: Path) -> None:
    Image.new("L", (3, 3)).save(folder / "mask.png")


def grey_mask(folder: Path) -> None:
    Image.new("L", (64, 64), 7).save(folder / "mask.png")


def colour_mask(folder: Path) -> None:
    Image.new("RGB", (64, 64)).save(folder / "mask.png")


def no_mask(folder: Path) -> None:
    (folder / "mask.png").unlink()


def coarse_soft(folder: Path) -> None:
    Image.new("L", (64, 64), 7).save(folder / "soft.png")


def other_instances(folder: Path) -> None:
    Image.fromarray(np.full((64, 64), 200, np.uint8)).convert("P").save(folder / "instances.png")


def half_objects(folder: Path) -> None:
    (folder / "objects.json").write_text('{"format": 1, "objects": [{"id": 1}]}')


def unfinished(folder: Path) -> None:
    (folder / "provenance.json").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_mask, "the size of image.png"),
        (grey_mask, "a mask of 0 and 255"),
        (colour_mask, "mode RGB"),
        (no_mask, "No such file"),
        (coarse_soft, "mode L"),
        (other_instances, "objects.json"),
        (half_objects, "KeyError: 'box'"),
        (unfinished, "a provenance.json, which every finished result has"),
    ],
)
def test_folders_that_are_not_whole_are_refused(
    damage: Any, words: str, rooms: covary.Segmentation, tmp_path: Path
) -> None:
    folder = rooms.save(tmp_path / "1")
    damage(folder)
    with pytest.raises(InputError, match=words):
        SavedResult.read(folder)
