"""What the tables ask of a baseline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

import covary

from .activations import Activations, FrozenGenerator

__all__ = ["Baseline", "Label", "Needs", "Report"]

Label = Callable[[Tensor], Tensor]
"""Gives the mask, bool (B, H, W), of images uint8 (B, 3, H, W)."""

Report = Callable[[str, int, int], None]
"""Called as ``report(what, done, total)``."""


def _silent(what: str, done: int, total: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Needs:
    """What a baseline asks for before it can give masks."""

    labelled: int
    """Images with masks by somebody else."""
    images: int
    """Generated images that it sees while it is fitted."""
    trained: str
    """What is trained: ``centres``, ``networks``, ..."""


class Baseline(ABC):
    """Masks of a generator's images, from its feature maps."""

    name: ClassVar[str]
    """By which commands and results know it."""

    generator: FrozenGenerator | None = None
    """What it was fitted to; None before."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """Its parameters, as plain data."""

    @property
    @abstractmethod
    def needs(self) -> Needs:
        """What `fit` takes."""

    def fit(
        self,
        generator: FrozenGenerator,
        *,
        label: Label | None = None,
        seed: int = 0,
        folder: Path | None = None,
        report: Report = _silent,
    ) -> None:
        """Get ready to give masks of ``generator``'s images; sees seeds below 1000 only.

        Args:
            label: gives masks to learn from; for baselines whose needs name labelled images.
            seed: of all that is drawn at random.
            folder: where a long fit keeps its checkpoints, to go on from them; None keeps none.
            report: hears of the progress.

        Raises:
            InputError: no ``label`` where one is needed.
        """
        if self.needs.labelled and label is None:
            raise covary.InputError(
                f"baseline {self.name}",
                expected=f"masks of {self.needs.labelled} images",
                got="none",
                fix="give fit(..., label=function from images to masks)",
            )
        self._fit(generator, label, seed, folder, report)
        self.generator = generator

    def masks(self, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images uint8 (B, 3, H, W) of ``seeds`` and their masks, bool (B, H, W).

        Raises:
            InputError: it was not fitted.
        """
        if self.generator is None:
            raise covary.InputError(
                f"baseline {self.name}", expected="a fitted one", got="a new one", fix="call fit()"
            )
        pairs = [
            (some.images, self._masks(some))
            for some in self.generator.batches(seeds, self._layers())
        ]
        images, masks = zip(*pairs, strict=True)
        return torch.cat(images), torch.cat(masks)

    def _layers(self) -> Sequence[int] | None:
        """Which convolutions' maps `_masks` looks at."""
        return None

    @abstractmethod
    def _fit(
        self,
        generator: FrozenGenerator,
        label: Label | None,
        seed: int,
        folder: Path | None,
        report: Report,
    ) -> None: ...

    @abstractmethod
    def _masks(self, some: Activations) -> Tensor:
        """bool (B, H, W)."""
