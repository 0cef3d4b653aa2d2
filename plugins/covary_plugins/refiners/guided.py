"""Refinement by the guided filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

import covary
from covary import Refiner

if TYPE_CHECKING:
    import torch

    from covary import RunContext

__all__ = ["Guided"]

# He and Sun's own choice: the coarse grid has about four pixels a radius.
_GRID = 4


class Guided(Refiner):
    """Moves the border of a mask to the edges of the image (guided filter, He et al. 2010).

    In each small window the mask is replaced by the linear function of the image's colours that is
    nearest to it: where the image has an edge the mask gets one too, where it has none the mask is
    smoothed. Windows of a radius of 8 pixels or more are worked out on a coarser grid (He and Sun
    2015), so that time does not grow with the radius.
    """

    class Params(covary.Params):
        radius: float = Field(
            0.01,
            gt=0,
            le=0.25,
            description="Radius of the windows as a share of the image's shorter side; at least "
            "one pixel.",
        )
        eps: float = Field(
            1e-4,
            gt=0,
            description="Variance of colour, in 0..1, below which a window counts as without "
            "edges. A smaller value follows fainter edges.",
        )

    params: Params

    def refine(
        self, soft: torch.Tensor, image: torch.Tensor, ctx: RunContext | None = None
    ) -> torch.Tensor:
        """The mask led by the image's colours, float32 (H, W) in 0..1.

        Raises:
            InputError: ``soft`` is not float32 (H, W) in 0..1, or not of the size of ``image``.
        """
        import torch
        from kornia.filters import guided_blur
        from torch.nn.functional import pad

        covary.check_soft(soft, image)
        height, width = soft.shape
        radius = max(1, round(self.params.radius * min(height, width)))
        step = max(1, radius // _GRID)
        # On whole steps of the grid alone, older versions of kornia give back the same size.
        margins = (0, -width % step, 0, -height % step)
        with torch.inference_mode():
            filtered = guided_blur(
                pad(image[None].to(torch.float32) / 255, margins, mode="replicate"),
                pad(soft[None, None], margins, mode="replicate"),
                2 * radius + 1,
                self.params.eps,
                border_type="replicate",
                subsample=step,
            )
        return filtered[0, 0, :height, :width].clamp(0, 1).clone()
