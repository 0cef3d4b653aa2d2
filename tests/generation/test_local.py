"""Worker processes of this machine: errors, deaths, orphans. What is killed from outside is in
test_kills.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import covary
from covary import InputError, OutputError, PluginError
from covary.generation import _local
from covary.generation._executor import DEATHS
from covary.generation._worker import error_data, error_of, shard_data, shard_of
from plugin_factory import write_plugin

SOURCE = '''
    """A source that does what the seed says."""
    import os, sys
    import torch
    from pydantic import Field
    import covary

    class Odd(covary.VariantSource):
        accepts = frozenset({"seed"})
        class Params(covary.Params):
            deadly: tuple[int, ...] = Field((), description="seeds that kill their process")
            full: int | None = Field(None, description="seed at which the disk is full")

        def open(self, query, ctx):
            print("a plugin that talks")
            if query.seed in self.params.deadly:
                print("about to die", file=sys.stderr, flush=True)
                os.abort()
            if query.seed == self.params.full:
                raise OSError(28, "No space left on device", "/tmp/x")
            image = torch.zeros(3, 6, 6, dtype=torch.uint8)
            image[:, 2:4, 2:4] = 200 + query.seed
            return covary.Variants(image, 1, iter([covary.VariantBatch(image[None])]))

    @covary.hookimpl
    def covary_components():
        return [covary.Component(kind="source", name="odd", target="odd_source:Odd")]
'''


@pytest.fixture(autouse=True)
def _odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    # A module of its own name: another file's plugin of this namespace may be in sys.modules.
    write_plugin(site, "odd", SOURCE, module="odd_source")
    monkeypatch.syspath_prepend(site)
    covary._registry.registry.cache_clear()


def make(out: Path, workers: int = 2, **params: Any) -> covary.GenerationReport:
    pipe = covary.Pipeline(("odd/odd", params), "rgb", ("lloyd", {"k": 2}), "border", device="cpu")
    return covary.generate(
        pipe, range(8), out, "folder", shard_size=2, val=0.0, workers=workers, name="odd"
    )


def test_a_deadly_shard_is_given_up_and_the_rest_goes_on(tmp_path: Path) -> None:
    report = make(tmp_path / "data", deadly=[5])
    assert list(report.given_up) == ["train-00002"]
    reason = report.given_up["train-00002"]
    assert f"{DEATHS} workers died at it" in reason
    assert "SIGABRT" in reason
    assert "about to die" in reason
    assert report.total == 6
    assert not report.finished


def test_what_stops_one_stops_all(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left"):
        make(tmp_path / "data", full=2)
    staging = tmp_path / "data" / ".covary" / "staging"
    assert not list(staging.iterdir())


def test_workers_that_never_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_local, "_START", "raise SystemExit('no such luck')")
    with pytest.raises(PluginError, match=r"die before they begin.*no such luck"):
        make(tmp_path / "data")


def test_those_that_begin_do_the_work_of_those_that_never_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where memory is enough for one worker, but not for three."""
    only_one = f"import os; os.mkdir({str(tmp_path / 'taken')!r})\n"
    monkeypatch.setattr(_local, "_START", only_one + _local._START)
    report = make(tmp_path / "data", workers=3)
    assert report.finished
    assert report.total == 8


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
def test_a_worker_ends_with_its_driver() -> None:
    """Closing its stdin is what the end of a driver does, whichever way it ends."""
    worker = subprocess.Popen(
        [sys.executable, "-c", _local._START, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert worker.stdin is not None
    worker.stdin.close()
    assert worker.wait(60) == 0


@pytest.mark.parametrize(
    "error", [InputError("a", expected="b", got="c", fix="d"), OutputError("e")]
)
def test_errors_cross_the_pipe(error: covary.CovaryError) -> None:
    back = error_of(json.loads(json.dumps(error_data(error))))
    assert type(back) is type(error)
    assert str(back) == str(error)


def test_shards_cross_the_pipe() -> None:
    shard = covary.Shard("val-00003", "val", (1, 2, 3, 9))
    assert shard_of(json.loads(json.dumps(shard_data(shard)))) == shard
