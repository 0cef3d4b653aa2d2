"""The command line: what it prints, writes and exits with, also where things go wrong."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import PIL.Image
import pytest
import torch
from click.testing import CliRunner, Result

import covary
import covary.settings
import tiny_components
from covary._cli.batch import _uninterrupted
from covary._cli.commands import offered_commands
from covary._registry import registry
from covary.cli import cli
from covary.recipe import recipe_schema
from plugin_factory import write_plugin

TESTS = Path(__file__).parents[1]
FILES = {"image.png", "clusters.png", "overlay.png", "mask.png", "provenance.json"}

PLUGIN = """
import os, time
import covary
import tiny_components

class Slow(tiny_components.Stripes):
    def open(self, query, ctx):
        time.sleep(float(os.environ.get("SLOW_SECONDS", "0")))
        return super().open(query, ctx)

def component(kind, target, name=None, **more):
    name = name or target.split(":")[1].lower()
    return covary.Component(kind=kind, name=name, target=target, summary="of a test", **more)

@covary.hookimpl
def covary_components():
    return [
        component("source", "tiny_components:Stripes"),
        component("source", "tiny_components:Photo"),
        component("source", "covary_acme:Slow"),
        component("features", "tiny_components:Colours"),
        component("clusterer", "tiny_components:Distinct"),
        component("clusterer", "nowhere:Nothing", "gone"),
        component("clusterer", "tiny_components:Distinct", "later", api="99.0"),
        component("clusterer", "tiny_components:Distinct", "hungry", requires=("no_such_module",)),
        component("foreground", "tiny_components:Rest"),
        covary.Preset(
            name="tiny",
            cite="this test",
            recipe={
                "source": {"use": "acme/slow", "n": 3},
                "features": "acme/colours",
                "clusterer": "acme/distinct",
                "foreground": "acme/rest",
            },
        ),
    ]
"""


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A site folder with the plugin ``acme``, whose preset ``tiny`` takes milliseconds."""
    folder = tmp_path / "site"
    write_plugin(folder, "acme", PLUGIN)
    monkeypatch.syspath_prepend(folder)
    registry.cache_clear()
    offered_commands.cache_clear()
    yield folder
    offered_commands.cache_clear()
    for name, module in list(sys.modules.items()):
        if str(folder) in str(getattr(module, "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def covary_command(*args: object) -> Result:
    """What a command did; an exception that is no exit is a failure of the test."""
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def segment(out: Path, *args: object) -> Result:
    return covary_command("segment", *args, "--preset", "tiny", "-o", out)


def assert_one_error(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    for word in words:
        assert word in result.stderr


def fingerprints(out: Path) -> dict[Path, tuple[int, int]]:
    """Which file each path is, and when it was written."""
    paths = sorted(path for path in out.glob("*/*") if path.is_file())
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def leftovers(out: Path) -> list[Path]:
    return [path for path in out.rglob("*") if path.name.startswith(".")]


# ------------------------------------------------------------------------------------- segment


def test_segment_writes_results_sheet_and_summary(out: Path) -> None:
    result = segment(out, "0-2", "7")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [str(out / "sheet.png"), "4 segmented"]
    assert result.stderr == ""
    assert {path.name for path in out.iterdir()} == {
        *("0", "1", "2", "7"),
        *("sheet.png", "summary.json"),
    }
    for name in ("0", "1", "2", "7"):
        assert {path.name for path in (out / name).iterdir()} == FILES


def test_results_are_those_of_the_pipeline(out: Path) -> None:
    segment(out, "5")
    expected = covary.Pipeline.preset("tiny")(seed=5)
    assert torch.equal(covary.read_image(out / "5" / "image.png"), expected.image)
    assert torch.equal(covary.read_image(out / "5" / "mask.png")[0] > 127, expected.mask)


def test_summary_is_what_json_prints(out: Path) -> None:
    result = segment(out, "0-1", "--json")
    data = json.loads(result.stdout)
    assert data == json.loads((out / "summary.json").read_text())
    assert data["preset"] == "tiny"
    assert data["counts"] == {
        "queries": 2,
        "segmented": 2,
        "kept": 0,
        "without_foreground": 0,
        "failed": 0,
    }
    assert [row["query"] for row in data["results"]] == [0, 1]
    assert {row["status"] for row in data["results"]} == {"done"}


def test_warnings_and_metrics_of_a_photo_reach_the_user(out: Path) -> None:
    result = segment(out, "3", "--set", "source=acme/photo")
    assert result.exit_code == 0
    assert result.stderr == "warning: 3: the inversion is bad; use another photo\n"
    (row,) = json.loads((out / "summary.json").read_text())["results"]
    assert row["metrics"] == {"mse": 0.25}
    assert row["warnings"] == ["the inversion is bad; use another photo"]
    image = json.loads((out / "3" / "provenance.json").read_text())["image"]
    assert image["photo"] == {"size": [12, 32], "matrix": [[1, 0, 0], [0, 1, 0]]}
    assert covary.read_image(out / "3" / "photo-overlay.png").shape == (3, 12, 32)
    assert covary_command("rerun", out / "3").exit_code == 0


def test_no_foreground_is_counted_and_has_no_mask(out: Path) -> None:
    result = segment(out, "0-1", "--set", "foreground.nothing=true")
    assert result.exit_code == 0
    assert "2 segmented, 2 without confident foreground" in result.stdout
    assert not (out / "0" / "mask.png").exists()
    (row, _) = json.loads((out / "summary.json").read_text())["results"]
    assert row["found"] is False
    assert "no cluster" in row["reason"]


def test_files_and_seeds_in_one_run(out: Path, tmp_path: Path) -> None:
    path = tmp_path / "photo.txt"
    path.write_text("3")
    assert segment(out, path, "4").exit_code == 0
    assert covary.provenance.read_provenance(out / "photo")["inputs"]
    assert (out / "4" / "mask.png").exists()


def test_seed_option_is_the_run_seed(out: Path) -> None:
    segment(out, "4", "--seed", "9")
    expected = covary.Pipeline.preset("tiny")(4, seed=9)
    assert torch.equal(covary.read_image(out / "4" / "image.png"), expected.image)


def test_set_changes_parameters_and_components(out: Path) -> None:
    settings = ("source.n=5", "clusterer.use=lloyd", "clusterer.k=2", "features=rgb")
    segment(out, "0", *(part for setting in settings for part in ("--set", setting)))
    recipe = covary.provenance.read_provenance(out / "0")["recipe"]
    assert recipe["source"]["n"] == 5
    assert (recipe["clusterer"]["use"], recipe["clusterer"]["k"]) == ("covary/lloyd", 2)
    assert recipe["features"]["use"] == "covary/rgb"


def test_text_that_is_not_toml_is_text() -> None:
    recipe = registry().preset("avatars").recipe
    changed = covary.settings.override(
        recipe, ["source.checkpoint=a b.safetensors", "foreground.theta=[1, 2]"]
    )
    assert changed.source.params["checkpoint"] == "a b.safetensors"
    assert changed.foreground.params["theta"] == [1, 2]
    assert changed.clusterer == recipe.clusterer


def test_run_takes_a_pipeline_file(out: Path, tmp_path: Path) -> None:
    file = tmp_path / "pipe.toml"
    covary.Pipeline.preset("tiny").save(file)
    result = covary_command("run", file, "0-1", "-o", out, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["file"] == str(file)
    assert (out / "1" / "mask.png").exists()


def test_sheet_columns(out: Path) -> None:
    segment(out, "0-3", "--sheet-columns", "1")
    with PIL.Image.open(out / "sheet.png") as sheet:
        assert sheet.height > 3 * sheet.width * 12 / 16


# ------------------------------------------------------------------------------------- resuming


def test_a_second_run_keeps_everything(out: Path) -> None:
    segment(out, "0-2")
    before = fingerprints(out)
    result = segment(out, "0-3")
    assert "4 segmented (3 kept from before)" in result.stdout
    after = fingerprints(out)
    assert {path: after[path] for path in before} == before
    with PIL.Image.open(out / "sheet.png") as sheet:
        resumed = sheet.size
    segment(out, "0-3", "--force")
    with PIL.Image.open(out / "sheet.png") as sheet:
        assert sheet.size == resumed


@pytest.mark.parametrize(
    "change",
    [("--force",), ("--set", "source.n=2"), ("--seed", "8"), ("--set", "features=rgb")],
)
def test_what_differs_is_done_again(out: Path, change: tuple[str, ...]) -> None:
    segment(out, "3")
    before = fingerprints(out)
    result = segment(out, "3", *change)
    assert "kept" not in result.stdout
    after = fingerprints(out)
    assert all(after[path] != before[path] for path in before)


@pytest.mark.parametrize("damage", ["provenance.json", "mask.png", "clusters.png"])
def test_a_half_result_is_done_again(out: Path, damage: str) -> None:
    segment(out, "3")
    (out / "3" / damage).unlink()
    assert "kept" not in segment(out, "3").stdout
    assert (out / "3" / damage).exists()


@pytest.mark.parametrize("damage", ["reconstruction.png", "photo-mask.png", "photo-overlay.png"])
def test_a_half_result_of_a_photo_is_done_again(out: Path, damage: str) -> None:
    command = ("3", "--set", "source=acme/photo")
    segment(out, *command)
    assert "kept" in segment(out, *command).stdout
    (out / "3" / damage).unlink()
    assert "kept" not in segment(out, *command).stdout
    assert (out / "3" / damage).exists()


def test_unreadable_provenance_is_done_again(out: Path) -> None:
    segment(out, "3")
    (out / "3" / "provenance.json").write_text("{")
    assert "kept" not in segment(out, "3").stdout


def test_a_changed_input_is_done_again(out: Path, tmp_path: Path) -> None:
    path = tmp_path / "photo.txt"
    path.write_text("3")
    segment(out, path)
    assert "1 kept" in segment(out, path).stdout
    times = path.stat()
    path.write_text("4")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "kept" not in segment(out, path).stdout


def test_an_image_added_to_a_folder_is_noticed(out: Path, tmp_path: Path) -> None:
    stack = tmp_path / "stack"
    stack.mkdir()
    for name in ("a.png", "b.png"):
        covary.write_png(torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8), stack / name)
    file = tmp_path / "pipe.toml"
    file.write_text('source = "images"\nfeatures = "rgb"\nclusterer = "acme/distinct"\n')
    with file.open("a") as stream:
        stream.write('foreground = "acme/rest"\n')
    covary_command("run", file, stack, "-o", out)
    assert "1 kept" in covary_command("run", file, stack, "-o", out).stdout
    covary.write_png(torch.zeros((3, 8, 8), dtype=torch.uint8), stack / "c.png")
    later = time.time() + 5
    os.utime(stack, (later, later))
    assert "kept" not in covary_command("run", file, stack, "-o", out).stdout


# ---------------------------------------------------------------------------------- wrong use


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("0", "--preset", "tinny"), ("no preset 'tinny'", "did you mean 'tiny'?")),
        (("0",), ("--preset", "expected", "tiny")),
        (
            ("0", "--preset", "tiny", "--set", "source.widht=4"),
            ("parameter 'widht'", "did you mean 'width'?"),
        ),
        (("0", "--preset", "tiny", "--set", "source.n=0"), ("'n'", "greater than", "got 0")),
        (("0", "--preset", "tiny", "--set", "source.n=many"), ("'n'", "integer", "'many'")),
        (("0", "--preset", "tiny", "--set", "clusterr.k=4"), ("did you mean 'clusterer'?",)),
        (("0", "--preset", "tiny", "--set", "clusterer"), ("clusterer.k=8",)),
        (("0", "--preset", "tiny", "--set", "clusterer=llyod"), ("did you mean 'lloyd'?",)),
        (("0", "--preset", "tiny", "--set", "clusterer=os:system"), ("registered name",)),
        (("--preset", "tiny"), ("query", "a seed", "got nothing")),
        (("9-3", "--preset", "tiny"), ("range '9-3'", "3-9")),
        (("3-", "--preset", "tiny"), ("query '3-'", "a range of seeds")),
        (("nowhere/x.png", "--preset", "tiny"), ("nowhere/x.png", "that exists")),
        (("4294967296", "--preset", "tiny"), ("seed", "2^32-1")),
        (("0-9999999999", "--preset", "tiny"), ("range", "2^32-1")),
        (("0-4294967295", "--preset", "tiny"), ("range", "at most", "in parts")),
        (("0", "--preset", "tiny", "--device", "gpu"), ("device", "'gpu'", "cuda")),
        ((".", "--preset", "worlds"), ("covary/worlds", "a seed", "got path")),
    ],
)
def test_wrong_use_is_one_error_and_no_folder(
    out: Path, args: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert_one_error(covary_command("segment", *args, "-o", out), 2, *words)
    assert not out.exists()


def test_c_outside_is_refused(out: Path) -> None:
    args = ("--preset", "ffhq", "--set", "source.c=-1", "-o", out)
    assert_one_error(covary_command("segment", "0", *args), 2, "'c'", "got -1")


def test_missing_weights_say_what_to_do(out: Path) -> None:
    result = covary_command("segment", "0-3", "--preset", "ffhq", "-o", out)
    assert_one_error(result, 1, "stylegan2-ffhq", "not on this machine", "licence")


def test_a_missing_package_says_how_to_install_it(out: Path) -> None:
    result = segment(out, "0", "--set", "clusterer=acme/hungry")
    assert_one_error(result, 1, "no_such_module", "pip install")
    assert not out.exists()


def test_results_of_one_name_are_refused_before_work(out: Path, tmp_path: Path) -> None:
    paths = [tmp_path / folder / "x.txt" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        path.write_text("1")
    assert_one_error(segment(out, *paths), 2, str(paths[0]), str(paths[1]))
    named_as_seed = tmp_path / "7.txt"
    named_as_seed.write_text("1")
    assert_one_error(segment(out, "7", named_as_seed), 2, "seed 7", str(named_as_seed))
    assert not out.exists()


def test_a_query_may_not_take_the_sheet_s_name(out: Path, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png.txt"
    path.write_text("1")
    assert_one_error(segment(out, path), 2, "sheet.png")


def test_the_same_query_twice_is_one_query(out: Path) -> None:
    assert "3 segmented" in segment(out, "0-2", "1", "2-2").stdout


def test_a_folder_named_by_dots_keeps_to_the_output_folder(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "stack" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    monkeypatch.setattr(tiny_components.Stripes, "open", _opens_anything)
    assert segment(out, "..").exit_code == 0
    assert (out / "stack" / "provenance.json").exists()


def _opens_anything(
    self: tiny_components.Stripes, query: covary.Query, ctx: covary.RunContext
) -> covary.Variants:
    images = torch.arange(48, dtype=torch.uint8).reshape(1, 3, 4, 4)
    batches = iter([covary.VariantBatch(images.repeat(3, 1, 1, 1))])
    return covary.Variants(image=images[0], count=3, batches=batches)


# ------------------------------------------------------------------------- what goes wrong later


def test_a_broken_query_stops_no_other(out: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.txt"
    broken.write_text("no number")
    result = segment(out, "0", broken, "1")
    assert_one_error(result, 1, "broken", "no number")
    assert "2 segmented, 1 failed" in result.stdout
    rows = json.loads((out / "summary.json").read_text())["results"]
    assert [row["status"] for row in rows] == ["done", "failed", "done"]
    assert "no number" in rows[1]["error"]
    assert not (out / "broken").exists()
    assert (out / "1" / "mask.png").exists()


def test_a_broken_image_names_the_file(out: Path, tmp_path: Path) -> None:
    stack = tmp_path / "stack"
    stack.mkdir()
    covary.write_png(torch.zeros((3, 8, 8), dtype=torch.uint8), stack / "a.png")
    (stack / "b.png").write_text("<html>not found</html>")
    args = ("--preset", "tiny", "--set", "source=images", "-o", out)
    assert_one_error(covary_command("segment", stack, *args), 1, "b.png", "whole image")
    assert not (out / "sheet.png").exists()


def test_an_error_that_repeats_is_said_once(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: object, query: object, ctx: object) -> None:
        raise RuntimeError("always the same")

    monkeypatch.setattr(tiny_components.Stripes, "open", fails)
    result = segment(out, "0-3")
    assert_one_error(result, 1, "RuntimeError: always the same", "COVARY_RAISE=1")
    assert "0 segmented, 4 failed" in result.stdout


def test_covary_raise_shows_the_traceback(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVARY_RAISE", "1")
    monkeypatch.setenv("COVARY_PLUGINS", "acme")
    with pytest.raises(covary.UnknownNameError):
        covary_command("segment", "0", "--preset", "tinny", "-o", out)


@pytest.mark.parametrize("blocked", ["out", "out/deeper"])
def test_a_file_in_the_way_of_the_output(
    tmp_path: Path, blocked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_components.Stripes, "open", _must_not_run)
    (tmp_path / "out").write_text("precious")
    assert_one_error(segment(tmp_path / blocked, "0-3"), 1, "out", "another output folder")
    assert (tmp_path / "out").read_text() == "precious"


def test_a_read_only_output_is_known_before_work(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*args: object, **more: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tiny_components.Stripes, "open", _must_not_run)
    monkeypatch.setattr("tempfile.TemporaryFile", refuses)
    assert_one_error(segment(out, "0-3"), 1, str(out), "Read-only", "another output folder")


def _must_not_run(*_: object) -> None:
    pytest.fail("work began")


def test_a_disk_that_fills_up_stops_the_run(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = PIL.Image.Image.save

    def fills_up(self: PIL.Image.Image, path: Path, *args: object, **more: object) -> None:
        if Path(path).parent.name == "2" and "overlay" in Path(path).name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(self, path, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(PIL.Image.Image, "save", fills_up)
        result = segment(out, "0-9")
    assert result.exit_code == 1
    assert result.stderr.count("error:") == 1
    assert "No space left" in result.stderr
    assert "2 of 10 results" in result.stderr
    assert leftovers(out) == []
    assert {path.parent.name for path in out.glob("*/provenance.json")} == {"0", "1"}
    assert {path.name for path in (out / "0").iterdir()} == FILES
    assert "10 segmented (2 kept" in segment(out, "0-9").stdout


# -------------------------------------------------------------------------------------- Ctrl-C


def environment(site: Path, **more: str) -> dict[str, str]:
    """A subprocess's: the plugin and the tiny components in reach, nothing of the user's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVARY_")}
    paths = [str(site), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **more}


SCRIPT = [sys.executable, "-c", "from covary.cli import main; main()"]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_leaves_whole_results_and_the_command_resumes(out: Path, site: Path) -> None:
    command = [*SCRIPT, "segment", "0-19", "--preset", "tiny", "-o", str(out)]
    process = subprocess.Popen(
        command,
        env=environment(site, SLOW_SECONDS="0.2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (out / "1" / "provenance.json").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert stdout == ""
    whole = sorted(int(path.parent.name) for path in out.glob("*/provenance.json"))
    assert stderr.splitlines() == [
        f"stopped: {len(whole)} of 20 results are in {out}; the same command resumes"
    ]
    assert 2 <= len(whole) < 20
    assert whole == list(range(len(whole)))
    assert leftovers(out) == []
    for seed in whole:
        assert {path.name for path in (out / str(seed)).iterdir()} == FILES
    before = fingerprints(out)
    assert f"20 segmented ({len(whole)} kept from before)" in segment(out, "0-19").stdout
    after = fingerprints(out)
    assert {path: after[path] for path in before} == before


def test_ctrl_c_while_writing_waits_for_the_end() -> None:
    finished = []
    handler = signal.getsignal(signal.SIGINT)

    def writes() -> None:
        with _uninterrupted():
            signal.raise_signal(signal.SIGINT)
            finished.append(True)

    with pytest.raises(KeyboardInterrupt):
        writes()
    assert finished
    assert signal.getsignal(signal.SIGINT) is handler


# --------------------------------------------------------------------------------------- rerun


def test_rerun_reproduces(out: Path) -> None:
    segment(out, "0-1")
    before = fingerprints(out)
    result = covary_command("rerun", out, "--json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    assert [row["folder"] for row in rows] == [str(out / "0"), str(out / "1")]
    assert all(row["reproduced"] and row["same_image"] and row["ari"] == 1 for row in rows)
    assert fingerprints(out) == before
    table = covary_command("rerun", out / "1").stdout
    assert "yes" in table
    assert "1.0000" in table


def test_rerun_tells_what_differs(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment(out, "0")
    monkeypatch.setattr(tiny_components.Stripes, "open", _opens_anything)
    result = covary_command("rerun", out / "0", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)[0]["reproduced"] is False


def test_rerun_goes_on_after_a_failure(out: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.txt"
    photo.write_text("1")
    segment(out, "0", photo)
    photo.unlink()
    result = covary_command("rerun", out / "photo", out / "0", "--json")
    assert_one_error(result, 1, "photo.txt")
    assert [row["reproduced"] for row in json.loads(result.stdout)] == [False, True]


def test_rerun_of_no_result_is_wrong_use(tmp_path: Path) -> None:
    assert_one_error(covary_command("rerun", tmp_path), 2, str(tmp_path), "provenance.json")
    assert_one_error(covary_command("rerun", tmp_path / "no"), 2, "provenance.json")


# ------------------------------------------------------------------------- list, show and schema


def test_list_names_components_and_presets() -> None:
    result = covary_command("list")
    assert result.exit_code == 0
    for name in ("covary/lloyd", "acme/stripes", "tiny", "ffhq"):
        assert name in result.stdout
    assert "99.0" in result.stdout
    assert "pip install no_such_module" in result.stdout
    assert "covary doctor" in result.stderr


def test_list_json_is_everything() -> None:
    data = json.loads(covary_command("list", "--json").stdout)
    assert {row["id"] for row in data["components"]} == {c.id for c in covary.components()}
    assert {row["name"] for row in data["presets"]} == set(covary.preset_names())
    by_name = {row["name"]: row for row in data["components"]}
    assert by_name["hungry"]["missing"] == ["no_such_module"]
    assert by_name["later"]["incompatible"]
    assert by_name["lloyd"]["plugin"]["distribution"] == "covary"


@pytest.mark.parametrize("kind", ["source", "features", "clusterer", "foreground", "detector"])
def test_list_of_one_kind(kind: str) -> None:
    data = json.loads(covary_command("list", kind, "--json").stdout)
    assert [row["id"] for row in data[kind]] == [c.id for c in covary.components(kind)]


def test_list_checkpoints_says_what_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.bin").write_bytes(b"weights")
    catalogue = tmp_path / "registry.toml"
    catalogue.write_text(
        f'[[checkpoint]]\nname = "mine"\nfile = "{tmp_path / "mine.bin"}"\n'
        '[[checkpoint]]\nname = "stylegan2-ffhq"\nurl = "https://example.org/ffhq.pkl"\n'
    )
    monkeypatch.setenv("COVARY_REGISTRY", str(catalogue))
    registry.cache_clear()
    rows = json.loads(covary_command("list", "checkpoints", "--json").stdout)["checkpoints"]
    mine = next(row for row in rows if row["name"] == "mine")
    assert mine["path"] == str(tmp_path / "mine.bin")
    ffhq = [row["shadowed"] for row in rows if row["name"] == "stylegan2-ffhq"]
    assert sorted(ffhq) == [False, True]
    table = covary_command("list", "checkpoints").stdout
    assert "shadowed" in table
    assert "381.7 MB" in table


def test_list_plugins() -> None:
    rows = json.loads(covary_command("list", "plugins", "--json").stdout)["plugins"]
    acme = next(row for row in rows if row["namespace"] == "acme")
    assert (acme["distribution"], acme["version"], acme["presets"]) == ("covary-acme", "1.0", 1)
    assert "covary-acme" in covary_command("list", "plugins").stdout


def test_list_of_the_unknown() -> None:
    assert_one_error(covary_command("list", "presetz"), 2, "did you mean 'presets'?")


def test_brackets_in_a_table_are_not_markup(site: Path) -> None:
    source = """
    import covary

    @covary.hookimpl
    def covary_components():
        return [covary.Component(kind="clusterer", name="big", target="a:B", extra="gpu",
                                 requires=("no_such_module",))]
    """
    write_plugin(site, "zeta", source)
    registry.cache_clear()
    assert "pip install 'covary-zeta[gpu]'" in covary_command("list", "clusterer").stdout


def test_show_prints_every_parameter() -> None:
    for entry in covary.components():
        if entry.origin.namespace != "covary":
            continue
        shown = covary_command("show", entry.id, "--kind", entry.kind, "--json")
        data = json.loads(shown.stdout)[0]
        fields = entry.load().Params.model_fields
        assert [row["name"] for row in data["parameters"]] == list(fields)
        assert all(row["description"] and row["type"] for row in data["parameters"])
        text = covary_command("show", entry.id).stdout
        assert all(name in text for name in fields)


def test_show_tells_type_default_and_range() -> None:
    data = json.loads(covary_command("show", "acme/stripes", "--json").stdout)[0]
    rows = {row["name"]: row for row in data["parameters"]}
    assert rows["n"] == {
        "name": "n",
        "type": "int",
        "required": False,
        "default": 4,
        "range": ">= 1",
        "description": "number of variants",
    }
    assert rows["last_width"]["type"] == "int or none"
    assert rows["last_width"]["default"] is None
    assert data["doc"].startswith("Upright stripes")


def test_show_without_the_packages() -> None:
    result = covary_command("show", "hungry")
    assert result.exit_code == 0
    assert "pip install no_such_module" in result.stdout
    assert "need" in result.stdout


@pytest.mark.parametrize("gpus", [0, 1])
def test_a_component_for_gpus_is_listed_with_the_reason(
    site: Path, monkeypatch: pytest.MonkeyPatch, gpus: int
) -> None:
    source = """
    import covary

    @covary.hookimpl
    def covary_components():
        return [covary.Component(kind="clusterer", name="fast", devices=("cuda",),
                                 target="tiny_components:Distinct")]
    """
    write_plugin(site, "zeta", source)
    registry.cache_clear()
    monkeypatch.setattr("covary._registry.cuda_devices", lambda: gpus)
    reason, remedy = "needs a CUDA GPU (none was found)", "NVIDIA GPU and its driver"
    for command in (("list", "clusterer"), ("show", "fast"), ("doctor",)):
        text = " ".join(covary_command(*command).stdout.split())
        assert (reason in text) == (remedy in text) == (gpus == 0), command
    for command in (("list", "clusterer"), ("show", "fast")):
        found = json.loads(covary_command(*command, "--json").stdout)
        rows = found if command[0] == "show" else found["clusterer"]
        fast = next(row for row in rows if row["id"] == "zeta/fast")
        assert fast["unavailable"] == ("" if gpus else reason)
        assert (remedy in fast["remedy"]) == (gpus == 0)


def test_show_of_a_class_that_does_not_import() -> None:
    result = covary_command("show", "gone")
    assert result.exit_code == 1
    assert "acme/gone" in result.stdout
    assert_one_error(result, 1, "nowhere:Nothing", "covary-acme")
    assert json.loads(covary_command("show", "gone", "--json").stdout)[0]["error"]


def test_show_a_preset_prints_a_file_that_runs(out: Path, tmp_path: Path) -> None:
    text = covary_command("show", "tiny").stdout
    assert "this test" in text
    file = tmp_path / "pipe.toml"
    file.write_text(text[text.index("[source]") : text.index("try it")])
    assert covary.Recipe.from_toml(file) == registry().preset("tiny").recipe


def test_show_everything_of_a_name_or_one_kind() -> None:
    all_three = json.loads(covary_command("show", "worlds", "--json").stdout)
    assert [data["what"] for data in all_three] == ["component", "component", "preset"]
    assert [data["kind"] for data in all_three[:2]] == ["source", "detector"]
    one = json.loads(covary_command("show", "worlds", "--kind", "preset", "--json").stdout)
    assert [data["what"] for data in one] == ["preset"]


def test_show_a_checkpoint_with_its_licence() -> None:
    text = covary_command("show", "stylegan2-ffhq").stdout
    assert "CC BY-NC-SA 4.0" in text
    assert "https://" in text


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (("lloid",), "did you mean 'lloyd'?"),
        (("ffhp",), "did you mean 'ffhq'?"),
        (("lloyd", "--kind", "source"), "is a clusterer"),
        (("tinny", "--kind", "preset"), "did you mean 'tiny'?"),
        (("lloyd", "--kind", "clusteror"), "did you mean 'clusterer'?"),
    ],
)
def test_show_of_the_unknown(args: tuple[str, ...], hint: str) -> None:
    assert_one_error(covary_command("show", *args), 2, hint)


def test_schema_is_the_recipe_s() -> None:
    for args in ((), ("--json",)):
        assert json.loads(covary_command("schema", *args).stdout) == recipe_schema()


# --------------------------------------------------------------------------------------- doctor


def test_doctor_reports_problems_with_their_fix(site: Path) -> None:
    write_plugin(site, "broken", "raise RuntimeError('oh no')")
    registry.cache_clear()
    result = covary_command("doctor")
    assert result.exit_code == 1
    for word in ("oh no", "covary-broken", "nowhere:Nothing", "99.0", "to do:"):
        assert word in result.stdout
    assert "pip install no_such_module" in result.stdout


def test_doctor_json() -> None:
    result = covary_command("doctor", "--json")
    data = json.loads(result.stdout)
    assert result.exit_code == 1
    assert {"covary-acme"} <= {problem["distribution"] for problem in data["problems"]}
    assert all(problem["fix"] for problem in data["problems"])
    assert data["packages"]["torch"] == version("torch")
    assert data["devices"][0]["device"] == "cpu"
    unavailable = {row["id"]: row for row in data["unavailable"]}
    assert unavailable["acme/hungry"] == {
        "id": "acme/hungry",
        "kind": "clusterer",
        "why": "needs no_such_module",
        "fix": "run: pip install no_such_module",
    }
    assert "acme/distinct" not in unavailable


@pytest.mark.parametrize(
    ("distribution", "metadata", "major"),
    [
        ("cupy-cuda13x", "", "13"),
        ("faiss-gpu-cu12", "", "12"),
        ("faiss-gpu", "Requires-Dist: nvidia-cublas-cu12>=12.1\n", "12"),
        ("cuml-cu13", "Requires-Dist: nvidia-cublas-cu12\n", "13"),
        ("flash-kmeans", "Requires-Dist: nvidia-cublas-cu12\n", None),
    ],
)
def test_doctor_says_what_cuda_packages_are_built_for(
    site: Path, distribution: str, metadata: str, major: str | None
) -> None:
    info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
    (info / "METADATA").write_text(head + metadata)
    data = json.loads(covary_command("doctor", "--json").stdout)
    assert data["cuda"].get(distribution) == major
    assert data["cuda"]["torch"] == (torch.version.cuda or "").partition(".")[0]
    if major:
        assert f"CUDA {major}" in covary_command("doctor").stdout


def test_doctor_without_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVARY_PLUGINS", "")
    monkeypatch.setattr("covary.doctor._damaged_checkpoints", list)
    registry.cache_clear()
    result = covary_command("doctor")
    assert result.exit_code == 0, result.stdout
    assert "no problems" in result.stdout
    assert "COVARY_PLUGINS" in result.stdout


def test_doctor_notices_a_truncated_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half.bin").write_bytes(b"half")
    catalogue = tmp_path / "registry.toml"
    entry = '[[checkpoint]]\nname = "{}"\nfile = "{}"\nbytes = 8\n'
    catalogue.write_text(
        entry.format("half", tmp_path / "half.bin") + entry.format("gone", tmp_path / "gone.bin")
    )
    monkeypatch.setenv("COVARY_REGISTRY", str(catalogue))
    registry.cache_clear()
    problems = json.loads(covary_command("doctor", "--json").stdout)["problems"]
    words = [problem["what"] for problem in problems if problem["namespace"] == "user"]
    assert any("'half'" in word and "4 bytes" in word and "expected 8" in word for word in words)
    assert any("'gone'" in word for word in words)


def test_doctor_remarks_on_a_package_that_requires_covary_and_offers_nothing(site: Path) -> None:
    write_plugin(site, "x", "", distribution="forgot", group="others", requires="covary>=0.1")
    write_plugin(site, "y", "", distribution="needs-it-not", group="others", requires="covary-sam")
    data = json.loads(covary_command("doctor", "--json").stdout)
    (remark,) = [row for row in data["remarks"] if "offers no plugin" in row["what"]]
    assert remark["distribution"] == "forgot"
    assert "add [project.entry-points.covary]" in remark["fix"]
    assert "ignore this if it only uses covary" in remark["fix"]
    text = covary_command("doctor").stdout
    assert "remarks: 1" in text
    assert "forgot: it requires covary" in text
    assert "forgot" not in {row["distribution"] for row in data["problems"]}


def test_doctor_remarks_on_a_plugin_that_loads_torch_at_once(site: Path) -> None:
    (site / "heavy_one.py").write_text("import torch\nfrom tiny_components import Distinct\n")
    source = """
        import covary

        @covary.hookimpl
        def covary_components():
            yield covary.Component(kind="clusterer", name="h", target="heavy_one:Distinct")
        """
    write_plugin(site, "heavy", source)
    registry.cache_clear()
    data = json.loads(covary_command("doctor", "--json").stdout)
    (remark,) = [row for row in data["remarks"] if row["distribution"] == "covary-heavy"]
    assert f"{site / 'heavy_one.py'}:1 imports torch" in remark["what"]
    assert remark["fix"] == "import it in the function that uses it"


# ------------------------------------------------------------------------------ the whole program


def test_version_and_help() -> None:
    assert covary_command("--version").stdout == f"covary {covary.__version__}\n"
    text = covary_command("--help").stdout
    for name in ("segment", "run", "rerun", "list", "show", "doctor", "schema"):
        assert name in text
        assert covary_command(name, "--help").exit_code == 0


def test_an_unknown_command_is_suggested() -> None:
    assert_one_error(covary_command("segmnt"), 2, "did you mean 'segment'?")


def test_a_plugin_adds_a_command(site: Path) -> None:
    source = """
    import click

    @click.command(short_help="Says hello.")
    @click.argument("name")
    def hello(name):
        click.echo(f"hello {name}")
    """
    names = {"module": "hello_module", "target": "hello_module:hello"}
    write_plugin(site, "hello", source, group="covary.commands", **names)
    write_plugin(site, "hurt", "1 / 0", distribution="covary-hurt", group="covary.commands")
    write_plugin(site, "list", "", distribution="covary-thief", group="covary.commands")
    offered_commands.cache_clear()
    assert covary_command("hello", "world").stdout == "hello world\n"
    text = covary_command("--help").stdout
    assert "Says hello." in text
    assert "does not work" in text
    assert_one_error(covary_command("hurt"), 1, "covary-hurt", "ZeroDivisionError")
    report = covary_command("doctor").stdout
    assert "covary-hurt" in report
    assert "covary-thief" in report
    assert "covary/lloyd" in covary_command("list").stdout


def test_two_distributions_of_one_command(site: Path) -> None:
    for name in ("one", "two"):
        write_plugin(site, "same", "", distribution=name, group="covary.commands")
    offered_commands.cache_clear()
    assert_one_error(covary_command("same"), 1, "one and two", "uninstall")


def test_switched_off_plugins_lose_their_commands(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(site, "hello", "import click", distribution="extra", group="covary.commands")
    monkeypatch.setenv("COVARY_PLUGINS", "")
    offered_commands.cache_clear()
    assert "hello" not in covary_command("--help").stdout
    monkeypatch.setenv("COVARY_PLUGINS", "extra")
    offered_commands.cache_clear()
    assert "hello" in covary_command("--help").stdout


def test_heavy_packages_stay_out(site: Path, tmp_path: Path) -> None:
    wires = tmp_path / "wires"
    wires.mkdir()
    for name in ("torch", "kornia", "faiss", "diffusers", "transformers", "sklearn"):
        (wires / f"{name}.py").write_text(f"raise RuntimeError('{name} was imported')")
    env = environment(wires, COVARY_PLUGINS="")
    programs = [
        "import covary; covary.components(); covary.preset_names(); covary.Recipe",
        *(
            f"import sys; sys.argv = ['covary', *{args!r}]; from covary.cli import main; main()"
            for args in (["list"], ["show", "lloyd"], ["show", "ffhq", "--json"], ["--help"])
        ),
    ]
    for program in programs:
        done = subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_every_built_in_component_shows_without_heavy_packages(tmp_path: Path) -> None:
    wires = tmp_path / "wires"
    wires.mkdir()
    for name in ("torch", "kornia", "faiss", "diffusers", "transformers", "sklearn"):
        (wires / f"{name}.py").write_text(f"raise RuntimeError('{name} was imported')")
    program = (
        "import covary\n"
        "for entry in covary.components():\n"
        "    entry.load().Params.model_json_schema()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(wires, COVARY_PLUGINS=""),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
@pytest.mark.parametrize("args", [["list"], ["list", "--json"], ["schema"]])
def test_a_reader_that_leaves_early_is_no_error(site: Path, args: list[str]) -> None:
    with subprocess.Popen(
        [*SCRIPT, *args],
        env=environment(site, COVARY_PLUGINS=""),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
