"""The boxes of rendered scenes, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

import covary
from covary.errors import did_you_mean

from ._selection import EXPAND

if TYPE_CHECKING:
    import torch

    from covary import Detection, RunContext
    from covary.testing.worlds import Scene

__all__ = ["WorldsBoxes"]

# Rounding may differ with the processor and the number of threads, by one grey level here and
# there; another scene differs by tens.
_TOLERANCE = 1.0


class WorldsBoxes(covary.Detector):
    """The renderer's own boxes of the objects of a scene: what a faultless detector would find.

    The scene is that of the query's seed, as the source ``worlds`` draws it; any other image is
    refused. Boxes are tight around what is visible of each object, unless they are expanded.
    """

    class Params(covary.Params):
        world: Literal["avatars", "rooms"] = Field("rooms", description="What the source draws.")
        labels: tuple[str, ...] | None = Field(
            None,
            min_length=1,
            description="Objects to find, e.g. sofa, coffee table, lamp, rug and window in rooms; "
            "unset: all.",
        )
        expand: float = EXPAND

    params: Params

    def labels(self) -> tuple[str, ...]:
        """The objects to find, or all that the world has."""
        from covary.testing import worlds

        return self.params.labels or tuple(worlds.get(self.params.world).objects)

    def detect(self, image: torch.Tensor, ctx: RunContext | None = None) -> Sequence[Detection]:
        """A box for each object that is visible, from back to front.

        Raises:
            InputError: a query that is no seed, an image of another scene, or a label that the
                world does not have.
        """
        import torch

        from covary.testing import worlds

        from ._candidates import expanded

        covary.check_image(image)
        world = worlds.get(self.params.world)
        wanted = self.labels()
        for label in wanted:
            if label not in world.objects:
                raise covary.InputError(
                    f"label {label!r} of detector worlds",
                    expected=f"an object of {world.name}",
                    fix=did_you_mean(label, world.objects),
                )
        size = (int(image.shape[1]), int(image.shape[2]))
        scene = world.scene(self._seed(ctx), size)
        self._check_scene(image, scene, self._seed(ctx))
        found = [(label, corners) for label, *corners in scene.truth.boxes[0] if label in wanted]
        tight = torch.tensor([corners for _, corners in found], dtype=torch.int64).reshape(-1, 4)
        boxes = expanded(tight, self.params.expand, size).tolist()
        return [
            covary.Detection(covary.Box(*corners), label)
            for (label, _), corners in zip(found, boxes, strict=True)
        ]

    def _seed(self, ctx: RunContext | None) -> int:
        query = ctx.query if ctx else None
        if query is None or query.seed is None:
            raise covary.InputError(
                "query of detector worlds",
                expected="the seed of a rendered scene",
                got="none" if query is None else "files",
                fix="use it in a pipeline with the source worlds, or give "
                "covary.RunContext(query=covary.Query(seed=7))",
            )
        return query.seed

    def _check_scene(self, image: torch.Tensor, scene: Scene, seed: int) -> None:
        drawn = scene.images(seed)[0].to(image.device)
        if float((drawn.float() - image.float()).abs().mean()) > _TOLERANCE:
            raise covary.InputError(
                "image of detector worlds",
                expected=f"seed {seed} of the world {self.params.world} at "
                f"{image.shape[2]}x{image.shape[1]}, as the source worlds draws it",
                got="another image",
                fix="give the source and the detector the same world",
            )
