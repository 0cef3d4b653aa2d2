"""Two results against each other: what counts as a regression, and which files are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import covary
from covary_bench.cli import bench
from covary_bench.clusterers.compare import Limits, compare
from covary_bench.clusterers.schema import Memory, Quality, Results, Row, Setting, Times
from covary_bench.clusterers.store import save_results

SETTING = Setting(world="avatars", size=16, variants=3, k=3)
WARM = (1.00, 1.01, 1.02, 1.03, 1.04)
MIB = 2**20


def row(
    name: str = "covary/lloyd",
    warm: tuple[float, ...] = WARM,
    host: int = 50 * MIB,
    ratio: float = 1.0,
    **changes: Any,
) -> Row:
    given: dict[str, Any] = {
        "id": name,
        "track": "defaults",
        "setting": SETTING,
        "status": "ok",
        "times": Times(load=0.1, cold=2.0, warm=warm),
        "memory": Memory(host=900 * MIB, host_warm=host, host_method="VmHWM, reset"),
        "quality": Quality(
            inertia=10 * ratio, reference_ratio=ratio, ari_truth=0.5, iou=0.5, iterations=3,
            converged=True,
        ),
    }  # fmt: skip
    return Row(**{**given, **changes})


def results(*rows: Row, machine: str = "an abacus") -> Results:
    return Results(
        format="covary-bench-clusterers",
        created="2026-01-01T00:00:00+00:00",
        command="covary bench clusterers",
        method="by hand",
        machine={"processor": machine},
        rows=rows,
    )


def changed(old: Row, new: Row, limits: Limits | None = None) -> list[tuple[str, bool]]:
    found = compare(results(old), results(new), limits)
    assert found.compared == 1
    return [(change.what, change.worse) for change in found.changes]


def test_nothing_changed() -> None:
    assert changed(row(), row()) == []


@pytest.mark.parametrize(
    ("warm", "expected"),
    [
        (tuple(1.2 * t for t in WARM), [("warm fit, s", True)]),
        (tuple(t / 1.2 for t in WARM), [("warm fit, s", False)]),
        (tuple(1.05 * t for t in WARM), []),  # apart, but within the limit
        ((0.9, 1.0, 1.3, 1.4, 1.5), []),  # beyond the limit, but the quartiles overlap
        ((1.3,), [("warm fit, s", True)]),
    ],
)
def test_time_counts_beyond_the_limit_and_outside_the_noise(
    warm: tuple[float, ...], expected: list[tuple[str, bool]]
) -> None:
    assert changed(row(), row(warm=warm)) == expected


def test_limits_are_what_they_are_set_to() -> None:
    slower = row(warm=tuple(1.2 * t for t in WARM))
    assert changed(row(), slower, Limits(time=1.25)) == []
    assert changed(row(ratio=1.0), row(ratio=1.05), Limits(inertia=1.1)) == []


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (60 * MIB, [("host memory, bytes", True)]),
        (40 * MIB, [("host memory, bytes", False)]),
        (53 * MIB, []),
    ],
)
def test_memory_of_a_warm_fit_counts(host: int, expected: list[tuple[str, bool]]) -> None:
    assert changed(row(), row(host=host)) == expected


def test_a_few_megabytes_never_count() -> None:
    assert changed(row(host=0), row(host=3 * MIB)) == []
    assert changed(row(host=0), row(host=30 * MIB)) == [("host memory, bytes", True)]


def test_first_fits_are_compared_with_first_fits() -> None:
    known = row(host=50 * MIB)
    unknown = row(memory=Memory(host=900 * MIB, host_method="VmHWM, reset"))
    assert changed(unknown, known) == changed(known, unknown) == []


def test_device_memory_counts_too() -> None:
    memories = [
        Memory(host=0, host_method="", device=device, device_method="NVML") for device in (100, 200)
    ]
    old, new = (
        row(memory=m.model_copy(update={"device": m.device * MIB if m.device else None}))
        for m in memories
    )
    assert changed(old, new) == [("device memory, bytes", True)]


def test_inertia_counts() -> None:
    assert changed(row(), row(ratio=1.001)) == [("inertia", True)]
    assert changed(row(ratio=1.2), row()) == [("inertia", False)]
    assert changed(row(), row(ratio=1.00005)) == []


def test_a_row_that_no_longer_runs_is_a_regression() -> None:
    broken = row(status="crashed", reason="died of SIGSEGV", times=None, memory=None, quality=None)
    found = compare(results(row()), results(broken))
    (change,) = found.regressions
    assert (change.before, change.after) == ("ok", "crashed: died of SIGSEGV")
    assert changed(broken, row()) == [("status", False)]


def test_rows_of_one_side_are_listed_and_versions_do_not_part_rows() -> None:
    other = row("acme/sketch", setting=SETTING.model_copy(update={"k": 8}))
    found = compare(
        results(row(versions={"covary": "1"})), results(row(versions={"covary": "2"}), other)
    )
    assert found.compared == 1
    assert found.only_before == ()
    (name,) = found.only_after
    assert name == "acme/sketch, avatars 16x16, n = 3, k = 8, defaults, cpu"


def run(*arguments: object) -> Any:
    return CliRunner().invoke(bench, ["compare", *map(str, arguments)])


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    slower = results(row(warm=tuple(2 * t for t in WARM)), row("acme/new"), machine="a slide rule")
    save_results(results(row()), tmp_path / "a" / "clusterers.json")
    save_results(slower, tmp_path / "b" / "clusterers.json")
    return tmp_path / "a", tmp_path / "b" / "clusterers.json"


def test_the_command_exits_by_what_it_finds(two: tuple[Path, Path]) -> None:
    worse = run(*two)
    assert worse.exit_code == 1
    assert "1 rows compared: 1 worse, 0 better" in worse.stdout
    assert f"only in {two[1]}: acme/new" in worse.stdout
    assert "an abacus -> a slide rule" in worse.stderr
    assert run(two[1], two[0]).exit_code == 0
    assert run(two[0], two[0]).stdout == "1 rows compared: 0 worse, 0 better\n"
    data = json.loads(run(*two, "--json").stdout)
    assert data["changes"][0]["before"] == pytest.approx(1.02)
    assert run(*two, "--time", "3").exit_code == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"format": "covary-bench-clusterers", "version": 99}', "got version 99"),
        ('{"rows": []}', "JSON without a format"),
        ("not json", "valid JSON"),
    ],
)
def test_files_of_others_are_refused(two: tuple[Path, Path], text: str, words: str) -> None:
    two[1].write_text(text)
    result = run(*two)
    assert isinstance(result.exception, covary.InputError)
    assert words in str(result.exception)
