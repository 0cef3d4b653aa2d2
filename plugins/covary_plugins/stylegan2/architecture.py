"""The sizes and settings that define a StyleGAN2 generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Architecture", "Kind"]

Kind = Literal["skip", "resnet", "orig"]
"""How resolutions connect: summed RGB, residual blocks, or neither (StyleGAN2 paper, Fig. 7)."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Everything needed to build a generator.

    Attributes:
        mapping_widths: size of z, then of every mapping layer's output; the last is w's.
        channels: feature channels at 4, 8, 16, ... up to the output resolution.
        img_channels: channels of the image.
        conv_clamp: limit of the activations, or None.
        lr_multiplier: the mapping network's learning-rate multiplier, applied at run time.
        use_noise: whether the layers carry noise maps.
        kind: ``skip`` and ``resnet`` have links past the convolutions, ``orig`` has none; only
            ``skip`` has RGB at every resolution.
        c_dim: number of classes of a conditional network; 0 is unconditional.
        embed_features: size of the class embedding beside z; 0 is unconditional.
        num_fp16_res: how many of the highest resolutions were trained in float16.
    """

    mapping_widths: tuple[int, ...]
    channels: tuple[int, ...]
    img_channels: int = 3
    conv_clamp: float | None = None
    lr_multiplier: float = 0.01
    use_noise: bool = True
    kind: Kind = "skip"
    c_dim: int = 0
    embed_features: int = 0
    num_fp16_res: int = 0

    @property
    def resolution(self) -> int:
        """Height and width of the images, pixels."""
        return int(4 * 2 ** (len(self.channels) - 1))

    @property
    def num_ws(self) -> int:
        """Codes per image."""
        return 2 * len(self.channels)

    @property
    def w_dim(self) -> int:
        """Size of one code."""
        return self.mapping_widths[-1]

    def init_kwargs(self) -> dict[str, Any]:
        """The settings that the shapes of a state dict do not show, as NVIDIA names them."""
        mapping: dict[str, Any] = {
            "num_layers": len(self.mapping_widths) - 1,
            "lr_multiplier": self.lr_multiplier,
        }
        if self.c_dim:
            mapping["embed_features"] = self.embed_features
        return {
            "z_dim": self.mapping_widths[0],
            "c_dim": self.c_dim,
            "w_dim": self.w_dim,
            "img_resolution": self.resolution,
            "img_channels": self.img_channels,
            "mapping_kwargs": mapping,
            "synthesis_kwargs": {
                "architecture": self.kind,
                "conv_clamp": self.conv_clamp,
                "num_fp16_res": self.num_fp16_res,
                "use_noise": self.use_noise,
            },
        }
