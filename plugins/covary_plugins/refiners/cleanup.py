"""Refinement by size: specks removed, holes filled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

import covary
from covary import Refiner

if TYPE_CHECKING:
    import numpy as np
    import torch

    from covary import RunContext

    Mask = np.ndarray[tuple[int, int], np.dtype[np.bool_]]

__all__ = ["Cleanup"]


class Cleanup(Refiner):
    """Removes small regions of the foreground and fills small holes in it.

    A region is a set of foreground pixels (above 0.5) that touch by side or corner; a hole is a set
    of background pixels that touch by side and does not reach the image's border. The largest
    region always stays. What changes becomes 0 or 1, and so do the fringes of a removed region or
    a filled hole; every other pixel is left as it is.
    """

    class Params(covary.Params):
        min_area: float = Field(
            0.001, ge=0, le=1, description="Regions below this share of the image are removed."
        )
        max_hole: float = Field(
            0.001, ge=0, le=1, description="Holes below this share of the image are filled."
        )

    params: Params

    def refine(
        self, soft: torch.Tensor, image: torch.Tensor, ctx: RunContext | None = None
    ) -> torch.Tensor:
        """The mask without specks and pinholes, float32 (H, W) in 0..1.

        Raises:
            InputError: ``soft`` is not float32 (H, W) in 0..1, or not of the size of ``image``.
        """
        import torch

        mask = (covary.check_soft(soft, image) > 0.5).cpu().numpy()
        specks = _small_regions(mask, self.params.min_area * mask.size)
        clean = mask & ~specks
        holes = _small_holes(clean, self.params.max_hole * mask.size)
        clean |= holes
        emptied, filled = _grown(specks) & ~clean, _grown(holes) & clean
        refined = soft.clone()
        refined[torch.from_numpy(emptied).to(soft.device)] = 0
        refined[torch.from_numpy(filled).to(soft.device)] = 1
        return refined


def _small_regions(mask: Mask, area: float) -> Mask:
    """Pixels of regions smaller than ``area``, but never of the largest."""
    import numpy as np
    from skimage.measure import label

    regions = label(mask, connectivity=2)
    sizes = np.bincount(regions.ravel())
    small = sizes < area
    small[0] = False
    if len(sizes) > 1:
        small[1 + sizes[1:].argmax()] = False
    return small[regions]  # type: ignore[no-any-return]


def _small_holes(mask: Mask, area: float) -> Mask:
    """Pixels of holes smaller than ``area``."""
    import numpy as np
    from skimage.measure import label

    regions = label(~mask, connectivity=1)
    small = np.bincount(regions.ravel()) < area
    small[0] = False
    for side in (regions[0], regions[-1], regions[:, 0], regions[:, -1]):
        small[side] = False
    return small[regions]  # type: ignore[no-any-return]


def _grown(mask: Mask) -> Mask:
    """The pixels of ``mask`` and their eight neighbours."""
    import numpy as np
    from skimage.morphology import dilation

    return dilation(mask, np.ones((3, 3), dtype=bool))  # type: ignore[no-any-return]
