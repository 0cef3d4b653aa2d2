"""The benchmark of lloyd's ideas changes what it says, and nothing else."""

from __future__ import annotations

import json

import pytest
import torch

import covary
from covary_bench import lloyd
from covary_bench.ceilings import Timer

pytest.importorskip("numba")

from covary_plugins.clusterers._numba_engine import NumbaEngine, NumbaRuns


@pytest.fixture(scope="module")
def summary():
    source = ("worlds", {"resolution": 160, "n": 4})
    return covary.Pipeline(source, "lab", "lloyd", "corner", device="cpu").summarise(seed=1000)


def test_all_ways_find_the_same_clusters(summary):
    found = {name: work() for name, work in lloyd.changes(summary, 3).items()}
    chosen = found["as chosen"]
    for name, clusters in found.items():
        assert clusters.inertia == pytest.approx(chosen.inertia, rel=1e-3), name


def test_without_bounds_every_tile_may_change(summary, monkeypatch):
    expired = []
    assign = NumbaRuns.assign

    def spy(self, active):
        expired.append(bool((self.expiry <= self.drift[:, None]).all()))
        return assign(self, active)

    monkeypatch.setattr(NumbaRuns, "assign", spy)
    ways = lloyd.changes(summary, 3)
    ways["all pixels from the start (coarse = 1)"]()
    assert expired[0]
    assert not all(expired)
    expired.clear()
    ways["neither of the two"]()
    assert len(expired) > 1
    assert all(expired)


def test_one_thread_is_one_thread(summary, monkeypatch):
    threads = []
    create = NumbaEngine.__init__

    def spy(self, *arguments):
        create(self, *arguments)
        threads.append(self._pool)

    monkeypatch.setattr(NumbaEngine, "__init__", spy)
    lloyd.changes(summary, 3)["one thread"]()
    assert threads
    assert set(threads) == {None}


def test_ratios_are_those_of_the_turns():
    seconds = iter([9.0, 9.0, 1.0, 2.0, 2.0, 6.0, 4.0, 4.0])

    class Clock(Timer):
        def __call__(self, work):
            return next(seconds)

    rows = lloyd.measure({"a": list, "b": list}, 3, Clock(torch.device("cpu")))
    assert [row["ratio"] for row in rows] == [1.0, 2.0]
    assert rows[1]["seconds"]["median"] == 4.0


def test_the_command_writes_what_it_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(lloyd, "copy_rate", lambda timer: 1e10)
    options = ["--side", "64", "--variants", "3", "--k", "2", "--repeats", "2"]
    lloyd.main([*options, "--remark", "tiny", "--out", str(tmp_path)])
    assert "as chosen" in capsys.readouterr().out
    written = json.loads((tmp_path / "lloyd.json").read_text(encoding="utf-8"))
    assert written["remark"] == "tiny"
    assert written["command"] == "python -m covary_bench.lloyd " + " ".join(options)
    assert written["rows"][0]["what"] == "as chosen"
    assert written["rows"][0]["ratio"] == 1.0
    assert set(written["passes"]["2"]) == {"first", "later", "read"}
