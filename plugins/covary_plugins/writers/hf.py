"""Data sets as Parquet files for Hugging Face's `datasets`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import covary

from ._hub import data_files
from ._params import PictureWriter

if TYPE_CHECKING:
    from pathlib import Path

    from covary import DataSet, Sample, Shard

__all__ = ["HuggingFace"]

_ROWS, _BYTES = 100, 2**25
"""What a row group holds at most, and so what is in memory at once."""


class HuggingFace(PictureWriter):
    """One Parquet file a shard, which `datasets.load_dataset` reads by the folder's name.

    ``data/train-00000.parquet`` has the columns key, seed, image, mask (grey levels being
    classes), classes (which of them the mask shows, by name), metadata (JSON) and, where the task
    is instances, instances (16 bits) and objects. The split ``val`` is called ``validation``.
    """

    def write(
        self, samples: Iterable[Sample], shard: Shard, dataset: DataSet, folder: Path
    ) -> None:
        """Write ``data/SHARD.parquet``.

        Raises:
            OutputError: the folder is missing, read-only or full.
            InputError: a sample that does not fit the data set.
        """
        from pyarrow import Table
        from pyarrow.parquet import ParquetWriter

        from ._files import closing, writing

        path = folder / "data" / f"{shard.name}.parquet"
        schema = _features(dataset).arrow_schema
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Pictures do not shrink any more, and neither repeat nor have an order.
            file = ParquetWriter(
                path, schema, compression="none", use_dictionary=False, write_statistics=["seed"]
            )
        with closing(path, file):
            for rows in _groups(self._row(sample, dataset) for sample in samples):
                table = Table.from_pylist(rows, schema=schema)
                with writing(path):
                    file.write_table(table)

    def read(self, root: Path, split: str | None = None) -> Iterator[Sample]:
        """The samples by their seeds.

        Raises:
            InputError: no such data set or split, or a damaged file.
        """
        from ._files import read_shards

        return read_shards(root, "data/*.parquet", split, _read)

    def read_shard(self, root: Path, shard: str) -> Iterator[Sample | covary.InputError]:
        """The samples of a shard; in the place of a damaged one, what is wrong.

        Raises:
            InputError: the file is missing, or damaged as a whole.
        """
        return _read(root / "data" / f"{shard}.parquet")

    def front_matter(self, dataset: DataSet) -> Mapping[str, Any]:
        """Which files are which split, for the top of ``README.md``."""
        return data_files(dataset, "data/{split}-*.parquet")

    def _row(self, sample: Sample, dataset: DataSet) -> dict[str, Any]:
        from ._pictures import encode
        from ._records import as_json, record_of

        pictures = encode(covary.check_sample(sample, dataset), self.params)
        row = record_of(sample)
        row["metadata"] = as_json(row["metadata"], f"metadata of sample {sample.key}")
        row["classes"] = sample.mask.unique().tolist()
        for name, data in pictures.items():
            suffix = self.params.image if name == "image" else "png"
            row[name] = {"bytes": data, "path": f"{sample.key}.{suffix}"}
        return row


def _features(dataset: DataSet) -> Any:
    """The columns, as `datasets` describes them."""
    from datasets import ClassLabel, Features, Image, Value

    category = ClassLabel(names=list(dataset.classes))
    columns = {
        "key": Value("string"),
        "seed": Value("int64"),
        "image": Image(),
        "mask": Image(),
        "classes": [category],
        "metadata": Value("string"),
    }
    if dataset.task == "instances":
        columns["instances"] = Image()
        columns["objects"] = [
            {"category": category, "box": [Value("int32")], "score": Value("float64")}
        ]
    return Features(columns)


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows in groups that fit in memory."""
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += len(row["image"]["bytes"])
        if len(group) == _ROWS or size >= _BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _read(path: Path) -> Iterator[Sample | covary.InputError]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    from ._files import damaged
    from ._pictures import decode
    from ._records import parsed, sample_of

    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=16):
                for row in batch.to_pylist():
                    what = f"{row['key']} in {path}"
                    pictures = {
                        name: row[name]["bytes"]
                        for name in ("image", "mask", "instances")
                        if name in row
                    }
                    try:
                        row["metadata"] = parsed(row["metadata"], f"metadata of {what}")
                        sample = sample_of(row, decode(pictures, what), what)
                    except covary.InputError as error:
                        yield error
                    else:
                        yield sample
    except (OSError, ArrowException, KeyError, TypeError) as error:
        raise damaged(path, getattr(error, "strerror", None) or str(error)) from error
