"""``covary eval`` from the command line: what it takes, writes, prints, and exits with."""

from __future__ import annotations

import csv
import html
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import covary
from covary.cli import cli
from covary.provenance import iou
from covary.testing import worlds
from covary.testing.plugin import IsolatedRegistry

SIDE = 32
SMALL = ("--set", f"source.resolution={SIDE}", "--set", "source.n=6")


def evaluate(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(cli, ["eval", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def save(folder: Path, masks: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in masks.items():
        Image.fromarray(np.asarray(values, np.uint8)).save(folder / f"{name}.png")
    return folder


def truth(seed: int) -> np.ndarray:
    return worlds.get("avatars").scene(seed, (SIDE, SIDE)).truth.foreground[0].numpy()


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """Masks of seeds 0..3, shifted by as many pixels."""
    masks = {str(seed): np.roll(truth(seed), seed, 1) * 255 for seed in range(4)}
    return save(tmp_path / "ours", masks)


class Lower(covary.Segmenter):
    """The lower half is a sofa, of the height that it is told."""

    class Params(covary.Params):
        share: float = 0.5

    params: Params

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", "sofa", "lamp")

    def segment(self, images: Any, ctx: covary.RunContext | None = None) -> Any:
        labels = (images[:, 0] * 0).long()
        labels[:, round(labels.shape[1] * (1 - self.params.share)) :] = 1
        return labels


class Plugin:
    @covary.hookimpl
    def covary_components(self) -> list[covary.Component]:
        return [
            covary.Component(
                kind="segmenter", name="lower", target=f"{__name__}:Lower", summary="of a test",
                license="MIT", api="1.2",
            )
        ]  # fmt: skip


def test_exact_masks_by_seed(ours: Path, tmp_path: Path) -> None:
    out = tmp_path / "judged"
    done = evaluate(ours, "worlds:avatars", "-o", out)
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    assert str(out / "report.html") in done.stdout
    with open(out / "per-image.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["0", "1", "2", "3"]
    for seed, row in enumerate(rows):
        mask, exact = (torch.from_numpy(m) for m in (np.roll(truth(seed), seed, 1), truth(seed)))
        expected = (iou(mask, exact) + iou(~mask, ~exact)) / 2
        assert float(row["miou"]) == pytest.approx(expected)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["inputs"]["truth"]["world"] == "avatars"
    assert summary["covary"] == covary.__version__
    assert summary["worst"][0] == "3"
    mean = summary["figures"]["all"]["per_image_mean"]["miou"]
    assert f"{mean:.3f}" in done.stdout


def test_json_is_the_summary(ours: Path, tmp_path: Path) -> None:
    done = evaluate(ours, "worlds:avatars", "-o", tmp_path / "judged", "--json")
    assert json.loads(done.stdout) == json.loads((tmp_path / "judged/summary.json").read_text())


def test_a_pipeline_against_the_truth(tmp_path: Path) -> None:
    arguments = ("--preset", "worlds", *SMALL, "--against", "exact", "--seeds", "1000-1002")
    done = evaluate(*arguments, "-o", tmp_path / "judged", "--json")
    assert done.exit_code == 0, done.stderr
    pipe = covary.Pipeline.preset("worlds").replace(source=("worlds", {"resolution": SIDE, "n": 6}))
    expected = []
    for seed in range(1000, 1003):
        mask, exact = pipe(seed=seed).mask.numpy(), truth(seed)
        both = [((mask == v) & (exact == v)).sum() / ((mask == v) | (exact == v)).sum()
                for v in (False, True)]  # fmt: skip
        expected.append(np.mean(both))
    found = json.loads(done.stdout)
    assert found["figures"]["all"]["per_image_mean"]["miou"] == pytest.approx(np.mean(expected))
    assert found["inputs"]["prediction"]["seeds"] == "1000-1002"
    assert found["inputs"]["prediction"]["recipe"]["source"]["resolution"] == SIDE


def test_results_against_a_segmenter(tmp_path: Path, isolated_registry: IsolatedRegistry) -> None:
    isolated_registry.register("acme", Plugin())
    pipe = covary.Pipeline.preset("worlds").replace(source=("worlds", {"resolution": 32, "n": 6}))
    for seed in (1, 2):
        pipe(seed=seed).save(tmp_path / "out" / str(seed))
    arguments = (tmp_path / "out", "--against", "acme/lower", "-o", tmp_path / "judged", "--json")
    done = evaluate(*arguments, "--set", "segmenter.share=0.25")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["inputs"]["truth"] == {
        "kind": "segmenter",
        "use": "acme/lower",
        "params": {"share": 0.25},
        "classes": ["background", "sofa", "lamp"],
    }
    assert [row["share_of_truth"] for row in found["classes"]] == [0.75, 0.25]


def test_parts_are_merged(tmp_path: Path) -> None:
    faces = save(tmp_path / "faces", {"1": [[0, 1, 2, 3]]})
    (faces / "parts.json").write_text('{"1": "hair", "2": "skin", "3": "mouth"}')
    people = save(tmp_path / "people", {"01": [[0, 1, 2, 2]]})
    (people / "classes.json").write_text('{"1": "person", "2": "mouth"}')
    arguments = (faces, people, "-o", tmp_path / "judged")
    refused = evaluate(*arguments)
    assert refused.exit_code == 2
    assert "--classes mouth" in refused.stderr
    done = evaluate(*arguments, "--merge", "person=hair,skin", "--json")
    assert done.exit_code == 0
    rows = json.loads(done.stdout)["classes"]
    assert [(row["name"], row["whole_set_iou"]) for row in rows] == [
        ("background", 1.0), ("person", 0.5), ("mouth", 0.5),
    ]  # fmt: skip
    whole = evaluate(*arguments, "--task", "foreground", "--json")
    assert json.loads(whole.stdout)["figures"]["all"]["whole_set"]["miou"] == 1


def test_classes_name_the_values_of_masks(tmp_path: Path) -> None:
    ours = save(tmp_path / "ours", {"1": [[0, 1, 2, 2]]})
    theirs = save(tmp_path / "theirs", {"1": [[0, 1, 1, 9]]})
    arguments = (ours, theirs, "-o", tmp_path / "judged", "--json")
    done = evaluate(*arguments, "--classes", "sofa,lamp", "--ignore", "9")
    assert done.exit_code == 0, done.stderr
    assert [row["whole_set_iou"] for row in json.loads(done.stdout)["classes"]] == [1.0, 0.5, 0.0]


def test_names_without_a_partner_exit_with_1(ours: Path, tmp_path: Path) -> None:
    theirs = save(tmp_path / "theirs", {f"{seed:05d}": truth(seed) for seed in range(2, 6)})
    arguments = (ours, theirs, "-o", tmp_path / "judged")
    done = evaluate(*arguments)
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "error: 2 have no prediction: 00004, 00005",
        "error: 2 have no truth: 0, 1",
    ]
    problems = json.loads((tmp_path / "judged/summary.json").read_text())["problems"]
    assert problems == {"missing": ["00004", "00005"], "extra": ["0", "1"], "failed": {}}
    allowed = evaluate(*arguments, "--allow-missing")
    assert allowed.exit_code == 0
    assert "warning: 2 have no truth" in allowed.stderr


def test_broken_files_and_other_sizes_exit_with_1(ours: Path, tmp_path: Path) -> None:
    (ours / "1.png").write_bytes(b"rubbish")
    save(ours, {"2": np.ones((16, 16))})
    theirs = save(tmp_path / "theirs", {str(seed): truth(seed) for seed in range(4)})
    done = evaluate(ours, theirs, "-o", tmp_path / "judged", "--allow-missing")
    assert done.exit_code == 1
    first, second = done.stderr.splitlines()
    assert first.startswith("error: 1: mask ")
    assert second.startswith("error: 2: sizes of 2: expected a prediction of the truth's 32x32")
    assert "16x16" in second
    assert "--resize nearest" in second
    resized = evaluate(ours, theirs, "-o", tmp_path / "judged", "--resize", "nearest", "--json")
    assert json.loads(resized.stdout)["counts"]["images"] == 3


def test_failures_are_in_the_table_the_summary_and_the_report(ours: Path, tmp_path: Path) -> None:
    for name in ("1", "3"):
        (ours / f"{name}.png").write_bytes(b"rubbish")
    out = tmp_path / "judged"
    done = evaluate(ours, "worlds:avatars", "-o", out)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[-1] == "2 judged, 2 failed"
    with open(out / "per-image.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["0", "2", "1", "3"]
    failed = json.loads((out / "summary.json").read_text())["problems"]["failed"]
    assert {row["name"]: row["error"] for row in rows if row["error"]} == failed
    assert rows[2]["miou"] == ""
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    for name, why in failed.items():
        assert f"{name}: {why}" in page
    assert "2 could not be judged" in page


@pytest.mark.skipif(sys.platform != "linux", reason="there names of files are bytes")
def test_names_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    ours, theirs = (save(tmp_path / side, {name: truth(1), "a,\n": truth(2)}) for side in "ab")
    done = evaluate(ours, theirs, "-o", tmp_path / "judged", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == json.loads((tmp_path / "judged/summary.json").read_text())
    with open(tmp_path / "judged/per-image.csv", encoding="utf-8", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["a,\n", "caf\\udce9"]
    assert "caf\\udce9" in (tmp_path / "judged/report.html").read_text(encoding="utf-8")


def test_what_fails_is_not_said_to_be_judged(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "1.png").write_bytes(b"rubbish")
    done = evaluate(tmp_path / "ours", "worlds:avatars", "-o", tmp_path / "judged")
    assert done.exit_code == 2
    assert "all 1 failed" in done.stderr
    assert "stopped" not in done.stderr


def test_the_batch_changes_nothing(tmp_path: Path, isolated_registry: IsolatedRegistry) -> None:
    isolated_registry.register("acme", Plugin())
    pipe = covary.Pipeline.preset("worlds").replace(source=("worlds", {"resolution": 32, "n": 6}))
    for seed in range(3):
        pipe(seed=seed).save(tmp_path / "out" / str(seed))
    arguments = (tmp_path / "out", "--against", "acme/lower", "--json")
    one, two = (evaluate(*arguments, "--batch", n, "-o", tmp_path / n) for n in ("1", "2"))
    assert one.exit_code == two.exit_code == 0
    assert one.stdout == two.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["OURS"], "TRUTH or --against"),
        (["OURS", "OURS", "--against", "exact"], "TRUTH or --against"),
        ([], "--preset or --file with --seeds"),
        (["--preset", "worlds", "--against", "exact"], "--seeds"),
        (["--preset", "worlds", "--file", "x.toml", "--seeds", "1", "OURS"], "got both"),
        (["OURS", "OURS", "--preset", "worlds", "--seeds", "1"], "got both"),
        (["OURS", "OURS", "--seeds", "1"], "--seeds"),
        (["OURS", "OURS", "--set", "clusterer.k=3"], "--preset or --file"),
        (["OURS", "--against", "exact"], "no known source"),
        (["OURS", "--against", "no-such"], "no-such"),
        (["OURS", "worlds:cities"], "avatars, rooms"),
        (["OURS", "OURS", "--classes", "a,,b"], "--classes"),
        (["OURS", "OURS", "--merge", "a"], "--merge a"),
        (["--preset", "avatars", "--seeds", "1", "--against", "exact"], "covary/stylegan2"),
        (["OURS", "absent"], "'absent'"),
        (["OURS", "OURS", "--set", "segmenter.x"], "segmenter.PARAM=VALUE"),
        (["OURS", "worlds:avatars", "--batch", "4"], "a segmenter"),
    ],
)
def test_wrong_use_exits_with_2(
    arguments: list[str], words: str, ours: Path, tmp_path: Path
) -> None:
    given = [str(ours) if one == "OURS" else one for one in arguments]
    done = evaluate(*given, "-o", tmp_path / "judged")
    assert done.exit_code == 2
    assert words in done.stderr
    assert not (tmp_path / "judged").exists()


def test_a_folder_that_cannot_be_written_is_said_first(ours: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = evaluate(ours, "worlds:avatars", "-o", tmp_path / "file")
    assert done.exit_code == 1
    assert "cannot make the folder" in done.stderr
