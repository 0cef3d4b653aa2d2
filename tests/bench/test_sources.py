"""The benchmark of the sources measures what it says, and the GPU script runs in all its parts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch.utils.flop_counter import FlopCounterMode

import covary
from covary_bench import ceilings, gpu, gpu_clusterers, sources
from covary_bench.checks import Budget
from covary_bench.cli import bench
from covary_bench.clusterers.protocol import Attempt, Request
from covary_plugins.stylegan2 import Architecture
from covary_plugins.stylegan2.execution import FP32, Execution

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
CPU = torch.device("cpu")
TINY = Architecture((16, 16), (32, 32, 16, 8))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes that take no time, and ceilings that are not measured."""
    monkeypatch.setattr(sources, "config_f", lambda resolution: TINY)
    monkeypatch.setattr(sources, "CUTOFFS", {32: 3})
    for module in (sources, gpu):
        monkeypatch.setattr(module, "matmul_rate", lambda *_: 1e12)
    for module in (sources, gpu, gpu_clusterers):
        monkeypatch.setattr(module, "copy_rate", lambda *_: 1e11)


def test_full_size_is_the_published_one() -> None:
    architecture = sources.config_f(1024)
    assert architecture.num_ws == 18
    assert architecture.channels == (512, 512, 512, 512, 512, 256, 128, 64, 32)
    # 50 images of config-f at 1024x1024 are known to be 7.4 TFLOP.
    operations, _ = sources.work(architecture, FP32, 0, 50)
    assert operations == pytest.approx(7.4e12, rel=0.01)


@pytest.mark.parametrize("c", [0, 3, 8])
def test_operations_are_those_of_the_convolutions(c: int) -> None:
    architecture = Architecture((16, 16), (64, 64, 64, 64))
    generator = sources.random_generator(architecture, CPU)
    codes = torch.randn(6, 8, 16)
    with FlopCounterMode(display=False) as counter:
        sources.mix(generator, codes[:1], codes[1:], c, FP32, 5)
    operations, _ = sources.work(architecture, FP32, c, 5)
    # The counter also sees filters and styles, and transposed convolutions before cropping.
    assert operations <= counter.get_total_flops() <= 1.35 * operations


def test_bytes_shrink_with_the_format() -> None:
    (_, wide), (_, narrow) = (
        sources.work(TINY, Execution(dtype), 0, 3) for dtype in (torch.float32, torch.bfloat16)
    )
    assert wide == 2 * narrow


def test_rates_are_those_of_the_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings.Timer, "__call__", lambda self, work: (work(), 2.0)[1])
    assert ceilings.copy_rate(ceilings.Timer(CPU), tries=1) == 2**28
    monkeypatch.setattr(torch, "randn", lambda *size, device: torch.zeros(1, 1))
    assert ceilings.matmul_rate(ceilings.Timer(CPU), torch.float32, tries=1) == 2048**3


@pytest.mark.usefixtures("tiny")
def test_command_measures_and_writes(tmp_path: Path) -> None:
    options = ["--resolution", "32", "--variants", "2", "--repeats", "2", "--json"]
    result = CliRunner().invoke(bench, ["sources", *options, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed == json.loads((tmp_path / "sources.json").read_text(encoding="utf-8"))
    assert printed["command"].startswith("python -m covary_bench.sources --resolution 32")
    rows = {row["precision"]: row for row in printed["images"]}
    assert rows.keys() == {"naive fp32", "fp32", "bf16"}
    naive, fp32 = rows["naive fp32"], rows["fp32"]
    assert fp32["times_naive"] == pytest.approx(fp32["images_per_s"] / naive["images_per_s"])
    operations, moved = sources.work(TINY, FP32, 3, 2)
    seconds = 2 / fp32["images_per_s"]
    assert fp32["matmul"] == pytest.approx(operations / seconds / 1e12)
    assert fp32["copy"] == pytest.approx(moved / seconds / 1e11)
    assert 0 < rows["bf16"]["error"] < 0.03


@pytest.mark.usefixtures("tiny")
def test_command_prints_a_table() -> None:
    options = ["--resolution", "32", "--variants", "1", "--repeats", "2", "--precision", "fp32"]
    result = CliRunner().invoke(bench, ["sources", *options, "--cpu-time", "--batch", "1"])
    assert result.exit_code == 0, result.output
    assert "style mixing" in result.stdout


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    "options", [["--resolution", "48"], ["--resolution", "32", "--repeats", "1"]]
)
def test_command_refuses_what_it_cannot(options: list[str]) -> None:
    from covary import InputError

    result = CliRunner().invoke(bench, ["sources", *options])
    assert isinstance(result.exception, InputError)


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from covary_bench.cli import bench\n"
        "out = CliRunner().invoke(bench, ['--help']).output\n"
        "assert 'sources' in out, out\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_smaller_masks_are_enlarged_and_compared() -> None:
    found = sources.smaller_masks(range(2000, 2003))
    assert found["full"] == 64
    assert found["seeds"] == 3
    assert 0.7 < found["miou"] <= found["miou_of_reduced_masks"] + 0.02 < 1.02


def test_without_a_gpu_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path)]) == 0
    assert "CPU numbers stand" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("tiny")
def test_every_part_of_the_gpu_script_works() -> None:
    clusterers = ("lloyd", "torch", "cupy")
    rows = gpu.check(CPU, TINY, variants=3, c=3, side=32, repeats=2, clusterers=clusterers)
    broken = [row for row in rows if row["good"] is False]
    assert not broken
    results = {row["what"]: row for row in rows}
    assert len(results) == len(rows)
    asked = [row["what"] for row in rows if row["good"]]
    assert len(asked) == 2 + 4 + 1  # known answers, formats, lloyd's engine that runs here
    assert "a whole image (paper, A100: 0.9 s, 4.8 GB)" in results
    for what in ("against the CPU", "k = 8, converged", "k = 3, one pass"):
        assert results[f"lloyd, triton, {what}"]["result"].startswith("missing: run on ")
    assert results["lloyd, torch, k = 8, converged"]["passes"] >= 1
    assert results["lloyd, torch, k = 3, one pass"]["times_floor"] > 0
    assert results["reading the pixels"]["seconds"] == 2 * 9 * 32 * 32 / 1e11
    # Every clusterer of these names, in every variation, whether it can run here or not.
    assert results["lloyd"]["agreement"] == 1
    assert results["torch"]["agreement"] > 0.99
    assert results["cupy"]["result"].startswith("missing: ")
    assert results["lloyd against torch"]["times"] > 0


@pytest.mark.usefixtures("tiny")
def test_a_part_that_breaks_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal instruction\nmore")
        yield

    monkeypatch.setattr(gpu_clusterers, "agreement", broken)
    monkeypatch.setattr(gpu_clusterers, "others", broken)
    monkeypatch.setattr(gpu, "_speed", broken)
    rows = gpu.check(CPU, TINY, variants=2, c=3, side=32, repeats=2)
    results = [row["result"] for row in rows if row["good"] is False]
    assert results == ["RuntimeError: CUDA error: an illegal instruction"] * 3
    assert any("whole image" in row["what"] for row in rows)


def test_what_there_is_no_time_for_is_said_to_be_left_out() -> None:
    rows = gpu.check(CPU, TINY, seconds=0)
    assert {row["result"] for row in rows} == {"left out: the time is up"}
    assert {row["good"] for row in rows} == {None}
    assert [row["what"] for row in rows][-1] == "clusterers"


def test_clusterers_that_come_too_late_are_rows_as_well() -> None:
    summary = gpu_clusterers.summary_of(8, 2, CPU)
    rows = list(gpu_clusterers.others(summary, Budget(0), ["lloyd", "torch"]))
    names = ["lloyd", "lloyd, no coarse start", "lloyd, torch engine", "torch"]
    assert [row["what"] for row in rows] == names
    assert {row["result"] for row in rows} == {"left out: the time is up"}


def test_a_clusterer_that_fails_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_luck(request: Request, timeout: float) -> Attempt:
        assert 0 < timeout <= 90
        status = "crashed" if request.id == "covary/lloyd" else "refused"
        return Attempt(status=status, reason="died of SIGSEGV")

    monkeypatch.setattr(gpu_clusterers, "attempt", no_luck)
    summary = gpu_clusterers.summary_of(8, 2, CPU)
    rows = list(gpu_clusterers.others(summary, Budget(60), ["lloyd", "torch"]))
    crashed, refused = "crashed: died of SIGSEGV", "refused: died of SIGSEGV"
    assert [row["result"] for row in rows[1:]] == [crashed, crashed, refused]
    assert [row["good"] for row in rows] == [False, False, False, None]


def test_pixels_of_the_gpu_script_are_planar_and_take_several_passes() -> None:
    summary = gpu_clusterers.summary_of(64, 10, CPU)
    assert (summary.dtype, summary.data.stride(0)) == (torch.float16, 1)
    labels = covary.create("lloyd", k=3, coarse=1, tol=0).fit(summary)
    assert labels.iterations > 3


def test_the_page_on_speed_shows_the_committed_figures() -> None:
    data = json.loads((RESULTS / "sources.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "explanation" / "speed.md").read_text(encoding="utf-8")
    for row in data["images"]:
        shown = f"| {row['resolution']} | {row['precision']} | {row['images_per_s']:.2f} | "
        if "times_naive" in row:
            shown += f"{row['times_naive']:.2f} | {row['matmul']:.2f} | "
        assert shown in page
    for row in data["steps"]:
        name = row["what"].replace(f"max_resolution {row['resolution'] // 2}", "half the size")
        line = next(line for line in page.splitlines() if name in line and line.startswith("|"))
        assert f" {row['ratio']:.2f} |" in line
    reduced = data["max_resolution"]
    assert f"{reduced['miou']:.3f}" in page
    assert f"{reduced['miou_of_reduced_masks']:.3f}" in page
