"""The page of the paper's tables says what the results files say, and loads nothing."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from covary.errors import InputError
from covary_bench.cli import bench
from covary_bench.paper.claims import claims
from covary_bench.paper.pictures import Row, save_rows
from covary_bench.paper.report import HTML, html, results_files, write_report
from covary_bench.paper.tables import TITLES, kind_of, markdown, tables
from covary_bench.report import RESULTS, spread

HOSTILE = "<script>alert('x')</script>|`*_ & \"q\""
HEAD = {
    "machine": {"processor": "a processor", "cores": 2, "torch": "2"},
    "method": f"What it is: {HOSTILE}\n\nHow `it` was done.",
    "command": "covary bench paper table1 --seeds 3",
    "remark": "shared",
    "seeds": 3,
    "first_seed": 1000,
}


class Page(HTMLParser):
    """The tags, the texts of table cells and every address of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.addresses: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag in ("td", "th"):
            self._inside = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1] += data


def masks(what: str, kind: str, miou: float) -> dict[str, Any]:
    figures = dict.fromkeys(
        ("iou_foreground", "iou_background", "trimap_miou", "boundary_iou"), miou
    )
    found = {"miou": miou, **figures}
    return {
        "what": what, "kind": kind, "seeds": 3, "found": 2, **found,
        "found_only": found, "miou_spread": spread([miou]),
    }  # fmt: skip


def table1(preset: float, baseline: float) -> dict[str, Any]:
    rows = [
        masks("preset", "ours", preset),
        masks("sis", "baseline", baseline),
        masks(HOSTILE, "baseline", 0.1),
        masks("worlds-unet", "supervised", 0.99),
    ]
    part = {"recipe": {}, "judge": {"use": "worlds-unet"}, "rows": rows}
    return {**HEAD, "skill": masks("", "", 0.97), "parts": {"generated": part}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tile = torch.full((3, 8, 8), 120, dtype=torch.uint8)
    rows = [Row(HOSTILE, [tile] * 3, "generated"), Row("sis", [tile] * 3, "generated")]
    data = table1(0.91, 0.82)
    data["pictures"] = save_rows(rows, tmp_path / "paper-table1.webp")
    (tmp_path / "paper-table1.json").write_text(json.dumps(data), encoding="utf-8")
    other = json.dumps(table1(0.5, 0.6))
    (tmp_path / "paper-table1-ffhq.json").write_text(other, encoding="utf-8")
    (tmp_path / "paper-table11.json").write_text("{}", encoding="utf-8")
    return tmp_path


def test_the_page_shows_the_figures_and_loads_nothing(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        bench, ["paper", "report", "--results", str(folder), "-o", str(tmp_path / "page")]
    )
    assert done.exit_code == 0, done.output
    text = (tmp_path / "page" / HTML).read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(one.startswith(("#", "data:image/webp;base64,")) for one in page.addresses)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", text)
    assert {"0.910", "0.820", "0.990"} <= set(page.cells)
    assert any(HOSTILE in cell for cell in page.cells)
    assert page.tags.count("img") == 2
    assert "seeds 1000 to 1002" in text
    assert "preset ffhq" in text
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text


def test_only_files_of_tables_are_read(folder: Path) -> None:
    assert list(results_files(folder)) == ["paper-table1", "paper-table1-ffhq"]
    assert kind_of("paper-table1-ffhq") == "paper-table1"


def test_without_results_it_says_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="covary bench paper table1"):
        write_report(tmp_path, tmp_path)


def test_the_best_that_may_be_compared_is_bold(folder: Path) -> None:
    [shown] = tables("paper-table1", table1(0.91, 0.82))
    column = list(shown.columns).index("mIoU")
    assert [row[column].best for row in shown.rows] == [True, False, False, False]
    lines = list(markdown(shown))
    assert "**0.910**" in lines[2]
    assert "**" not in lines[5]
    assert "0.970" in lines[-1]  # the judge's skill


def test_a_claim_that_does_not_hold_is_refuted() -> None:
    verdicts = {
        preset: [one.verdict for one in claims("paper-table1", table1(preset, 0.82))]
        for preset in (0.91, 0.82, 0.73)
    }
    assert verdicts == {
        0.91: ["confirmed"],
        0.82: ["refuted, by less than the judge's error"],
        0.73: ["refuted"],
    }


def committed() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for kind in TITLES:
        path = RESULTS / f"{kind}.json"
        if path.exists():
            yield kind, json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "data"), [*committed()], ids=[name for name, _ in committed()])
def test_committed_results_are_on_the_committed_page(name: str, data: Mapping[str, Any]) -> None:
    text = (RESULTS / HTML).read_text(encoding="utf-8")
    cells = Page(text).cells
    for shown in tables(name, data):
        for row in shown.rows:
            assert [cell.text for cell in row if cell.text not in cells] == []
    for claim in claims(name, data):
        assert any(claim.claim in cell for cell in cells)
    assert data["first_seed"] >= 1000
    assert data["machine"]["processor"]
    assert data["command"].startswith(f"covary bench paper {name.removeprefix('paper-')}")


def test_the_documentation_is_made_of_the_committed_results() -> None:
    docs = RESULTS.parents[1] / "docs"
    made = runpy.run_path(str(docs / "make_tables.py"))["MADE"]["paper"]()
    text = (docs / "explanation" / "paper.md").read_text(encoding="utf-8")
    assert text == made, "run: python docs/make_tables.py"


def test_the_committed_page_is_small_and_whole() -> None:
    assert len((RESULTS / HTML).read_bytes()) < 400_000
    assert html(RESULTS).count("<h2") == (RESULTS / HTML).read_text("utf-8").count("<h2")
