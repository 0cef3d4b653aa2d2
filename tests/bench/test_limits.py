"""What is said to fail fails, what is said to work works, and the pages say what was measured."""

from __future__ import annotations

import json
import re
import runpy
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch

from covary_bench import quality
from covary_bench.limits import CASES, Case, scenes
from covary_bench.limits.__main__ import main, measure
from covary_bench.report import filled

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RESULTS = ROOT / "benchmarks" / "results" / "limits.json"
RENDERED = [
    case for case in CASES if case.name not in ("low-cutoff", "high-cutoff", "few-variants")
]
"""The cases that need no judge, which takes half a minute to train."""


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    return found


@pytest.mark.parametrize("case", RENDERED, ids=lambda case: case.name)
def test_a_failing_setting_is_worse_than_every_working_one(case: Case) -> None:
    figures = defaultdict(list)
    for row in measure(case, (1000, 1002, 1005), side=64):
        figures[row["works"]].append(row["miou"])
    assert max(figures[False]) < min(figures[True])


def test_the_committed_figures_show_every_failure(rows: list[dict[str, Any]]) -> None:
    for case in CASES:
        figures = defaultdict(list)
        for row in rows:
            if row["case"] == case.name:
                figures[row["works"]].append(row["miou"])
        assert max(figures[False]) < min(figures[True]) - 0.01, case.name


def test_the_committed_figures_are_of_the_settings_that_there_are(
    rows: list[dict[str, Any]],
) -> None:
    wanted = [(case.name, one.what, one.works) for case in CASES for one in case.settings]
    assert [(row["case"], row["what"], row["works"]) for row in rows] == wanted


def test_scenes_are_altered_as_they_say() -> None:
    plain = scenes.rendered(1000, 64)
    fixed = scenes.rendered(1000, 64, scenes.FixedUnlike)
    assert fixed.truth.equal(plain.truth)
    wall = fixed.variants[:, :, 0, 0].float()
    assert wall.std(dim=0).max() < 1
    assert plain.variants[:, :, 0, 0].float().std(dim=0).max() > 20
    linked = scenes.rendered(1000, 64, scenes.ClothesInTheWallsColours, linked=True)
    column = int(linked.truth[-1].nonzero().float().mean())
    apart = (linked.variants[:, :, -1, column].float() - linked.variants[:, :, 0, 0].float()).abs()
    assert apart.mean() < 40
    still = scenes.wandering(plain, 0, by=0.0)
    assert (still.variants.int() - plain.variants.int()).abs().max() <= 1
    moved = scenes.wandering(plain, 0, by=1 / 16)
    assert (moved.variants.int() - plain.variants.int()).abs().max() > 50


def test_a_box_holds_what_is_sought_and_little_else() -> None:
    stack = scenes.part(1000, 64, ("irises", "pupils"))
    assert stack.box is not None
    rows, columns = stack.box.slices
    assert stack.truth[rows, columns].sum() == stack.truth.sum()
    assert stack.truth[rows, columns].float().mean() > 5 * stack.truth.float().mean()


def test_the_oracle_takes_what_lies_mostly_inside() -> None:
    clusters = torch.tensor([[0, 0, 0, 1], [2, 2, 1, 1]], dtype=torch.int32)
    truth = torch.tensor([[True, True, False, False], [True, False, False, False]])
    import covary

    made = covary.ClusterMap(clusters, torch.zeros(3, 1), 0.0, 0)
    assert quality.oracle(made, truth).tolist() == [[True, True, True, False], [False] * 4]


def test_results_are_written_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import covary_bench.limits.__main__ as command

    few = [case for case in CASES if case.name == "corners"]
    monkeypatch.setattr(command, "CASES", few)
    monkeypatch.setattr(command, "judge", lambda: (None, quality.Score(True, 1.0, 1.0)))
    main(["--seeds", "2", "-o", str(tmp_path / "few.json")])
    data = json.loads((tmp_path / "few.json").read_text(encoding="utf-8"))
    assert [row["seeds"] for row in data["rows"]] == [2, 2]
    assert data["command"] == "python -m covary_bench.limits --seeds 2"
    assert "corners = all" in capsys.readouterr().out


@pytest.mark.parametrize("page", ["limits", "memory"])
def test_pages_are_made_from_the_committed_results(page: str) -> None:
    made = runpy.run_path(str(DOCS / "make_tables.py"))
    text = (DOCS / "explanation" / f"{page}.md").read_text(encoding="utf-8")
    assert text == made["MADE"][page](), "run: python docs/make_tables.py"


def test_every_case_is_on_the_page_with_its_picture() -> None:
    text = (DOCS / "explanation" / "limits.md").read_text(encoding="utf-8")
    for case in CASES:
        assert f"<!-- generated: {case.name} -->" in text
        assert f"](../images/limits-{case.name}.png)" in text


def test_every_picture_is_made_by_the_script_and_shown_and_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    known = runpy.run_path(str(DOCS / "make_pictures.py"))["pictures"]()
    files = {path.stem: path for path in (DOCS / "images").glob("*.png")}
    assert set(files) == set(known)
    pages = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *DOCS.rglob("*.md"))
    )
    assert set(files) == set(re.findall(r"images/([\w-]+)\.png\)", pages))
    for path in files.values():
        assert path.stat().st_size < 400_000, path.name


def test_generated_parts_stand_between_their_marks() -> None:
    text = "before\n<!-- generated: a -->\nold\n<!-- end -->\nafter\n"
    made = filled(text, {"a": lambda: ("new",)})
    assert made == "before\n<!-- generated: a -->\n\nnew\n\n<!-- end -->\nafter\n"
    assert filled(made, {"a": lambda: ("new",)}) == made
    with pytest.raises(SystemExit, match="'a'"):
        filled(text, {"b": lambda: ()})
