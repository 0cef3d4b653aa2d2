"""The commands that put saved results to use: ``covary compose`` and ``covary export``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import covary
from covary.cli import cli
from covary.provenance import saved_variant


def covary_command(*args: object) -> Result:
    """What a command did; an exception that is no exit is a failure of the test."""
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def pipeline(**changes: Any) -> covary.Pipeline:
    parts: dict[str, Any] = {
        "source": ("worlds", {"resolution": 32, "n": 5}),
        "features": "rgb",
        "clusterer": ("lloyd", {"k": 3}),
        "foreground": ("corner", {"corners": "upper"}),
        "soft": True,
    }
    return covary.Pipeline(**parts | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three results: 2 with one object, rooms/1 with several, 0 without foreground."""
    out = tmp_path_factory.mktemp("results")
    pipeline()(seed=2).save(out / "2")
    pipeline(clusterer=("lloyd", {"k": 1}))(seed=0).save(out / "0")
    source = ("worlds", {"world": "rooms", "resolution": 64, "n": 5})
    rooms = pipeline(source=source, foreground="saliency", detector=("worlds", {"world": "rooms"}))
    rooms(seed=1).save(out / "rooms" / "1")
    return out


# --- compose ---------------------------------------------------------------------------------


def test_content_goes_onto_an_image(folder: Path, tmp_path: Path) -> None:
    saved = pipeline()(seed=2)
    onto = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    covary.write_png(onto, tmp_path / "onto.png")
    for more, mask in (([], saved.soft), (["--hard"], saved.mask)):
        out = tmp_path / "composed.png"
        done = covary_command(
            "compose", folder / "2", "--onto", tmp_path / "onto.png", "-o", out, *more
        )
        assert (done.exit_code, done.stdout) == (0, f"{out}\n")
        expected = covary.compose(saved.image, mask, onto)
        assert int((covary.read_image(out).int() - expected.int()).abs().max()) <= 1


def test_content_goes_onto_a_variant_made_again(folder: Path, tmp_path: Path) -> None:
    pipe, ctx = pipeline(), covary.RunContext(seed=2)
    opened = pipe.source.open(covary.Query(seed=2), ctx.at("source", "covary/worlds"))
    variants = torch.cat([batch.images for batch in opened.batches])
    for number in (0, 4):
        image, variant = saved_variant(folder / "2", number)
        assert torch.equal(image, opened.image)
        assert torch.equal(variant, variants[number])
    out = tmp_path / "composed.png"
    done = covary_command("compose", folder / "2", "--variant", 4, "-o", out)
    assert (done.exit_code, done.stderr) == (0, "")
    outside = ~pipe(seed=2).mask
    corner = (slice(0, 3), slice(0, 3))
    assert bool(outside[corner].all())
    assert torch.equal(covary.read_image(out)[:, *corner], variants[4][:, *corner])


def test_a_background_of_another_size_is_fitted_if_asked(folder: Path, tmp_path: Path) -> None:
    covary.write_png(torch.zeros(3, 50, 90, dtype=torch.uint8), tmp_path / "onto.png")
    command = ("compose", folder / "2", "--onto", tmp_path / "onto.png", "-o", tmp_path / "c.png")
    refused = covary_command(*command)
    assert refused.exit_code == 2
    assert "got 50x90" in refused.stderr
    assert not (tmp_path / "c.png").exists()
    assert covary_command(*command, "--fit", "cover", "--feather", 1).exit_code == 0
    assert covary.read_image(tmp_path / "c.png").shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "either --onto or --variant, got neither"),
        (["--variant", "0", "--onto", "x.png"], "got both"),
        (["--variant", "5"], "a number in 0..4, got 5"),
        (["--onto", "missing.png"], "no such file"),
    ],
)
def test_compose_says_what_is_wrong(
    given: list[str], words: str, folder: Path, tmp_path: Path
) -> None:
    done = covary_command("compose", folder / "2", *given, "-o", tmp_path / "c.png")
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_nothing_is_composed_of_nothing(folder: Path, tmp_path: Path) -> None:
    for where, words in ((folder / "0", "a foreground to put"), (tmp_path, "provenance.json")):
        done = covary_command("compose", where, "--variant", 0, "-o", tmp_path / "c.png")
        assert done.exit_code == 2
        assert words in done.stderr
        assert not (tmp_path / "c.png").exists()


def test_a_local_component_cannot_make_variants_again(folder: Path, tmp_path: Path) -> None:
    class Mine(type(pipeline().source)):  # type: ignore[misc]
        """A source that no plugin registers."""

    pipeline(source=Mine(resolution=32, n=3))(seed=1).save(tmp_path / "1")
    done = covary_command("compose", tmp_path / "1", "--variant", 0, "-o", tmp_path / "c.png")
    assert done.exit_code == 1
    assert "local/mine is not a registered component" in done.stderr


# --- export ----------------------------------------------------------------------------------


def test_coco_lists_every_image_and_points_to_it(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "dataset"
    done = covary_command("export", folder, folder / "rooms", "--format", "coco", "-o", target)
    assert done.exit_code == 0
    assert done.stdout == f"{target / 'coco.json'}\n"
    assert "0: no foreground: no cluster qualifies" in done.stderr
    data = json.loads((target / "coco.json").read_text())
    files = [(target / image["file_name"]).resolve() for image in data["images"]]
    assert files == [(folder / name / "image.png").resolve() for name in ("0", "2", "rooms/1")]
    assert {each["image_id"] for each in data["annotations"]} == {2, 3}
    assert {"foreground", "rug"} <= {each["name"] for each in data["categories"]}


def test_a_result_without_foreground_has_no_picture(folder: Path, tmp_path: Path) -> None:
    for form, suffix in (("palette", "png"), ("rgba", "png"), ("svg", "svg")):
        target = tmp_path / form
        done = covary_command("export", folder, "--format", form, "-o", target)
        assert done.exit_code == 0
        assert [path.name for path in target.iterdir()] == [f"2.{suffix}"]
        assert "0: no foreground" in done.stderr


def test_a_picture_of_an_earlier_export_does_not_stay(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "0.svg").write_text("of an earlier result")
    assert covary_command("export", folder, "--format", "svg", "-o", tmp_path).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["2.svg"]


def test_indices_of_classes_are_explained(folder: Path, tmp_path: Path) -> None:
    command = ("export", folder / "rooms", folder / "2", "--format", "palette", "-o", tmp_path)
    assert covary_command(*command, "--map", "classes").exit_code == 0
    names = json.loads((tmp_path / "classes.json").read_text())
    assert list(names.values()) == sorted(names.values())
    seg = covary.Pipeline.from_recipe(pipeline().recipe)(seed=2)
    index = np.array(Image.open(tmp_path / "2.png"))
    assert set(np.unique(index)) == {0, int(next(i for i in names if names[i] == "foreground"))}
    assert np.array_equal(index > 0, seg.mask.numpy())


def test_cut_outs_one_by_one(folder: Path, tmp_path: Path) -> None:
    command = ("export", folder / "rooms", "--format", "rgba", "-o", tmp_path, "--each", "--trim")
    done = covary_command(*command)
    names = [Path(line).name for line in done.stdout.splitlines()]
    assert names == sorted(path.name for path in tmp_path.iterdir())
    assert any(name.endswith("-rug.png") for name in names)
    assert all(Image.open(tmp_path / name).mode == "RGBA" for name in names)


def test_two_results_of_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    pipeline()(seed=2).save(tmp_path / "again" / "2")
    command = (
        "export",
        folder / "2",
        tmp_path / "again",
        "--format",
        "svg",
        "-o",
        tmp_path / "out",
    )
    done = covary_command(*command)
    assert done.exit_code == 2
    assert "'2' twice" in done.stderr
    assert not (tmp_path / "out").exists()


def test_parts_need_a_rule_that_names_them(folder: Path, tmp_path: Path) -> None:
    command = ("export", folder / "2", "--format", "palette", "--map", "parts", "-o", tmp_path)
    done = covary_command(*command)
    assert done.exit_code == 2
    assert "a foreground rule that names clusters" in done.stderr
