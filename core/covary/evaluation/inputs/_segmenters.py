"""A trained network as the judge, or as what is judged."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch

from ..._registry import find
from ...context import RunContext, resolve_device
from ...errors import InputError, PluginError
from ...interfaces import Segmenter, SupportsInputs
from ...provenance import component_data
from ...samples import BACKGROUND
from .._stamps import named_in, stamp
from ..pairs import LabelMap
from ._options import InputOptions

__all__ = ["Segmented"]

_PREFIX = "segmenter:"
_BLANK = 64
"""Sides in pixels of the image for which weights are loaded before the first one is read."""


class Segmented:
    """What a segmenter makes of the images of the other input.

    Args:
        segmenter: a component.
        device: where it runs.

    Raises:
        PluginError: its classes do not begin with ``background``.
    """

    def __init__(self, segmenter: Segmenter, device: str = "auto") -> None:
        self._segmenter = segmenter
        self._device = resolve_device(device)
        self.classes = tuple(segmenter.classes)
        if self.classes[:1] != (BACKGROUND,):
            raise PluginError(
                f"classes of segmenter {segmenter.id}",
                expected=f"{BACKGROUND!r} first",
                got=", ".join(self.classes[:3]),
                fix="correct its classes",
            )

    @staticmethod
    def recognises(text: str) -> bool:
        """Whether it is ``segmenter:NAME``."""
        return text.startswith(_PREFIX)

    @classmethod
    def open(cls, text: str, options: InputOptions) -> Segmented:
        """The registered segmenter of that name."""
        found = find(text.removeprefix(_PREFIX), "segmenter").create(options.segmenter)
        assert isinstance(found, Segmenter)  # noqa: S101  (for the type checker)
        return cls(found, options.device)

    def judge(self, given: LabelMap) -> LabelMap:
        """The segmenter's map of the image, at the image's size.

        Raises:
            InputError: there is no image.
            PluginError: the segmenter gave something else than it must.
        """
        return self.judge_many([given])[0]

    def judge_many(self, given: Sequence[LabelMap]) -> list[LabelMap]:
        """The segmenter's maps of several images; those of one size are looked at together.

        Raises:
            InputError: there is no image of one of them.
            PluginError: the segmenter gave something else than it must.
        """
        sizes: dict[torch.Size, dict[int, torch.Tensor]] = {}
        for number, one in enumerate(given):
            image = _image(one)
            sizes.setdefault(image.shape, {})[number] = image
        found: dict[int, torch.Tensor] = {}
        for images in sizes.values():
            found |= zip(images, self._labels(torch.stack(list(images.values()))), strict=True)
        return [LabelMap(one.name, found[i], one.image) for i, one in enumerate(given)]

    def describe(self) -> dict[str, Any]:
        """Kind, component, parameters and classes."""
        return {
            "kind": "segmenter",
            "use": self._segmenter.id,
            "params": self._segmenter.params.model_dump(mode="json"),
            "classes": list(self.classes),
        }

    def fingerprint(self) -> dict[str, Any]:
        """Version, device, its weights, and the files that the parameters name."""
        return {
            "weights": self._weights(),
            "component": component_data("segmenter", self._segmenter.id),
            "device": self._device.type,
            "files": stamp(named_in(self._segmenter.params.model_dump(mode="json"))),
        }

    def _weights(self) -> dict[str, str]:
        """The hashes of its weights, which it knows when it has seen an image."""
        if not isinstance(self._segmenter, SupportsInputs):
            return {}
        if not self._segmenter.inputs():
            with suppress(InputError):  # it may want larger images
                self._labels(torch.zeros(1, 3, _BLANK, _BLANK, dtype=torch.uint8))
        return dict(self._segmenter.inputs())

    def _labels(self, images: torch.Tensor) -> torch.Tensor:
        ctx = RunContext(device=self._device).at("segmenter", self._segmenter.id)
        images = images.to(self._device)
        return self._checked(self._segmenter.segment(images, ctx), images).cpu()

    def _checked(self, labels: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        expected = (len(images), *images.shape[2:])
        good = isinstance(labels, torch.Tensor) and labels.dtype == torch.int64
        if not good or tuple(labels.shape) != expected:
            got = f"{type(labels).__name__} {getattr(labels, 'dtype', '')}".rstrip()
            raise PluginError(
                f"segmenter {self._segmenter.id}",
                expected=f"int64 {expected}",
                got=f"{got} {tuple(getattr(labels, 'shape', ()))}",
                fix="correct its segment()",
            )
        return labels


def _image(given: LabelMap) -> torch.Tensor:
    if given.image is None:
        raise InputError(
            f"image {given.name}",
            expected="an image for the segmenter to look at",
            got="a mask alone",
            fix="give results, a data set, or CelebAMask-HQ, which have images",
        )
    return given.image
