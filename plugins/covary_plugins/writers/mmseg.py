"""Data sets in the layout of MMSegmentation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ._tree import TreeWriter

if TYPE_CHECKING:
    from covary import DataSet, Sample

__all__ = ["MMSeg"]

_Colour = tuple[int, int, int]

_HEAD = """\
# Data set {name!r} for MMSegmentation 1: put this file among the _base_ of a configuration.
metainfo = dict(
    classes={classes!r},
    palette={palette!r},
)
"""
_SPLIT = """\
{split}_dataloader = dict(
    dataset=dict(
        type="BaseSegDataset",
        data_root="{{{{ fileDirname }}}}",  # MMEngine puts the folder of this file here
        metainfo=metainfo,
        data_prefix=dict(img_path="img_dir/{split}", seg_map_path="ann_dir/{split}"),
        img_suffix=".{suffix}",
        seg_map_suffix=".png",
        reduce_zero_label=False,
    )
)
"""


class MMSeg(TreeWriter):
    """The layout of MMSegmentation, with a piece of configuration that loads it.

    ``img_dir/train/KEY.png`` (or jpg, webp) and ``ann_dir/train/KEY.png``, a palette picture whose
    indices are classes; the same for ``val``. ``dataset.py`` names classes, colours and folders.
    Where the task is instances, ``instance_dir/train/KEY.png`` numbers them, in 16 bits.
    ``records/`` lists the pairs of each shard, for covary.
    """

    def finish(self, dataset: DataSet, root: Path, folder: Path) -> None:
        """Write ``dataset.py``.

        Raises:
            OutputError: the folder is missing, read-only or full.
        """
        from ._files import write_file

        palette = [list(_colour(number)) for number in range(len(dataset.classes))]
        texts = [_HEAD.format(name=dataset.name, classes=dataset.classes, palette=palette)]
        for split in sorted({shard.split for shard in dataset.shards}):
            texts.append(_SPLIT.format(split=split, suffix=self.params.image))
        write_file(folder / "dataset.py", (text.encode() for text in texts))

    def _folder(self, name: str, split: str) -> str:
        kind = {"image": "img", "mask": "ann", "instances": "instance"}[name]
        return f"{kind}_dir/{split}"

    def _pictures(self, sample: Sample, dataset: DataSet) -> Mapping[str, bytes]:
        from ._pictures import encode

        return encode(sample, self.params, _palette())


@cache
def _palette() -> bytes:
    """All 256 colours, as fewer would be packed into fewer bits, which not every reader unpacks."""
    return bytes(level for number in range(256) for level in _colour(number))


def _colour(number: int) -> _Colour:
    """A colour for a class, by the rule of PASCAL VOC: black for the first, all 256 different.

    Bits 0, 1, 2 of the number become the highest bits of red, green, blue, the next three the
    second highest, and so on.
    """
    red, green, blue = (
        sum((number >> 3 * place + channel & 1) << 7 - place for place in range(3))
        for channel in range(3)
    )
    return red, green, blue
