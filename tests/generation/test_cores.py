"""How many workers fill this machine, of which a container may be given a part."""

from __future__ import annotations

from pathlib import Path

import pytest

from covary.generation._cores import cores


@pytest.fixture(autouse=True)
def _sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)), raising=False)


def limited(tmp_path: Path, mine: str, limits: dict[str, str]) -> int:
    """The cores where the files of control groups are these."""
    for name, text in limits.items():
        place = tmp_path / "groups" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n")
    (tmp_path / "mine").write_text(f"{mine}\n")
    return cores(tmp_path / "groups", tmp_path / "mine")


@pytest.mark.parametrize(
    ("mine", "limits", "expected"),
    [
        pytest.param("0::/", {"cpu.max": "250000 100000"}, 2, id="a share of time"),
        pytest.param("0::/", {"cpu.max": "50000 100000"}, 1, id="less than one"),
        pytest.param("0::/", {"cpu.max": "6400000 100000"}, 16, id="more than there are"),
        pytest.param("0::/job", {"job/cpu.max": "max 100000"}, 16, id="no limit"),
        pytest.param(
            "0::/a/b",
            {"a/cpu.max": "300000 100000", "a/b/cpu.max": "800000 100000"},
            3,
            id="the smaller one of a group above",
        ),
        pytest.param("0::/../../pod7/abc", {"cpu.max": "400000 100000"}, 4, id="names of the host"),
        pytest.param(
            "3:memory:/box\n2:cpu,cpuacct:/box",
            {
                "cpu,cpuacct/box/cpu.cfs_quota_us": "500000",
                "cpu,cpuacct/box/cpu.cfs_period_us": "100000",
                "cpu,cpuacct/cpu.cfs_quota_us": "-1",
                "cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            5,
            id="version 1",
        ),
    ],
)
def test_limits_of_control_groups(
    tmp_path: Path, mine: str, limits: dict[str, str], expected: int
) -> None:
    assert limited(tmp_path, mine, limits) == expected


def test_other_systems_have_no_such_limits(tmp_path: Path) -> None:
    assert cores(tmp_path / "groups", tmp_path / "mine") == 16
