"""Objects on the command line: the preset, the detector's options, settings of classes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import covary
from covary._registry import registry
from covary.cli import cli
from covary.provenance import file_sha256, read_provenance
from covary.settings import override, with_detector

SMALL = ("--set", "source.resolution=48", "--set", "source.n=6")
FILES = {
    "image.png", "clusters.png", "overlay.png", "mask.png", "provenance.json", "instances.png",
    "objects.json",
}  # fmt: skip


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def rooms(out: Path, *args: str) -> Result:
    """``covary segment --preset rooms`` on small pictures."""
    command = ["segment", *args, "--preset", "rooms", *SMALL, "-o", str(out)]
    result = CliRunner().invoke(cli, command)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def preset(name: str = "rooms") -> covary.Recipe:
    return registry().preset(name).recipe


class TestPreset:
    def test_finds_every_object(self, out: Path) -> None:
        result = rooms(out, "0-1")
        assert result.exit_code == 0
        assert result.stderr == ""
        assert "2 segmented, objects: 2 " in result.stdout
        for seed in ("0", "1"):
            assert {path.name for path in (out / seed).iterdir()} >= FILES
            truth = covary.testing.worlds.get("rooms").scene(int(seed), (48, 48)).truth
            saved = json.loads((out / seed / "objects.json").read_text())["objects"]
            assert [one["label"] for one in saved] == [label for label, *_ in truth.boxes[0]]
        counts = json.loads((out / "summary.json").read_text())["counts"]
        assert sum(counts["objects"].values()) == len(saved) * 2

    def test_resumes(self, out: Path) -> None:
        rooms(out, "0-1")
        assert "2 segmented (2 kept from before), objects: 2 " in rooms(out, "0-1").stdout
        (out / "0" / "instances.png").unlink()
        (out / "1" / "objects.json").unlink()
        assert "kept" not in rooms(out, "0-1").stdout
        changed = rooms(out, "0-1", "--set", "classes.sofa.clusterer.k=2")
        assert "kept" not in changed.stdout

    def test_a_detector_that_finds_nothing_is_no_failure(self, out: Path, tmp_path: Path) -> None:
        boxes = tmp_path / "boxes.json"
        boxes.write_text("[[0, 0, 3, 3]]")
        settings = (f"detector.file={boxes}", "detector.min_size=10")
        given = [part for setting in settings for part in ("--set", setting)]
        result = rooms(out, "0", "--detector", "file", *given)
        assert result.exit_code == 0
        assert "1 segmented, objects: none, 1 without confident foreground" in result.stdout
        assert (out / "sheet.png").exists()
        saved = read_provenance(out / "0")
        assert saved["result"]["reason"] == "the detector found nothing"
        assert saved["inputs"] == {str(boxes): file_sha256(boxes)}
        summary = json.loads((out / "summary.json").read_text())
        assert summary["counts"]["without_foreground"] == 1
        assert "kept" in rooms(out, "0", "--detector", "file", *given).stdout
        boxes.write_text("[[0, 0, 30, 30]]")
        again = rooms(out, "0", "--detector", "file", *given).stdout
        assert "kept" not in again
        assert "objects: 1 " in again


class TestSettings:
    def test_of_the_detector(self) -> None:
        recipe = override(preset(), ["detector.labels=['sofa']"])
        assert recipe.detector is not None
        assert recipe.detector.params["labels"] == ["sofa"]
        recipe = override(preset("worlds"), ["detector.use=file", "detector.path=a.json"])
        assert recipe.detector == covary.Spec(use="file", path="a.json")
        assert override(preset(), ["detector=file"]).detector == covary.Spec(use="file")

    def test_of_a_class_start_from_the_pipelines_own_stage(self) -> None:
        recipe = override(preset(), ["clusterer.k=5", "classes.sofa.clusterer.n_init=2"])
        own = recipe.classes["sofa"].clusterer
        assert own is not None
        assert (own.use, own.params["k"], own.params["n_init"]) == ("lloyd", 5, 2)
        assert recipe.clusterer.params.get("n_init") is None

    @pytest.mark.parametrize(
        "key", ["classes.coffee table.clusterer.k", 'classes."coffee table".clusterer.k',
                "classes.'coffee table'.clusterer.k"]
    )  # fmt: skip
    def test_of_a_class_with_a_space(self, key: str) -> None:
        own = override(preset(), [f"{key}=7"]).classes["coffee table"].clusterer
        assert own is not None
        assert own.params["k"] == 7

    @given(st.text("abc .'é", min_size=1, max_size=6).map(str.strip).filter(bool))
    def test_of_a_class_of_any_name_in_quotes(self, label: str) -> None:
        recipe = override(preset(), [f"classes.{json.dumps(label)}.features=rgb"])
        assert recipe.classes[label].features == covary.Spec(use="rgb")

    def test_of_refiners_and_soft_masks(self) -> None:
        recipe = override(
            preset(), ["refine=['guided', {use='cleanup', min_area=0.1}]", "soft=true"]
        )
        assert recipe.refine == (
            covary.Spec(use="guided"),
            covary.Spec(use="cleanup", min_area=0.1),
        )
        assert recipe.soft is True
        assert override(recipe, ["refine=guided"]).refine == (covary.Spec(use="guided"),)
        assert override(recipe, ["refine=[]", "soft=false"]).model_dump() == preset().model_dump()

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("detectr.use=file", "did you mean 'detector'?"),
            ("classes=3", r"expected classes.LABEL.STAGE=component"),
            ("classes.sofa=3", r"expected classes.LABEL.STAGE=component"),
            ("classes.sofa.clustrer.k=3", "unknown stage 'clustrer'; did you mean 'clusterer'?"),
            ("classes.sofa.source.n=3", "unknown stage 'source'"),
            ("classes..clusterer.k=3", "expected slot.parameter=value"),
            ("soft.x=true", "expected soft=value"),
            ("soft=maybe", "soft: expected true or false, got 'maybe'"),
            ("detector.x=3\ny=4", "detector.use: expected a registered name"),
        ],
    )
    def test_that_are_none(self, setting: str, message: str) -> None:
        with pytest.raises(covary.InputError, match=re.escape(message).replace(r"\.", ".")):
            override(preset("worlds"), [setting])


class TestDetectorOption:
    def test_takes_its_own_defaults(self) -> None:
        recipe = with_detector(preset(), "worlds", None)
        assert recipe.detector == covary.Spec(use="worlds")
        assert with_detector(preset(), None, None) == preset()

    def test_prompt(self) -> None:
        recipe = with_detector(preset(), "grounding-dino", "sofa, coffee table")
        assert recipe.detector == covary.Spec(use="grounding-dino", prompt="sofa, coffee table")
        again = with_detector(recipe, None, "3")
        assert again.detector is not None
        assert again.detector.params["prompt"] == "3"

    def test_prompt_of_a_detector_without_one(self, out: Path) -> None:
        result = rooms(out, "0", "--prompt", "sofa")
        assert result.exit_code == 2
        assert (
            "--prompt: expected a detector with a parameter 'prompt', got worlds" in result.stderr
        )
        assert not out.exists()
        with pytest.raises(covary.InputError, match="got none; add for instance --detector"):
            with_detector(preset("worlds"), None, "sofa")

    def test_of_no_such_name(self, out: Path) -> None:
        result = rooms(out, "0", "--detector", "grounding-dina")
        assert result.exit_code == 2
        assert "did you mean 'grounding-dino'" in result.stderr

    def test_works_with_a_pipeline_file(self, out: Path, tmp_path: Path) -> None:
        file = tmp_path / "pipe.toml"
        base = preset().model_dump(mode="json")
        file.write_text(covary.Recipe.parse({k: v for k, v in base.items() if k != "detector"}
                                            ).to_toml())  # fmt: skip
        command = ["run", str(file), "0", *SMALL, "-o", str(out), "--detector", "worlds"]
        assert CliRunner().invoke(cli, command).exit_code == 0
        assert read_provenance(out / "0")["recipe"]["detector"]["use"] == "covary/worlds"


class TestUnusedClasses:
    def test_are_told_once_at_the_end(self, out: Path) -> None:
        result = rooms(out, "0-1", "--set", "classes.soda.clusterer.k=2")
        assert result.exit_code == 0
        assert result.stderr.count("class 'soda' has stages of its own, but the detector gave") == 1
        assert "'sofa'" in result.stderr
        told = read_provenance(out / "1")["result"]["warnings"]
        assert "the detector gave no box of class 'soda'" in told

    def test_one_image_with_it_is_enough(self, out: Path) -> None:
        assert rooms(out, "0-1", "--set", "classes.sofa.clusterer.k=2").stderr == ""
