"""The run's context: seeds that depend on what they should, devices, memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from covary import InputError, RunContext
from covary.context import cache_folder, resolve_device

seeds = st.integers(0, 2**32 - 1)
names = st.text(st.characters(codec="ascii", categories=["L"]), max_size=8)


@given(seeds, names, names)
def test_a_derived_seed_depends_on_seed_stage_and_component_only(
    seed: int, stage: str, component: str
) -> None:
    ctx = RunContext(seed=seed)
    here = ctx.at(stage, component)
    elsewhere = RunContext(seed=seed, memory=5, cache=Path("x"), progress=print)
    assert here.derived_seed() == elsewhere.at(stage, component).derived_seed()
    assert 0 <= here.derived_seed() < 2**63
    others = [
        RunContext(seed=seed + 1).at(stage, component),
        ctx.at(stage + "x", component),
        ctx.at(stage, component + "x"),
    ]
    assert here.derived_seed() not in {other.derived_seed() for other in others}


@given(seeds)
def test_a_generator_starts_afresh_each_time(seed: int) -> None:
    ctx = RunContext(seed=seed).at("source", "a/b")
    one, two = (torch.rand(3, generator=ctx.generator()) for _ in range(2))
    assert torch.equal(one, two)
    assert ctx.generator().device.type == "cpu"


def test_a_generator_leaves_the_global_one_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    torch.rand(5, generator=RunContext(seed=3).generator())
    assert torch.equal(torch.rand(3), expected)


def test_memory_is_what_was_given_or_what_is_free() -> None:
    assert RunContext(memory=123).available_memory() == 123
    assert RunContext(memory=0).available_memory() == 0
    assert RunContext().available_memory() > 2**20


def test_progress_is_silent_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    RunContext().progress(1, 2, "variants")
    assert capsys.readouterr() == ("", "")


def test_the_cache_folder_is_not_made_by_asking(tmp_path: Path) -> None:
    assert not cache_folder().exists()
    assert RunContext().cache == cache_folder()


class TestDevice:
    def test_auto_is_the_gpu_where_there_is_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for there in (True, False):
            monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
            assert resolve_device().type == ("cuda" if there else "cpu")

    def test_a_device_is_kept(self) -> None:
        assert resolve_device(torch.device("cpu")) == resolve_device("cpu") == torch.device("cpu")

    @pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cpu:-2"])
    def test_unknown_names(self, name: str) -> None:
        with pytest.raises(InputError, match=r"device: expected auto, cpu, cuda or cuda:N"):
            resolve_device(name)

    @pytest.mark.parametrize(("name", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
    def test_a_gpu_that_is_not_there(
        self, monkeypatch: pytest.MonkeyPatch, name: str, count: int
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        with pytest.raises(InputError, match=f"device '{name}': .*got {count} of them"):
            resolve_device(name)
