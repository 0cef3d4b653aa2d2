"""Rendered scenes with exact masks: the ground truth of tests, documentation and benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

import covary

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from covary.testing.worlds import Scene

# Pixels drawn at once: four images at 1024x1024, all fifty at 256x256.
_BATCH_PIXELS = 2**22


class Worlds(covary.VariantSource):
    """Variants of a rendered avatar or room: one structure in n appearances.

    The query's seed chooses the structure and the appearance of X_0; the variants' appearances
    derive from the run's seed. No weights are needed, and ``covary.testing.worlds`` gives the
    exact part labels, mask and boxes of the same seed.
    """

    class Params(covary.Params):
        world: Literal["avatars", "rooms"] = Field(default="avatars", description="what is drawn")
        resolution: int = Field(
            default=256, ge=16, le=2048, description="side of the square images, pixels"
        )
        n: int = Field(default=50, ge=1, description="number of variants")

    params: Params

    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.params.resolution, self.params.resolution

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes: the layout, some 40 half floats a pixel, and one batch of images."""
        return size[0] * size[1] * 80 + 6 * _BATCH_PIXELS

    def open(self, query: covary.Query, ctx: covary.RunContext) -> covary.Variants:
        """Draw the structure of the query's seed once, to be painted batch by batch."""
        from covary.testing import worlds

        if query.seed is None:
            raise covary.InputError("query of source worlds", expected="a seed", got="files")
        scene = worlds.get(self.params.world).scene(query.seed, self.size())
        appearances = scene.world.sample_appearance(self.params.n, ctx.generator())
        return covary.Variants(
            image=scene.images(query.seed)[0].to(ctx.device),
            count=self.params.n,
            batches=_paint(scene, appearances, ctx.device),
        )


def _paint(
    scene: Scene, appearances: Tensor, device: torch.device
) -> Iterator[covary.VariantBatch]:
    height, width = scene.layout.size
    for some in appearances.split(max(1, _BATCH_PIXELS // (height * width))):
        yield covary.VariantBatch(scene.world.paint(scene.layout, some).to(device))
