"""What the segmenters from transformers have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

import covary
from covary.interfaces import BACKGROUND

from ._classes import Classes, ClassSet, class_names

if TYPE_CHECKING:
    import torch

    from covary import RunContext

    from ._networks import SemanticNetwork

__all__ = ["SemanticParams", "SemanticSegmenter"]


class SemanticParams(covary.Params):
    """Parameters of every segmenter from transformers."""

    checkpoint: str = Field(min_length=1, description="The network: a folder, or a hub id.")
    classes: Classes | None = Field(
        None,
        min_length=1,
        description="What to keep, all else is background: names among the network's labels, "
        "['sofa', 'person'], or names of your own with the numbers of their labels, "
        "{'furniture': [15, 23]}.",
    )
    batch: int = Field(4, ge=1, description="Images that the network looks at together.")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="Precision; half of either kind is for CUDA."
    )

    @field_validator("classes")
    @classmethod
    def _distinct(cls, value: Classes | None) -> Classes | None:
        names = list(value or ())
        if BACKGROUND in names:
            raise ValueError(f"names without {BACKGROUND!r}, which is always the first class")
        if not all(names) or len(set(names)) < len(names):
            raise ValueError("distinct names")
        return value


class SemanticSegmenter(covary.Segmenter):
    """A network with a label for every pixel; loaded when it is first asked."""

    params: SemanticParams
    determinism = "numeric"

    kinds: ClassVar[Mapping[str, tuple[str, str]]]
    """``model_type`` of a configuration -> its classes of transformers: network, processor."""
    usual: ClassVar[ClassSet]
    """The classes where none are given."""

    _network: SemanticNetwork | None = None

    @property
    def classes(self) -> Sequence[str]:
        """background, then the names that were asked for."""
        return class_names(self.params.classes, self.usual)

    def inputs(self) -> Mapping[str, str]:
        """Every file of the network, once it is loaded."""
        return self._network.inputs if self._network else MappingProxyType({})

    def segment(self, images: torch.Tensor, ctx: RunContext | None = None) -> torch.Tensor:
        """The class of every pixel, int64 (B, H, W).

        The likeliest of all labels of the network counts, also where it is none of the classes.

        Raises:
            InputError: images of another dtype or shape, or too thin; classes that do not fit the
                network; scores that are not finite.
            UnknownNameError: a class that the network does not know.
            CheckpointError: the network is not on this machine, damaged, or of another kind.
            MemoryBudgetError: not even one image fits on the device.
        """
        import torch

        from ..batches import in_batches
        from ..hub.quiet import quiet

        covary.check_images(images)
        ctx = ctx or covary.RunContext(device=images.device)
        if self._network is None:
            ctx.progress(0, 1, "loading the segmenter")
            self._network = self._load()
        with quiet():
            network = self._network.to(ctx.device)
            found = in_batches(images, network.segment, self.params.batch, device=ctx.device)
            return torch.cat(list(found))

    def _load(self) -> SemanticNetwork:
        import torch

        from ._networks import SemanticNetwork

        params = self.params
        network = SemanticNetwork(
            params.checkpoint,
            self.id or type(self).__name__,
            self.kinds,
            getattr(torch, params.dtype),
        )
        network.keep(params.classes, self.usual)
        return network
