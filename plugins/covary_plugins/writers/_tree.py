"""What the formats share that store each picture as a file of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import covary

from ._params import PictureWriter

if TYPE_CHECKING:
    from covary import DataSet, Sample, Shard

    from ._pictures import Maps

__all__ = ["TreeWriter", "records_file"]


def records_file(shard: str) -> str:
    """Where the list of a shard's samples is."""
    return f"records/{shard}.jsonl"


class TreeWriter(PictureWriter):
    """Base of such writers: pictures as files, and a list of them for each shard.

    ``records/SHARD.jsonl`` has a line for each sample: key, seed, metadata, objects, and where its
    pictures are, ``image_file_name`` and so on, as `datasets` calls them.
    """

    def write(
        self, samples: Iterable[Sample], shard: Shard, dataset: DataSet, folder: Path
    ) -> None:
        """Write the samples' pictures and the list of them.

        Raises:
            OutputError: the folder is missing, read-only or full.
            InputError: a sample that does not fit the data set.
        """
        from ._files import write_file, write_lines
        from ._records import as_json, record_of

        lines = []
        for sample in samples:
            covary.check_sample(sample, dataset)
            record = {**record_of(sample), **self._more(sample)}
            for name, data in self._pictures(sample, dataset).items():
                suffix = self.params.image if name == "image" else "png"
                file = f"{self._folder(name, shard.split)}/{sample.key}.{suffix}"
                write_file(folder / self._base(shard.split) / file, [data])
                record[f"{name}_file_name"] = file
            lines.append(as_json(record, f"metadata of sample {sample.key}"))
        write_lines(folder / records_file(shard.name), lines)

    def read(self, root: Path, split: str | None = None) -> Iterator[Sample]:
        """The samples by their seeds.

        Raises:
            InputError: no such data set or split, or a damaged file.
        """
        from ._files import read_shards

        return read_shards(root, records_file("*"), split, partial(self._read, root))

    def read_shard(self, root: Path, shard: str) -> Iterator[Sample | covary.InputError]:
        """The samples of a shard; in the place of a damaged one, what is wrong.

        Raises:
            InputError: the list of them is missing or damaged.
        """
        return self._read(root, root / records_file(shard))

    # --- what differs between the formats -----------------------------------------------------

    @abstractmethod
    def _folder(self, name: str, split: str) -> str:
        """Where the pictures of a name are: image, mask or instances."""

    def _base(self, split: str) -> str:
        """From where these folders, and file names in lists, count."""
        return "."

    def _more(self, sample: Sample) -> Mapping[str, Any]:
        """What else to say of a sample in its line."""
        return {}

    def _pictures(self, sample: Sample, dataset: DataSet) -> Mapping[str, bytes]:
        """The pictures to store, by name."""
        from ._pictures import encode

        return encode(sample, self.params)

    def _maps(self, record: Mapping[str, Any], pictures: Mapping[str, bytes], what: str) -> Maps:
        """The tensors of a sample, from its line and its pictures."""
        from ._pictures import decode

        return decode(pictures, what)

    # ------------------------------------------------------------------------------------------

    def _read(self, root: Path, path: Path) -> Iterator[Sample | covary.InputError]:
        from ._files import read_lines

        base = root / self._base(path.stem.rpartition("-")[0])
        for number, line in enumerate(read_lines(path), start=1):
            try:
                sample = self._sample(line, base, f"line {number} of {path}")
            except covary.InputError as error:
                yield error
            else:
                yield sample

    def _sample(self, line: bytes, base: Path, what: str) -> Sample:
        from ._files import damaged
        from ._records import parsed, sample_of

        record = parsed(line, what)
        files = {
            name: base / record[f"{name}_file_name"]
            for name in ("image", "mask", "instances")
            if f"{name}_file_name" in record
        }
        try:
            pictures = {name: file.read_bytes() for name, file in files.items()}
        except OSError as error:
            raise damaged(Path(error.filename), error.strerror or str(error)) from error
        return sample_of(record, self._maps(record, pictures, what), what)
