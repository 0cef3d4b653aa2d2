"""Shards made by actors of Ray: the same bytes, whoever dies."""

from __future__ import annotations

import os
import random
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

import covary
from covary import InputError, MissingPackageError
from covary.generation import _ray
from covary.generation._executor import Event, Finished, GivenUp, Made
from covary.generation._ray import RayExecutor
from covary.generation._record import ShardRecord
from covary.generation._worker import error_data
from covary.samples import Shard
from killing import (
    PATIENCE,
    chance,
    content,
    driver,
    every_seed_once,
    kill_nine,
    make,
    records,
    wait_until,
)

ray = pytest.importorskip("ray")

# Ray finds any other of this machine, so those of two test processes would meet.
pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of a run that nothing disturbed."""
    root = tmp_path_factory.mktemp("whole")
    assert make(root).finished
    return content(root)


def actors() -> list[psutil.Process]:
    """The processes in which actors of this process's Ray live."""
    family = psutil.Process().children(recursive=True)
    return [one for one in family if named(one, "ray::_Worker")]


def named(process: psutil.Process, beginning: str) -> bool:
    try:
        return any(word.startswith(beginning) for word in process.cmdline())
    except psutil.Error:
        return False


@pytest.fixture(scope="class")
def running_ray() -> Iterator[None]:
    """A Ray of two CPUs, which takes some seconds to start."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        try:
            yield
        finally:
            ray.shutdown()


@pytest.mark.usefixtures("running_ray")
class TestOneRay:
    def test_workers_that_are_killed(self, tmp_path: Path, whole: dict[str, str]) -> None:
        moments, killed = chance(), list[int]()

        def kill() -> None:
            if (alive := actors()) and not killed:
                killed.append(moments.choice(alive).pid)
                kill_nine(killed[-1])

        def progress(seen: covary.GenerationProgress) -> None:
            threading.Timer(moments.uniform(0, 0.05), kill).start()

        report = make(tmp_path, on=RayExecutor(2), progress=progress)
        assert killed
        assert report.finished
        assert content(tmp_path) == whole
        assert every_seed_once(tmp_path)
        assert ray.is_initialized(), "a Ray of somebody else's is not ended"
        wait_until(lambda: not actors(), "the end of the actors")

    def test_more_workers_than_there_is_room_for(self, tmp_path: Path) -> None:
        with pytest.raises(
            InputError, match=r"3 workers of 1 CPU each: .* room for 2; give 2 work"
        ):
            make(tmp_path, on=RayExecutor(3))
        with pytest.raises(InputError, match=r"1 CPU and 0.5 GPU each: .* room for 0"):
            make(tmp_path, on=RayExecutor(1, gpu_share=0.5))
        assert records(tmp_path) == 0

    @pytest.mark.acceptance
    def test_as_many_workers_as_there_is_room_for(
        self, tmp_path: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hired = []
        hire = _ray._Crew.hire
        monkeypatch.setattr(_ray._Crew, "hire", lambda crew: hired.append(hire(crew)))
        make(tmp_path, on=RayExecutor(cpus=0.5), shard_size=20)
        assert len(hired) == 4

    def test_nodes_that_are_not_alike(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prepare = covary.generation._generate.prepare

        def other(*args: Any, **options: Any) -> Any:
            job = prepare(*args, **options)
            return job.model_copy(update={"versions": {**job.versions, "numpy": "1.0"}})

        monkeypatch.setattr(covary.generation._generate, "prepare", other)
        with pytest.raises(InputError, match=r"node .*: expected numpy 1.0, as the driver has it"):
            make(tmp_path, on=RayExecutor(1))


def test_a_folder_that_a_node_does_not_see(tmp_path: Path) -> None:
    job = SimpleNamespace(versions={}, components={})
    with pytest.raises(InputError, match=r"expected the data set's folder .*, got another one"):
        _ray._check_node(job, tmp_path, "hash")  # type: ignore[arg-type]


class TestNoRay:
    def test_not_installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(MissingPackageError, match=r"run: pip install 'covary\[ray\]'"):
            make(tmp_path, on="ray")

    @pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "ray://[::1]:{}"])
    def test_nothing_at_the_address(self, tmp_path: Path, address: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        address = address.format(port)
        with pytest.raises(InputError, match="expected an answer") as caught:
            make(tmp_path, on=RayExecutor(2, address))
        assert f"Ray {address}" in str(caught.value)
        assert "ray start --head" in str(caught.value)

    def test_no_ray_to_be_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        with pytest.raises(InputError, match="Ray auto: expected an answer, got Could not find"):
            make(tmp_path, on=RayExecutor(2, "auto"))

    @pytest.mark.parametrize("address", ["host:port", "127.0.0.1:99999"])
    def test_no_address(self, tmp_path: Path, address: str) -> None:
        with pytest.raises(InputError, match="expected an answer"):
            make(tmp_path, on=RayExecutor(2, address))


class TestShares:
    @pytest.mark.parametrize(
        ("nodes", "needs", "places"),
        [
            ([{"CPU": 4}], {"CPU": 1, "GPU": 0}, 4),
            ([{"CPU": 3}, {"CPU": 3}], {"CPU": 2, "GPU": 0}, 2),
            ([{"CPU": 8, "GPU": 1}], {"CPU": 1, "GPU": 1 / 3}, 3),
            ([{"CPU": 2, "GPU": 4}], {"CPU": 1, "GPU": 0.5}, 2),
            ([{"CPU": 2}], {"CPU": 1, "GPU": 1}, 0),
            ([{"CPU": 2}], {"CPU": 0.1, "GPU": 0}, 20),
        ],
    )
    def test_places(self, nodes: Any, needs: dict[str, float], places: int) -> None:
        found = [{"Alive": True, "Resources": node} for node in nodes]
        gone = {"Alive": False, "Resources": {"CPU": 100, "GPU": 100}}
        stand_in = SimpleNamespace(nodes=lambda: [*found, gone])
        assert _ray._places(stand_in, needs) == places

    @pytest.mark.parametrize(
        ("device", "share", "gpus"), [("cpu", None, 0), ("cuda", None, 1), ("cuda", 0.5, 0.5)]
    )
    def test_gpus(self, device: str, share: float | None, gpus: float) -> None:
        needs = RayExecutor(gpu_share=share)._needs(SimpleNamespace(device=device))  # type: ignore[arg-type]
        assert needs == {"CPU": 1, "GPU": gpus}

    @pytest.mark.parametrize(("cpus", "share"), [(0, 0), (-1, 1), (1, -0.5), (1, 1.5)])
    def test_wrong_ones(self, tmp_path: Path, cpus: float, share: float) -> None:
        with pytest.raises(InputError, match=r"expected (some CPU|up to 1)"):
            make(tmp_path, on=RayExecutor(1, cpus=cpus, gpu_share=share))


class Reference(SimpleNamespace):
    """Answers are keys."""

    __hash__ = object.__hash__


class Scripted:
    """A stand-in for Ray whose actors do as they are told: ``ok``, ``gone`` for now or ``dead``."""

    exceptions = ray.exceptions

    def __init__(self, ready: list[str], make: dict[str, list[str]]) -> None:
        self.script = {"ready": ready, **make}
        self.asked: list[tuple[str, int]] = []
        self.killed = 0

    def remote(self, cls: type) -> Any:
        actor = SimpleNamespace(ready=self.method("ready"), make=self.method("make"))
        return SimpleNamespace(
            options=lambda **given: SimpleNamespace(remote=lambda *arguments: actor)
        )

    def method(self, name: str) -> Any:
        def options(max_task_retries: int) -> Any:
            def call(shard: Any = None) -> Any:
                what = shard["name"] if shard else name
                self.asked.append((what, max_task_retries))
                return Reference(what=what)

            return SimpleNamespace(remote=call)

        return SimpleNamespace(options=options)

    def wait(self, answers: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return answers[:1], answers[1:]

    def get(self, answer: Any) -> dict[str, Any]:
        script = self.script.get(answer.what, [])
        outcome = script.pop(0) if script else "ok"
        if outcome == "gone":
            raise ray.exceptions.ActorUnavailableError("the actor is away", None)
        if outcome == "dead":
            raise ray.exceptions.ActorDiedError()
        if outcome == "full":
            return {"error": error_data(covary.OutputError("disk", got="no space"))}
        record = ShardRecord(answer.what, "train", "0", "0", {}, (), 1.0, "somebody")
        return {} if answer.what == "ready" else {"record": record.data()}

    def kill(self, actor: Any) -> None:
        self.killed += 1


def crew(
    root: Path, ready: list[str] | None = None, workers: int = 2, **make: list[str]
) -> tuple[Scripted, list[Event]]:
    """What a scripted crew asked of its workers, and what it told, with four shards to make."""
    scripted, heard = Scripted(ready or [], make), list[Event]()
    shards = [Shard(f"s{number}", "train", (number,)) for number in range(4)]
    job = SimpleNamespace(model_dump_json=lambda: "{}")
    made = _ray._Crew(scripted, job, root, shards, heard.append, {"CPU": 1, "GPU": 0})  # type: ignore[arg-type]
    for _ in range(workers):
        made.hire()
    try:
        made.work()
    finally:
        made.dismiss()
        assert scripted.killed == made.size
    return scripted, heard


def finished(heard: list[Event]) -> list[str]:
    return sorted(event.record.shard for event in heard if isinstance(event, Finished))


class TestCrew:
    """How shards are handed out, on a stand-in for Ray."""

    def test_every_shard_once(self, tmp_path: Path) -> None:
        scripted, heard = crew(tmp_path)
        assert finished(heard) == ["s0", "s1", "s2", "s3"]
        assert len(heard) == 4
        assert sorted(what for what, _ in scripted.asked if what != "ready") == finished(heard)

    def test_no_more_workers_than_shards(self, tmp_path: Path) -> None:
        scripted, _ = crew(tmp_path, workers=9)
        assert scripted.killed == 4

    def test_a_shard_of_a_worker_that_died_goes_to_another(self, tmp_path: Path) -> None:
        scripted, heard = crew(tmp_path, s1=["gone", "dead"])
        assert finished(heard) == ["s0", "s1", "s2", "s3"]
        assert heard.count(Made("s1", 0)) == 2
        # Ray is not to try again by itself, on a node that may never come back.
        assert {retries for what, retries in scripted.asked if what != "ready"} == {0}

    def test_a_shard_that_costs_three_workers_is_given_up(self, tmp_path: Path) -> None:
        _, heard = crew(tmp_path, s2=["gone"] * 3)
        assert finished(heard) == ["s0", "s1", "s3"]
        (lost,) = [event for event in heard if isinstance(event, GivenUp)]
        assert lost.shard == "s2"
        assert "3 workers died at it; the last: " in lost.reason

    @pytest.mark.parametrize("how", ["gone", "dead"])
    def test_workers_that_never_begin(self, tmp_path: Path, how: str) -> None:
        with pytest.raises(covary.PluginError, match="workers die before they begin"):
            crew(tmp_path, [how])

    def test_a_worker_that_is_long_in_coming_back(self, tmp_path: Path) -> None:
        """Once others could begin, one is waited for."""
        scripted, heard = crew(tmp_path, ["ok", "gone", "gone", "gone", "gone", "ok"])
        assert finished(heard) == ["s0", "s1", "s2", "s3"]
        assert ("ready", -1) in scripted.asked

    def test_one_that_is_gone_for_good_is_done_without(self, tmp_path: Path) -> None:
        _, heard = crew(tmp_path, ["ok", "dead"])
        assert finished(heard) == ["s0", "s1", "s2", "s3"]

    def test_the_last_that_is_gone_for_good(self, tmp_path: Path) -> None:
        with pytest.raises(covary.PluginError, match="workers die before they begin"):
            crew(tmp_path, ["ok", "dead"], workers=1, s0=["gone"])

    def test_what_no_shard_would_be_spared_ends_it(self, tmp_path: Path) -> None:
        with pytest.raises(covary.OutputError, match="disk: got no space"):
            crew(tmp_path, s1=["full"])


@pytest.mark.acceptance
class TestAcceptance:
    @pytest.mark.parametrize("number", range(3))
    def test_a_driver_that_is_killed(
        self, tmp_path: Path, whole: dict[str, str], number: int
    ) -> None:
        """The Ray that it started ends with it."""
        after = (0, 2, 5)[number]
        with driver(tmp_path, "--workers", "2", "--on", "ray") as process:
            wait_until(lambda: records(tmp_path) >= after, f"{after} shards")
            family = psutil.Process(process.pid).children(recursive=True)
            kill_nine(process.pid)
            process.wait(PATIENCE)
            workers = [one for one in family if named(one, "ray::_Worker")]
            _, alive = psutil.wait_procs(workers, timeout=PATIENCE)
            assert not alive, "workers went on without their driver"
            assert make(tmp_path).finished
            assert content(tmp_path) == whole
            # Ray's agents notice only after a minute that nobody is left.
            _, alive = psutil.wait_procs(family, timeout=3 * PATIENCE)
            assert not alive

    @pytest.mark.parametrize("another", [False, True], ids=["goes", "is-replaced"])
    def test_a_node_that(self, tmp_path: Path, whole: dict[str, str], another: bool) -> None:
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        node = cluster.add_node(num_cpus=1)
        gone = threading.Event()

        def progress(seen: covary.GenerationProgress) -> None:
            if seen.shards_done >= 2 and not gone.is_set():
                gone.set()
                cluster.remove_node(node, allow_graceful=False)
                if another:
                    cluster.add_node(num_cpus=1)

        try:
            report = make(tmp_path, on=RayExecutor(2, cluster.address), progress=progress)
        finally:
            cluster.shutdown()
        assert gone.is_set()
        assert report.finished
        assert content(tmp_path) == whole

    @pytest.mark.parametrize("number", range(2))
    def test_workers_killed_again_and_again(
        self, tmp_path: Path, whole: dict[str, str], number: int
    ) -> None:
        moments: random.Random = chance()
        begun, over = threading.Event(), threading.Event()

        def assassin() -> None:
            begun.wait()
            # Not for ever: a busy machine may take longer to start a worker than to kill it.
            for _ in range(8):
                if over.wait(moments.uniform(0.2, 3)):
                    return
                if alive := actors():
                    kill_nine(moments.choice(alive).pid)

        thread = threading.Thread(target=assassin)
        thread.start()
        try:
            make(
                tmp_path, on=RayExecutor(2), progress=lambda seen: seen.shards_done and begun.set()
            )
        finally:
            over.set()
            begun.set()
            thread.join()
        assert make(tmp_path).finished
        assert content(tmp_path) == whole
        assert every_seed_once(tmp_path)


def test_the_environment_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    with _ray._no_usage_report():
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert "RAY_USAGE_STATS_ENABLED" not in os.environ
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    with _ray._no_usage_report():
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
