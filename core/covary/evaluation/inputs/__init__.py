"""What can be judged, or judge: one class a kind of input, found by what it is given.

:func:`open_input` reads ``"masks/"``, ``"worlds:avatars"`` and the like; ``INPUTS`` lists the
kinds in the order in which they are tried.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ...errors import InputError
from ..pairs import Judge, Listed
from ._celeba import CelebAMaskHQ
from ._datasets import DataSetFolder
from ._masks import MaskFolder, read_values
from ._options import InputOptions
from ._pipelines import PipelineResults
from ._rendered import Rendered
from ._results import ResultFolders
from ._segmenters import Segmented

__all__ = [
    "INPUTS",
    "CelebAMaskHQ",
    "DataSetFolder",
    "InputOptions",
    "MaskFolder",
    "PipelineResults",
    "Rendered",
    "ResultFolders",
    "Segmented",
    "exact",
    "open_input",
    "read_values",
]


class _Kind(Protocol):
    """What a class offers to be in ``INPUTS``."""

    @staticmethod
    def recognises(text: str) -> bool:
        """Whether that is one of its kind."""

    @classmethod
    def open(cls, text: str, options: InputOptions) -> Listed | Judge:
        """The input.

        Raises:
            InputError: it is none after all.
        """


INPUTS: dict[str, type[_Kind]] = {
    "exact masks by seed, worlds:avatars or worlds:rooms": Rendered,
    "a segmenter, segmenter:NAME": Segmented,
    "a data set of `covary generate`": DataSetFolder,
    "the folder of CelebAMask-HQ": CelebAMaskHQ,
    "results of `covary segment`": ResultFolders,
    "a folder of mask PNGs": MaskFolder,
}
"""Every kind, by what it is in words."""


def open_input(text: str, options: InputOptions | None = None) -> Listed | Judge:
    """The input that ``text`` names.

    Args:
        text: a folder, ``worlds:NAME`` or ``segmenter:NAME``.
        options: what to read in it.

    Raises:
        InputError: no kind of input, or one that is not whole.
        UnknownNameError: a world or segmenter of no such name.
    """
    for kind in INPUTS.values():
        if kind.recognises(text):
            return kind.open(text, options or InputOptions())
    raise InputError(
        f"input {text!r}",
        expected="; ".join(INPUTS),
        got="none of these" if Path(text).exists() else "no such folder",
        fix="check the path",
    )


def exact(prediction: Listed | Judge, options: InputOptions) -> Rendered:
    """The exact masks of what the predictions were made of.

    Raises:
        InputError: they were not made of rendered scenes.
    """
    source = getattr(prediction, "source", None)
    if source is None or source.use != "covary/worlds":
        got = "no known source" if source is None else f"images of {source.use}"
        raise InputError(
            "exact masks",
            expected="predictions of rendered scenes, of which they are known",
            got=got,
            fix="judge by a segmenter (`covary list segmenter`), or by masks of your own",
        )
    return Rendered(source.params.get("world", "avatars"), options)
