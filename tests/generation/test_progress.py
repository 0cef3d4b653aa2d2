"""How far, how fast, how long, how much; and what a folder alone tells of it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from covary.generation import read_status
from covary.generation._folder import Folder
from covary.generation._progress import Heartbeat, Tracker
from covary.generation._record import FAILED, ShardRecord


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def record(shard: str, kept: str, left_out: dict[int, str]) -> ShardRecord:
    return ShardRecord(shard, "train", kept, kept, left_out, (), 1.0, "")


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestTracker:
    def test_counts(self, clock: Clock) -> None:
        tracker = Tracker(40, 4, clock=clock)
        tracker.kept(record("a", "0-7", {8: "area", 9: f"{FAILED}no"}), 10)
        tracker.finished(record("b", "10-19", {}), 10)
        tracker.made("c", 3)
        found = tracker.progress()
        assert (found.done, found.pairs, found.left_out, found.failed) == (23, 18, 1, 1)
        assert (found.seeds, found.shards, found.shards_done) == (40, 4, 2)

    def test_what_was_there_is_no_speed(self, clock: Clock) -> None:
        tracker = Tracker(100, 10, clock=clock)
        tracker.kept(record("a", "0-49", {}), 50)
        tracker.began()
        assert tracker.progress().rate is None
        assert tracker.progress().seconds_left is None
        clock.now += 5
        tracker.made("b", 10)
        assert tracker.progress().rate == pytest.approx(2.0)
        assert tracker.progress().seconds_left == pytest.approx(20.0)

    def test_the_rate_is_that_of_late(self, clock: Clock) -> None:
        tracker = Tracker(10_000, 10, clock=clock)
        tracker.began()
        for done in range(1, 400):
            clock.now += 1
            tracker.made("a", min(done, 200) + 4 * max(0, done - 200))
        assert tracker.progress().rate == pytest.approx(4.0, rel=0.05)

    def test_the_rate_where_workers_end_together_and_tell_nothing_before(
        self, clock: Clock
    ) -> None:
        """Sixteen on a cluster: each makes a shard of 5,000 in ten minutes, give or take."""
        tracker = Tracker(10_000_000, 2000, clock=clock)
        tracker.began()
        start = clock.now
        ends = [round_ * 600 + worker for round_ in (1, 2, 3, 4) for worker in range(16)]
        found = []
        for number, seconds in enumerate(ends):
            for moment in (seconds - 0.5, seconds):  # also just before it ends
                clock.now = start + moment
                if number >= 16:
                    found.append(tracker.progress().rate)
                if moment == seconds:
                    shard = ShardRecord(str(number), "train", "", "", {}, (), 600.0, "")
                    tracker.finished(shard, 5000)
        true = 16 * 5000 / 600
        # Just before the second round ends twice the time has gone into the first.
        assert all(rate is not None and 0.49 < rate / true < 1.5 for rate in found), found

    def test_a_shard_that_begins_anew_takes_its_seeds_back(self, clock: Clock) -> None:
        tracker = Tracker(40, 4, clock=clock)
        tracker.began()
        tracker.made("a", 7)
        tracker.made("a", 0)
        assert tracker.progress().done == 0
        tracker.made("a", 2)
        tracker.dropped("a")
        assert tracker.progress().done == 0
        tracker.made("b", 3)
        tracker.ended()
        assert tracker.progress().done == 0

    def test_cost_counts_earlier_runs(self, clock: Clock) -> None:
        tracker = Tracker(40, 4, before=1800, price=3.0, clock=clock)
        clock.now += 1800
        assert tracker.progress().seconds == pytest.approx(3600)
        assert tracker.progress().cost == pytest.approx(3.0)
        assert Tracker(40, 4, clock=clock).progress().cost is None


class TestStatus:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Folder:
        folder = Folder(tmp_path)
        folder.make()
        folder.job.write_text(json.dumps({"name": "some", "seeds": "0-39"}))
        return folder

    def test_running_stopped_finished(self, folder: Folder, clock: Clock) -> None:
        assert read_status(folder.root).state == "stopped"
        assert read_status(folder.root).progress is None
        tracker = Tracker(40, 4, clock=clock)
        tracker.began()
        with Heartbeat(folder.progress, tracker.progress):
            assert read_status(folder.root).state == "running"
        assert read_status(folder.root).state == "stopped"
        folder.manifest.write_text("{}")
        assert read_status(folder.root).state == "finished"

    def test_what_was_killed_is_not_running(self, folder: Folder) -> None:
        tracker = Tracker(40, 4)
        with Heartbeat(folder.progress, tracker.progress):
            alive = folder.progress.read_text()
        folder.progress.write_text(alive)
        assert read_status(folder.root).state == "running"
        folder.progress.write_text(
            json.dumps(json.loads(alive) | {"time": time.time() - 60, "rate": 3.0})
        )
        status = read_status(folder.root)
        assert status.state == "stopped"
        assert status.progress is not None
        assert status.progress.rate is None

    def test_a_clock_that_was_ahead(self, folder: Folder) -> None:
        with Heartbeat(folder.progress, Tracker(40, 4).progress):
            alive = json.loads(folder.progress.read_text())
        folder.progress.write_text(json.dumps(alive | {"time": time.time() + 3600}))
        assert read_status(folder.root).state == "stopped"

    def test_what_has_lost_the_state_of_covary(self, tmp_path: Path) -> None:
        head = {"name": "some", "job": {"name": "some", "seeds": "0-39"}}
        Folder(tmp_path).manifest.write_text(json.dumps(head) + "\n")
        status = read_status(tmp_path)
        assert (status.state, status.name, status.seeds) == ("finished", "some", "0-39")
        assert status.progress is None

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"state": "running"}'])
    def test_a_broken_heartbeat(self, folder: Folder, text: str) -> None:
        folder.progress.write_text(text)
        assert read_status(folder.root).state == "stopped"

    def test_a_heartbeat_that_cannot_be_written_stops_nothing(self, tmp_path: Path) -> None:
        with Heartbeat(tmp_path / "no such folder" / "progress.json", Tracker(1, 1).progress):
            pass
