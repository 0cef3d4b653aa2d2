"""The report says what the summary says, loads nothing, and shows errors where they are."""

from __future__ import annotations

import base64
import io
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import covary
from covary import Pair
from covary.evaluation import Evaluation, drawing
from covary.evaluation.report import html

HOSTILE = "<script>alert('x')</script>&amp;\"q\""
VOID = {"meta", "img", "br", "line", "rect", "path"}


class Page(HTMLParser):
    """The page's elements, balanced, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def pixels(uri: str | None) -> np.ndarray:
    assert uri is not None
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


def evaluation(count: int = 5, classes: int = 3, worst: int = 3) -> Evaluation:
    draw = torch.Generator().manual_seed(count)
    names = ("background", "sofa", HOSTILE)[:classes]

    def pair(number: int) -> Pair:
        one, other = torch.randint(0, classes, (2, 9, 12), generator=draw, dtype=torch.uint8)
        image = torch.randint(0, 256, (3, 9, 12), generator=draw, dtype=torch.uint8)
        name = f"{HOSTILE}-{number}" if number == 1 else str(number)
        return Pair(name, one, other, image if number else None, found=number != 2)

    return covary.evaluate(map(pair, range(count)), names, worst=worst)


@settings(max_examples=10)
@given(st.integers(1, 6), st.integers(2, 3), st.integers(0, 4))
def test_is_whole_and_loads_nothing(count: int, classes: int, worst: int) -> None:
    text = html(evaluation(count, classes, worst))
    page = Page(text)
    assert page.open == []
    assert not page.all("script") + page.all("link")
    assert all((image["src"] or "").startswith("data:image/png") for image in page.all("img"))
    assert all(image["alt"] for image in page.all("img"))
    assert not re.search(r"https?://|url\(|@import", text)
    assert len(page.all("article")) == min(count, worst)


def test_says_the_figures_of_the_summary() -> None:
    found = evaluation()
    page = Page(html(found))
    figures = found.summary()["figures"]
    for name in ("all", "found"):
        for kind in ("per_image_mean", "whole_set"):
            for value in figures[name][kind].values():
                assert f"{value:.3f}" in page.words
    for row in found.summary()["classes"]:
        assert row["name"] in page.words
        assert f"{row['whole_set_iou']:.3f}" in page.words
    assert "1 without confident foreground" in page.words


def test_says_what_was_left_out() -> None:
    found = evaluation()
    found.problems = {
        "missing": [str(number) for number in range(40)],
        "extra": [HOSTILE],
        "failed": {f"broken-{number}": "it is <b>cut</b> short" for number in range(20)},
    }
    page = Page(html(found))
    assert "40 have no prediction: 0, 1," in page.words
    assert f"1 have no truth: {HOSTILE}" in page.words
    assert "broken-11: it is <b>cut</b> short" in page.words
    assert "8 more could not be judged" in page.words


def test_the_histogram_counts_every_image() -> None:
    found = evaluation(count=6)
    titles = re.findall(r"<title>(\d\.\d\d) to (\d\.\d\d): (\d+) images", html(found))
    for low, high, count in titles:
        inside = [row for row in found.images if float(low) <= row.figures.miou < float(high)]
        assert len(inside) == int(count)
    assert sum(int(count) for *_, count in titles) == 6


def test_names_the_package_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(covary.MissingPackageError, match=r"covary\[eval\]"):
        html(evaluation())


class TestDrawing:
    def test_errors_have_their_colours(self) -> None:
        kinds = {
            (0, 1): drawing.FALSE_NEGATIVE,
            (1, 0): drawing.FALSE_POSITIVE,
            (1, 2): drawing.CONFUSED,
        }
        for (prediction, truth), colour in kinds.items():
            maps = (torch.full((40, 40), value, dtype=torch.uint8) for value in (prediction, truth))
            shown = drawing.pictures(Pair("a", *maps), 3)
            middle = pixels(shown.errors)[20, 20].astype(int)
            assert np.abs(middle - colour).max() < 40

    def test_what_is_right_or_left_out_is_grey(self) -> None:
        truth = torch.ones(40, 40, dtype=torch.uint8)
        truth[:20] = 255
        prediction = torch.ones_like(truth)
        prediction[:10] = 0
        shown = pixels(drawing.pictures(Pair("a", prediction, truth), 2).errors)
        assert (shown == shown[..., :1]).all()

    @pytest.mark.parametrize("size", [(1, 1), (3, 700), (600, 400), (64, 64)])
    def test_pictures_fit_the_page(self, size: tuple[int, int]) -> None:
        truth = torch.zeros(size, dtype=torch.uint8)
        image = torch.randint(0, 256, (3, 2 * size[0], 2 * size[1]), dtype=torch.uint8)
        shown = drawing.pictures(Pair("a", truth, truth, image), 2)
        assert max(shown.width, shown.height) <= 256
        for uri in (shown.image, shown.prediction, shown.truth, shown.errors):
            assert pixels(uri).shape == (shown.height, shown.width, 3)

    def test_an_image_of_the_same_size_is_shown_as_it_is(self) -> None:
        image = torch.randint(0, 256, (3, 30, 20), dtype=torch.uint8)
        truth = torch.zeros(30, 20, dtype=torch.uint8)
        shown = pixels(drawing.pictures(Pair("a", truth, truth, image), 2).image)
        assert np.array_equal(shown, image.permute(1, 2, 0).numpy())
