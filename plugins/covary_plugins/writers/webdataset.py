"""Data sets as tar files for webdataset."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

import covary

from ._hub import data_files
from ._params import PictureWriter

if TYPE_CHECKING:
    import tarfile
    from pathlib import Path

    from covary import DataSet, Sample, Shard

__all__ = ["WebDataset"]

_END = 1024
"""Zeros that end a tar file; one that was cut short between two members lacks them."""


class WebDataset(PictureWriter):
    """One tar file a shard, as webdataset and `datasets` read it.

    ``train-00000.tar`` holds for each sample KEY.image.png (or jpg, webp), KEY.mask.png, grey
    levels being classes, KEY.instances.png of 16 bits where the task is instances, and KEY.json:
    key, seed, metadata and objects. ``classes.json`` lists the names of the classes.
    """

    def write(
        self, samples: Iterable[Sample], shard: Shard, dataset: DataSet, folder: Path
    ) -> None:
        """Write ``SHARD.tar``.

        Raises:
            OutputError: the folder is missing, read-only or full.
            InputError: a sample that does not fit the data set.
        """
        from webdataset import TarWriter

        from ._files import closing, writing

        path = folder / f"{shard.name}.tar"
        with writing(path):
            stream = path.open("wb")
        with closing(path, stream):
            # Without a time of its own each member would get the present one.
            tar = TarWriter(stream, encoder=False, mtime=0)
            with closing(path, tar):
                for sample in samples:
                    members = self._members(sample, dataset)
                    with writing(path):
                        tar.write({"__key__": sample.key, **members})

    def finish(self, dataset: DataSet, root: Path, folder: Path) -> None:
        """Write ``classes.json``.

        Raises:
            OutputError: the folder is missing, read-only or full.
        """
        from ._files import write_classes

        write_classes(dataset, folder)

    def read(self, root: Path, split: str | None = None) -> Iterator[Sample]:
        """The samples by their seeds.

        Raises:
            InputError: no such data set or split, or a damaged file.
        """
        from ._files import read_shards

        return read_shards(root, "*.tar", split, _read)

    def read_shard(self, root: Path, shard: str) -> Iterator[Sample | covary.InputError]:
        """The samples of a shard; in the place of a damaged one, what is wrong.

        Raises:
            InputError: the file is missing, or damaged as a whole.
        """
        return _read(root / f"{shard}.tar")

    def front_matter(self, dataset: DataSet) -> Mapping[str, Any]:
        """Which files are which split, and what is in them, for the top of ``README.md``."""
        files = data_files(dataset, "{split}-*.tar")
        columns = _columns(dataset, self.params.image)
        info = {"dataset_info": {"config_name": "default", "features": columns}}
        return {**files, **info} if files else files

    def _members(self, sample: Sample, dataset: DataSet) -> dict[str, bytes]:
        from ._pictures import encode
        from ._records import as_json, record_of

        pictures = encode(covary.check_sample(sample, dataset), self.params)
        record = as_json(record_of(sample), f"metadata of sample {sample.key}")
        image = {f"image.{self.params.image}": pictures.pop("image")}
        others = {f"{name}.png": data for name, data in pictures.items()}
        return {**image, **others, "json": record.encode()}


def _read(path: Path) -> Iterator[Sample | covary.InputError]:
    import tarfile

    from ._files import damaged
    from ._pictures import decode
    from ._records import parsed, sample_of

    try:
        with tarfile.open(path, "r:") as tar:
            for key, members in groupby(tar, key=lambda member: member.name.partition(".")[0]):
                found = {_field(member): _content(tar, member) for member in members}
                what = f"{key} in {path}"
                try:
                    record = parsed(found.get("json", b""), f"record of {what}")
                    sample = sample_of(record, decode(found, what), what)
                except covary.InputError as error:
                    yield error
                else:
                    yield sample
        _check_end(path)
    except (OSError, tarfile.TarError) as error:
        raise damaged(path, getattr(error, "strerror", None) or str(error)) from error


def _columns(dataset: DataSet, image: str) -> list[dict[str, Any]]:
    """The columns, as `datasets` describes them; the metadata are those of `covary generate`.

    Left to itself it takes them from the first five samples of one shard, and fails at a later one
    with a confidence or an object if these have none, or if that shard is empty.
    """
    metadata = {"area": "float64", "confidence": "float64", "found": "bool", "reason": "string"}
    record = [
        {"name": "key", "dtype": "string"},
        {"name": "metadata", "struct": [{"name": n, "dtype": t} for n, t in metadata.items()]},
        {"name": "seed", "dtype": "int64"},
    ]
    pictures = [f"image.{image}", "mask.png"]
    if dataset.task == "instances":
        box = {"name": "box", "list": "int64"}
        rest = {"category": "int64", "score": "float64"}
        objects = [box, *({"name": n, "dtype": t} for n, t in rest.items())]
        record.append({"name": "objects", "list": objects})
        pictures.append("instances.png")
    return [
        {"name": "__key__", "dtype": "string"},
        {"name": "__url__", "dtype": "string"},
        *({"name": name, "dtype": "image"} for name in pictures),
        {"name": "json", "struct": record},
    ]


def _check_end(path: Path) -> None:
    from ._files import damaged

    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END))
        if file.read() != bytes(_END):
            raise damaged(path, "one that ends early")


def _field(member: tarfile.TarInfo) -> str:
    return member.name.partition(".")[2].partition(".")[0]


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file else b""
