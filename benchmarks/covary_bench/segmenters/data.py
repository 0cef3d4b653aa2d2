"""Rendered scenes with exact labels: for training ``worlds-unet``, and for measuring it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from covary.interfaces import BACKGROUND
from covary.testing import worlds

from ..parts import PARTS, label_table

__all__ = ["exact", "groups", "render_labelled", "scenes"]


def groups(world: worlds.World) -> Mapping[str, frozenset[str]]:
    """The classes of a world and its parts that belong to each; the first is the background.

    Avatars have the parts that covary names, rooms their objects.
    """
    if world.name == "avatars":
        return {name: frozenset(parts) for name, parts in PARTS.items()}
    objects = frozenset().union(*world.objects.values())
    return {BACKGROUND: frozenset(world.parts) - objects, **world.objects}


def scenes(
    world: worlds.World, count: int, seed: int, size: int, chunk: int = 50
) -> Iterator[tuple[Tensor, worlds.Layout]]:
    """Chunks of images uint8 (n, 3, size, size), each of its own structure and appearance.

    One generator of ``seed`` draws them all, a chunk at a time, so what is drawn depends on
    ``chunk``, and none is the scene of a seed as the source ``worlds`` draws it.
    """
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, count, chunk):
        n = min(chunk, count - start)
        layout = world.layout(world.sample_structure(n, generator), size=(size, size))
        yield world.paint(layout, world.sample_appearance(n, generator)), layout


def render_labelled(world: worlds.World, count: int, seed: int, size: int) -> tuple[Tensor, Tensor]:
    """Images uint8 (count, 3, size, size) and their classes, uint8 (count, size, size)."""
    table = label_table(world, groups(world)).to(torch.uint8)
    images = torch.empty(count, 3, size, size, dtype=torch.uint8)
    labels = torch.empty(count, size, size, dtype=torch.uint8)
    done = 0
    for some, layout in scenes(world, count, seed, size):
        here = slice(done, done + len(some))
        images[here], labels[here] = some, table[world.truth_of(layout).labels]
        done = here.stop
    return images, labels


def exact(world: worlds.World, seed: int, size: int) -> tuple[Tensor, Tensor]:
    """The scene of a seed as the source ``worlds`` draws it, and its classes.

    The image is uint8 (3, size, size), the classes are int64 (size, size).
    """
    scene = world.scene(seed, (size, size))
    return scene.images(seed)[0], label_table(world, groups(world))[scene.truth.labels[0]]
