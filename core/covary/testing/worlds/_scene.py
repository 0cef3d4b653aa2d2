"""What every world shares: latents with named fields, layouts, painting, exact truth.

A world draws layers, back to front. A layer is an *ink* (a colour slot) and its coverage, which
depends on the structure latent only; seen through the layers above, the coverages become weights
that sum to 1 at each pixel. The appearance latent decides the colour of each ink and the light.
An image is therefore ``weights x colours x (1 + normals . light)``: painting n appearances of one
structure is a matrix product, and the labels cannot depend on the appearance.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from covary.errors import InputError

__all__ = ["Canvas", "Field", "Layer", "Layout", "Scene", "Truth", "World"]

MIN_SIDE, MAX_SIDE = 16, 2048
# Pixels worked on at once, over the batch: small enough for temporaries to stay in cache.
_BLOCK = 1 << 16
_DRAW = "draw latents with sample_structure or sample_appearance of the same world"


class Field(NamedTuple):
    """One entry of a latent: the value in [0, 1] is mapped linearly to [low, high]."""

    name: str
    low: float
    high: float
    meaning: str


class Layer(NamedTuple):
    """One coat of ink: coverage (B, h, W) in [0, 1] and, where it is shaded, its normals."""

    ink: str
    cover: Tensor
    normal: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True, slots=True)
class Canvas:
    """Some rows of pixel centres, in scene units: the shorter side of the image spans [-1, 1]."""

    x: Tensor
    """float32 (1, 1, W), growing to the right."""
    y: Tensor
    """float32 (1, h, 1), growing downwards."""
    pixels: float
    """Pixels per scene unit."""

    def cover(self, distance: Tensor) -> Tensor:
        """The share of each pixel inside a shape, from its signed distance in scene units."""
        return (0.5 - distance * self.pixels).clamp(0, 1)


@dataclass(frozen=True, slots=True)
class Layout:
    """A structure drawn at one size, before any colour."""

    weights: Tensor
    """float16 (B, inks, H, W): the visible share of each ink; sums to 1 over the inks."""
    normals: Tensor
    """float16 (B, 2, H, W): which way surfaces face on screen; 0 where nothing is shaded."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.weights.shape[2], self.weights.shape[3]

    def __len__(self) -> int:
        return len(self.weights)


@dataclass(frozen=True, slots=True)
class Truth:
    """What is where, exactly."""

    labels: Tensor
    """int64 (B, H, W): index into ``World.parts`` of the part with the largest visible share."""
    foreground: Tensor
    """bool (B, H, W): the label is one of ``World.foreground``."""
    boxes: tuple[tuple[tuple[str, int, int, int, int], ...], ...]
    """For each image its visible objects: (name, x0, y0, x1, y1) in pixels, ends exclusive."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One structure of a world at one size, to be painted in any appearance."""

    world: World
    structure: Tensor
    """float32 (1, S)."""
    layout: Layout

    @property
    def truth(self) -> Truth:
        """Labels, foreground and boxes: batches of one."""
        return self.world.truth_of(self.layout)

    def images(self, seed: int, n: int = 1) -> Tensor:
        """n appearances drawn from the seed: uint8 (n, 3, H, W)."""
        appearance = self.world.sample_appearance(n, torch.Generator().manual_seed(seed))
        return self.world.paint(self.layout, appearance)


class World(ABC):
    """A family of scenes with independent structure and appearance latents, and exact masks.

    Latents are float32 in [0, 1], one column a field; ``STRUCTURE`` and ``APPEARANCE`` list the
    fields in order with the range that each is mapped to.
    """

    name: ClassVar[str]
    parts: ClassVar[tuple[str, ...]]
    """Part names; the index is the label. Background parts come first."""
    foreground: ClassVar[frozenset[str]]
    """The parts that are the content."""
    objects: ClassVar[Mapping[str, frozenset[str]]]
    """The parts of each object that gets a box."""
    classes: ClassVar[Mapping[str, frozenset[str]]]
    """What the content consists of, by the names that data sets and segmenters use: each with its
    parts. Every part of the content is in one."""
    inks: ClassVar[Mapping[str, str]]
    """The part that each ink belongs to."""
    STRUCTURE: ClassVar[tuple[Field, ...]]
    APPEARANCE: ClassVar[tuple[Field, ...]]

    @abstractmethod
    def _layers(self, fields: Mapping[str, Tensor], canvas: Canvas) -> Iterator[Layer]:
        """The layers from back to front; the first covers everything. Fields are (B, 1, 1)."""

    @abstractmethod
    def _palette(self, fields: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """RGB (B, 3) in [0, 1] of every ink. Fields are (B,)."""

    @abstractmethod
    def _light(self, fields: Mapping[str, Tensor]) -> Tensor:
        """The light as (B, 2): its direction on screen times its strength. Fields are (B,)."""

    def sample_structure(self, batch: int, generator: torch.Generator) -> Tensor:
        """Latents of ``batch`` structures: float32 (batch, S), uniform in [0, 1)."""
        return torch.rand(batch, len(self.STRUCTURE), generator=generator)

    def sample_appearance(self, batch: int, generator: torch.Generator) -> Tensor:
        """Latents of ``batch`` appearances: float32 (batch, A), uniform in [0, 1)."""
        return torch.rand(batch, len(self.APPEARANCE), generator=generator)

    def layout(self, structure: Tensor, size: tuple[int, int]) -> Layout:
        """Structures drawn at a size, ready to be painted.

        Args:
            structure: float32 (B, S) in [0, 1].
            size: height and width in pixels, each 16 to 2048.

        Raises:
            InputError: the latents do not have the shape or range, or the size is out of range.
        """
        _check_latent(structure, self.STRUCTURE, f"the {self.name} structure")
        height, width = _check_size(size)
        ink_index = {ink: i for i, ink in enumerate(self.inks)}
        weights = torch.zeros(len(structure), len(ink_index), height, width, dtype=torch.float16)
        normals = torch.zeros(len(structure), 2, height, width, dtype=torch.float16)
        for images, rows in _blocks(len(structure), height, width):
            fields = _decode(structure[images], self.STRUCTURE, columns=2)
            layers = list(self._layers(fields, _canvas(rows, height, width)))
            w, n = _stack(layers, ink_index, weights[images, 0, rows].shape)
            weights[images, :, rows] = w.half()
            normals[images, :, rows] = n.half()
        return Layout(weights, normals)

    def paint(self, layout: Layout, appearance: Tensor) -> Tensor:
        """Images of a layout: uint8 (B, 3, H, W) RGB.

        Args:
            layout: B structures, or one, which is then painted in every appearance.
            appearance: float32 (B, A) in [0, 1].

        Raises:
            InputError: the latents do not fit the world or the layout.
        """
        _check_latent(appearance, self.APPEARANCE, f"the {self.name} appearance")
        if len(layout) not in (1, len(appearance)):
            raise InputError(
                f"{len(appearance)} appearances",
                expected="one layout or as many as appearances",
                got=f"{len(layout)} layouts",
                fix="pass a layout of one structure, or one appearance for each structure",
            )
        fields = _decode(appearance, self.APPEARANCE)
        palette = self._palette(fields)
        colours = torch.stack([palette[ink] for ink in self.inks], dim=2)  # (B, 3, inks)
        light = self._light(fields)[:, None]  # (B, 1, 2)
        height, width = layout.size
        out = torch.empty(len(appearance), 3, height, width, dtype=torch.uint8)
        for images, rows in _blocks(len(layout), height, width):
            weights = layout.weights[images, :, rows].float().flatten(2)
            normals = layout.normals[images, :, rows].float().flatten(2)
            groups = _groups(len(appearance)) if len(layout) == 1 else (images,)
            for group in groups:
                image = _shade(colours[group], light[group], weights, normals)
                out[group, :, rows] = image.unflatten(2, (-1, width))
        return out

    def truth(self, structure: Tensor, size: tuple[int, int]) -> Truth:
        """Exact labels, foreground and boxes of structures drawn at a size.

        Arguments and errors are those of :meth:`layout`.
        """
        return self.truth_of(self.layout(structure, size))

    def truth_of(self, layout: Layout) -> Truth:
        """:meth:`truth` of structures that are already drawn."""
        part_index = torch.tensor([self.parts.index(part) for part in self.inks.values()])
        height, width = layout.size
        labels = torch.empty(len(layout), height, width, dtype=torch.int64)
        for images, rows in _blocks(len(layout), height, width):
            weights = layout.weights[images, :, rows].float()
            shares = torch.zeros(len(weights), len(self.parts), *weights.shape[2:])
            labels[images, rows] = shares.index_add_(1, part_index, weights).argmax(1)
        content = torch.tensor([part in self.foreground for part in self.parts])
        boxes = tuple(self._boxes(image) for image in labels)
        return Truth(labels, content[labels], boxes)

    def scene(self, seed: int, size: tuple[int, int]) -> Scene:
        """The structure of an integer seed, drawn at a size."""
        structure = self.sample_structure(1, torch.Generator().manual_seed(seed))
        return Scene(self, structure, self.layout(structure, size))

    def _boxes(self, labels: Tensor) -> tuple[tuple[str, int, int, int, int], ...]:
        boxes = []
        for name, members in self.objects.items():
            labelled = torch.tensor([part in members for part in self.parts])[labels]
            if labelled.any():
                ys, xs = (labelled.any(d).nonzero().flatten() for d in (1, 0))
                ends = int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1
                boxes.append((name, *ends))
        return tuple(boxes)


def _stack(
    layers: list[Layer], ink_index: Mapping[str, int], shape: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Visible weights (B, inks, h, W) and normals (B, 2, h, W), float32."""
    batch, height, width = shape
    weights = torch.zeros(batch, len(ink_index), height, width)
    normals = torch.zeros(batch, 2, height, width)
    open_share = torch.ones(batch, height, width)
    for layer in reversed(layers):
        visible = layer.cover * open_share
        weights[:, ink_index[layer.ink]] += visible
        if layer.normal is not None:
            normals[:, 0] += visible * layer.normal[0]
            normals[:, 1] += visible * layer.normal[1]
        open_share = open_share - visible
    return weights, normals


def _shade(colours: Tensor, light: Tensor, weights: Tensor, normals: Tensor) -> Tensor:
    """uint8 (B, 3, N) of colours (B, 3, inks), light (B, 1, 2) and, of B layouts or of one,
    weights (B, inks, N) and normals (B, 2, N)."""
    image: Tensor
    if len(weights) == 1:
        # One product for all appearances; a batched one would copy the weights for each.
        image = (colours.flatten(0, 1) @ weights[0]).unflatten(0, (-1, 3))
        lit = (light[:, 0] @ normals[0])[:, None]
    else:
        image, lit = colours @ weights, light @ normals
    return image.mul_(1 + lit).mul_(255).round_().clamp_(0, 255).to(torch.uint8)


def _groups(n: int) -> Iterator[slice]:
    """Slices of a few appearances each."""
    for i in range(0, n, 16):
        yield slice(i, min(n, i + 16))


def _blocks(batch: int, height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Slices of the batch and of the rows, of about ``_BLOCK`` pixels each."""
    rows = max(1, min(height, _BLOCK // width))
    images = max(1, _BLOCK // (rows * width))
    for i in range(0, batch, images):
        for top in range(0, height, rows):
            yield slice(i, min(batch, i + images)), slice(top, min(height, top + rows))


def _canvas(rows: slice, height: int, width: int) -> Canvas:
    pixels = min(height, width) / 2
    x = (torch.arange(width) + 0.5 - width / 2) / pixels
    y = (torch.arange(rows.start, rows.stop) + 0.5 - height / 2) / pixels
    return Canvas(x[None, None], y[None, :, None], pixels)


def _decode(latent: Tensor, fields: tuple[Field, ...], columns: int = 0) -> dict[str, Tensor]:
    """Each field's values in its own range, as (B, 1, ...) with so many trailing ones."""
    values = {}
    for field, u in zip(fields, latent.float().unbind(1), strict=True):
        value = field.low + (field.high - field.low) * u
        values[field.name] = value.reshape(-1, *(1,) * columns)
    return values


def _check_latent(latent: Tensor, fields: tuple[Field, ...], what: str) -> None:
    if not isinstance(latent, Tensor):
        raise InputError(what, expected="a tensor", got=type(latent).__name__, fix=_DRAW)
    if latent.ndim != 2 or latent.shape[1] != len(fields):
        raise InputError(
            what,
            expected=f"latents of shape (B, {len(fields)})",
            got=f"shape {tuple(latent.shape)}",
            fix=_DRAW,
        )
    if not bool(((latent >= 0) & (latent <= 1)).all()):
        raise InputError(
            what,
            expected="values in [0, 1]",
            got=f"values in [{latent.min():.3g}, {latent.max():.3g}]",
            fix="keep latents in [0, 1]; the fields' own ranges are applied inside",
        )


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size,)
    whole = all(isinstance(s, int) and not isinstance(s, bool) for s in sides)
    if len(sides) != 2 or not whole or not all(MIN_SIDE <= s <= MAX_SIDE for s in sides):
        raise InputError(
            "the size",
            expected=f"(height, width), two integers from {MIN_SIDE} to {MAX_SIDE}",
            got=repr(size),
            fix="pass size=(64, 64), for example",
        )
    return int(sides[0]), int(sides[1])
