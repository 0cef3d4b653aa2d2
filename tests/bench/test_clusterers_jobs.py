"""Which jobs the clusterer benchmark makes of its options."""

from __future__ import annotations

from itertools import groupby

import pytest
import torch

import covary
from covary_bench.clusterers import jobs as module
from covary_bench.clusterers.commands import _settings
from covary_bench.clusterers.data import data_name
from covary_bench.clusterers.jobs import TRACKS, VARIATIONS, Variation, backends, jobs, sweep
from covary_bench.clusterers.schema import Setting

SETTING = Setting(world="avatars", size=16, variants=3, k=3)
CPU = torch.device("cpu")


@pytest.mark.usefixtures("odd")
def test_every_discovered_clusterer_takes_part() -> None:
    found = backends()
    assert {backend.id for backend in found} == {c.id for c in covary.components("clusterer")}
    assert "odd/good" in {backend.id for backend in found}
    names = [backend.name for backend in backends(["faiss"])]
    assert names == ["all points", "own subsample"]


def test_every_variation_is_of_a_clusterer_and_makes_one() -> None:
    for component_id, variations in VARIATIONS.items():
        (entry,) = [c for c in covary.components("clusterer") if c.id == component_id]
        for variation in variations.values():
            entry.load().Params(k=3, **{**variation.rule, **variation.params})


def test_a_variation_of_unknown_parameters_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"covary/lloyd": {"fast": Variation({"speed": "high"})}}
    monkeypatch.setattr(module, "VARIATIONS", wrong)
    with pytest.raises(covary.InputError, match=r"variation 'fast' of covary/lloyd.*got speed"):
        backends(["lloyd"])


def test_the_rule_is_given_where_the_start_is_the_same() -> None:
    same, own = jobs([SETTING], TRACKS, backends(["covary/sklearn"])[:1], CPU)
    assert (same.rule, same.params) == (
        {"tol": 1e-4, "max_iter": 300},
        {"k": 3, "algorithm": "lloyd"},
    )
    assert (own.rule, own.params) == ({}, same.params)
    faiss, _ = jobs([SETTING], TRACKS, backends(["faiss"])[:1], CPU)
    assert faiss.rule == {}
    assert any("no tolerance" in note for note in faiss.notes)


def test_jobs_of_one_setting_and_track_are_neighbours() -> None:
    settings = [SETTING, SETTING.model_copy(update={"k": 4})]
    found = jobs(settings, TRACKS, backends(["lloyd", "faiss"]), CPU)
    places = [(job.setting.k, job.track) for job in found]
    assert places == sorted(places, key=lambda place: (place[0], TRACKS.index(place[1])))
    assert len({job.key() for job in found}) == len(found)


def test_a_sweep_changes_one_thing_at_a_time() -> None:
    found = list(sweep(SETTING, sizes=(16, 32), variants=(3, 5), ks=(2, 3)))
    assert found[0] == SETTING
    assert len(found) == len(set(found)) == 4
    for setting in found[1:]:
        differs = [
            n for n in ("size", "variants", "k") if getattr(setting, n) != getattr(SETTING, n)
        ]
        assert len(differs) == 1


def test_the_command_adds_the_sweep_and_keeps_the_same_data_together() -> None:
    first = Setting(world="avatars", size=256, variants=50, k=3)
    options = (first, ("avatars", "rooms"), (256,), (50,), (3, 8))
    plain, swept = (_settings(*options, with_sweep=with_sweep) for with_sweep in (False, True))
    assert len(plain) == 4
    assert set(plain) < set(swept)
    assert {s.size for s in swept} >= {128, 256, 512, 1024}
    assert {s.k for s in swept} >= {2, 3, 4, 8, 10}
    names = [data_name(setting) for setting in swept]
    assert len([name for name, _ in groupby(names)]) == len(set(names))


def test_versions_name_covary_and_the_packages() -> None:
    (backend, *_) = backends(["sklearn"])
    versions = backend.versions()
    assert versions["covary"] == covary.__version__
    assert "scikit-learn" in versions
