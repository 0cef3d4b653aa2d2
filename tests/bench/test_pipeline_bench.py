"""The benchmark of a whole pipeline: its figures add up, and failures are rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import covary
from covary_bench import pipeline
from covary_bench.cli import bench

TINY = ["--size", "32", "--variants", "4", "--repeats", "1"]


def run(*options: str) -> Any:
    return CliRunner().invoke(bench, ["pipeline", *TINY, *options])


def request(**changes: Any) -> pipeline.Request:
    given: dict[str, Any] = {
        "world": "avatars", "size": 32, "variants": 4, "k": 3, "space": "lab",
        "clusterer": "lloyd", "seed": 0, "device": "cpu", "repeats": 3, "answer": Path(),
    }  # fmt: skip
    return pipeline.Request(**{**given, **changes})


def test_the_command_writes_what_it_prints(tmp_path: Path) -> None:
    result = run("--out", str(tmp_path), "--json", "--remark", "a test")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data == json.loads((tmp_path / "pipeline.json").read_text(encoding="utf-8"))
    assert data["command"] == "covary bench pipeline --size 32 --variants 4 --repeats 1"
    (row,) = data["rows"]
    assert row["status"] == "ok"
    assert set(row["stages"]) == set(pipeline.STAGES)
    assert row["summary_bytes"] == 32 * 32 * 12 * 2


def test_stages_are_part_of_the_whole() -> None:
    found = pipeline.work(request())
    assert found.found
    for index, total in enumerate(found.total):
        assert 0 < sum(found.seconds[stage][index] for stage in pipeline.STAGES) <= total
    assert found.device == {}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_that_of_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    from covary_plugins.clusterers.lloyd import Lloyd

    fit = Lloyd.fit

    def greedy(self: Lloyd, *args: Any) -> covary.ClusterMap:
        hoard = bytearray(300 * 2**20)
        hoard[:: 2**12] = b"x" * len(hoard[:: 2**12])
        return fit(self, *args)

    monkeypatch.setattr(Lloyd, "fit", greedy)
    found = pipeline.work(request(repeats=1))
    assert found.host["clusterer"] > 290 * 2**20
    assert max(found.host[stage] for stage in pipeline.STAGES if stage != "clusterer") < 200 * 2**20


def test_a_size_that_takes_too_long_is_a_row(tmp_path: Path) -> None:
    result = run("--timeout", "0.05", "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "32x32: timeout" in result.stdout
    (row,) = json.loads((tmp_path / "pipeline.json").read_text(encoding="utf-8"))["rows"]
    assert row["status"] == "timeout"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--clusterer", "llody"], covary.UnknownNameError),
        (["--space", "labb"], covary.UnknownNameError),
        (["--device", "cudda"], covary.InputError),
    ],
)
def test_wrong_use_is_refused(options: list[str], error: type[Exception]) -> None:
    assert isinstance(run(*options).exception, error)


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("--out", str(tmp_path / "file" / "out"))
    assert isinstance(result.exception, covary.OutputError)
