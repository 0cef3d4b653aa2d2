"""Images, and clusters of them, that the contracts give to components."""

from __future__ import annotations

import torch

from covary import ClusterMap
from covary.testing import worlds
from covary.testing.worlds import Scene

__all__ = ["awkward_images", "exact_clusters", "layouts_of", "noise", "rendered"]


def noise(seed: int, *shape: int) -> torch.Tensor:
    """uint8 of this shape, e.g. (3, H, W), each value drawn on its own."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8)


def awkward_images() -> dict[str, torch.Tensor]:
    """By name, images uint8 (3, H, W) that code written for photos may stumble over."""
    return {
        "an image of one pixel": noise(0, 3, 1, 1),
        "an image of one row": noise(1, 3, 1, 9),
        "an image of one column": noise(2, 3, 7, 1),
        "an image with odd sides": noise(3, 3, 33, 17),
        "a black image": torch.zeros(3, 24, 32, dtype=torch.uint8),
        "a white image": torch.full((3, 24, 32), 255, dtype=torch.uint8),
    }


def layouts_of(images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same values (..., 3, H, W) in different memory orders, by name."""
    wider = torch.cat((images, images), dim=-1)
    return {
        "channels last": images.movedim(-3, -1).contiguous().movedim(-1, -3),
        "rows and columns exchanged": images.mT.contiguous().mT,
        "a part of a wider image": wider[..., : images.shape[-1]],
        "every other row of a taller image": images.repeat_interleave(2, dim=-2)[..., ::2, :],
    }


def exact_clusters(scene: Scene) -> tuple[ClusterMap, torch.Tensor]:
    """The parts of a rendered scene as a cluster map over four variants, and its image."""
    images, labels = scene.images(0, 5), scene.truth.labels[0]
    pixels = images[1:].flatten(0, 1).flatten(1).T.double()
    belongs = torch.nn.functional.one_hot(labels.flatten(), len(scene.world.parts)).double()
    centers = (belongs.T @ pixels) / belongs.sum(dim=0).clamp(min=1)[:, None]
    inertia = float((pixels - centers[labels.flatten()]).square().sum())
    size = (int(labels.shape[0]), int(labels.shape[1]))
    return ClusterMap.from_labels(
        labels, centers, size=size, inertia=inertia, iterations=1
    ), images[0]


def rendered(seed: int, size: tuple[int, int], world: str = "avatars") -> Scene:
    """A scene of one of the worlds."""
    return worlds.get(world).scene(seed, size)
