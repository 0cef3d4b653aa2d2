"""Table 3: pairs that are kept and read, networks that tell good masks from bad ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

import covary
from covary.testing import worlds
from covary_bench.paper import table3
from covary_bench.paper.commands import paper
from covary_bench.paper.pairs import Pairs, Store, by_pipeline, exact, of_dataset, of_photos
from covary_bench.paper.study import Study
from covary_bench.paper.table3 import Part, Row, Training
from covary_bench.paper.tables import tables

SIDE = 32
TRAINING = Training(pairs=32, steps=40, batch=6, soften=False, networks=1)


class Maker:
    """Exact pairs, counting what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[range] = []

    def __call__(self, seeds: Sequence[int]) -> Pairs:
        self.asked.append(range(seeds[0], seeds[-1] + 1))
        return exact(SIDE)(seeds)


# -------------------------------------------------------------------------------- pairs


def test_exact_pairs_are_the_renderers() -> None:
    pairs = exact(SIDE)([5, 9])
    for number, seed in enumerate((5, 9)):
        scene = worlds.get("avatars").scene(seed, (SIDE, SIDE))
        assert torch.equal(pairs.images[number], scene.images(seed)[0])
        assert torch.equal(pairs.masks[number].bool(), scene.truth.foreground[0])


def test_a_pipelines_pairs_are_its_results_with_their_confidence() -> None:
    source = ("worlds", {"resolution": SIDE, "n": 6})
    pipe = covary.Pipeline(source, "lab", ("lloyd", {"k": 3}), ("border", {"sides": "upper"}))
    pairs = by_pipeline(pipe, SIDE)([3, 4])
    for number, seed in enumerate((3, 4)):
        result = pipe.replace(soft=True)(seed=seed)
        assert torch.equal(pairs.images[number], result.image)
        assert torch.equal(pairs.masks[number].bool(), result.mask)
        assert bool(pairs.found[number]) == result.found
        assert result.soft is not None
        sure = (2 * result.soft[result.mask] - 1).clamp_min(0).mean()
        assert float(pairs.confidence[number]) == pytest.approx(float(sure), abs=1e-4)


def test_pairs_are_made_once_and_refused_ones_made_good(tmp_path: Path) -> None:
    store, maker = Store(tmp_path, first_seed=20, chunk=4), Maker()
    pairs, seeds = store.collect(maker, {"of": "test"}, 6)
    assert seeds == [20, 21, 22, 23, 24, 25]
    assert torch.equal(pairs.images, exact(SIDE)(range(20, 26)).images)
    assert maker.asked == [range(20, 24), range(24, 28)]

    areas = exact(SIDE)(range(20, 28)).area
    limit = float(areas.median())
    filters = covary.Filters(max_area=limit)
    fewer, kept = store.collect(maker, {"of": "test"}, 4, filters.reason)
    assert kept == [20 + i for i in range(8) if areas[i] <= limit][:4]
    assert (fewer.area <= limit).all()
    assert len(maker.asked) == 2, "what was made is read again"

    store.collect(maker, {"of": "something else"}, 1)
    assert len(maker.asked) == 3, "other pairs have other files"


def test_filters_that_refuse_almost_everything_are_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path, first_seed=0, chunk=2)
    with pytest.raises(covary.InputError, match="a tenth or more"):
        store.collect(exact(SIDE), {}, 5, covary.Filters(min_area=0.99).reason)


def test_a_generated_data_set_gives_its_pairs(tmp_path: Path) -> None:
    source = ("worlds", {"resolution": SIDE, "n": 4})
    pipe = covary.Pipeline(source, "lab", ("lloyd", {"k": 3}), ("border", {"sides": "upper"}))
    pipe = pipe.replace(soft=True)
    covary.generate(pipe, range(6), tmp_path / "set", writer="webdataset", val=0.0, workers=1)
    pairs, seeds = of_dataset(tmp_path / "set", SIDE, 4)
    expected = by_pipeline(pipe, SIDE)(seeds)
    assert torch.equal(pairs.images, expected.images)
    assert torch.equal(pairs.masks, expected.masks)
    torch.testing.assert_close(pairs.confidence, expected.confidence)
    assert of_dataset(tmp_path / "set", 16, 2)[0].images.shape == (2, 3, 16, 16)
    with pytest.raises(covary.InputError, match="--pairs"):
        of_dataset(tmp_path / "set", SIDE, 7)


def _photos(root: Path, count: int) -> Pairs:
    """CelebAMask-HQ's layout: masks are half as large as photos; two parts cover the content."""
    pairs = exact(SIDE)(range(count))
    for number in range(count):
        image = pairs.images[number].permute(1, 2, 0).numpy()
        photo = Image.fromarray(image).resize((2 * SIDE, 2 * SIDE), Image.Resampling.NEAREST)
        folder = root / "CelebA-HQ-img"
        folder.mkdir(parents=True, exist_ok=True)
        photo.save(folder / f"{number}.jpg", quality=100, subsampling=0)
        mask = pairs.masks[number].numpy() * 255
        for part, rows in (("hair", slice(0, SIDE // 2)), ("cloth", slice(SIDE // 2, SIDE))):
            some = np.zeros_like(mask)
            some[rows] = mask[rows]
            parts = root / "CelebAMask-HQ-mask-anno" / "0"
            parts.mkdir(parents=True, exist_ok=True)
            Image.fromarray(some).save(parts / f"{number:05d}_{part}.png")
    return pairs


def test_photos_with_masks_by_people_are_read_from_both_layouts(tmp_path: Path) -> None:
    expected = _photos(tmp_path / "celeba", 5)[2:5]
    pairs = of_photos(tmp_path / "celeba", None, SIDE, slice(2, 5))
    assert torch.equal(pairs.masks, expected.masks)
    # JPEG, then an average over pixels of equal values.
    assert (pairs.images.int() - expected.images.int()).abs().double().mean() < 4

    masks = tmp_path / "masks"
    masks.mkdir()
    for number, mask in enumerate(_photos(tmp_path / "celeba", 5).masks):
        Image.fromarray(mask.numpy() * 255).save(masks / f"{number}.png")
    again = of_photos(tmp_path / "celeba" / "CelebA-HQ-img", masks, SIDE, slice(2, 5))
    assert torch.equal(again.masks, expected.masks)
    assert torch.equal(again.images, pairs.images)
    with pytest.raises(covary.InputError, match="--pairs"):
        of_photos(tmp_path / "celeba", None, SIDE, slice(2, 6))


# ----------------------------------------------------------------------------- networks


def _row(name: str, kind: str, change: Any = None) -> Row:
    def collect(count: int) -> tuple[Pairs, Sequence[int]]:
        seeds = range(100, 100 + count)
        pairs = exact(SIDE)(seeds)
        masks = pairs.masks if change is None else change(pairs.masks)
        return Pairs.certain(pairs.images, masks), seeds

    def truth(_: Pairs, seeds: Sequence[int]) -> Tensor:
        return exact(SIDE)(seeds).masks.bool()

    return Row(name, kind, [Part(collect, truth, {"what": name})])


ROWS = [_row("exact", "exact"), _row("shifted", "ours", lambda masks: masks.roll(5, dims=2))]


def _run(folder: Path, rows: Sequence[Row] = ROWS, training: Training = TRAINING) -> dict[str, Any]:
    study = Study("paper-table3", range(1000, 1008), out=folder, work=folder / "work")
    return table3.run(study, rows, exact(SIDE)(study.seeds), training, {})


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("table3")
    return folder, _run(folder)


def test_wrong_masks_make_a_worse_network(measured: tuple[Path, dict[str, Any]]) -> None:
    folder, data = measured
    good, bad = data["rows"]
    assert good["masks"]["miou"] == 1
    assert bad["masks"]["miou"] < 0.9
    assert good["miou"]["mean"] > 0.9
    assert bad["miou"]["mean"] < good["miou"]["mean"] - 0.03
    assert bad["from_exact"] == pytest.approx(bad["miou"]["mean"] - good["miou"]["mean"])
    assert good["from_exact"] == 0
    written = json.loads((folder / "paper-table3.json").read_text(encoding="utf-8"))
    assert written["rows"] == data["rows"]
    assert written["training"]["pairs"] == TRAINING.pairs
    assert (folder / data["pictures"]["file"]).exists()
    [shown] = tables("paper-table3", data)
    assert [row[0].text for row in shown.rows] == [
        "rendered avatars, exact masks",
        "shifted",
    ]


def test_a_stopped_run_ends_as_if_never_stopped(
    measured: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = table3.train_unet

    def stop(images: Tensor, masks: Tensor, **options: Any) -> torch.nn.Module:
        if options["folder"].name == "shifted-0":
            raise KeyboardInterrupt
        return train(images, masks, **options)

    monkeypatch.setattr(table3, "train_unet", stop)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path)
    trained: list[str] = []

    def note(images: Tensor, masks: Tensor, **options: Any) -> torch.nn.Module:
        trained.append(options["folder"].name)
        return train(images, masks, **options)

    monkeypatch.setattr(table3, "train_unet", note)
    assert _run(tmp_path)["rows"] == measured[1]["rows"]
    assert trained[0] == "shifted-0", "the row that was finished is not measured again"


def test_a_row_of_several_kinds_takes_equally_many_of_each(tmp_path: Path) -> None:
    asked: list[int] = []

    def counted(part: Part) -> Part:
        def collect(count: int) -> tuple[Pairs, Sequence[int]]:
            asked.append(count)
            return part.collect(count)

        return Part(collect, part.truth, part.about)

    mixed = Row("mixed", "ours", [counted(part) for row in ROWS for part in row.parts])
    found = _run(tmp_path, [mixed], Training(pairs=7, steps=1, batch=2, networks=2))
    assert asked == [3, 4]
    [row] = found["rows"]
    assert row["from_exact"] is None
    assert len(row["networks"]) == 2
    assert row["miou"]["min"] <= row["miou"]["mean"] <= row["miou"]["max"]


# ------------------------------------------------------------------------------ command


def _command(folder: Path, *options: str) -> Any:
    small = ("--pairs", "4", "--steps", "2", "--networks", "1", "--seeds", "2")
    places = ("-o", str(folder), "--work", str(folder / "work"))
    return CliRunner().invoke(paper, ["table3", *small, *places, *options])


def test_the_command_writes_the_table(tmp_path: Path) -> None:
    result = _command(tmp_path, "--rows", "exact", "--json")
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "paper-table3.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in written["rows"]] == ["exact"]
    assert written["first_seed"] == 1000
    assert written["judge"]["use"] == "worlds-unet"
    assert "--rows exact" in written["command"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rows", "exactly"), "Did you mean 'exact'"),
        (("--rows", "data"), "the row"),
        (("--first-pair", "1001"), "1002 or more"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(
    options: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    result = _command(tmp_path, *options)
    assert result.exit_code != 0
    assert message.lower() in (result.output + str(result.exception)).lower()
