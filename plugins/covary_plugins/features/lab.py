"""CIE LAB through kornia."""

from __future__ import annotations

from typing import TYPE_CHECKING

from covary import FeatureSpace

if TYPE_CHECKING:
    import torch

    from covary import VariantBatch

__all__ = ["LAB"]

# kornia holds about twelve float32 temporaries of its input: 12 MB for a strip of this size.
_STRIP_PIXELS = 2**16


class LAB(FeatureSpace):
    """CIE LAB (D65, 2 degrees), where distance is close to perceived difference (paper Sec. 3.2).

    L in 0..100, a and b in about -128..127, from sRGB through ``kornia.color.rgb_to_lab``. Stored
    as float16, which rounds by at most 0.03: an eighth of the step between neighbouring 8-bit
    colours.
    """

    channels = 3
    dtype = "float16"

    def encode(self, batch: VariantBatch) -> torch.Tensor:
        """LAB of the images, float16 (B, 3, H, W), converted strip by strip."""
        import torch
        from kornia.color import rgb_to_lab

        images = batch.images
        lab = torch.empty(images.shape, dtype=torch.float16, device=images.device)
        count, _, height, width = images.shape
        images_at_once = max(1, _STRIP_PIXELS // (height * width))
        rows = max(1, _STRIP_PIXELS // width)
        for i in range(0, count, images_at_once):
            for top in range(0, height, rows):
                strip = (slice(i, i + images_at_once), slice(None), slice(top, top + rows))
                lab[strip] = rgb_to_lab(images[strip].to(torch.float32) / 255)
        return lab
