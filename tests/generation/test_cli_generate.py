"""``covary generate`` as its user meets it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

import covary
from covary._registry import registry
from covary.cli import cli
from covary.generation import read_manifest

PIPELINE = """
source = {{ use = "worlds", resolution = 24, n = 3 }}
features = "rgb"
clusterer = {{ use = "lloyd", k = {k} }}
foreground = "border"
"""


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here cuts the power, and waiting for the disk takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe.toml"
    path.write_text(PIPELINE.format(k=3))
    return path


def generate(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["generate", *map(str, arguments)], prog_name="covary")


def of(pipe: Path, out: Path, *more: object) -> Result:
    """Ten seeds in one process."""
    given = ["--file", pipe, "--seeds", "0-8,20", "-o", out, "--shard-size", 4, "--workers", 1]
    return generate(*given, "--val", 0.3, "--format", "folder", *more)


def test_makes_a_data_set_and_says_so(pipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "faces"
    result = of(pipe, out)
    assert (result.exit_code, result.stderr) == (0, "")
    card, counts = result.stdout.splitlines()
    assert card == str(out / "README.md")
    dataset, _ = read_manifest(out)
    assert counts == f"{dataset.pairs['train']} pairs in train, {dataset.pairs['val']} pairs in val"
    assert sum(dataset.pairs.values()) == 10
    assert dataset.name == "faces"
    again = of(pipe, out)
    assert again.exit_code == 0
    assert "all of it was there" in again.stdout


def test_json(pipe: Path, tmp_path: Path) -> None:
    data = json.loads(of(pipe, tmp_path / "a", "--json", "--cost-per-hour", 2).stdout)
    assert data["finished"] is True
    assert sum(data["pairs"].values()) == 10
    status = json.loads(generate("--status", tmp_path / "a", "--json").stdout)
    assert status["state"] == "finished"
    assert (status["progress"]["done"], status["progress"]["seeds"]) == (10, 10)
    assert 0 < status["progress"]["cost"] < 2


def test_status(pipe: Path, tmp_path: Path) -> None:
    of(pipe, tmp_path / "a")
    result = generate("--status", tmp_path / "a")
    first, second, third = result.stdout.splitlines()
    assert first == f"{tmp_path / 'a'}: finished"
    assert second == "10 of 10 seeds, 3 of 3 shards: 10 pairs, 0 left out, 0 failed"
    assert third.endswith("so far")
    assert generate("--status", tmp_path).exit_code == 2


def test_writer_and_filters(pipe: Path, tmp_path: Path) -> None:
    result = of(
        pipe, tmp_path / "a", "--set", "writer.png_level=9", "--set", "clusterer.k=2",
        "--min-area", 0.2, "--max-area", 0.9, "--min-confidence", 0.1, "--name", "small",
        "--keep-without-foreground",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    first = json.loads((tmp_path / "a" / "manifest.jsonl").read_text().splitlines()[0])
    assert first["name"] == "small"
    assert first["writer"]["png_level"] == 9
    assert first["job"]["recipe"]["clusterer"]["k"] == 2
    assert first["job"]["filters"] == {
        "require_foreground": False, "min_area": 0.2, "max_area": 0.9, "min_confidence": 0.1,
    }  # fmt: skip


def test_filters_that_leave_nothing_are_told(pipe: Path, tmp_path: Path) -> None:
    result = of(pipe, tmp_path / "a", "--min-confidence", 1)
    assert result.exit_code == 0
    assert result.stderr == "there is no pair in it: every seed was left out or failed\n"
    assert "10 left out (confidence is below 1)" in result.stdout


def test_the_command_of_the_card_makes_it_again(pipe: Path, tmp_path: Path) -> None:
    import shlex

    of(pipe, tmp_path / "a", "--set", "writer.png_level=9", "--min-area", 0.01)
    card = (tmp_path / "a" / "README.md").read_text()
    line = next(line for line in card.splitlines() if line.startswith("$ covary generate"))
    words = shlex.split(line)[2:]
    words[words.index("pipeline.toml")] = str(tmp_path / "a" / "pipeline.toml")
    words[words.index("DIR")] = str(tmp_path / "b")
    assert generate(*words[1:], "--workers", 1).exit_code == 0
    for name in ("manifest.jsonl", "README.md", "train/metadata.jsonl", "preview.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_code_of_the_card_reads_it(
    pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    of(pipe, tmp_path / "a")
    monkeypatch.chdir(tmp_path / "a")
    blocks = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    exec(next(block for block in blocks if "import covary" in block), {})
    keys = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert keys == [path.stem for path in sorted(Path("train/images").iterdir())]


def test_the_card_has_the_licence_of_weights_and_the_limits(tmp_path: Path) -> None:
    given = ["--preset", "avatars", "--seeds", "3", "-o", tmp_path / "a", "--workers", 1]
    generate(*given, "--format", "folder", "--set", "source.n=3")
    card = (tmp_path / "a" / "README.md").read_text()
    entry = registry().checkpoint("avatars-64")
    assert f"| {entry.code_license} | {entry.weights_license} |" in card
    assert entry.sha256 in card
    assert 'license: "apache-2.0"' in card
    assert "## Limits" in card
    top = yaml.safe_load(card.split("---")[1])
    assert top["pretty_name"] == "a"
    assert top["configs"][0]["data_files"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--seeds"]),
        (["--seeds", "0-3"], ["-o"]),
        (["--seeds", "0-3", "-o", "", "--preset", "worlds"], ["-o", "a folder"]),
        (["--seeds", "0-3", "-o", "x"], ["--preset, --file", "avatars"]),
        (["--seeds", "0-3", "-o", "x", "--preset", "a", "--file", "b"], ["both"]),
        (["--seeds", "3-0", "-o", "x", "--preset", "worlds"], ["backwards"]),
        (["--seeds", "a", "-o", "x", "--preset", "worlds"], ["0-9999"]),
        (["--seeds", "0", "-o", "x", "--preset", "avatar"], ["avatars"]),
        (["--seeds", "0", "-o", "x", "--preset", "worlds", "--format", "foldr"], ["folder"]),
        (["--seeds", "0", "-o", "x", "--preset", "worlds", "--set", "writer.x"], ["writer."]),
        (["--seeds", "0", "-o", "x", "--preset", "worlds", "--cpus", "1"], ["--on ray"]),
        (["--seeds", "0", "-o", "x", "--preset", "worlds", "--val", "2"], ["0..1"]),
        (["--seeds", "0", "-o", "x", "--preset", "avatars-photo"], ["image files"]),
    ],
)
def test_wrong_use(
    arguments: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = generate(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert all(word in result.stderr for word in words), result.stderr
    assert not list(tmp_path.iterdir())


def test_another_job_in_the_folder(pipe: Path, tmp_path: Path) -> None:
    of(pipe, tmp_path / "a")
    result = of(pipe, tmp_path / "a", "--set", "clusterer.k=4")
    assert result.exit_code == 2
    assert "recipe.clusterer.k: 3 -> 4" in result.stderr
    more = generate(
        "--file", pipe, "--seeds", "0-30", "-o", tmp_path / "a", "--shard-size", 4,
        "--workers", 1, "--val", 0.3, "--format", "folder", "--extend",
    )  # fmt: skip
    assert more.exit_code == 0, more.stderr
    assert sum(read_manifest(tmp_path / "a")[0].pairs.values()) == 31


def test_seeds_that_fail(pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _break_source(monkeypatch, {4: ValueError("no such face")})
    result = of(pipe, tmp_path / "a")
    assert result.exit_code == 1
    assert "error: seed 4: ValueError: no such face" in result.stderr
    assert "1 failed" in result.stdout


def test_what_stops_the_run_says_how_far_it_is(
    pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break_source(monkeypatch, {8: covary.CheckpointError("weights are gone")})
    result = of(pipe, tmp_path / "a")
    assert result.exit_code == 1
    stopped, error = result.stderr.splitlines()
    assert stopped.startswith("stopped: 1 of 3 shards (4 pairs) are in ")
    assert error == "error: weights are gone"


def test_ctrl_c(pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        _break_source(patch, {8: KeyboardInterrupt()})
        result = of(pipe, tmp_path / "a")
    assert result.exit_code == 130
    assert result.stderr == (
        f"stopped: 1 of 3 shards (4 pairs) are in {tmp_path / 'a'}; the same command resumes\n"
    )
    assert of(pipe, tmp_path / "a").exit_code == 0
    of(pipe, tmp_path / "b", "--name", "a")
    for name in ("manifest.jsonl", "README.md", "train/metadata.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_progress_where_there_is_no_terminal(
    pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("covary._cli.pace._EVERY", 0.0)
    lines = of(pipe, tmp_path / "a", "--cost-per-hour", 3).stderr.splitlines()
    assert "10 of 10 seeds" in lines[-1]
    assert "/s, " in lines[-1]
    assert "cost 0.0" in lines[-1]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59, "59 s"), (61, "1 min"), (3660, "1 h 1 min"), (200_000, "2 d 7 h")],
)
def test_durations(seconds: float, words: str) -> None:
    from covary._cli.pace import duration

    assert duration(seconds) == words


def _break_source(monkeypatch: pytest.MonkeyPatch, errors: dict[int, BaseException]) -> None:
    from covary_plugins.sources.worlds import Worlds

    real = Worlds.open

    def open_(self: Any, query: covary.Query, ctx: covary.RunContext) -> covary.Variants:
        if query.seed in errors:
            raise errors[query.seed]
        return real(self, query, ctx)

    monkeypatch.setattr(Worlds, "open", open_)
