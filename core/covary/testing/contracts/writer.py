"""The contract of writers: the same bytes from the same pairs, whole files, clean errors."""

from __future__ import annotations

import json
import os
import tempfile
import time
import unittest
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import torch

import covary
from covary import (
    InputError,
    OutputError,
    Sample,
    SampleObject,
    Shard,
    SupportsFrontMatter,
    SupportsReading,
    SupportsShards,
    Writer,
)
from covary.processes import call
from covary.testing import _data_sets
from covary.testing._data_sets import (
    OWN,
    SHARDS,
    TASKS,
    Composed,
    Files,
    compose,
    contents,
    data_set,
    pairs,
    sample,
    write_shard,
)
from covary.testing._errors import ContractError
from covary.testing.contracts._base import require, unchanged
from covary.testing.contracts._full_disk import files_end_at
from covary.testing.contracts._image_contract import CheapContract
from covary.testing.contracts._images import awkward_images, layouts_of
from covary.testing.contracts._rules import explained, refuses

__all__ = ["WriterContract"]

_MANY, _AT_ONCE = 40, 8
"""Samples of a shard, and how many of them a writer may hold."""
_LATER = 400 * 24 * 3600.0
_TIMEOUT = 120.0

_OUTPUT_FIX = "catch OSError where files are written: raise covary.files.unwritable(path, error)"
_INPUT_FIX = "raise covary.InputError(what, expected=..., got=...)"
_SAME_FIX = (
    "leave out times, random names, versions and the order of sets; give archives a fixed mtime"
)


class WriterContract(CheapContract):
    """What a writer keeps to: bytes that follow from the pairs alone, and clean errors."""

    kind = "writer"

    lossless: ClassVar[bool] = True
    """Whether images are read back as they were; masks always are."""

    # --- for checks ---------------------------------------------------------------------------

    def composed(self, place: Path, task: str = "parts", **more: Any) -> Composed:
        """A whole data set, written by the component."""
        return compose(self.create, place, task, **more)

    def reader(self) -> Any:
        """The component, if it can read."""
        component = self.create()
        if not isinstance(component, SupportsReading):
            self.skip("it does not read what it wrote (read)")
        return component

    def shard(
        self, place: Path, samples: Iterable[Sample] | None = None, component: Writer | None = None
    ) -> Files:
        """What the component makes of the first shard, or of other samples."""
        given = pairs(SHARDS[0]) if samples is None else samples
        return write_shard(component or self.create(), given, SHARDS[0], data_set(), place)

    # --- rules: what is written ---------------------------------------------------------------

    def test_writes_the_same_bytes_at_any_time(self) -> None:
        """The same samples give the same files, byte by byte, in another folder on another day."""
        for task in TASKS:
            with _places() as (one, other):
                first = self.composed(one, task)
                with _clock_ahead():
                    second = self.composed(other, task)
                _alike(contents(first.root), contents(second.root), f"a data set of {task}")

    def test_writes_the_same_bytes_in_another_process(self) -> None:
        """The same samples give the same files in a process of its own."""
        entry = self.entry()
        if entry is None:
            self.skip("another process finds it by its registered name only")
        with _places() as (one, other):
            first = self.composed(one, "instances")
            asked = {"name": entry.id, "params": dict(self.params), "place": str(other),
                     "task": "instances"}  # fmt: skip
            ended, _ = call(f"{_data_sets.__name__}:write_elsewhere", asked, _TIMEOUT)
            require(ended.status == "ok", "another process", expected="files", got=ended.reason)
            _alike(contents(first.root), contents(other / "data-set"), "a data set")

    def test_writes_the_same_bytes_after_another_shard(self) -> None:
        """What it wrote before does not change a shard."""
        with _places() as (one, other):
            used = self.create()
            for shard in SHARDS[1:]:
                write_shard(used, pairs(shard), shard, data_set(), one / shard.name)
            _alike(
                self.shard(other / "fresh"),
                self.shard(other / "used", component=used),
                "a shard of a writer that wrote others before",
                "keep what belongs to a shard in local variables",
            )

    def test_writes_the_same_bytes_from_any_layout(self) -> None:
        """Images that are stored in another order in memory give the same files."""
        for number, name in enumerate(layouts_of(sample(0).image)):

            def strided(pair: Sample, name: str = name) -> Sample:
                turned = pair.mask.T.contiguous().T
                return replace(pair, image=layouts_of(pair.image)[name], mask=turned)

            with _places() as (one, other), explained(f"images stored as {name}"):
                given = [sample(seed) for seed in SHARDS[0].seeds]
                _alike(
                    self.shard(one / "shard", given),
                    self.shard(other / str(number), map(strided, given)),
                    f"images stored as {name}",
                    "use .contiguous() where a library needs it",
                )

    def test_keeps_to_its_folder(self) -> None:
        """It writes below the folder that it is given and nowhere else, temporary files neither."""
        with _places() as (place, other):
            (place / "working").mkdir()
            (other / "temporary").mkdir()
            with _working_in(place / "working"), _temporary(other / "temporary"):
                composed = self.composed(other / "work")
            allowed = {f"work/data-set/{name}" for name in contents(composed.root)}
            strangers = sorted({*contents(place), *(contents(other).keys() - allowed)})
            require(
                not strangers,
                "files",
                expected="below the folder that it was given",
                got=f"{strangers[0] if strangers else ''} elsewhere",
                fix="write to folder / name, and remove what is temporary",
            )

    def test_gives_each_shard_paths_of_its_own(self) -> None:
        """No two shards have a path in common: each holds the shard's name or a sample's key."""
        with _places() as (place, _):
            composed = self.composed(place, "instances")
        for shard in SHARDS:
            own = {shard.name, *(f"{seed:09d}" for seed in shard.seeds)}
            for path in composed.shards[shard.name]:
                require(
                    any(word in path for word in own),
                    f"a path of shard {shard.name}",
                    expected="the shard's name, or a sample's key, in it",
                    got=path,
                    fix="name files after shard.name or sample.key",
                )

    def test_leaves_shards_alone_in_the_end(self) -> None:
        """Finishing replaces no file of a shard, and no file is called as covary's own."""
        with _places() as (place, _):
            composed = self.composed(place)
        of_shards = {path for files in composed.shards.values() for path in files}
        replaced = sorted(of_shards & composed.finish.keys())
        require(
            not replaced,
            "files written in finish",
            expected="other names than those of shards, whose hashes are already recorded",
            got=", ".join(replaced),
        )
        taken = sorted(OWN & (of_shards | composed.finish.keys()))
        require(
            not taken,
            "files",
            expected=f"other names than {', '.join(sorted(OWN))}",
            got=", ".join(taken),
            fix="choose another name; for the top of README.md there is front_matter()",
        )

    def test_finishes_twice_alike(self) -> None:
        """Finishing a finished data set writes the same again."""
        with _places() as (place, other):
            composed = self.composed(place, "instances")
            with _clock_ahead():
                self.create().finish(data_set("instances", SHARDS), composed.root, other)
            _alike(composed.finish, contents(other), "what finish writes")

    def test_writes_an_empty_shard(self) -> None:
        """A shard without samples is written, finished and read as any other."""
        with _places() as (place, _), explained("a shard without samples", "write an empty file"):
            made = self.composed(place, samples=_only_of("train-00001"))
            component = self.create()
            if isinstance(component, SupportsReading):
                seeds = [each.seed for each in component.read(made.root)]
                _check_seeds(seeds, SHARDS[1].seeds, "a data set with empty shards")

    def test_takes_samples_one_at_a_time(self) -> None:
        """It takes each sample when it is made, and holds a few of them at most."""
        alive: list[weakref.ref[torch.Tensor]] = []
        most = 0

        def made() -> Iterator[Sample]:
            nonlocal most
            for seed in range(_MANY):
                most = max(most, sum(each() is not None for each in alive))
                one = sample(seed)
                alive.append(weakref.ref(one.image))
                yield one
                del one

        with _places() as (place, _):
            self.shard(place / "shard", made())
        require(
            len(alive) == _MANY,
            "a shard",
            expected=f"all {_MANY} samples taken",
            got=str(len(alive)),
        )
        require(
            most <= _AT_ONCE,
            "samples held at a time",
            expected=f"{_AT_ONCE} at most, as a shard may not fit in memory",
            got=str(most),
            fix="write each sample in a loop over the samples; keep encoded bytes if anything",
        )

    def test_leaves_samples_unchanged(self) -> None:
        """The tensors that it is given are the same afterwards."""
        given = [sample(seed, "instances") for seed in SHARDS[0].seeds]
        with _places() as (place, _), ExitStack() as watched:
            for pair in given:
                for name in ("image", "mask", "instances"):
                    watched.enter_context(unchanged(getattr(pair, name), f"the {name}"))
            write_shard(self.create(), given, SHARDS[0], data_set("instances"), place / "shard")

    def test_leaves_global_random_state_alone(self) -> None:
        """It draws no number from a global generator, and seeds none."""
        with _places() as (place, _):
            self.create()
            given = [sample(seed) for seed in SHARDS[0].seeds]
            with self.leaving_random_state_alone():
                self.shard(place / "shard", given)

    def test_takes_images_of_any_size(self) -> None:
        """Images of one pixel, one row or odd sides are written, and read back."""
        sizes = {name: tuple(image.shape[1:]) for name, image in awkward_images().items()}
        for task in ("parts", "instances"):
            for name, size in sizes.items():
                fix = "handle it: small images do occur"
                with _places() as (place, _), explained(name, fix):
                    made = self.composed(place, task, samples=_sized(size), shards=SHARDS[2:])
                    self._check_read(made, task, size)

    def test_takes_256_classes(self) -> None:
        """A data set with as many classes as a mask can tell apart is written, and read back."""
        names = ("background", *(f"class {number}" for number in range(1, 256)))
        dataset = replace(data_set(), classes=names)
        ramp = torch.arange(256, dtype=torch.uint8).reshape(16, 16)
        one = replace(sample(0, size=(16, 16)), mask=ramp)
        with _places() as (place, _), explained("256 classes"):
            root = place / "root"
            write_shard(self.create(), [one], SHARDS[0], dataset, root)
            component = self.create()
            if isinstance(component, SupportsReading):
                (again,) = component.read(root)
                _check_equal(again, one, self.lossless)

    def test_describes_its_front_matter(self) -> None:
        """What is to stand at the top of README.md is plain data."""
        component = self.create()
        if not isinstance(component, SupportsFrontMatter):
            self.skip("its format needs none (front_matter)")
        matter = component.front_matter(data_set(shards=SHARDS))
        try:
            json.dumps(matter, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ContractError("the front matter", expected="plain data", got=str(error)) from None
        require(
            isinstance(matter, Mapping) and all(isinstance(name, str) for name in matter),
            "the front matter",
            expected="a mapping with names",
            got=repr(matter),
        )

    # --- rules: errors ------------------------------------------------------------------------

    def test_tells_that_it_cannot_write(self) -> None:
        """A full disk and a folder that is gone are an OutputError, in writing and finishing."""
        writing = "write a shard"
        with _places() as (place, other):
            composed = self.composed(other)
            for size in (0, 1000):
                folder = place / str(size)
                folder.mkdir()
                with files_end_at(size):
                    self._cannot(partial(self._write_into, folder), f"{writing} to a full disk")
            gone = place / "file"
            gone.write_bytes(b"")
            self._cannot(partial(self._write_into, gone), f"{writing} where no folder is")
            if not composed.finish:
                return
            finishing = partial(self.create().finish, data_set(shards=SHARDS), composed.root)
            (place / "finish").mkdir()
            with files_end_at(0):
                self._cannot(partial(finishing, place / "finish"), "finish on a full disk")
            self._cannot(partial(finishing, gone), "finish where no folder is")

    def test_lets_errors_of_the_samples_through(self) -> None:
        """What goes wrong in making a sample is not taken for a failure to write."""
        errors = (_UnheardOfError("a failure"), OSError("a photo"), InputError("a seed"),
                  KeyboardInterrupt())  # fmt: skip
        for expected in errors:
            with _places() as (place, other):
                component = self.create()
                _check_raises(partial(self.shard, place / "one", _failing(expected), component),
                              expected)  # fmt: skip
                what = f"a shard after {type(expected).__name__} in another"
                with explained(what):
                    again = self.shard(other / "again", component=component)
                _alike(again, self.shard(other / "fresh"), what)

    def test_refuses_what_does_not_fit_the_data_set(self) -> None:
        """A class that the data set lacks, or instances where its task has none, is refused."""
        good, numbered = sample(0), sample(0, "instances")
        wrong = {
            "a mask with a class too many": (replace(good, mask=good.mask + 2), "parts"),
            "instances where the task has none": (numbered, "parts"),
            "no instances where the task has them": (sample(0, "foreground"), "instances"),
            "an object of no class": (
                replace(numbered, objects=tuple(_with_class(o, 7) for o in numbered.objects)),
                "instances",
            ),
        }
        for name, (one, task) in wrong.items():
            with _places() as (place, _):
                refuses(
                    partial(write_shard, self.create(), [one], SHARDS[0], data_set(task),
                            place / "shard"),
                    name,
                    fix="begin with covary.check_sample(sample, dataset)",
                )  # fmt: skip

    # --- rules: reading -----------------------------------------------------------------------

    def test_reads_what_it_wrote(self) -> None:
        """Images, masks, instances, objects and metadata come back as they were."""
        self.reader()
        for task in TASKS:
            with _places() as (place, _):
                self._check_read(self.composed(place, task), task)

    def test_reads_by_splits_and_seeds(self) -> None:
        """Samples come in the order of their seeds: of one split, or of all."""
        component = self.reader()
        with _places() as (place, _):
            root = self.composed(place).root
            for split in (None, "train", "val"):
                expected = sorted(
                    seed for shard in SHARDS for seed in shard.seeds if split in (None, shard.split)
                )
                seeds = [each.seed for each in component.read(root, split)]
                _check_seeds(seeds, expected, f"split {split}" if split else "all splits")

    def test_refuses_to_read_what_is_not_there(self) -> None:
        """A folder without a data set, and a split that it lacks, are an InputError."""
        component = self.reader()
        with _places() as (place, empty):
            root = self.composed(place).root
            for name, arguments in {
                "a folder without a data set": (empty,),
                "a folder that does not exist": (empty / "nowhere",),
                "a split that there is not": (root, "test"),
            }.items():
                refuses(lambda given=arguments: list(component.read(*given)), name, fix=_INPUT_FIX)  # type: ignore[misc]

    def test_notices_damage_in_reading(self) -> None:
        """A file that is cut short is an InputError, unless it is not needed."""
        self.reader()
        with _places() as (place, _):
            made = self.composed(place, "instances")
            for name in (name for files in made.shards.values() for name in files):
                path = made.root / name
                whole = path.read_bytes()
                path.write_bytes(whole[: len(whole) // 2])
                try:
                    self._check_read(made, "instances")
                except InputError:
                    pass
                except Exception as error:
                    raise ContractError(
                        f"reading with half of {name}",
                        expected="covary.InputError",
                        got=f"{type(error).__name__}: {error}",
                        fix="catch what damaged files raise, and " + _INPUT_FIX,
                    ) from error
                path.write_bytes(whole)

    def test_reads_what_is_left_of_a_shard(self) -> None:
        """A shard is read alone; where its files are cut short, what is lost is an InputError."""
        component = self.create()
        if not isinstance(component, SupportsShards):
            self.skip("it reads no shard alone (read_shard)")
        with _places() as (place, _):
            made = self.composed(place)
            for shard in SHARDS:
                seeds, errors = _left(component, made.root, shard)
                _check_seeds(seeds, shard.seeds, f"shard {shard.name}")
                require(not errors, f"shard {shard.name}", expected="no error", got=str(errors[:1]))
            for shard in SHARDS:
                for name in made.shards[shard.name]:
                    path = made.root / name
                    whole = path.read_bytes()
                    path.write_bytes(whole[: len(whole) // 2])
                    seeds, errors = _left(component, made.root, shard)
                    path.write_bytes(whole)
                    require(
                        bool(errors) or seeds == list(shard.seeds),
                        f"shard {shard.name} with half of {name}",
                        expected="an InputError for what is lost",
                        got=f"seeds {seeds} alone",
                        fix="yield the error in the place of a damaged sample; raise it at the end "
                        "where the rest cannot be read",
                    )

    # --- rules: in use ------------------------------------------------------------------------

    def test_serves_covary_generate(self) -> None:
        """`covary generate` makes a data set with it, and finds it complete when asked again."""
        entry = self.entry()
        if entry is None:
            self.skip("it is found by its registered name only")
        source = ("worlds", {"resolution": 32, "n": 4})
        pipeline = covary.Pipeline(source, "rgb", ("lloyd", {"k": 2}), "corner")
        all_of_them = covary.Filters(require_foreground=False)
        component = self.create()
        with _places() as (place, _):
            first, again = (
                covary.generate(
                    pipeline, range(4), place / "made", (entry.id, dict(self.params)),
                    filters=all_of_them, shard_size=2, workers=1,
                )
                for _ in range(2)
            )  # fmt: skip
            require(
                first.made == first.shards > again.made == 0,
                "a data set of covary generate",
                expected=f"{first.shards} shards, all of them there when it is asked again",
                got=f"{first.made} made at first, {again.made} again",
            )
            if isinstance(component, SupportsReading):
                read = [each.seed for each in component.read(place / "made")]
                _check_seeds(read, range(4), "a data set of covary generate")

    # --- helpers ------------------------------------------------------------------------------

    def _write_into(self, folder: Path) -> None:
        self.create().write(
            (sample(seed, size=(64, 48)) for seed in range(3)), SHARDS[0], data_set(), folder
        )

    def _cannot(self, run: Callable[[], Any], what: str) -> None:
        refuses(run, f"trying to {what}", _OUTPUT_FIX, (OutputError,))

    def _check_read(self, made: Composed, task: str, size: tuple[int, ...] | None = None) -> None:
        component = self.create()
        if not isinstance(component, SupportsReading):
            return
        shards = (shard for shard in SHARDS if shard.name in made.shards)
        seeds = sorted(seed for shard in shards for seed in shard.seeds)
        read = list(component.read(made.root))
        _check_seeds([each.seed for each in read], seeds, "the data set")
        for one in read:
            given = sample(one.seed, task) if size is None else sample(one.seed, task, size)  # type: ignore[arg-type]
            _check_equal(one, given, self.lossless)


class _UnheardOfError(Exception):
    """What no writer has heard of."""


@contextmanager
def _places() -> Iterator[tuple[Path, Path]]:
    """Two empty folders."""
    with tempfile.TemporaryDirectory(prefix="covary-") as folder:
        places = Path(folder, "one"), Path(folder, "other")
        for place in places:
            place.mkdir()
        yield places


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _temporary(folder: Path) -> Iterator[None]:
    with mock.patch.object(tempfile, "tempdir", str(folder)):
        yield


@contextmanager
def _clock_ahead() -> Iterator[None]:
    """Let Python's clock show another day."""
    now = time.time

    def later() -> float:
        return now() + _LATER

    def later_in_ns() -> int:
        return int(later() * 1e9)

    with mock.patch("time.time", later), mock.patch("time.time_ns", later_in_ns):
        yield


def _alike(one: Files, other: Files, what: str, fix: str = _SAME_FIX) -> None:
    """Require the same files."""
    require(
        one.keys() == other.keys(),
        f"files of {what}",
        expected="the same names again",
        got=", ".join(sorted(one.keys() ^ other.keys())[:3]),
        fix=fix,
    )
    different = [name for name in one if one[name] != other[name]]
    require(
        not different,
        f"files of {what}",
        expected="the same bytes again",
        got=f"others in {', '.join(different[:3])}",
        fix=fix,
    )


def _only_of(name: str) -> Callable[[Shard, str], Iterable[Sample]]:
    return lambda shard, task: pairs(shard, task) if shard.name == name else ()


def _sized(size: tuple[int, ...]) -> Callable[[Shard, str], Iterable[Sample]]:
    return lambda shard, task: (sample(seed, task, size) for seed in shard.seeds)  # type: ignore[arg-type]


def _with_class(one: SampleObject, category: int) -> SampleObject:
    return replace(one, category=category)


def _failing(error: BaseException) -> Iterator[Sample]:
    yield sample(0)
    raise error


def _check_raises(run: Callable[[], Any], expected: BaseException) -> None:
    got = "it went on"
    try:
        run()
    except BaseException as error:
        if error is expected:
            return
        if isinstance(error, (KeyboardInterrupt, unittest.SkipTest)):  # whoever runs the tests
            raise
        got = f"{type(error).__name__}: {error}"
    raise ContractError(
        f"{type(expected).__name__} in making a sample",
        expected="it to pass through",
        got=got,
        fix="catch errors around what writes, not around the loop over samples",
    )


def _check_seeds(seeds: list[int], expected: Iterable[int], what: str) -> None:
    require(
        seeds == list(expected),
        f"seeds read of {what}",
        expected=str(list(expected)),
        got=str(seeds),
        fix="read shards by their names, and merge splits by seeds",
    )


def _left(
    component: SupportsShards, root: Path, shard: Shard
) -> tuple[list[int], list[InputError]]:
    """The seeds read of a shard, and what is wrong with the others."""
    seeds, errors = list[int](), list[InputError]()
    try:
        for one in component.read_shard(root, shard.name):
            if isinstance(one, InputError):
                errors.append(one)
            else:
                seeds.append(one.seed)
    except InputError as error:
        errors.append(error)
    except Exception as error:
        raise ContractError(
            f"reading a damaged shard {shard.name}",
            expected="covary.InputError",
            got=f"{type(error).__name__}: {error}",
            fix="catch what damaged files raise, and " + _INPUT_FIX,
        ) from error
    return seeds, errors


def _check_equal(one: Sample, given: Sample, lossless: bool) -> None:
    """Require what was read to be what was written."""
    different = [
        name
        for name in ("key", "seed", "objects", "metadata")
        if getattr(one, name) != getattr(given, name)
    ]
    for name in ("image", "mask", "instances"):
        read, was = getattr(one, name), getattr(given, name)
        if read is None or was is None:
            same = read is was
        elif name == "image" and not lossless:
            same = read.shape == was.shape
        else:
            same = torch.equal(read, was)
        if not same:
            different.append(name)
    require(
        not different,
        f"sample {given.key} read back",
        expected="what was written",
        got=f"another {' and another '.join(different)}",
        fix="store values as they are: images without loss, masks in grey levels, text as UTF-8",
    )
