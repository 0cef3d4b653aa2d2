"""Deliberate defects in writers, each of which their contract catches by name."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import covary
from covary import Box, DataSet, InputError, Sample, SampleObject, Shard
from covary.files import unwritable
from covary.testing import WriterContract, contract_for, run_contract
from plugin_factory import write_plugin


class Raw(covary.Writer):
    """One file a pair: a line of JSON, then the values of its tensors."""

    def write(
        self, samples: Iterable[Sample], shard: Shard, dataset: DataSet, folder: Path
    ) -> None:
        for sample in self.take(samples):
            self.check(sample, dataset)
            self.save(folder / self.name_of(sample, shard), self.encoded(sample, dataset))

    def take(self, samples: Iterable[Sample]) -> Iterable[Sample]:
        return samples

    def check(self, sample: Sample, dataset: DataSet) -> None:
        covary.check_sample(sample, dataset)

    def name_of(self, sample: Sample, shard: Shard) -> str:
        return f"{shard.split}-{sample.key}.raw"

    def save(self, path: Path, data: bytes) -> None:
        try:
            path.write_bytes(data)
        except OSError as error:
            raise unwritable(path, error) from error

    def encoded(self, sample: Sample, dataset: DataSet) -> bytes:
        tensors = {"image": sample.image, "mask": sample.mask}
        if sample.instances is not None:
            tensors["instances"] = sample.instances
        return self.line(sample, [*sample.image.shape[1:]]) + b"".join(
            tensor.contiguous().numpy().tobytes() for tensor in tensors.values()
        )

    def line(self, sample: Sample, size: list[int]) -> bytes:
        objects = [[o.category, *o.box.corners, o.score] for o in sample.objects]
        about = {"key": sample.key, "seed": sample.seed, "size": size, "objects": objects,
                 "instances": sample.instances is not None, **self.more(sample)}  # fmt: skip
        return json.dumps(about).encode() + b"\n"

    def more(self, sample: Sample) -> Mapping[str, Any]:
        return {"metadata": dict(sample.metadata)}

    def finish(self, dataset: DataSet, root: Path, folder: Path) -> None:
        self.save(folder / "classes.json", json.dumps(dataset.classes).encode())

    def read(self, root: Path, split: str | None = None) -> Iterator[Sample]:
        files = self.found(root, split)
        if not files:
            raise InputError(f"data set {root}", expected="files", got="none")
        return map(self.decoded, files)

    def found(self, root: Path, split: str | None) -> list[Path]:
        files = root.glob(f"{split or '*'}-*.raw")
        return sorted(files, key=lambda path: int(path.stem.split("-")[1]))

    def decoded(self, path: Path) -> Sample:
        try:
            line, _, values = path.read_bytes().partition(b"\n")
            about = json.loads(line)
            height, width = about["size"]
            count = height * width
            parts = np.split(np.frombuffer(values, np.uint8), [3 * count, 4 * count])
            image, mask = parts[0].reshape(3, height, width), parts[1].reshape(height, width)
            instances = None
            if about["instances"]:
                instances = torch.from_numpy(parts[2].view(np.int32).reshape(height, width).copy())
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"file {path}", expected="a whole one", got=str(error)) from error
        objects = tuple(SampleObject(o[0], Box(*o[1:5]), o[5]) for o in about["objects"])
        return Sample(
            about["key"], about["seed"], torch.from_numpy(image.copy()),
            torch.from_numpy(mask.copy()), instances, objects, about["metadata"],
        )  # fmt: skip


def wrong(component: type[covary.Writer], *only: str) -> dict[str, str]:
    """Check -> explanation of what the contract finds wrong with a writer."""

    class Tested(WriterContract):
        def create(self, **params: Any) -> Any:
            return component(**params)

    results = run_contract(Tested, only)
    return {result.check: result.message for result in results if not result.good}


def test_a_sound_writer_passes() -> None:
    assert wrong(Raw) == {}


class Stamps(Raw):
    """Says when it wrote."""

    def more(self, sample: Sample) -> Mapping[str, Any]:
        return {**super().more(sample), "written": time.time()}


class SignsInTheEnd(Raw):
    """Says when it ended."""

    def finish(self, dataset: DataSet, root: Path, folder: Path) -> None:
        self.save(folder / "finished.txt", time.strftime("%F", time.gmtime(time.time())).encode())


class NamesAtRandom(Raw):
    """Gives files names that nobody else has."""

    def name_of(self, sample: Sample, shard: Shard) -> str:
        return f"{shard.split}-{sample.key}-{os.urandom(8).hex()}.raw"


class Counts(Raw):
    """Numbers its files from the first that it ever wrote."""

    def more(self, sample: Sample) -> Mapping[str, Any]:
        self.written = getattr(self, "written", 0) + 1
        return {**super().more(sample), "number": self.written}


class AsInMemory(Raw):
    """Stores values in the order in which they lie in memory."""

    def encoded(self, sample: Sample, dataset: DataSet) -> bytes:
        values = sample.image.untyped_storage().tolist()
        return self.line(sample, [*sample.image.shape[1:]]) + bytes(values)


class Beside(Raw):
    """Keeps a list beside its folder."""

    def finish(self, dataset: DataSet, root: Path, folder: Path) -> None:
        super().finish(dataset, root, folder)
        self.save(folder.parent / "list.txt", b"all")


class Here(Raw):
    """Logs to the folder that it was started in."""

    def encoded(self, sample: Sample, dataset: DataSet) -> bytes:
        Path("writer.log").write_text(sample.key)
        return super().encoded(sample, dataset)


class LeavesTemporary(Raw):
    """Encodes in a temporary file and forgets it."""

    def encoded(self, sample: Sample, dataset: DataSet) -> bytes:
        handle, _ = tempfile.mkstemp()
        os.close(handle)
        return super().encoded(sample, dataset)


class OnePath(Raw):
    """Gives every shard's files the same names."""

    def name_of(self, sample: Sample, shard: Shard) -> str:
        return f"{shard.split}-{shard.seeds.index(sample.seed)}.raw"


class Rewrites(Raw):
    """Ends by changing what is there."""

    def finish(self, dataset: DataSet, root: Path, folder: Path) -> None:
        first = self.found(root, None)[0]
        self.save(folder / first.name, first.read_bytes() + b"first")


class WritesTheCard(Raw):
    """Writes a README of its own."""

    def finish(self, dataset: DataSet, root: Path, folder: Path) -> None:
        self.save(folder / "README.md", b"# A data set\n")


class Appends(Raw):
    """Adds to the list that is there."""

    def finish(self, dataset: DataSet, root: Path, folder: Path) -> None:
        path = root / "classes.json"
        before = path.read_bytes() if path.exists() else b""
        self.save(folder / path.name, before + json.dumps(dataset.classes).encode())


class WantsOne(Raw):
    """Looks at the first sample before it starts."""

    def take(self, samples: Iterable[Sample]) -> Iterable[Sample]:
        given = iter(samples)
        yield next(given)
        yield from given


class Collects(Raw):
    """Takes all samples before it writes the first."""

    def take(self, samples: Iterable[Sample]) -> Iterable[Sample]:
        return list(samples)


class Stops(Raw):
    """Thinks that a shard has ten samples."""

    def take(self, samples: Iterable[Sample]) -> Iterable[Sample]:
        return (sample for sample, _ in zip(samples, range(10), strict=False))


class InPlace(Raw):
    """Marks the background in the mask that it was given."""

    def encoded(self, sample: Sample, dataset: DataSet) -> bytes:
        sample.mask.masked_fill_(sample.mask == 0, 255)
        return super().encoded(sample, dataset)


class Dithers(Raw):
    """Draws from numpy's global state."""

    def encoded(self, sample: Sample, dataset: DataSet) -> bytes:
        np.random.rand()
        return super().encoded(sample, dataset)


class Squeezes(Raw):
    """Takes an axis of one for none."""

    def line(self, sample: Sample, size: list[int]) -> bytes:
        return super().line(sample, [*sample.mask.squeeze().shape])


class SevenBits(Raw):
    """Stores masks in signed bytes."""

    def decoded(self, path: Path) -> Sample:
        read = super().decoded(path)
        read.mask.clamp_(max=127)
        return read


class Coloured(Raw):
    """Describes itself with a colour that no file can hold."""

    def front_matter(self, dataset: DataSet) -> Mapping[str, Any]:
        return {"colour": torch.zeros(3)}


class LeavesErrors(Raw):
    """Lets the system's errors be."""

    def save(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)


class Silent(Raw):
    """Goes on when the disk is full."""

    def save(self, path: Path, data: bytes) -> None:
        try:
            path.write_bytes(data)
        except OSError:
            return


class Wraps(Raw):
    """Takes all errors for its own."""

    def write(
        self, samples: Iterable[Sample], shard: Shard, dataset: DataSet, folder: Path
    ) -> None:
        try:
            super().write(samples, shard, dataset, folder)
        except OSError as error:
            raise unwritable(folder, error) from error


class Swallows(Raw):
    """Ends a shard early when a sample fails."""

    def take(self, samples: Iterable[Sample]) -> Iterable[Sample]:
        try:
            yield from samples
        except Exception:
            return


class StaysBroken(Raw):
    """Cannot go on after an error."""

    def take(self, samples: Iterable[Sample]) -> Iterable[Sample]:
        assert not getattr(self, "busy", False), "still at work"
        self.busy = True
        yield from samples
        self.busy = False


class TakesAnything(Raw):
    """Does not look at what it is given."""

    def check(self, sample: Sample, dataset: DataSet) -> None:
        pass


class ForgetsMetadata(Raw):
    """Keeps the area alone."""

    def more(self, sample: Sample) -> Mapping[str, Any]:
        return {"metadata": {"area": sample.metadata["area"]}}


class SwapsColours(Raw):
    """Reads blue, green, red."""

    def decoded(self, path: Path) -> Sample:
        read = super().decoded(path)
        read.image.copy_(read.image.flip(0))
        return read


class ByName(Raw):
    """Reads files by their names, of which that of the largest seed is not the last."""

    def found(self, root: Path, split: str | None) -> list[Path]:
        return sorted(super().found(root, split), key=lambda path: path.stem.split("-")[1])


class AllSplits(Raw):
    """Reads everything, whatever the split."""

    def found(self, root: Path, split: str | None) -> list[Path]:
        return super().found(root, None)


class FindsNothing(Raw):
    """Takes a folder without files for an empty data set."""

    def read(self, root: Path, split: str | None = None) -> Iterator[Sample]:
        return map(self.decoded, self.found(root, split))


class Skips(Raw):
    """Leaves out what it cannot read."""

    def read(self, root: Path, split: str | None = None) -> Iterator[Sample]:
        for path in super().found(root, split):
            try:
                yield self.decoded(path)
            except InputError:
                continue


class LeavesReadErrors(Raw):
    """Lets errors of damaged files be."""

    def decoded(self, path: Path) -> Sample:
        try:
            return super().decoded(path)
        except InputError as error:
            raise error.__cause__ or error from None


class ByShards(Raw):
    """Reads a shard alone, and what is left of it."""

    def name_of(self, sample: Sample, shard: Shard) -> str:
        return f"{shard.split}-{sample.key}-{shard.name.rpartition('-')[2]}.raw"

    def read_shard(self, root: Path, shard: str) -> Iterator[Sample | InputError]:
        split, _, number = shard.rpartition("-")
        for path in self.found(root, split):
            if path.stem.endswith(f"-{number}"):
                try:
                    yield self.decoded(path)
                except InputError as error:
                    yield error


class WholeSplits(ByShards):
    """Reads all shards of the split."""

    def read_shard(self, root: Path, shard: str) -> Iterator[Sample | InputError]:
        return iter(self.read(root, shard.rpartition("-")[0]))


class DropsDamaged(ByShards):
    """Says nothing of what cannot be read."""

    def read_shard(self, root: Path, shard: str) -> Iterator[Sample | InputError]:
        return (one for one in super().read_shard(root, shard) if isinstance(one, Sample))


class LeavesShardErrors(ByShards):
    """Lets errors of damaged files be."""

    def read_shard(self, root: Path, shard: str) -> Iterator[Sample | InputError]:
        for one in super().read_shard(root, shard):
            if isinstance(one, InputError):
                raise ValueError("cut short")
            yield one


def test_a_sound_writer_that_reads_shards_passes() -> None:
    assert wrong(ByShards, "reads_what_is_left_of_a_shard", "reads_what_it_wrote") == {}


MUTANTS = {
    Stamps: (("writes_the_same_bytes_at_any_time",), "leave out times"),
    SignsInTheEnd: (("writes_the_same_bytes_at_any_time", "finishes_twice_alike"), "fixed mtime"),
    NamesAtRandom: (("writes_the_same_bytes_at_any_time",), "the same names again"),
    Counts: (("writes_the_same_bytes_after_another_shard",), "in local variables"),
    AsInMemory: (("writes_the_same_bytes_from_any_layout",), "use .contiguous()"),
    Beside: (("keeps_to_its_folder",), "list.txt elsewhere"),
    Here: (("keeps_to_its_folder",), "working/writer.log elsewhere"),
    LeavesTemporary: (("keeps_to_its_folder",), "remove what is temporary"),
    OnePath: (("gives_each_shard_paths_of_its_own",), "name files after"),
    Rewrites: (("leaves_shards_alone_in_the_end",), "hashes are already recorded"),
    WritesTheCard: (("leaves_shards_alone_in_the_end",), "front_matter()"),
    Appends: (("finishes_twice_alike",), "the same bytes again"),
    WantsOne: (("writes_an_empty_shard",), "a shard without samples"),
    Collects: (("takes_samples_one_at_a_time",), "may not fit in memory"),
    Stops: (("takes_samples_one_at_a_time",), "all 40 samples taken"),
    InPlace: (("leaves_samples_unchanged",), "the mask was changed"),
    Dithers: (("leaves_global_random_state_alone",), "of numpy was used"),
    Squeezes: (("takes_images_of_any_size",), "an image of one pixel"),
    SevenBits: (("takes_256_classes",), "another mask"),
    Coloured: (("describes_its_front_matter",), "plain data"),
    LeavesErrors: (("tells_that_it_cannot_write",), "got OSError"),
    Silent: (("tells_that_it_cannot_write",), "got a result"),
    Wraps: (("lets_errors_of_the_samples_through",), "got OutputError"),
    Swallows: (("lets_errors_of_the_samples_through",), "it went on"),
    StaysBroken: (("lets_errors_of_the_samples_through",), "still at work"),
    TakesAnything: (("refuses_what_does_not_fit_the_data_set",), "covary.check_sample"),
    ForgetsMetadata: (("reads_what_it_wrote",), "another metadata"),
    SwapsColours: (("reads_what_it_wrote",), "another image"),
    ByName: (("reads_by_splits_and_seeds",), "merge splits by seeds"),
    AllSplits: (("reads_by_splits_and_seeds",), "seeds read of split train"),
    FindsNothing: (("refuses_to_read_what_is_not_there",), "a folder without a data set"),
    Skips: (("notices_damage_in_reading",), "seeds read of the data set"),
    LeavesReadErrors: (("notices_damage_in_reading",), "catch what damaged files raise"),
    WholeSplits: (("reads_what_is_left_of_a_shard",), "seeds read of shard"),
    DropsDamaged: (("reads_what_is_left_of_a_shard",), "an InputError for what is lost"),
    LeavesShardErrors: (("reads_what_is_left_of_a_shard",), "catch what damaged files raise"),
}  # fmt: skip


@pytest.mark.parametrize("component", MUTANTS)
def test_a_defect_is_caught_by_name(component: type[covary.Writer]) -> None:
    checks, words = MUTANTS[component]
    found = wrong(component, *checks)
    assert tuple(found) == checks
    assert words in " ".join(found.values())


PLUGIN = """
import os
import covary

class Numbered(covary.Writer):
    "Numbers its files by the process."

    def write(self, samples, shard, dataset, folder):
        list(samples)
        (folder / shard.name).write_text(str(os.getpid()))

class Idle(covary.Writer):
    "Looks at the shard alone."

    def write(self, samples, shard, dataset, folder):
        (folder / shard.name).write_text(str(shard.seeds))

@covary.hookimpl
def covary_components():
    for each in (Numbered, Idle):
        name = each.__name__
        yield covary.Component(kind="writer", name=name.lower(), target=f"{__name__}:{name}")
"""


@pytest.mark.parametrize(
    ("name", "good", "bad", "words"),
    [
        (
            "numbered", "writes_the_same_bytes_at_any_time",
            "writes_the_same_bytes_in_another_process", "others in train-00000",
        ),
        (
            "idle", "writes_the_same_bytes_in_another_process",
            "serves_covary_generate", "expected all samples of shard",
        ),
    ],
)  # fmt: skip
def test_a_defect_of_a_plugin_is_caught_by_name(
    name: str, good: str, bad: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(tmp_path, "odd", PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    covary._registry.registry.cache_clear()
    results = run_contract(contract_for(f"odd/{name}"), (good, bad))
    covary._registry.registry.cache_clear()
    assert [result.outcome for result in results] == ["passed", "failed"]
    assert words in results[1].message
