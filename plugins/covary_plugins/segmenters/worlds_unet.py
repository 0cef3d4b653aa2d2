"""The parts of avatars and the objects of rooms, by a small U-Net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

import covary

if TYPE_CHECKING:
    import torch
    from torch import nn

    from covary import RunContext

__all__ = ["WORLDS", "WorldsUNet"]


class World(NamedTuple):
    """What is bundled for a world."""

    classes: tuple[str, ...]
    side: int
    """Shorter side in pixels of the images that the network was trained on."""


WORLDS: Mapping[str, World] = MappingProxyType(
    {
        "avatars": World(("background", "hair", "skin", "clothes", "eyes", "mouth"), 64),
        "rooms": World(("background", "window", "rug", "sofa", "coffee table", "lamp"), 128),
    }
)


class WorldsUNet(covary.Segmenter):
    """Labels rendered avatars or rooms, and what looks like them.

    A U-Net of 0.38 M parameters, trained on scenes of covary's own renderer with their exact masks,
    some of them blurred, so that it also judges generators that were trained on such scenes. Of any
    other image it makes an avatar or a room. Its skill is in the model card.

    It looks at images whose shorter side is 64 pixels (avatars) or 128 (rooms); others are scaled
    to that, and its scores, not its labels, are scaled back. Detail finer than that is lost.
    """

    class Params(covary.Params):
        world: Literal["avatars", "rooms"] = Field("avatars", description="What is shown.")
        checkpoint: str | None = Field(
            None,
            min_length=1,
            description="Weights of your own training: a safetensors file, or a name from the "
            "catalogue; unset: the bundled ones.",
        )

    params: Params
    determinism = "numeric"

    _network: nn.Module | None = None
    _inputs: Mapping[str, str] = MappingProxyType({})

    @property
    def classes(self) -> Sequence[str]:
        """Avatars: background, hair (with brows), skin, clothes, eyes, mouth; all but the first are
        the person. Rooms: background and the objects."""
        return WORLDS[self.params.world].classes

    def inputs(self) -> Mapping[str, str]:
        """The weights, once they are loaded."""
        return self._inputs

    def segment(self, images: torch.Tensor, ctx: RunContext | None = None) -> torch.Tensor:
        """The class of every pixel, int64 (B, H, W).

        Args:
            images: uint8 (B, 3, H, W).
            ctx: only its device is used.

        Raises:
            InputError: another dtype or shape.
            CheckpointError: weights that are missing, damaged or of another network.
            MemoryBudgetError: not even one image fits on the device.
        """
        from ..batches import placed
        from .unet import predict

        covary.check_images(images)
        ctx = ctx or covary.RunContext(device=images.device)
        network = placed(self._loaded(), ctx.device)
        return predict(network, images, side=WORLDS[self.params.world].side)

    def _loaded(self) -> nn.Module:
        if self._network is None:
            from covary.files import file_sha256

            from .unet import load_unet

            name = self.params.checkpoint or f"worlds-unet-{self.params.world}"
            path = covary.checkpoint_path(name)
            network = load_unet(path, classes=len(self.classes))
            self._inputs = {name: file_sha256(path)}
            self._network = network
        return self._network
