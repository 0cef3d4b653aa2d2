"""Data sets made under kills and compared with undisturbed ones: what differs is told."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from covary_bench import interrupted

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")

_FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_victims_are_of_the_family() -> None:
    moments = random.Random(0)
    with subprocess.Popen([sys.executable, "-c", _FAMILY], stdout=subprocess.PIPE) as driver:
        assert driver.stdout is not None
        worker = int(driver.stdout.readline())
        try:
            for kind, expected in {
                "worker": [worker],
                "driver": [driver.pid],
                "machine": [driver.pid, worker],
            }.items():
                chosen = interrupted.victims(kind, driver.pid, moments)
                assert [process.pid for process in chosen] == expected
        finally:
            psutil.Process(worker).kill()
            driver.kill()
    for kind in ("worker", "driver", "machine"):
        assert interrupted.victims(kind, driver.pid, moments) == []


def test_states_of_covary_are_not_compared(tmp_path: Path) -> None:
    for name in ("a.tar", "deep/b.json", ".covary/job.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    assert set(interrupted.contents(tmp_path)) == {"a.tar", "deep/b.json"}
    before = interrupted.contents(tmp_path)
    (tmp_path / "a.tar").write_text("A.tar", encoding="utf-8")
    assert interrupted.contents(tmp_path) != before


def test_other_bytes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def undisturbed(root: Path, _: list[str]) -> None:
        root.mkdir(parents=True)
        (root / "manifest.jsonl").write_text("{}\n", encoding="utf-8")

    def killed(root: Path, *_: object) -> tuple[dict[str, int], int]:
        shutil.copytree(tmp_path / "undisturbed" / "set", root)
        (root / "left.tar.part").touch()
        return {}, 1

    monkeypatch.setattr(interrupted, "_undisturbed", undisturbed)
    monkeypatch.setattr(interrupted, "run_interrupted", killed)
    with pytest.raises(SystemExit, match=r"other bytes after the kills: left\.tar\.part"):
        interrupted.compare(tmp_path, [], 1.0, 0)
    with pytest.raises(SystemExit, match="is there from before"):
        interrupted.compare(tmp_path, [], 1.0, 0)


@pytest.mark.acceptance
def test_a_data_set_is_the_same_after_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [str(tmp_path), "--seeds", "0-99", "--shard-size", "5", "--every", "5"]
    monkeypatch.setattr(sys, "argv", ["interrupted", *arguments, "--out", str(tmp_path)])
    interrupted.main()
    found = json.loads((tmp_path / "interrupted.json").read_bytes())
    assert found["equal"]
    assert found["pairs"] == {"train": 95, "val": 5}
    assert sum(found["kills"].values()) >= 1
