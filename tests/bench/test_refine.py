"""The benchmark of soft masks: exact shares, and rows that say what they count."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch

from covary_bench import refine
from covary_bench.report import RESULTS


@pytest.mark.parametrize("what", ["avatars", "rooms, grain"])
def test_cases_are_whole(what: str) -> None:
    found = [case for case in refine.cases(what, 3) if case is not None]
    assert found
    for case in found:
        size = case.summary.size
        assert case.truth.shape == case.share.shape == case.image.shape[1:] == size
        assert bool((case.share[case.truth] > 0.2).all())  # the largest of a few parts
        assert bool((case.share[~case.truth] < 0.8).all())


def test_a_perfect_way_has_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    share = torch.rand(8, 9, generator=torch.Generator().manual_seed(0))
    assert refine.errors(share, share, share) == {"error": 0, "error_mixed": 0}
    image = torch.zeros(3, 8, 9)
    assert refine.errors(image + 3, image, share) == {"error": 3, "error_mixed": 3}


def test_light_and_code_are_inverse() -> None:
    coded = torch.arange(256.0)
    assert torch.allclose(refine._coded(refine._light(coded)), coded, atol=1e-2)
    assert float(refine._light(torch.tensor(188.0))) == pytest.approx(0.5, abs=0.005)


def test_rows_are_means_and_counts() -> None:
    values = {"guided": [{"miou": 0.5, "better": 1.0}, {"miou": 0.7, "better": 1.0}]}
    assert refine.rows("rooms", values, 3) == [
        {"what": "rooms", "how": "guided", "cases": 2, "without_foreground": 3,
         "miou": pytest.approx(0.6), "better": 2}
    ]  # fmt: skip


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine, "CHAINS", {"none": (), "guided": ("guided",)})
    refine.main(["--seeds", "1", "--first-seed", "5", "--out", str(tmp_path), "--name", "some"])
    data = json.loads((tmp_path / "some.json").read_text())
    assert {row["how"] for row in data["shares"]} == set(refine.SHARES)
    assert {row["how"] for row in data["composition"]} == set(refine.MIXTURES)
    assert {row["how"] for row in data["refiners"]} == {"none", "guided"}


def test_the_committed_figures_bear_out_what_the_pages_say() -> None:
    data = json.loads((RESULTS / "refine.json").read_text())
    assert data["command"] == "python -m covary_bench.refine --seeds 200 --first-seed 1000"

    def of(part: str, what: str, how: str, key: str) -> float:
        (row,) = [r for r in data[part] if (r["what"], r["how"]) == (what, how)]
        return float(row[key])

    shares = [of("shares", "avatars", how, "error_mixed") for how in ("soft_mask", "hard mask")]
    assert shares[0] < shares[1] / 4
    for how in ("coded", "light"):
        ours, hard = (
            of("composition", how, name, "error_mixed")
            for name in ("compose, soft mask", "compose, hard mask")
        )
        assert ours < hard / 2
    ours, light = (
        of("composition", "coded", name, "error_mixed")
        for name in ("compose, soft mask", "as compose, mixed in linear light")
    )
    assert ours < light


@pytest.mark.parametrize("page", ["soft-masks", "compose"])
def test_the_tables_of_the_pages_are_those_of_the_results(page: str) -> None:
    docs = RESULTS.parents[1] / "docs"
    made = runpy.run_path(str(docs / "make_masks.py"))
    text = (docs / "how-to" / f"{page}.md").read_text(encoding="utf-8")
    assert text == made["MADE"][page](), "run: python docs/make_masks.py"
