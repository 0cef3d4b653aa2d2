"""RGB as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from covary import FeatureSpace

if TYPE_CHECKING:
    import torch

    from covary import VariantBatch

__all__ = ["RGB"]


class RGB(FeatureSpace):
    """The variants' RGB values, 0..255, stored exactly in one byte each (paper Sec. 3.2).

    Half the memory of ``lab`` and no conversion. Distances weigh the three channels alike, which
    suits rooms and other scenes of flat colours (the paper's deeprooms row uses it).
    """

    channels = 3
    dtype = "uint8"

    def encode(self, batch: VariantBatch) -> torch.Tensor:
        """The images themselves, uint8 (B, 3, H, W)."""
        return batch.images
