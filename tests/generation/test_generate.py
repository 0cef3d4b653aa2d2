"""Data sets from seeds to manifest, in this process; kills are in test_kills.py."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from pydantic import Field

import covary
from covary import (
    CheckpointError,
    Filters,
    GenerationReport,
    InputError,
    MemoryBudgetError,
    OutputError,
    PluginError,
)
from covary.files import replacing
from covary.generation import read_manifest, read_status
from covary.generation._executor import Listener
from covary.generation._folder import Folder
from covary.generation._manifest import read_records
from covary.testing.plugin import IsolatedRegistry
from tiny_components import Colours, Distinct, Given, Rest, Stripes

SEEDS = range(20)


class Troubled(Stripes):
    """Stripes that fail for some seeds, each in its own way."""

    class Params(Stripes.Params):
        trouble: dict[int, str] = Field({}, description="by seed")

    params: Params

    def open(self, query: covary.Query, ctx: covary.RunContext) -> covary.Variants:
        trouble = self.params.trouble.get(query.seed or 0)
        if trouble is not None:
            raise {
                "value": ValueError("no such\n face"),
                "input": InputError("query", got="a face that it cannot draw"),
                "disk": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
                "missing": FileNotFoundError("no file of it"),
                "memory": MemoryError("too much"),
                "torch": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
                "plugin": PluginError("it is broken"),
                "weights": CheckpointError("weights are gone"),
            }[trouble]
        return super().open(query, ctx)


def pipeline(trouble: dict[int, str] | None = None, nothing: bool = False) -> covary.Pipeline:
    source = Troubled(trouble=trouble or {})
    return covary.Pipeline(source, Colours(), Distinct(), Rest(nothing=nothing), device="cpu")


def make(out: Path, pipe: covary.Pipeline | None = None, **options: Any) -> GenerationReport:
    """Twenty seeds in shards of four, under one name wherever they are."""
    given = {"shard_size": 4, "val": 0.3, "name": "stripes", "writer": "folder", "seeds": SEEDS}
    return covary.generate(pipe or pipeline(), out=out, **given | options)


def content(folder: Path) -> dict[str, str]:
    """sha256 of every file but those that only covary needs."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".covary" not in path.parts
    }


def samples(folder: Path, split: str | None = None) -> list[covary.Sample]:
    return list(covary.create("folder", kind="writer").read(folder, split))


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here cuts the power, and waiting for the disk takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "data"
    make(folder)
    return folder


class TestPairs:
    def test_are_what_the_pipeline_gives(self, whole: Path) -> None:
        found = samples(whole)
        assert [sample.seed for sample in found] == list(SEEDS)
        for sample in found:
            expected = pipeline()(seed=sample.seed)
            assert torch.equal(sample.image, expected.image)
            assert torch.equal(sample.mask, expected.mask.to(torch.uint8))
            assert sample.metadata["area"] == pytest.approx(
                float(expected.mask.float().mean()), abs=1e-4
            )
            # Every pixel is at the centre of its cluster.
            assert sample.metadata["confidence"] == 1.0

    def test_are_in_the_split_of_their_seed(self, whole: Path) -> None:
        dataset, writer = read_manifest(whole)
        assert writer.use == "covary/folder"
        assert dataset.classes == ("background", "foreground")
        for split in ("train", "val"):
            listed = [seed for s in dataset.shards if s.split == split for seed in s.seeds]
            assert [sample.seed for sample in samples(whole, split)] == listed
            assert dataset.pairs[split] == len(listed) > 0

    def test_files_are_those_of_the_manifest(self, whole: Path) -> None:
        listed = {one.path: one.sha256 for record in read_records(whole) for one in record.files}
        assert listed.items() <= content(whole).items()
        assert not list((whole / ".covary" / "staging").iterdir())

    def test_two_runs_give_the_same_bytes(self, whole: Path, tmp_path: Path) -> None:
        make(tmp_path / "other")
        assert content(tmp_path / "other") == content(whole)

    def test_groups_of_queries_end_with_a_shard(self, tmp_path: Path, whole: Path) -> None:
        # This source opens one query at a time, so that the pairs are the same.
        make(tmp_path / "three", together=3)
        assert [s.key for s in samples(tmp_path / "three")] == [s.key for s in samples(whole)]

    def test_the_description_says_nothing_of_this_machine(self, whole: Path) -> None:
        for name in ("manifest.jsonl", "README.md", "pipeline.toml"):
            text = (whole / name).read_text()
            assert str(whole.parent) not in text
            assert os.uname().nodename not in text
            assert "seconds" not in text.replace("a second", "")

    def test_paths_in_the_recipe_are_only_names(self, tmp_path: Path) -> None:
        weights = covary.checkpoint_path("avatars-64")
        local = tmp_path / "own.safetensors"
        local.write_bytes(weights.read_bytes())
        pipe = covary.Pipeline(
            ("stylegan2", {"checkpoint": str(local), "n": 2}), "rgb", ("lloyd", {"k": 2}), "border"
        )
        make(tmp_path / "data", pipe, seeds=[3], workers=1)
        manifest = json.loads((tmp_path / "data" / "manifest.jsonl").read_text().split("\n")[0])
        assert manifest["job"]["recipe"]["source"]["checkpoint"] == "own.safetensors"
        digest = hashlib.sha256(local.read_bytes()).hexdigest()
        assert manifest["job"]["inputs"] == {"own.safetensors": digest}
        assert str(tmp_path) not in (tmp_path / "data" / "README.md").read_text()


class TestTasks:
    def test_instances(self, tmp_path: Path) -> None:
        boxes = ((0, 0, 8, 12, "left", 0.5), (8, 0, 16, 12, "right", 1.0))
        pipe = pipeline().replace(detector=Given(found=boxes))
        make(tmp_path / "all", pipe, task="instances", classes=["right", "left"])
        make(tmp_path / "one", pipe, task="instances", classes=["left"])
        both = 0
        for sample, part in zip(samples(tmp_path / "all"), samples(tmp_path / "one"), strict=False):
            result = pipe(seed=sample.seed)
            assert sample.instances is not None
            for number, one in enumerate(sample.objects, start=1):
                mine = result.objects[0 if one.category == 2 else 1]
                assert torch.equal(sample.instances == number, mine.mask)
                assert (sample.mask[mine.mask] == one.category).all()
                assert one.score == mine.score
            both += len(sample.objects) == 2
            assert {one.category for one in part.objects} <= {1}
        assert both
        assert all((sample.mask[:, 8:] == 0).all() for sample in samples(tmp_path / "one"))

    def test_parts(self, tmp_path: Path) -> None:
        names = ("background", "left", "right")
        rule = ("parts", {"parts": [
            {"name": name, "mean": (x, 0.5), "sigma": 0.2}
            for name, x in zip(names, (0.5, 0.15, 0.85), strict=True)
        ]})  # fmt: skip
        pipe = pipeline().replace(foreground=rule)
        make(tmp_path / "data", pipe, task="parts")
        dataset, _ = read_manifest(tmp_path / "data")
        assert dataset.classes == names
        shown = set()
        for sample in samples(tmp_path / "data"):
            result = pipe(seed=sample.seed)
            for value, name in enumerate(names[1:], start=1):
                number = result.part_names.index(name) + 1
                assert torch.equal(sample.mask == value, result.parts == number)
            shown |= set(sample.mask.unique().tolist())
        assert shown == {0, 1, 2}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"task": "parts"}, "expected a foreground rule that names clusters"),
            ({"task": "instances"}, "expected a pipeline with a detector"),
            ({"classes": ["a"]}, "expected none, as they follow from the pipeline"),
            ({"task": "depth"}, "expected foreground or parts or instances"),
            ({"seeds": []}, "expected at least one"),
            ({"val": 1.5}, "expected a share in 0..1"),
            ({"shard_size": 0}, "expected at least 1"),
            ({"workers": 0}, "expected at least 1"),
            ({"workers": 2}, "expected registered components"),
            ({"on": "moon"}, "expected local, ray or an executor"),
            ({"writer": "folders"}, "did you mean 'folder'"),
        ],
    )
    def test_what_makes_no_sense(
        self, tmp_path: Path, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(covary.CovaryError, match=message):
            make(tmp_path / "data", **options)
        assert not (tmp_path / "data").exists()

    def test_instances_need_known_labels(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="--classes"):
            make(tmp_path / "a", pipeline().replace(detector=Given()), task="instances")

    def test_a_detector_may_say_its_labels(self, tmp_path: Path) -> None:
        pipe = covary.Pipeline.preset("rooms").replace(
            source=("worlds", {"world": "rooms", "resolution": 32, "n": 3})
        )
        make(tmp_path / "a", pipe, seeds=[0], task="instances", classes=["sofa"], workers=1)
        assert read_manifest(tmp_path / "a")[0].classes == ("background", "sofa")
        with pytest.raises(InputError, match=r"labels of detector covary/worlds.*got 'sofas'"):
            make(tmp_path / "b", pipe, seeds=[0], task="instances", classes=["sofas"], workers=1)


class TestFilters:
    def test_each_seed_that_is_left_out_has_its_reason(self, tmp_path: Path, whole: Path) -> None:
        areas = {sample.seed: sample.metadata["area"] for sample in samples(whole)}
        low, high = sorted(areas.values())[5], sorted(areas.values())[-5]
        report = make(tmp_path / "data", filters=Filters(min_area=low, max_area=high))
        kept = {seed for seed, area in areas.items() if low <= area <= high}
        assert {sample.seed for sample in samples(tmp_path / "data")} == kept
        reasons = {s: r for rec in read_records(tmp_path / "data") for s, r in rec.left_out.items()}
        assert reasons.keys() == areas.keys() - kept
        for seed, reason in reasons.items():
            side = "below" if areas[seed] < low else "above"
            assert reason.startswith(f"area {areas[seed]:.4f} is {side} ")
        assert report.total == len(kept)
        assert sum(report.left_out.values()) == len(reasons)
        assert not report.failures

    def test_no_confident_foreground(self, tmp_path: Path) -> None:
        report = make(tmp_path / "a", pipeline(nothing=True))
        assert report.left_out == {"no confident foreground": len(SEEDS)}
        assert report.total == 0
        kept = make(
            tmp_path / "b", pipeline(nothing=True), filters=Filters(require_foreground=False)
        )
        assert kept.total == len(SEEDS)
        assert all(not sample.mask.any() for sample in samples(tmp_path / "b"))

    def test_confidence_is_the_mean_margin_over_the_foreground(self, tmp_path: Path) -> None:
        pipe = covary.Pipeline(
            ("worlds", {"resolution": 24, "n": 4}), "lab", ("lloyd", {"k": 3}), "border", soft=True
        )
        make(tmp_path / "data", pipe, seeds=range(4), workers=1)
        for sample in samples(tmp_path / "data"):
            result = pipe(seed=sample.seed)
            assert result.soft is not None
            sure = [max(0.0, 2 * float(s) - 1) for s in result.soft[result.mask]]
            assert sample.metadata["confidence"] == pytest.approx(sum(sure) / len(sure), abs=1e-3)
            assert 0 < sample.metadata["confidence"] < 1

    @pytest.mark.parametrize(
        "wrong", [{"min_area": -0.1}, {"max_area": 2}, {"min_area": 0.5, "max_area": 0.4}]
    )
    def test_refuses(self, wrong: dict[str, float]) -> None:
        with pytest.raises(InputError):
            Filters(**wrong)  # type: ignore[arg-type]

    def test_confidence_below(self) -> None:
        filters = Filters(min_confidence=0.5)
        assert filters.reason(True, 0.3, 0.4) == "confidence 0.4000 is below 0.5"
        assert filters.reason(True, 0.3, 0.5) == ""


class TestFailures:
    def test_a_seed_that_fails_costs_no_other(self, tmp_path: Path) -> None:
        trouble = {3: "value", 7: "input", 11: "missing"}
        report = make(tmp_path / "data", pipeline(trouble))
        assert report.finished
        assert report.failures == 3
        assert report.failed[3] == "ValueError: no such face"
        assert "a face that it cannot draw" in report.failed[7]
        assert {s.seed for s in samples(tmp_path / "data")} == set(SEEDS) - set(trouble)
        again = make(tmp_path / "data", pipeline(trouble))
        assert (again.made, again.failures) == (0, 3)

    def test_seeds_that_failed_are_tried_again_on_demand(
        self, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Troubled, "open", _fails_for({5}))
            assert make(tmp_path / "data").failures == 1
        report = make(tmp_path / "data", retry_failed=True)
        assert (report.made, report.failures) == (1, 0)
        assert content(tmp_path / "data") == content(whole)

    def test_no_picture_stays_of_a_seed_that_fails_only_the_second_time(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for seed in (5, 6):
            monkeypatch.setattr(Troubled, "open", _fails_for({seed}))
            make(tmp_path / "data", retry_failed=True)
        pictures = {int(path.stem) for path in tmp_path.rglob("images/*.png")}
        assert pictures == {*SEEDS} - {6}

    @pytest.mark.parametrize(
        ("trouble", "error"),
        [
            ("disk", OutputError),
            ("memory", MemoryBudgetError),
            ("torch", MemoryBudgetError),
            ("plugin", PluginError),
            ("weights", CheckpointError),
        ],
    )
    def test_what_all_seeds_would_meet_stops_the_run(
        self, tmp_path: Path, trouble: str, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            make(tmp_path / "data", pipeline({15: trouble}))
        folder = Folder(tmp_path / "data")
        assert list(folder.records.iterdir())
        assert not folder.manifest.exists()
        assert not list(folder.staging.iterdir())
        assert read_status(tmp_path / "data").state == "stopped"

    def test_a_shard_that_is_given_up_leaves_the_data_set_unfinished(
        self, tmp_path: Path, whole: Path
    ) -> None:
        report = make(tmp_path / "data", on=_GivesUp("train-00001"))
        assert report.given_up == {"train-00001": "it always dies"}
        assert not report.finished
        assert not (tmp_path / "data" / "manifest.jsonl").exists()
        assert make(tmp_path / "data").made == 1
        assert content(tmp_path / "data") == content(whole)


def _fails_for(seeds: set[int]) -> Any:
    def open_(self: Troubled, query: covary.Query, ctx: covary.RunContext) -> covary.Variants:
        if query.seed in seeds:
            raise RuntimeError("not today")
        return Stripes.open(self, query, ctx)

    return open_


class _GivesUp:
    """An executor whose workers die at one shard."""

    def __init__(self, shard: str) -> None:
        self.shard = shard

    def run(self, job: Any, root: Path, shards: Iterator[covary.Shard], hear: Listener) -> None:
        from covary.generation._executor import GivenUp
        from covary.generation._here import HereExecutor

        others = []
        for shard in shards:
            if shard.name == self.shard:
                hear(GivenUp(shard.name, "it always dies"))
            else:
                others.append(shard)
        HereExecutor(pipeline().replace(soft=True)).run(job, root, others, hear)


class _Disk:
    """Counts what is asked of the disk, and refuses from some call on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: BaseException, limit: int) -> None:
        self.calls, self.error, self.limit = 0, error, limit
        monkeypatch.setattr(os, "fsync", self._counted(os.fsync))
        monkeypatch.setattr(os, "replace", self._counted(os.replace))

    def _counted(self, real: Any) -> Any:
        def call(*args: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return real(*args)  # the heartbeat, which beats when it likes
            self.calls += 1
            if self.calls > self.limit:
                raise self.error
            return real(*args)

        return call


class TestInterruptions:
    @pytest.mark.parametrize("kind", ["full disk", "Ctrl-C"])
    def test_at_any_moment(
        self, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        error: BaseException = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        expected: type[BaseException] = OutputError
        if kind == "Ctrl-C":
            error, expected = KeyboardInterrupt(), KeyboardInterrupt
        small = {"seeds": range(8), "writer": "webdataset"}
        with monkeypatch.context() as patch:
            disk = _Disk(patch, error, 10**9)
            make(tmp_path / "whole", **small)
        for limit in range(0, disk.calls, 3):
            folder = tmp_path / str(limit)
            with monkeypatch.context() as patch:
                _Disk(patch, error, limit)
                with pytest.raises(expected):
                    make(folder, **small)
            make(folder, **small)
            assert content(folder) == content(tmp_path / "whole"), f"after {limit} calls"

    @pytest.mark.parametrize("writer", ["folder", "webdataset"])
    def test_all_that_is_there_has_reached_the_disk(
        self, tmp_path: Path, writer: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A power failure takes what is not on it: files, and the names in folders."""
        synced = set[int]()
        monkeypatch.setattr(os, "fsync", lambda handle: synced.add(os.fstat(handle).st_ino))
        folder = tmp_path / "data"
        make(folder, writer=writer, seeds=range(6))
        (folder / ".covary" / "staging").rmdir()
        assert {
            path.relative_to(folder).as_posix()
            for path in [folder, *folder.rglob("*")]
            if path.stat().st_ino not in synced
        } == {".covary/lock", ".covary/progress.json"}

    def test_half_a_file_of_a_killed_driver_does_not_stay(
        self, tmp_path: Path, whole: Path
    ) -> None:
        make(tmp_path / "data", on=_GivesUp("train-00001"))
        killed = [replacing(tmp_path / "data" / name) for name in ("manifest.jsonl", "README.md")]
        killed.append(replacing(Folder(tmp_path / "data").record("train-00000")))
        for one in killed:
            one.__enter__().write_text("half")
        make(tmp_path / "data")
        assert content(tmp_path / "data") == content(whole)
        assert not [*(tmp_path / "data").rglob("*.part")]

    def test_a_finished_data_set_is_left_alone(self, tmp_path: Path) -> None:
        make(tmp_path / "data")
        files = [path for path in (tmp_path / "data").rglob("*.*") if path.is_file()]
        before = {path: path.stat().st_mtime_ns for path in files}
        report = make(tmp_path / "data")
        assert (report.made, report.shards) == (0, 6)
        assert report.total == len(SEEDS)
        changed = [path.name for path in files if path.stat().st_mtime_ns != before[path]]
        assert changed == ["progress.json"]

    @pytest.mark.parametrize("damage", ["gone", "cut", "record"])
    def test_a_damaged_shard_is_made_again(self, tmp_path: Path, whole: Path, damage: str) -> None:
        make(tmp_path / "data")
        file = tmp_path / "data" / "train" / "masks" / f"{SEEDS[1]:09d}.png"
        if damage == "gone":
            file.unlink()
        elif damage == "cut":
            file.write_bytes(file.read_bytes()[:-1])
        else:
            record = Folder(tmp_path / "data").record("train-00000")
            record.write_text(record.read_text()[:100])
        assert make(tmp_path / "data").made == 1
        assert content(tmp_path / "data") == content(whole)

    def test_damage_of_the_same_size_is_found_on_demand(self, tmp_path: Path, whole: Path) -> None:
        make(tmp_path / "data")
        file = tmp_path / "data" / "train" / "images" / f"{SEEDS[1]:09d}.png"
        file.write_bytes(bytes(file.stat().st_size))
        assert make(tmp_path / "data").made == 0
        assert make(tmp_path / "data", verify=True).made == 1
        assert content(tmp_path / "data") == content(whole)

    def test_what_cannot_be_read_is_made_again(
        self, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make(tmp_path / "data")

        def fails(path: Path) -> str:
            if path.name == f"{SEEDS[1]:09d}.png":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return hashlib.sha256(path.read_bytes()).hexdigest()

        monkeypatch.setattr("covary.generation._generate.file_sha256", fails)
        assert make(tmp_path / "data", verify=True).made == 1
        assert content(tmp_path / "data") == content(whole)

    @pytest.mark.parametrize("what", ["record", "manifest"])
    def test_what_cannot_be_removed_is_told(
        self, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make(tmp_path / "data")
        (tmp_path / "data" / "train" / "masks" / f"{SEEDS[1]:09d}.png").unlink()
        unlink = Path.unlink

        def refuse(path: Path, missing_ok: bool = False) -> None:
            if path.name == {"record": "train-00000.json", "manifest": "manifest.jsonl"}[what]:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            unlink(path, missing_ok)

        monkeypatch.setattr(Path, "unlink", refuse)
        with pytest.raises(OutputError, match="Permission denied"):
            make(tmp_path / "data")


class TestFolders:
    @pytest.mark.parametrize(
        ("options", "difference"),
        [
            ({"val": 0.1}, "val: 0.3 -> 0.1"),
            ({"filters": Filters(min_area=0.1)}, "filters.min_area: 0.0 -> 0.1"),
            ({"writer": ("folder", {"png_level": 9})}, "writer.png_level: 1 -> 9"),
            ({"seeds": range(5)}, "seeds: 0-19 -> 0-4"),
            ({"seeds": range(30)}, "add --extend"),
            ({"seeds": range(5, 30), "extend": True}, "its seeds among others"),
            ({"shard_size": 5, "extend": True}, "shard_size: 4 -> 5"),
        ],
    )
    def test_another_job_is_refused(
        self, whole: Path, options: dict[str, Any], difference: str
    ) -> None:
        before = content(whole)
        with pytest.raises(InputError, match="holds another data set") as caught:
            make(whole, **options)
        assert difference in str(caught.value)
        assert content(whole) == before

    @pytest.mark.parametrize("more", [range(31), [*range(20), 500], [*range(20), 4000, 7000]])
    def test_seeds_are_added(self, tmp_path: Path, more: Sequence[int]) -> None:
        make(tmp_path / "data", seeds=range(2, 20))
        make(tmp_path / "data", seeds=more, extend=True)
        make(tmp_path / "at once", seeds=more)
        assert content(tmp_path / "data") == content(tmp_path / "at once")

    def test_full_shards_are_kept_when_seeds_are_added(self, tmp_path: Path) -> None:
        before = make(tmp_path / "data")
        after = make(tmp_path / "data", seeds=range(40), extend=True)
        # Of each split at most the last shard was not full.
        assert after.made <= after.shards - (before.shards - 2)

    def test_a_folder_of_something_else_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("precious")
        with pytest.raises(InputError, match=r"thesis\.tex"):
            make(tmp_path)
        assert (tmp_path / "thesis.tex").read_text() == "precious"
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    def test_a_data_set_that_has_lost_the_state_of_covary_is_left_alone(
        self, tmp_path: Path, whole: Path
    ) -> None:
        shutil.copytree(whole, tmp_path / "data", ignore=shutil.ignore_patterns(".covary"))
        with pytest.raises(InputError, match=r"a data set without its \.covary"):
            make(tmp_path / "data")
        assert content(tmp_path / "data") == content(whole)
        assert not (tmp_path / "data" / ".covary").exists()

    def test_a_manifest_that_was_cut_short(self, tmp_path: Path, whole: Path) -> None:
        lines = (whole / "manifest.jsonl").read_text().splitlines(keepends=True)
        (tmp_path / "manifest.jsonl").write_text("".join(lines[:-1]))
        with pytest.raises(InputError, match="expected a whole manifest"):
            read_manifest(tmp_path)

    @pytest.mark.parametrize("name", ["\udcff", "a\nb", " "])
    def test_a_name_that_files_cannot_hold(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(InputError, match="--name"):
            make(tmp_path / "data", name=name)
        assert not (tmp_path / "data").exists()

    def test_a_long_list_of_seeds_is_told_in_brief(self, tmp_path: Path, whole: Path) -> None:
        with pytest.raises(InputError, match="add --extend") as caught:
            make(whole, seeds=[*SEEDS, *range(100, 9000, 2)])
        assert len(str(caught.value)) < 600

    def test_two_drivers_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("covary.generation._generate._PATIENCE", 0.05)
        caught: list[str] = []

        def meanwhile(progress: Any) -> None:
            if not caught:
                with pytest.raises(InputError, match="another `covary generate`") as error:
                    make(tmp_path / "data")
                caught.append(str(error.value))

        make(tmp_path / "data", progress=meanwhile)
        assert caught

    def test_a_folder_that_cannot_be_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(OutputError, match="Read-only"):
            make(tmp_path / "data")

    def test_a_file_in_its_place(self, tmp_path: Path) -> None:
        (tmp_path / "data").write_text("precious")
        with pytest.raises(OutputError, match="data"):
            make(tmp_path / "data")

    def test_no_data_set_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="manifest"):
            read_manifest(tmp_path)
        with pytest.raises(InputError, match="began"):
            read_status(tmp_path)


class Rude(covary.Writer):
    """A writer that breaks a rule."""

    class Params(covary.Params):
        does: Literal[
            "nothing", "outside", "same", "own", "link", "raises", "stops", "swallows", "full"
        ] = Field("nothing", description="which")

    params: Params

    def write(self, samples: Any, shard: Any, dataset: Any, folder: Path) -> None:
        does = self.params.does
        if does == "stops":
            next(iter(samples))
            (folder / shard.name).write_text("one")
            return
        if does == "swallows":
            try:
                list(samples)
            except Exception:
                (folder / shard.name).write_text("some")
            return
        keys = [sample.key for sample in samples]
        if does == "raises":
            raise KeyError("colour")
        if does == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if does == "link":
            (folder / shard.name).symlink_to("/etc/hostname")
        elif does != "nothing":
            names = {"outside": "../{}", "same": "all.json", "own": ".covary/{}"}
            place = folder / names[does].format(shard.name)
            place.parent.mkdir(exist_ok=True)
            place.write_text(" ".join(keys))


class TestWriters:
    @pytest.fixture(autouse=True)
    def _registered(self, isolated_registry: IsolatedRegistry) -> None:
        component = covary.Component(kind="writer", name="rude", target=f"{__name__}:Rude")
        plugin = SimpleNamespace(
            __name__="rude_plugin", covary_components=covary.hookimpl(lambda: [component])
        )
        isolated_registry.register("rude", plugin)

    @pytest.fixture(autouse=True)
    def _importable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        monkeypatch.setitem(sys.modules, __name__, sys.modules[Rude.__module__])

    @pytest.mark.parametrize(
        ("does", "message"),
        [
            ("nothing", "expected files of shard train-00000, got none"),
            ("outside", "got train-00000 outside it"),
            ("same", r"expected paths with the shard's name \(train-00000\).*got all\.json"),
            ("own", "which covary writes"),
            ("link", "expected plain files"),
            ("raises", "got KeyError: 'colour'"),
            ("stops", "expected all samples of shard train-00000 to be taken, got fewer"),
        ],
    )
    def test_a_broken_one_is_named(self, tmp_path: Path, does: str, message: str) -> None:
        with pytest.raises(PluginError, match=message) as caught:
            make(tmp_path / "data", writer=("rude", {"does": does}), val=0.0)
        assert "rude/rude" in str(caught.value)
        assert not [*(tmp_path / "data").glob("[!.]*")]

    def test_one_that_swallows_an_error_does_not_hide_it(self, tmp_path: Path) -> None:
        with pytest.raises(PluginError, match="it is broken"):
            make(tmp_path / "data", pipeline({2: "plugin"}), writer=("rude", {"does": "swallows"}))

    def test_a_full_disk_is_no_fault_of_its(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="No space left"):
            make(tmp_path / "data", writer=("rude", {"does": "full"}))

    def test_one_that_is_not_registered(self, tmp_path: Path) -> None:
        class Own(Rude):
            pass

        with pytest.raises(InputError, match="register it through a plugin"):
            make(tmp_path / "data", writer=Own())
