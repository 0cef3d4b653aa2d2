"""Data sets as images and COCO's annotations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covary import InputError

from ._tree import TreeWriter, records_file

if TYPE_CHECKING:
    import torch

    from covary import DataSet, Sample

    from ._pictures import Maps

__all__ = ["Coco"]

_NUMBERS = 2**16
"""Annotations of an image are numbered below this, so that ids do not depend on other images."""


class Coco(TreeWriter):
    """Images and COCO's annotations: run-length encoded masks, compressed.

    ``images/train/KEY.png`` (or jpg, webp) and ``annotations/instances_train.json``; the same for
    ``val``. There is an annotation for each object where the task is instances, else for each class
    that the image shows, apart from the background; none for an object without pixels. The id of
    an image is its seed, that of a category the class's value in masks. ``records/`` lists the
    pairs of each shard, for covary.
    """

    def finish(self, dataset: DataSet, root: Path, folder: Path) -> None:
        """Write each split's ``annotations/instances_SPLIT.json``.

        Raises:
            OutputError: the folder is missing, read-only or full.
            InputError: a list of a shard is damaged.
        """
        from ._files import write_file

        for split in sorted({shard.split for shard in dataset.shards}):
            lists = [
                root / records_file(shard.name) for shard in dataset.shards if shard.split == split
            ]
            path = folder / "annotations" / f"instances_{split}.json"
            write_file(path, (text.encode() for text in _document(dataset, lists)))

    def _folder(self, name: str, split: str) -> str:
        return f"images/{split}"

    def _more(self, sample: Sample) -> Mapping[str, Any]:
        from covary.exports import coco_mask

        height, width = sample.mask.shape
        annotations = [
            {
                "id": sample.seed * _NUMBERS + number,
                "image_id": sample.seed,
                "category_id": category,
                **coco_mask(mask),
                **about,
            }
            for number, category, mask, about in _masks(sample)
        ]
        return {"height": height, "width": width, "annotations": annotations}

    def _pictures(self, sample: Sample, dataset: DataSet) -> Mapping[str, bytes]:
        from ._pictures import encode_image

        return {"image": encode_image(sample.image, self.params)}

    def _maps(self, record: Mapping[str, Any], pictures: Mapping[str, bytes], what: str) -> Maps:
        import torch

        from ._pictures import Maps, decode_image

        image = decode_image(pictures.get("image", b""), f"image of {what}")
        mask = torch.zeros(image.shape[1:], dtype=torch.uint8)
        instances = torch.zeros(image.shape[1:], dtype=torch.int32)
        for one in record.get("annotations", ()):
            pixels = _decoded(one, tuple(mask.shape), what)
            mask[pixels] = one["category_id"]
            instances[pixels] = one["id"] % _NUMBERS
        return Maps(image, mask, instances if "objects" in record else None)


def _masks(sample: Sample) -> Iterator[tuple[int, int, torch.Tensor, dict[str, float]]]:
    """(number, category, mask, what else there is to say) of each annotation."""
    if sample.instances is None:
        for category in sample.mask.unique().tolist():
            if category:
                yield category, category, sample.mask == category, {}
        return
    _check_objects(sample, sample.instances)
    for number in sample.instances.unique().tolist():
        if number:
            one = sample.objects[number - 1]
            yield number, one.category, sample.instances == number, {"score": one.score}


def _check_objects(sample: Sample, instances: torch.Tensor) -> None:
    """Refuse what these annotations cannot hold.

    Raises:
        InputError: too many objects, or a mask that is not theirs.
    """
    import torch

    if len(sample.objects) >= _NUMBERS:
        raise InputError(
            f"objects of sample {sample.key}",
            expected=f"{_NUMBERS - 1} at most",
            got=str(len(sample.objects)),
        )
    categories = torch.tensor([0, *(one.category for one in sample.objects)], dtype=torch.uint8)
    if not torch.equal(categories[instances.long()], sample.mask):
        raise InputError(
            f"mask of sample {sample.key}",
            expected="the categories of its objects, and 0 where there is none",
            got="another",
        )


def _document(dataset: DataSet, lists: Sequence[Path]) -> Iterator[str]:
    """The text of an annotation file, image by image and annotation by annotation."""
    categories = [
        {"id": number, "name": name} for number, name in enumerate(dataset.classes) if number
    ]
    yield f'{{"info": {json.dumps({"description": dataset.name}, ensure_ascii=False)},\n'
    yield f'"categories": {json.dumps(categories, ensure_ascii=False)},\n"images": [\n'
    yield from _joined(map(_image, _records(lists)))
    yield '\n],\n"annotations": [\n'
    yield from _joined(chain.from_iterable(each["annotations"] for each in _records(lists)))
    yield "\n]}\n"


def _records(lists: Sequence[Path]) -> Iterator[dict[str, Any]]:
    from ._files import read_lines
    from ._records import parsed

    for path in lists:
        for number, line in enumerate(read_lines(path), start=1):
            yield parsed(line, f"line {number} of {path}")


def _image(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": record["seed"],
        "file_name": Path(record["image_file_name"]).name,
        "height": record["height"],
        "width": record["width"],
    }


def _joined(values: Iterator[Any]) -> Iterator[str]:
    """Values as JSON, one a line, with a comma between two."""
    for number, value in enumerate(values):
        yield (",\n" if number else "") + json.dumps(value, ensure_ascii=False, sort_keys=True)


def _decoded(annotation: Mapping[str, Any], size: tuple[int, ...], what: str) -> torch.Tensor:
    """The pixels of an annotation, bool (H, W)."""
    import torch
    from pycocotools import mask

    stored = annotation["segmentation"]
    pixels = torch.from_numpy(mask.decode(stored).astype(bool))
    if tuple(pixels.shape) != size:
        raise InputError(
            f"annotation of {what}", expected=f"{size}, as its image", got=str(tuple(pixels.shape))
        )
    return pixels
