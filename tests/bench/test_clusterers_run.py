"""The clusterer benchmark survives its backends, and can be stopped and resumed."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import covary
from covary_bench import process
from covary_bench.cli import bench
from covary_bench.clusterers import attempts, runner, worker
from covary_bench.clusterers.data import prepare
from covary_bench.clusterers.jobs import Job, backends, jobs
from covary_bench.clusterers.ledger import Ledger
from covary_bench.clusterers.protocol import Attempt, Request
from covary_bench.clusterers.quality import judge
from covary_bench.clusterers.reference import reference
from covary_bench.clusterers.schema import Memory, Setting
from covary_bench.clusterers.store import load_results

pytestmark = [
    pytest.mark.usefixtures("odd"),
    pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals and process groups"),
]

SETTING = Setting(world="avatars", size=16, variants=3, k=3)
MACHINE = {"processor": "an abacus"}
CPU = torch.device("cpu")


def request_for(folder: Path, name: str, **changes: Any) -> Request:
    data = prepare(SETTING, folder / "data")
    request = Request(
        id=f"odd/{name}",
        params={"k": 3},
        rule={},
        track="defaults",
        planes=data.file,
        size=data.size,
        variants=3,
        start=None,
        seed=0,
        device="cpu",
        repeats=2,
        enough=60,
        memory=None,
        cache=folder / "cache",
        labels=folder / "labels.npy",
        answer=folder / "answer.json",
    )
    return request.model_copy(update=changes)


def answer(request: Request, folder: Path) -> Attempt:
    """What the worker says, run in this process."""
    path = folder / "request.json"
    path.write_text(request.model_dump_json())
    worker.main(str(path))
    return Attempt.model_validate_json(request.answer.read_bytes())


# ------------------------------------------------------------ in the worker


def test_a_good_fit_is_timed_and_its_labels_are_kept(tmp_path: Path) -> None:
    request = request_for(tmp_path, "good")
    found = answer(request, tmp_path)
    assert found.status == "ok", found.reason
    assert len(found.warm) == 2
    assert min(found.cold, found.load, *found.warm) > 0
    assert found.params == {"k": 3}
    assert np.load(request.labels).shape == (16, 16)
    assert found.memory is not None
    assert found.memory.device is None


def test_slow_fits_are_not_repeated_beyond_what_is_enough(tmp_path: Path) -> None:
    assert len(answer(request_for(tmp_path, "good", repeats=9, enough=1e-9), tmp_path).warm) == 1


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("raises", "failed", "RuntimeError: no luck today"),
        ("refuses", "refused", "this image: expected a nicer one, got it"),
        ("exits", "failed", "SystemExit"),
        ("meddles", "failed", "changed the summary"),
        ("lacking", "missing", "no_such_package"),
        ("broken", "failed", "has no 'Missing'"),
    ],
)
def test_what_a_backend_does_is_told(tmp_path: Path, name: str, status: str, words: str) -> None:
    found = answer(request_for(tmp_path, name), tmp_path)
    assert (found.status, words in found.reason) == (status, True), found.reason
    if name in ("refuses", "lacking"):
        assert found.fix


def test_parameters_it_does_not_have_are_refused(tmp_path: Path) -> None:
    found = answer(request_for(tmp_path, "good", params={"clusters": 3}), tmp_path)
    assert found.status == "refused"
    assert "no parameter 'clusters'" in found.reason


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("std::bad_alloc"),
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        Exception("Insufficient memory (Failed to allocate 9 bytes)"),
    ],
)
def test_memory_that_ran_out_is_told_in_every_wording(error: Exception) -> None:
    assert worker.failure(error).status == "out of memory"


def test_a_backend_that_says_it_will_not_fit_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(covary.RunContext, "available_memory", lambda self: 1000)
    found = answer(request_for(tmp_path, "lloyd", id="covary/lloyd"), tmp_path)
    assert found.status == "refused"
    assert "will not fit at 16x16 with 3 variants" in found.reason


def test_the_same_start_is_handed_over_and_the_rule_as_far_as_it_is_known(tmp_path: Path) -> None:
    start = tmp_path / "start.npy"
    centers = np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32) * 30
    np.save(start, centers)
    rule = {"tol": 1e-4, "max_iter": 300}
    request = request_for(tmp_path, "starts", start=start, rule=rule)
    found = answer(request, tmp_path)
    assert found.status == "ok", found.reason
    assert found.params == {"tol": 1e-4, "k": 3}
    assert found.note == "has no parameter max_iter: stops by its own rule"
    # It overwrites the centres that it is given: the last fit must have had its own.
    x = np.load(request.planes).astype(np.float64).T
    expected = ((x[:, None] - centers[None]) ** 2).sum(axis=2).argmin(axis=1)
    labels = np.load(request.labels).reshape(-1)
    assert len({*zip(labels.tolist(), expected.tolist(), strict=True)}) == len(set(expected))


def test_a_backend_without_a_start_of_its_own_choice_is_refused(tmp_path: Path) -> None:
    start = tmp_path / "start.npy"
    np.save(start, np.zeros((3, 9), np.float32))
    found = answer(request_for(tmp_path, "good", start=start), tmp_path)
    assert found.status == "refused"
    assert "cannot start from given centres" in found.reason
    assert "fit_from" in found.fix


# ------------------------------------------------- in a process of its own


def test_a_segmentation_fault_is_named_with_the_last_words(tmp_path: Path) -> None:
    found = attempts.attempt(request_for(tmp_path, "segfaults"), 60)
    assert found.status == "crashed"
    assert found.reason == "died of SIGSEGV; it last said: about to die"
    assert found.busy is not None


def test_too_much_memory_is_told(tmp_path: Path) -> None:
    found = attempts.attempt(request_for(tmp_path, "hoards", memory=2**29), 60)
    assert (found.status, found.reason) == ("out of memory", "MemoryError")


def test_one_that_vanishes_is_missed(tmp_path: Path) -> None:
    request = request_for(tmp_path, "vanishes")
    request.answer.write_text('{"status": "ok"}')  # of an earlier job: not its own
    assert attempts.attempt(request, 60).reason == "ended without a result"


def test_one_that_sleeps_is_ended(tmp_path: Path) -> None:
    began = time.monotonic()
    found = attempts.attempt(request_for(tmp_path, "sleeps"), 2)
    assert found.status == "timeout"
    assert "2 s" in found.reason
    assert found.fix == "raise --timeout"
    assert time.monotonic() - began < 30


def test_what_it_prints_does_not_reach_the_answer(tmp_path: Path, capfd: Any) -> None:
    found = attempts.attempt(request_for(tmp_path, "prints"), 60)
    assert found.status == "ok", found.reason
    assert capfd.readouterr().out == ""


CHILDREN = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_ends_with_its_children(tmp_path: Path) -> None:
    (tmp_path / "site" / "begets.py").write_text(CHILDREN)
    assert process.run_module("begets", str(tmp_path / "pid"), 3).status == "timeout"
    child, deadline = int((tmp_path / "pid").read_text()), time.monotonic() + 20
    while alive(child) and time.monotonic() < deadline:  # a killed process takes its time to die
        time.sleep(0.01)
    assert not alive(child)


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("import os; os.kill(os.getpid(), 9)", "out of memory", "SIGKILL"),
        ("import os; os.kill(os.getpid(), 6)", "crashed", "SIGABRT"),
        ("raise SystemExit(3)", "crashed", "status 3"),
        ("1 / 0", "crashed", "ZeroDivisionError: division by zero"),
        ("pass", "ok", ""),
    ],
)
def test_how_a_process_ended_is_told(tmp_path: Path, line: str, status: str, words: str) -> None:
    (tmp_path / "site" / "ends.py").write_text(line)
    ended = process.run_module("ends", "", 60)
    assert (ended.status, words in ended.reason) == (status, True), ended.reason


# --------------------------------------------------------- many jobs in turn


def some_jobs(names: tuple[str, ...], *, ks: tuple[int, ...] = (2, 3)) -> list[Job]:
    settings = [SETTING.model_copy(update={"k": k}) for k in ks]
    return jobs(settings, ["defaults"], backends(names), CPU)


def ledger(folder: Path, **options: Any) -> Ledger:
    options = {"machine": MACHINE, "command": "covary bench clusterers", **options}
    return Ledger(folder / "out", **options)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No processes: every job takes no time and puts all pixels into two clusters."""
    log: list[str] = []

    def pretend(request: Request, timeout: float) -> Attempt:
        log.append(f"{request.id} {request.params['k']}")
        labels = np.zeros(request.size, np.int32)
        labels[: 4 + len(request.id)] = 1
        np.save(request.labels, labels)
        memory = Memory(host=0, host_method="none")
        seconds = float(len(log))
        return Attempt(status="ok", cold=seconds, warm=(seconds, seconds), memory=memory)

    monkeypatch.setattr(runner, "attempt", pretend)
    return log


def test_backends_take_turns_and_their_rounds_make_one_row(
    tmp_path: Path, asked: list[str]
) -> None:
    todo = some_jobs(("odd/good", "odd/prints"))
    rows = runner.run(todo, ledger(tmp_path), runner.Conditions(rounds=2))
    assert asked == [
        *["odd/good 2", "odd/prints 2"] * 2,
        *["odd/good 3", "odd/prints 3"] * 2,
    ]
    first = rows[0].times
    assert first is not None
    assert (first.cold, first.cached, first.warm) == (1, 3, (1, 1, 3, 3))
    kept = load_results(tmp_path / "out").rows
    assert [(row.id, row.setting.k) for row in kept] == [
        ("odd/good", 2), ("odd/prints", 2), ("odd/good", 3), ("odd/prints", 3),
    ]  # fmt: skip
    by_ratio = [row.quality.inertia_ratio for row in kept[:2] if row.quality]
    assert min(r for r in by_ratio if r) == 1
    assert max(r for r in by_ratio if r) > 1
    assert not (tmp_path / "out" / ".unfinished" / "data" / "avatars-16-3-lab-0").exists()


def test_what_is_not_there_is_a_row_and_no_job(tmp_path: Path, asked: list[str]) -> None:
    (row,) = runner.run(some_jobs(("odd/lacking",), ks=(2,)), ledger(tmp_path), runner.Conditions())
    assert (row.status, asked) == ("missing", [])
    assert "no_such_package" in row.reason
    assert row.fix.endswith("pip install 'covary-odd[all]'")


def test_a_backend_for_gpus_alone_is_a_row_where_there_is_none(tmp_path: Path) -> None:
    (row,) = runner.run(some_jobs(("covary/cuml",), ks=(2,)), ledger(tmp_path), runner.Conditions())
    assert row.status == "missing"
    assert "GPU" in row.reason


def test_one_that_fails_has_no_second_round(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = runner.attempt

    def half(request: Request, timeout: float) -> Attempt:
        found = fine(request, timeout)
        if request.id == "odd/good":
            np.save(request.labels, np.zeros((2, 2), np.int32))
        return found

    monkeypatch.setattr(runner, "attempt", half)
    rows = runner.run(some_jobs(("odd/good", "odd/prints"), ks=(2,)), ledger(tmp_path),
                      runner.Conditions(rounds=3))  # fmt: skip
    assert asked.count("odd/good 2") == 1
    assert asked.count("odd/prints 2") == 3
    assert [row.status for row in rows] == ["failed", "ok"]
    assert "its labels do not fit" in rows[0].reason


def stopping_after(count: int, inner: Callable[..., Attempt]) -> Callable[..., Attempt]:
    left = iter(range(count))

    def stop(request: Request, timeout: float) -> Attempt:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return inner(request, timeout)

    return stop


@pytest.mark.parametrize("done", range(8))
def test_stopped_anywhere_it_goes_on_with_nothing_lost_or_done_twice(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    todo = some_jobs(("odd/good", "odd/prints"))
    conditions = runner.Conditions(rounds=2)
    whole = runner.attempt
    monkeypatch.setattr(runner, "attempt", stopping_after(done, whole))
    with pytest.raises(KeyboardInterrupt):
        runner.run(todo, ledger(tmp_path), conditions)
    assert not list(tmp_path.glob("out/.unfinished/data/*"))
    monkeypatch.setattr(runner, "attempt", whole)
    rows = runner.run(todo, ledger(tmp_path, resume=True), conditions)
    assert sorted(asked) == sorted(2 * [f"{job.backend.id} {job.setting.k}" for job in todo])
    assert [row.status for row in rows] == ["ok"] * 4
    again = runner.run(todo, ledger(tmp_path, resume=True), conditions)
    assert len(asked) == 8
    assert again == rows


def test_what_failed_is_tried_again_where_asked(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    todo, whole = some_jobs(("odd/good",), ks=(2,)), runner.attempt
    monkeypatch.setattr(runner, "attempt", lambda *_: Attempt(status="crashed", reason="died"))
    assert runner.run(todo, ledger(tmp_path), runner.Conditions())[0].status == "crashed"
    monkeypatch.setattr(runner, "attempt", whole)
    kept = runner.run(todo, ledger(tmp_path, resume=True), runner.Conditions())
    assert (kept[0].status, asked) == ("crashed", [])
    retried = runner.run(todo, ledger(tmp_path, resume=True), runner.Conditions(retry=True))
    assert retried[0].status == "ok"


def test_another_version_or_parameter_is_another_row(tmp_path: Path, asked: list[str]) -> None:
    (job,) = some_jobs(("odd/good",), ks=(2,))
    book = ledger(tmp_path)
    runner.run([job], book, runner.Conditions(rounds=1))
    assert book.row(job) is not None
    newer = dataclasses.replace(job.backend.entry.origin, version="2.0")
    entry = dataclasses.replace(job.backend.entry, origin=newer)
    changed = dataclasses.replace(job, backend=dataclasses.replace(job.backend, entry=entry))
    assert book.row(changed) is None
    other = dataclasses.replace(job.backend.variation, params={"tol": 1})
    changed = dataclasses.replace(job, backend=dataclasses.replace(job.backend, variation=other))
    assert book.row(changed) is None
    assert changed.key() != job.key()
    runner.run([changed], book, runner.Conditions(rounds=1))
    assert len(asked) == 2
    assert len(book.results().rows) == 1, "the newer takes the place of the older"


def test_what_made_it_is_told_after_a_resume_too(tmp_path: Path, asked: list[str]) -> None:
    first, second = some_jobs(("odd/good",))
    command = "covary bench clusterers --k 2"
    runner.run([first], ledger(tmp_path, command=command, remark="quiet"), runner.Conditions())
    for _ in range(2):
        book = ledger(tmp_path, command=command.replace("2", "3"), resume=True)
        runner.run([second], book, runner.Conditions())
    assert book.results().command == f"{command}; covary bench clusterers --k 3 --resume"
    assert book.results().remark == "quiet"
    book = ledger(tmp_path, command=command, remark="loud", resume=True)
    assert book.results().command.count("; ") == 1
    assert book.results().remark == "loud"


def test_results_are_neither_overwritten_nor_mixed(tmp_path: Path, asked: list[str]) -> None:
    runner.run(some_jobs(("odd/good",), ks=(2,)), ledger(tmp_path), runner.Conditions())
    with pytest.raises(covary.InputError, match="--resume"):
        ledger(tmp_path)
    with pytest.raises(covary.InputError, match="difference in processor"):
        ledger(tmp_path, resume=True, machine={"processor": "a slide rule"})
    assert ledger(tmp_path, force=True).results().rows == ()


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    options = ["--backend", "odd/good", "--size", "16", "--out", str(tmp_path / "file" / "out")]
    result = CliRunner().invoke(bench, ["clusterers", *options])
    assert isinstance(result.exception, covary.OutputError)


# ------------------------------------------------------------ the command


def test_the_command_keeps_a_row_of_everything(tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["clusterers", "--size", "16", "--variants", "3", "--rounds", "1", "--repeats", "1"]
    options += ["--track", "defaults", "--out", str(out), "--remark", "a test"]
    for name in ("good", "segfaults", "lacking"):
        options += ["--backend", f"odd/{name}"]
    result = CliRunner().invoke(bench, options)
    assert result.exit_code == 1, result.output
    assert "odd/segfaults: crashed: died of SIGSEGV" in result.stdout
    results = load_results(out)
    assert [row.status for row in results.rows] == ["ok", "missing", "crashed"]
    assert results.remark == "a test"
    assert results.command.startswith("covary bench clusterers --size 16 --variants 3 --backend")
    assert "--out" not in results.command
    assert {path.name for path in out.iterdir()} == {
        "clusterers.json", "clusterers.md", "clusterers.html",
    }  # fmt: skip
    again = CliRunner().invoke(bench, [*options, "--resume", "--json"])
    assert json.loads(again.stdout)["rows"] == json.loads(json.dumps(results.model_dump()))["rows"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backend", "odd/god"], "did you mean 'odd/good'"),
        (["--size", "16", "--k", "300"], "at most 256 clusters"),
        (["--device", "cudda"], "device"),
    ],
)
def test_wrong_use_is_refused(tmp_path: Path, options: list[str], words: str) -> None:
    result = CliRunner().invoke(bench, ["clusterers", *options, "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, covary.CovaryError)
    assert words in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_ctrl_c_leaves_no_process_and_says_how_to_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "covary", "bench", "clusterers", "--backend", "odd/sleeps"]
    command += ["--size", "16", "--variants", "3", "--track", "defaults", "--out", "out"]
    running = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "awake").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "--resume" in said
    assert not [found for found in _workers() if str(tmp_path / "site") in found]
    assert (tmp_path / "out" / ".unfinished").exists()


def _workers() -> list[str]:
    """The environments of all workers of this benchmark that are alive."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text()
            environment = (folder / "environ").read_text()
        except (OSError, UnicodeDecodeError):
            continue
        if "covary_bench.clusterers.worker" in command:
            found.append(environment)
    return found


def test_judging_happens_outside_the_process_of_the_backend(tmp_path: Path) -> None:
    request = request_for(tmp_path, "good")
    answer(request, tmp_path)
    data = prepare(SETTING, tmp_path / "data")
    known = reference(data, SETTING, tmp_path)
    labels = np.load(request.labels)
    figures = judge(data, SETTING, labels, known, iterations=1, converged=True)
    assert figures.inertia > 0  # the backend itself says 0
