"""The contact sheet: every result at its place, with its name and its warning."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import covary
from covary._drawing import Marked, draw_objects, name_colours, object_colours
from covary.segmentation import PALETTE
from covary.sheet import Drawing, Tile, contact_sheet, saved_tile

GUTTER = 6
ORANGE = (230, 159, 0)


def plain(colour: tuple[int, int, int], height: int = 64, width: int = 64) -> torch.Tensor:
    """An image of one colour, which any honest enlargement leaves as it is."""
    return torch.tensor(colour, dtype=torch.uint8)[:, None, None].repeat(1, height, width)


def segmentation(found: bool, seed: int = 3) -> covary.Segmentation:
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    labels = torch.zeros(32, 32, dtype=torch.int64)
    labels[:10] = 1
    clusters = covary.ClusterMap.from_labels(
        labels, torch.zeros(2, 3), size=(32, 32), inertia=0.0, iterations=1
    )
    foreground = covary.Foreground.from_clusters(
        clusters, torch.tensor([False, found]), torch.zeros(2), "for a test"
    )
    region = covary.Region(covary.Box(0, 0, 32, 32), clusters, foreground)
    provenance = {
        "format": 1,
        "query": {"seed": seed},
        "seed": seed,
        "recipe": {},
        "result": {"found": found},
    }
    return covary.Segmentation(image, (region,), provenance)


@settings(deadline=None, max_examples=30)
@given(count=st.integers(1, 60), columns=st.none() | st.integers(1, 9))
def test_every_tile_is_in_its_place(count: int, columns: int | None) -> None:
    colours = [(200, 3 * index, 7 * index % 256) for index in range(count)]
    sheet = contact_sheet([Tile("", plain(c), True) for c in colours], columns)
    cell = 256 + GUTTER
    across, down = (sheet.width - GUTTER) // cell, (sheet.height - GUTTER) // cell
    assert (sheet.width, sheet.height) == (across * cell + GUTTER, down * cell + GUTTER)
    assert across == min(columns, count) if columns else across >= down
    assert down == math.ceil(count / across)
    for index, colour in enumerate(colours):
        row, column = divmod(index, across)
        middle = (GUTTER + column * cell + 128, GUTTER + row * cell + 128)
        assert sheet.getpixel(middle) == colour


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((64, 64), (256, 256)),  # by whole factors, to 256 at most
        ((100, 100), (200, 200)),
        ((130, 130), (260, 260)),  # at least 160
        ((256, 256), (256, 256)),
        ((1024, 1024), (256, 256)),
        ((512, 1024), (128, 256)),
        ((1, 3000), (1, 256)),
    ],
)
def test_sizes(size: tuple[int, int], shown: tuple[int, int]) -> None:
    sheet = contact_sheet([("", plain((9, 9, 9), *size), True)])
    assert (sheet.height - 2 * GUTTER, sheet.width - 2 * GUTTER) == shown


def test_tiles_of_several_shapes_are_centred() -> None:
    tall, wide = plain((200, 0, 0), 128, 64), plain((0, 200, 0), 64, 128)
    sheet = contact_sheet([("", tall, True), ("", wide, True)], columns=2)
    pixels = np.array(sheet)
    assert sheet.size == (2 * 256 + 3 * GUTTER, 256 + 2 * GUTTER)
    red, green = (pixels == (200, 0, 0)).all(-1), (pixels == (0, 200, 0)).all(-1)
    assert red.sum() == green.sum() == 128 * 256
    rows, columns = np.nonzero(green)
    assert (rows.min(), rows.max()) == (GUTTER + 64, GUTTER + 191)
    assert columns.max() - columns.min() == 255


def test_the_name_is_written_in_the_corner() -> None:
    blank, seven, eight = (
        np.array(contact_sheet([(name, plain((90, 90, 90)), True)])) for name in ("", "7", "8")
    )
    for named in (seven, eight):
        rows, columns = np.nonzero((named != blank).any(-1))
        assert rows.max() < GUTTER + 30
        assert columns.max() < GUTTER + 40
        corner = named[GUTTER : rows.max(), GUTTER : columns.max()].astype(int).sum(-1)
        assert corner.max() - corner.min() > 500  # light on dark
    assert (seven != eight).any()


def test_a_long_name_stays_on_its_tile() -> None:
    tiles = [("x" * 500, plain((90, 90, 90)), True), ("", plain((90, 90, 90)), True)]
    pixels = np.array(contact_sheet(tiles, columns=2))
    assert (pixels[:, GUTTER + 256 : 2 * GUTTER + 256] == 255).all()
    assert (pixels[GUTTER:-GUTTER, 2 * GUTTER + 256 : -GUTTER] == 90).all()


@pytest.mark.parametrize("side", [64, 1024])
def test_no_confident_foreground_is_marked(side: int) -> None:
    shown = {
        found: np.array(contact_sheet([("7", plain((90, 90, 90), side, side), found)]))
        for found in (True, False)
    }
    marked = {found: (pixels == ORANGE).all(-1) for found, pixels in shown.items()}
    assert marked[True].sum() == 0
    rows, columns = np.nonzero(marked[False])
    assert rows.min() > shown[False].shape[0] * 0.8
    assert columns.max() - columns.min() == 255
    assert (shown[False][marked[False].any(1)] < 60).all(-1).any()  # with dark words on it


def test_a_segmentation_shows_its_overlay_and_seed() -> None:
    result = segmentation(found=True)
    sheet = contact_sheet([result])
    assert np.array_equal(sheet, contact_sheet([("3", result.overlay(), True)]))


@pytest.mark.parametrize("found", [True, False])
def test_saved_results_make_the_same_sheet(tmp_path: Path, found: bool) -> None:
    results = [segmentation(found, seed) for seed in (3, 4)]
    for result in results:
        result.save(tmp_path / str(result.provenance["seed"]))
    tiles = [saved_tile(tmp_path / name) for name in ("3", "4")]
    assert [(tile.name, tile.found) for tile in tiles] == [("3", found), ("4", found)]
    assert np.array_equal(contact_sheet(tiles), contact_sheet(results))


def test_too_many_are_counted_below() -> None:
    tile = Image.new("RGB", (1, 1), (90, 90, 90))
    full = contact_sheet([("", tile, True)] * 1024, columns=32)
    over = contact_sheet([("", tile, True)] * 1025, columns=32)
    assert over.width == full.width
    assert 0 < over.height - full.height < 60
    assert np.array(over)[full.height :].min() < 60


def test_nothing_to_show() -> None:
    with pytest.raises(covary.InputError, match="at least one result"):
        contact_sheet([])
    with pytest.raises(covary.InputError, match="columns"):
        contact_sheet([("", plain((1, 1, 1)), True)], columns=0)
    with pytest.raises(covary.InputError, match="image"):
        contact_sheet([("", Path("no such file.png"), True)])


def scene(*labels: str, side: int = 64) -> Tile:
    """A grey picture with an object of each label: a quarter of its height, one below another."""
    numbers = torch.zeros(side, side, dtype=torch.int32)
    marks = []
    for index, label in enumerate(labels):
        top = index * side // 4
        numbers[top + 4 : top + side // 4 - 4, 20:60] = index + 1
        marks.append(Marked(label, 1.0, (18, top + 1, 62, top + side // 4 - 1)))
    image = torch.full((3, side, side), 120, dtype=torch.uint8)
    return Tile("", Path("not read.png"), True, Drawing(image, numbers, tuple(marks)))


def tile_pixels(sheet: Image.Image, index: int) -> np.ndarray:
    """The pixels of a tile in a sheet of one row."""
    left = GUTTER + index * (256 + GUTTER)
    return np.array(sheet)[GUTTER : GUTTER + 256, left : left + 256]


class TestObjects:
    def test_a_name_has_one_colour_all_over_the_sheet(self) -> None:
        tiles = [scene("lamp", "sofa"), scene("sofa"), scene("rug", "lamp", "sofa")]
        sheet = contact_sheet(tiles, columns=3)
        # Alphabetical: lamp, rug, sofa. The middle of each mask is far from names and frames.
        middles = {"first": 32, "second": 96, "third": 160}
        lamp, sofa = (
            tile_pixels(sheet, 0)[middles[place], 160].tolist() for place in ("first", "second")
        )
        assert lamp != sofa
        assert tile_pixels(sheet, 1)[middles["first"], 160].tolist() == sofa
        assert tile_pixels(sheet, 2)[middles["second"], 160].tolist() == lamp
        assert tile_pixels(sheet, 2)[middles["third"], 160].tolist() == sofa

    def test_several_of_a_name_differ_in_brightness(self) -> None:
        colours = object_colours(["a", "b", "a", "a"], name_colours(["b", "a"]))
        assert colours[0] == PALETTE[0]
        assert colours[1] == PALETTE[1]
        assert sum(colours[2]) > sum(colours[0]) > sum(colours[3])

    def test_no_colour_is_grey_like_the_background(self) -> None:
        assert all(len(set(c)) > 1 for c in name_colours(map(str, range(100))).values())

    def test_a_score_is_written_unless_it_is_certain(self) -> None:
        assert Marked("sofa", 0.876, (0, 0, 1, 1)).text == "sofa 0.88"
        assert Marked("sofa", 1.0, (0, 0, 1, 1)).text == "sofa"
        assert Marked("", 0.5, (0, 0, 1, 1)).text == "0.50"

    @given(
        st.lists(
            st.tuples(st.integers(0, 63), st.integers(0, 63), st.integers(1, 64)), max_size=50
        ),
        st.integers(20, 300),
    )
    @settings(max_examples=20)
    def test_any_boxes_can_be_drawn(self, boxes: list[tuple[int, int, int]], side: int) -> None:
        marks = [
            Marked("a long name of an object", 0.5, (x, y, min(64, x + w), min(64, y + w)))
            for x, y, w in boxes
        ]
        picture = Image.new("RGB", (side, side), (9, 9, 9))
        draw_objects(picture, marks, [(200, 0, 0)] * len(marks), side / 64)
        assert picture.size == (side, side)
        assert (np.array(picture) == (200, 0, 0)).all(-1).any() == bool(boxes)

    def test_names_do_not_lie_on_each_other(self) -> None:
        """Two boxes at one place: their names stand on areas of full size."""
        marks = [Marked("sofa", 1.0, (40, 100, 200, 200)), Marked("sofb", 1.0, (40, 100, 200, 201))]
        picture = Image.new("RGB", (256, 256))
        draw_objects(picture, marks, [(250, 0, 0), (0, 250, 0)])
        pixels = np.array(picture)
        for channel in (0, 1):
            assert (pixels[..., channel] == 250).sum() > 450

    def test_the_saved_result_makes_the_same_sheet(self, tmp_path: Path) -> None:
        labels = torch.zeros(20, 20, dtype=torch.int64)
        labels[5:15, 5:15] = 1
        clusters = covary.ClusterMap.from_labels(
            labels, torch.zeros(2, 3), size=(20, 20), inertia=0.0, iterations=1
        )
        foreground = covary.Foreground.from_clusters(
            clusters, torch.tensor([False, True]), torch.zeros(2), ""
        )
        regions = tuple(
            covary.Region(covary.Box(x, 10, x + 20, 30), clusters, foreground, label, 0.5)
            for x, label in ((0, "sofa"), (12, "lamp"), (30, "sofa"))
        )
        image = torch.randint(0, 256, (3, 50, 50), dtype=torch.uint8)
        data = {"format": 1, "query": {"seed": 7}, "seed": 7, "recipe": {}}
        seg = covary.Segmentation(image, regions, data, detected=True)
        objects = [
            {"label": one.label, "score": one.score, "box": list(one.box.corners)}
            for one in seg.objects
        ]
        data["result"] = {"found": True, "objects": objects}
        seg.save(tmp_path)
        assert np.array_equal(contact_sheet([saved_tile(tmp_path)]), contact_sheet([seg]))

    def test_nothing_detected_is_marked(self) -> None:
        seg = covary.Segmentation(plain((90, 90, 90)), (), detected=True)
        pixels = np.array(contact_sheet([seg]))
        assert (pixels == ORANGE).all(-1).sum() > 1000


class TestParts:
    def test_have_the_colours_of_the_legend(self) -> None:
        numbers = torch.zeros(64, 64, dtype=torch.int32)
        numbers[:32], numbers[32:] = 1, 2
        image = torch.full((3, 64, 64), 120, dtype=torch.uint8)
        tiles = [
            Tile("", image, True, Drawing(image, numbers, parts=("hair", "skin"))),
            Tile("", image, True, Drawing(image, numbers, parts=("eyes", "hair"))),
        ]
        sheet = contact_sheet(tiles, columns=2)
        plain_sheet = contact_sheet([Tile("", image, True)] * 2, columns=2)
        assert sheet.height > plain_sheet.height
        hair = tile_pixels(sheet, 0)[64, 128].tolist()
        assert tile_pixels(sheet, 1)[192, 128].tolist() == hair
        assert tile_pixels(sheet, 0)[192, 128].tolist() != hair
        legend = np.array(sheet)[plain_sheet.height :]
        for colour in name_colours(["eyes", "hair", "skin"]).values():
            assert (legend == colour).all(-1).sum() >= 17 * 17
        tinted = np.array(name_colours(["eyes", "hair", "skin"])["hair"]) * 0.8 + 120 * 0.2
        assert np.abs(tinted - hair).max() <= 0.5

    def test_a_legend_of_many_names_takes_rows(self) -> None:
        names = tuple(f"part number {index}" for index in range(12))
        image = torch.zeros(3, 64, 64, dtype=torch.uint8)
        tile = Tile("", image, True, Drawing(image, torch.zeros(64, 64).int(), parts=names))
        sheet, one = contact_sheet([tile]), contact_sheet([tile._replace(scene=None)])
        assert sheet.width == one.width
        assert sheet.height >= one.height + 6 * 28
