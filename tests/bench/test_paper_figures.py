"""What the paper's tables are made of: figures of masks, claims, unfinished work."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from covary.errors import InputError
from covary_bench.paper.claims import claims
from covary_bench.paper.figures import COLUMNS, Figures, compare, difference, summarise
from covary_bench.paper.ledger import Ledger
from covary_bench.paper.pictures import Row, save_rows, scaled, shown
from covary_bench.paper.study import Study
from covary_bench.paper.table3 import _over
from covary_bench.paper.tables import tables

masks = arrays.arrays(np.bool_, (9, 11))


def by_hand(mask: np.ndarray, truth: np.ndarray) -> float:
    """IoU of true pixels, NaN where there are none."""
    union = (mask | truth).sum()
    return float((mask & truth).sum() / union) if union else math.nan


def mean_of(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def near_an_edge(truth: np.ndarray, width: float) -> np.ndarray:
    """Pixels with one of the other kind at most ``width`` away, pair by pair."""
    places = np.argwhere(np.ones_like(truth))
    far = np.linalg.norm(places[:, None] - places[None], axis=2)
    other = truth.ravel()[:, None] != truth.ravel()[None]
    return ((far <= width) & other).any(axis=1).reshape(truth.shape)


@settings(max_examples=40, deadline=None)
@given(masks, masks)
def test_figures_agree_with_counting_by_hand(mask: np.ndarray, truth: np.ndarray) -> None:
    found = compare(torch.from_numpy(mask), torch.from_numpy(truth))
    band = near_an_edge(truth, 3)
    expected = {
        "iou_foreground": by_hand(mask, truth),
        "iou_background": by_hand(~mask, ~truth),
        "miou": mean_of([by_hand(mask, truth), by_hand(~mask, ~truth)]),
        "trimap_miou": mean_of(
            [by_hand(mask[band], truth[band]), by_hand(~mask[band], ~truth[band])]
        ),
    }
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, nan_ok=True), name


def test_figures_survive_json() -> None:
    empty = torch.zeros(4, 4, dtype=torch.bool)
    one = compare(empty, empty, found=False)
    again = Figures(**json.loads(json.dumps(one.data())))
    assert not again.found
    assert math.isnan(again.iou_foreground)
    assert again.iou_background == 1


def figures(miou: float, found: bool = True) -> Figures:
    return Figures(found, miou, miou, miou, math.nan, miou)


def test_means_are_over_all_and_over_those_found() -> None:
    row = summarise([figures(0.9), figures(0.7), figures(0.2, found=False)])
    assert (row["seeds"], row["found"]) == (3, 2)
    assert row["miou"] == pytest.approx(0.6)
    assert row["found_only"]["miou"] == pytest.approx(0.8)
    assert row["trimap_miou"] is None  # defined in no image
    assert summarise([figures(0.2, found=False)])["found_only"] is None
    assert set(COLUMNS) <= set(row)


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 2), min_size=2, max_size=30))
def test_a_difference_is_paired(pairs: list[tuple[float, float]]) -> None:
    first, second = map(np.array, zip(*pairs, strict=True))
    found = difference(first.tolist(), second.tolist())
    apart = first - second
    half = 1.96 * apart.std(ddof=1) / math.sqrt(len(apart))
    assert found.mean == pytest.approx(apart.mean(), abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * half, abs=1e-9)


def test_a_single_pair_leaves_every_doubt() -> None:
    data = table4({2: 0.5, 4: 0.8, 10: 0.7}, BY_C, 0.9, 0.8)
    alone = difference([0.9], [0.8])
    data["differences"] = {"hair, strong, LAB over RGB": dataclasses.asdict(alone)}
    [claim] = [one for one in claims("paper-table4", data) if "LAB beats" in one.claim]
    assert claim.verdict == "confirmed, within chance"


def table4(saliency: dict[int, float], by_c: dict[int, float], lab: float, rgb: float) -> Any:
    """Results with these figures: of k at c = 4, of c at k = 4, of the hair under strong light."""
    rows = [
        {"c": c, "k": k, "space": "lab", "rule": rule, "miou": saliency[k] if c == 4 else value}
        for rule in ("saliency", "corner", "border", "oracle")
        for c, value in by_c.items()
        for k in saliency
    ]
    for row in rows:
        if row["k"] == 4:
            row["miou"] = by_c[row["c"]]
    highlights = [
        {"what": "hair", "light": light, "space": space, "iou": value}
        for light in ("strong", "usual")
        for space, value in (("lab", lab), ("rgb", rgb))
    ]
    return {
        "c": 4,
        "recipe": {"features": {"use": "covary/lab"}},
        "rows": rows,
        "highlights": highlights,
        "differences": {},
    }


BY_C = {2: 0.3, 3: 0.4, 4: 0.8, 5: 0.9, 6: 0.7, 7: 0.5, 8: 0.1}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (table4({2: 0.5, 4: 0.8, 10: 0.7}, BY_C, 0.9, 0.8), (True, True, True)),
        (table4({2: 0.5, 4: 0.8, 10: 0.81}, BY_C, 0.9, 0.8), (False, True, True)),
        (table4({2: 0.81, 4: 0.8, 10: 0.7}, BY_C, 0.8, 0.8), (False, True, False)),
        (table4({2: 0.5, 4: 0.8, 10: 0.7}, {**BY_C, 2: 0.95}, 0.7, 0.8), (True, False, False)),
        (table4({2: 0.5, 4: 0.8, 10: 0.7}, {**BY_C, 7: 0.95}, 0.7, 0.8), (True, False, False)),
    ],
)
def test_claims_hold_where_the_figures_say_so(data: Any, expected: tuple[bool, ...]) -> None:
    found = claims("paper-table4", data)
    told = [
        {one.holds for one in found if part in one.claim}
        for part in ("k = 4 beats", "middle cutoff", "LAB beats")
    ]
    assert told == [{one} for one in expected]


@pytest.mark.parametrize(
    ("low", "high", "sure"), [(0.01, 0.05, True), (-0.01, 0.05, False), (-0.05, -0.01, True)]
)
def test_a_claim_within_its_interval_is_not_sure(low: float, high: float, sure: bool) -> None:
    data = table4({2: 0.5, 4: 0.8, 10: 0.7}, BY_C, 0.9, 0.8)
    data["differences"] = {"hair, strong, LAB over RGB": {"mean": 0.0, "low": low, "high": high}}
    [claim] = [one for one in claims("paper-table4", data) if "LAB beats" in one.claim]
    assert claim.sure is sure
    assert ("within chance" in claim.verdict) is not sure


@pytest.mark.parametrize(("skill", "judged"), [(0.85, False), (0.95, True)])
def test_a_difference_below_the_judges_error_says_so(skill: float, judged: bool) -> None:
    data = table4({2: 0.5, 4: 0.8, 10: 0.7}, {**BY_C, 2: 0.8}, 0.9, 0.8)
    data["skill"] = {"miou": skill}
    found = claims("paper-table4", data)
    # The best cutoff in the middle is better by 0.1, k = 4 by 0.1.
    told = {one.judged for one in found if "LAB beats" not in one.claim}
    assert told == {judged}
    assert all(("judge's error" in one.verdict) is not judged for one in found[:-1])
    assert all(one.judged for one in found if "LAB beats" in one.claim), "exact masks need no judge"


def networks(*mious: float) -> dict[str, Any]:
    return _over(mious)


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        (networks(0.97, 0.98), "confirmed"),
        (networks(0.94, 0.99), "confirmed, within chance"),
        (networks(0.90, 0.91), "refuted"),
        (networks(0.97), "confirmed"),
    ],
)
def test_networks_bear_a_claim_out_if_every_pair_does(ours: Any, verdict: str) -> None:
    exact = networks(0.98, 0.99)
    rows = [{"name": "exact", "miou": exact}, {"name": "ours", "miou": ours}]
    [claim] = claims("paper-table3", {"rows": rows, "goal": 0.03})
    assert claim.verdict == verdict


def test_one_network_has_no_spread() -> None:
    assert networks(0.5)["sd"] is None
    assert networks(0.5, 0.7)["sd"] == pytest.approx(0.2 / math.sqrt(2))


def test_training_pays_from_so_many_images_on() -> None:
    def row(what: str, training: float, seconds: float, **more: Any) -> dict[str, Any]:
        one = {"seconds": training, "peak_mib": 1.0}
        return {
            "what": what, "status": "ok", "labelled": 0, "images": 0, "trained": "nothing",
            "training": one, "seconds": {"median": seconds}, "peak_mib": 1.0, **more,
        }  # fmt: skip

    rows = [
        row("ours", 0, 0.5),
        row("sis", 1.6, 0.1),
        row("datasetgan", 1, 0.5),
        row("worlds-unet", 9, 0.1, steps=2, usual_steps=3),
    ]
    [shown] = tables("paper-s2", {"rows": rows})
    assert [one[-1].text for one in shown.rows] == ["-", "4 images", "never", "-"]


def test_settings_that_were_not_measured_make_no_claim() -> None:
    data = table4({2: 0.5, 4: 0.8}, {3: 0.1, 4: 0.8}, 0.9, 0.8)
    assert {one.claim for one in claims("paper-table4", data)} == {"LAB beats RGB on highlights"}


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    study = Study("table", range(1000, 1004), out=tmp_path / "out", work=tmp_path / "work")
    asked: list[str] = []

    def one(key: str) -> dict[str, str]:
        asked.append(key)
        if key == "c" and asked.count("c") == 1:
            raise KeyboardInterrupt
        return {"of": key}

    with pytest.raises(KeyboardInterrupt):
        list(study.measure("abcd", one, {"k": 4}))
    # As a crash in the middle of a line leaves it.
    path = tmp_path / "work" / "table.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + '["c", {"of"', encoding="utf-8")
    assert list(study.measure("abcd", one, {"k": 4})) == [{"of": key} for key in "abcd"]
    assert asked == ["a", "b", "c", "c", "d"]
    written = study.write({"rows": []}, "how")
    assert json.loads(written.read_text(encoding="utf-8"))["first_seed"] == 1000
    assert not path.exists()


def test_work_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    Ledger(path, {"k": 4, "c": 3}).add("a", [1])
    assert Ledger(path, {"k": 4, "c": 3}).get("a") == [1]
    with pytest.raises(InputError, match="another c") as refused:
        Ledger(path, {"k": 4, "c": 5})
    assert str(path) in str(refused.value)
    Ledger(tmp_path / "other.jsonl", {"k": 4})
    Ledger(tmp_path / "other.jsonl", {"k": 5})  # nothing was measured, so nothing is lost


def test_pictures_keep_their_rows_apart(tmp_path: Path) -> None:
    image = torch.full((3, 8, 8), 200, dtype=torch.uint8)
    half = torch.zeros(8, 8, dtype=torch.bool)
    half[:, :4] = True
    rows = [
        Row("left", [shown(image, half, 16)] * 2, "part"),
        Row("none", [shown(image, half & ~half, 16)] * 2),
    ]
    told = save_rows(rows, tmp_path / "pictures.webp")
    assert told["rows"] == [
        {"caption": "left", "group": "part"},
        {"caption": "none", "group": ""},
    ]
    from PIL import Image

    with Image.open(tmp_path / "pictures.webp") as written:
        pixels = np.asarray(written.convert("RGB")).astype(int)
    assert pixels.shape == (32, 32, 3)
    assert pixels[8, 2].sum() > 2 * pixels[8, 13].sum()  # the mask is lit, the rest is not
    assert abs(pixels[24, 2] - pixels[24, 13]).max() < 30


@given(arrays.arrays(np.int64, (6, 8), elements=st.integers(0, 3)))
def test_numbers_are_scaled_without_new_ones(numbers: np.ndarray) -> None:
    found = scaled(torch.from_numpy(numbers), (12, 16))
    assert found[::2, ::2].equal(torch.from_numpy(numbers))
    assert found[1::2, 1::2].equal(torch.from_numpy(numbers))
