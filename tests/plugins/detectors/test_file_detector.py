"""Boxes from files and numbers: formats, images of one file, and defects."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import covary
from covary import Box, Detection, InputError, ParamsError, Query, RunContext

PICTURE = torch.zeros((3, 40, 60), dtype=torch.uint8)

COCO: Mapping[str, Any] = {
    "images": [
        {"id": 139, "file_name": "val/000139.jpg", "width": 60, "height": 40},
        {"id": 285, "file_name": "val/bear.jpg", "width": 60, "height": 40},
        {"id": 7, "file_name": "val/empty.png", "width": 60, "height": 40},
        {"id": 8, "file_name": "val/large.png", "width": 600, "height": 400},
    ],
    "categories": [{"id": 63, "name": "couch"}, {"id": 67, "name": "dining table"}],
    "annotations": [
        {"image_id": 139, "bbox": [1, 2, 29, 38], "category_id": 63},
        {"image_id": 285, "bbox": [0, 0, 5, 6], "category_id": 67},
        {"image_id": 139, "bbox": [10.4, 0, 5.2, 6.5], "category_id": 67},
        {"image_id": 139, "bbox": [0, 0, 60, 40], "category_id": 67, "iscrowd": 1},
        {"image_id": 8, "bbox": [0, 0, 5, 5], "category_id": 67},
    ],
}


def find(path: Path, query: str | int | None = None, **params: Any) -> list[Detection]:
    """What the detector finds in the picture, asked about a photo of that name or a seed."""
    detector = covary.create("file", "detector", file=path, **params)
    asked = None
    if query is not None:
        asked = Query(seed=query) if isinstance(query, int) else Query(paths=(Path(query),))
    return list(detector.detect(PICTURE, RunContext(query=asked)))


def written(folder: Path, data: Any, name: str = "boxes.json") -> Path:
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


SOFA = Detection(Box(1, 2, 30, 40), "sofa", 0.9)
LAMP = Detection(Box(0, 0, 5, 6), "lamp", 0.5)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", "x0,y0,x1,y1,label,score\n1,2,30,40,sofa,.9\n0,0,5,6,lamp,0.5\n"),
        ("a.csv", "\ufeffscore, label, x0, y0, x1, y1\n0.5,lamp,0,0,5,6\n0.9,sofa,1,2,30,40"),
        (
            "a.json",
            [
                {"x0": 1, "y0": 2, "x1": 30, "y1": 40, "label": "sofa", "score": 0.9},
                {"bbox": [0, 0, 5, 6], "label": "lamp", "score": 0.5, "image_id": 3},
            ],
        ),
        (
            "a.json",
            {
                "annotations": [
                    {"bbox": [0, 0, 5, 6], "category_id": "l", "score": 0.5},
                    {"bbox": [1, 2, 29, 38], "category_id": "s", "score": 0.9},
                ],
                "categories": [{"id": "s", "name": "sofa"}, {"id": "l", "name": "lamp"}],
            },
        ),
    ],
)  # fmt: skip
def test_formats(tmp_path: Path, name: str, data: Any) -> None:
    assert find(written(tmp_path, data, name)) == [SOFA, LAMP]


def test_what_a_file_leaves_out(tmp_path: Path) -> None:
    plain = Detection(Box(1, 2, 30, 40), "", 1.0)
    assert find(written(tmp_path, [[1, 2, 30, 40]])) == [plain]
    assert find(written(tmp_path, "x0,y0,x1,y1,score,label\n1,2,30,40,,\n", "a.csv")) == [plain]
    results = [{"bbox": [1, 2, 29, 38], "category_id": 63, "image_id": 1, "score": 0.25}]
    assert find(written(tmp_path, results)) == [Detection(Box(1, 2, 30, 40), "63", 0.25)]


@pytest.mark.parametrize("query", ["000139.jpg", "elsewhere/000139.png", 139])
def test_the_boxes_of_the_querys_image(tmp_path: Path, query: str | int) -> None:
    assert find(written(tmp_path, COCO), query) == [
        Detection(Box(1, 2, 30, 40), "couch"),
        Detection(Box(10, 0, 16, 7), "dining table"),
    ]


def test_results_know_images_by_their_numbers(tmp_path: Path) -> None:
    results = [
        {"image_id": 139, "bbox": [0, 0, 5, 6], "score": 0.5},
        {"image_id": 2, "bbox": [0, 0, 9, 9], "score": 0.5},
    ]
    path = written(tmp_path, results)
    assert [each.box for each in find(path, "000000000139.jpg")] == [Box(0, 0, 5, 6)]
    assert [each.box for each in find(path, 2)] == [Box(0, 0, 9, 9)]


def test_an_image_without_boxes_is_one_in_which_nothing_was_found(tmp_path: Path) -> None:
    assert find(written(tmp_path, COCO), "empty.png") == []
    only = {"images": [{"id": 1}], "annotations": []}
    assert find(written(tmp_path, only)) == []


def test_a_whole_name_goes_before_its_stem(tmp_path: Path) -> None:
    data = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "a.png"}],
        "annotations": [{"image_id": 2, "bbox": [0, 0, 5, 6]}],
    }
    assert len(find(written(tmp_path, data), "x/a.png")) == 1
    with pytest.raises(InputError, match="those of 2 images, 2 of them called 'a'"):
        find(written(tmp_path, data), "a.webp")


def test_boxes_of_a_photo_that_was_resized_since(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"of 60x40 pixels, got 600x400; .*X_0"):
        find(written(tmp_path, COCO), "large.png")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (COCO, "one image.*those of 4 images; keep those of one"),
        ({"boxes": []}, "no list 'annotations'"),
        ({"annotations": {}}, "'annotations' is a dict, not a list"),
        ({"annotations": [3]}, "a int where an object"),
        ({"annotations": [], "images": [{}]}, "one of its images has no id"),
        ({"annotations": [], "images": [{"id": 1}, {"id": 1}]}, "two of its images have the same"),
        ({"annotations": [], "images": [{"id": 1.5}]}, "an id that is a float"),
        (
            {"annotations": [{"image_id": 2, "bbox": [0, 0, 1, 1]}], "images": [{"id": 1}]},
            "image 2, which is not among its images",
        ),
        (
            {
                "annotations": [{"bbox": [0, 0, 1, 1], "category_id": 9}],
                "categories": [{"id": 1, "name": "a"}],
            },
            "box 0: category 9 is not among the file's categories",
        ),
        ([{"bbox": "1234"}], "box 0: a box is a str, not a list"),
        ([{"bbox": [0, 0, "wide", 1]}], "box 0: could not convert"),
        ([{"bbox": [0, 0, 1, 1], "image_id": [1]}], "an id that is a list"),
        ([{"label": "sofa"}], "box 0: no x0, y0, x1, y1"),
        ([[0, 0, 1, 1], [0, 0, 10**400, 1]], "box 1: int too large"),
        ("[" * 100_000, "recursion"),
        ("\x00", "Expecting value"),
        ([{"bbox": [0, 0, 1, 1], "score": 1.5}], r"score of box 0 in .*0\.\.1, got 1\.5"),
        ('[{"bbox": [0, 0, 1, 1], "score": NaN}]', r"score of box 0 .*got nan"),
        ('[{"bbox": [0, 0, Infinity, 1]}]', "box 0 .*four finite numbers"),
        ([{"bbox": [0, 0, 61, 1]}], r"box 0 .*x1 <= 60"),
        ([{"bbox": [-1, 0, 6, 1]}], r"box 0 .*0 <= x0"),
        ([{"bbox": [5, 5, 0, 9]}], r"box 0 .*x0 < x1"),
    ],
)
def test_defects_of_json(tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find(written(tmp_path, data))


def test_a_file_of_other_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="those of 4 images, none of them called 'cat'"):
        find(written(tmp_path, COCO), "cat.jpg")


def test_numbers_with_labels() -> None:
    detector = covary.create(
        "file", "detector", boxes=[(1, 2, 30, 40), (0.4, 0.5, 5, 6)], labels=["sofa", "lamp"]
    )
    assert detector.detect(PICTURE) == [
        Detection(Box(1, 2, 30, 40), "sofa"),
        Detection(Box(0, 1, 5, 6), "lamp"),
    ]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "either a file or boxes"),
        ({"file": "a.csv", "boxes": [(0, 0, 1, 1)]}, "either a file or boxes"),
        ({"boxes": [(0, 0, 1, 1)], "labels": ["a", "b"]}, "a label for each of 1 boxes"),
        ({"file": "a.csv", "labels": ["a"]}, "a label for each of 0 boxes"),
        ({"boxes": []}, "at least 1"),
    ],
)
def test_parameters_that_contradict_each_other(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        covary.create("file", "detector", **params)


def test_thresholds_apply_to_files_too(tmp_path: Path) -> None:
    results = [
        {"bbox": [0, 0, 10, 10], "label": "a", "score": 0.9},
        {"bbox": [1, 0, 10, 10], "label": "a", "score": 0.8},
        {"bbox": [30, 0, 10, 10], "label": "a", "score": 0.7},
        {"bbox": [30, 20, 2, 10], "label": "a", "score": 0.6},
        {"bbox": [45, 0, 10, 10], "label": "a", "score": 0.1},
    ]
    path = written(tmp_path, results)
    scores = [each.score for each in find(path, threshold=0.5, min_size=3, nms=0.5)]
    assert scores == [0.9, 0.7]
    assert len(find(path, most=3)) == 3


def test_the_file_is_recorded(tmp_path: Path) -> None:
    path = written(tmp_path, [[0, 0, 5, 6]])
    detector = covary.create("file", "detector", file=path)
    assert detector.inputs() == {}
    detector.detect(PICTURE)
    assert detector.inputs() == {str(path): sha256(path.read_bytes()).hexdigest()}


def test_a_pipeline_segments_its_boxes(tmp_path: Path) -> None:
    path = written(tmp_path, "x0,y0,x1,y1,label\n8,8,56,60,person\n", "a.csv")
    pipe = covary.Pipeline(
        ("worlds", {"resolution": 64, "n": 6}), "lab", ("lloyd", {"k": 2}), "saliency",
        detector=("file", {"file": str(path)}),
    )  # fmt: skip
    (region,) = pipe(seed=3).regions
    assert (region.box, region.label) == (Box(8, 8, 56, 60), "person")


sides = st.integers(1, 20)
boxes = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 20), sides, sides), min_size=1, max_size=6
)
anything = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@anything
@given(drawn=st.lists(st.tuples(boxes, st.sampled_from("ab")), min_size=1, max_size=4))
def test_coco_files_mean_what_pycocotools_reads(
    tmp_path: Path, drawn: list[tuple[list[tuple[int, ...]], str]]
) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    data = {
        "images": [{"id": i, "file_name": f"image-{i}.jpg"} for i in range(len(drawn))],
        "categories": [{"id": 5, "name": "a"}, {"id": 9, "name": "b"}],
        "annotations": [
            {"image_id": i, "bbox": box, "category_id": {"a": 5, "b": 9}[name]}
            for i, (some, name) in enumerate(drawn)
            for box in some
        ],
    }
    for j, annotation in enumerate(data["annotations"]):
        annotation["id"] = j + 1
    path = written(tmp_path, data)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = coco.COCO(str(path))
    for image in theirs.loadImgs(theirs.getImgIds()):
        entries = theirs.loadAnns(theirs.getAnnIds(imgIds=[image["id"]]))
        names = [theirs.loadCats([entry["category_id"]])[0]["name"] for entry in entries]
        found = find(path, image["file_name"])
        assert [each.label for each in found] == names
        ends = [(b.x0, b.y0, b.x1 - b.x0, b.y1 - b.y0) for b in (each.box for each in found)]
        assert ends == [tuple(entry["bbox"]) for entry in entries]


@anything
@given(
    rows=st.lists(
        st.tuples(
            st.tuples(st.integers(0, 40), st.integers(0, 20), sides, sides),
            st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=5),
            st.floats(0, 1),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_csv_comes_back_as_it_was_written(
    tmp_path: Path, rows: list[tuple[tuple[int, ...], str, float]]
) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["x0", "y0", "x1", "y1", "label", "score"])
    for (x, y, width, height), label, score in rows:
        writer.writerow([x, y, x + width, y + height, label, repr(score)])
    found = find(written(tmp_path, text.getvalue(), "a.csv"))
    expected = [
        Detection(Box(x, y, x + width, y + height), label, score)
        for (x, y, width, height), label, score in rows
    ]
    assert found == sorted(expected, key=lambda each: -each.score)


def test_the_box_rule_records_its_file(tmp_path: Path) -> None:
    path = written(tmp_path, [[0, 0, 5, 6]])
    digest = {str(path): sha256(path.read_bytes()).hexdigest()}
    for params in ({"file": path}, {"detector": ("file", {"file": str(path)})}):
        rule = covary.create("box", "foreground", **params)
        assert rule.inputs() == {}
        rule.regions(PICTURE)
        assert rule.inputs() == digest
