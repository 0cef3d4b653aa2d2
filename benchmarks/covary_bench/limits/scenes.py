"""Stacks of variants with known masks: rendered scenes, altered, and the bundled generator's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

import covary
from covary.testing.worlds import Field, World
from covary.testing.worlds.avatars import Avatars
from covary.testing.worlds.rooms import Rooms
from covary_bench.avatars.segmenter import Segmenter, Skill, train_segmenter

if TYPE_CHECKING:
    from covary.testing.worlds import Canvas, Layer

__all__ = [
    "BrightLight",
    "ClothesInTheWallsColours",
    "FixedAlike",
    "FixedUnlike",
    "Stack",
    "TwoWalls",
    "generated",
    "judge",
    "part",
    "rendered",
    "room",
    "textured",
    "to_the_right",
    "wandering",
    "with_equal_clothes",
]

VARIANTS = 50
_TEXTURE_CELLS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """An image, its variants and what is to be found in it."""

    image: Tensor
    """X_0, uint8 (3, H, W)."""
    variants: Tensor
    """uint8 (n, 3, H, W)."""
    truth: Tensor
    """bool (H, W)."""
    box: covary.Box | None = None
    """The smallest box around the truth, where it is to be looked for in one."""

    def changed(self, variants: Tensor) -> Stack:
        """The same scene with other variants."""
        return Stack(self.image, variants, self.truth, self.box)


def _ranged(fields: tuple[Field, ...], **ranges: tuple[float, float]) -> tuple[Field, ...]:
    """The fields with other ranges for some of them."""
    return tuple(
        field._replace(low=ranges[field.name][0], high=ranges[field.name][1])
        if field.name in ranges
        else field
        for field in fields
    )


def _fixed(value: float) -> tuple[float, float]:
    return value, value


class TwoWalls(Avatars):
    """A background in two halves whose colours have nothing to do with each other."""

    STRUCTURE = _ranged(Avatars.STRUCTURE, stripe_strength=(-1.0, -0.5))
    APPEARANCE = _ranged(
        Avatars.APPEARANCE,
        second_hue=(0.0, 1.0),
        second_saturation=(-0.1, 0.1),
        second_value=(-0.3, 0.0),
    )

    def _layers(self, fields: Mapping[str, Tensor], canvas: Canvas) -> Iterator[Layer]:
        for layer in super()._layers(fields, canvas):
            right = canvas.cover(-canvas.x).expand_as(layer.cover)
            yield layer._replace(cover=right) if layer.ink == "second" else layer


class BrightLight(Avatars):
    """Light and shade some four times as strong as usual, from another side in every variant."""

    APPEARANCE = _ranged(Avatars.APPEARANCE, light_strength=(0.5, 0.9))


class ClothesInTheWallsColours(Avatars):
    """Clothes drawn from the same colours as the background."""

    APPEARANCE = _ranged(
        Avatars.APPEARANCE, clothes_saturation=(0.12, 0.6), clothes_value=(0.5, 1.0)
    )


class FixedAlike(Avatars):
    """Clothes and background keep one colour in all variants, and it is nearly the same."""

    APPEARANCE = _ranged(
        Avatars.APPEARANCE,
        **{
            f"{part}_{field}": _fixed(value)
            for part, values in {
                "clothes": {"hue": 0.58, "saturation": 0.05, "value": 0.87},
                "collar": {"hue": 0.0, "tone": 0.0},
                "background": {"hue": 0.58, "saturation": 0.05, "value": 0.9},
                "second": {"hue": 0.0, "saturation": 0.0, "value": 0.0},
                "stripe": {"hue": 0.0, "tone": 0.0},
            }.items()
            for field, value in values.items()
        },
    )


class FixedUnlike(FixedAlike):
    """Clothes and background keep one colour each, and the two differ."""

    APPEARANCE = _ranged(FixedAlike.APPEARANCE, clothes_value=_fixed(0.2))


def rendered(
    seed: int, side: int, world: type[World] = Avatars, *, linked: bool = False, n: int = VARIANTS
) -> Stack:
    """A scene of the world with n variants.

    Args:
        seed: of the structure and of the appearances.
        side: height and width in pixels.
        world: a class of worlds.
        linked: clothes take the background's colour in every variant.
        n: number of variants.
    """
    made = world()
    scene = made.scene(seed, (side, side))
    drawn = made.sample_appearance(1 + n, torch.Generator().manual_seed(seed))
    if linked:
        drawn = with_equal_clothes(drawn, made.APPEARANCE)
    images = made.paint(scene.layout, drawn)
    return Stack(images[0], images[1:], scene.truth.foreground[0])


def with_equal_clothes(drawn: Tensor, fields: tuple[Field, ...]) -> Tensor:
    """Appearance latents (B, A) whose clothes have the hue, saturation and value of the wall."""
    names = [field.name for field in fields]
    copied = drawn.clone()
    for what in ("hue", "saturation", "value"):
        copied[:, names.index(f"clothes_{what}")] = drawn[:, names.index(f"background_{what}")]
    return copied


def part(
    seed: int,
    side: int,
    names: tuple[str, ...],
    world: type[Avatars] = Avatars,
    margin: float = 0.04,
) -> Stack:
    """An avatar in which some parts are to be found, with a box around them."""
    stack = rendered(seed, side, world)
    labels = world().scene(seed, (side, side)).truth.labels[0]
    return _sought(stack, labels, names, Avatars.parts, margin)


def room(seed: int, side: int, thing: str, margin: float = 0.025) -> Stack:
    """A room in which one object is to be found, with a box around it."""
    stack = rendered(seed, side, Rooms)
    labels = Rooms().scene(seed, (side, side)).truth.labels[0]
    return _sought(stack, labels, tuple(Rooms.objects[thing]), Rooms.parts, margin)


def to_the_right(seed: int, side: int, by: float = 0.25) -> Stack:
    """An avatar that stands to the right of the middle, by a share of the side."""
    made = Avatars()
    scene = made.scene(seed, (side, 2 * side))
    drawn = made.sample_appearance(1 + VARIANTS, torch.Generator().manual_seed(seed))
    left = round(side * (0.5 - by))
    columns = slice(left, left + side)
    images = made.paint(scene.layout, drawn)[..., columns].contiguous()
    return Stack(images[0], images[1:], scene.truth.foreground[0][:, columns])


def textured(stack: Stack, seed: int, strength: float) -> Stack:
    """The stack with one fixed grain of light and dark over all images, X_0 included.

    Args:
        stack: variants of a scene.
        seed: of the grain.
        strength: the grain multiplies by 1 - strength to 1 + strength.
    """
    random = torch.Generator().manual_seed(seed)
    cells = torch.rand(1, 1, _TEXTURE_CELLS, _TEXTURE_CELLS, generator=random) * 2 - 1
    grain = 1 + strength * F.interpolate(cells, size=stack.truth.shape)[0]

    def apply(images: Tensor) -> Tensor:
        return (images.float() * grain).clamp(0, 255).round().to(torch.uint8)

    return Stack(apply(stack.image), apply(stack.variants), stack.truth)


def wandering(stack: Stack, seed: int, by: float) -> Stack:
    """The stack with every variant bent by a smooth random field.

    Args:
        stack: aligned variants.
        seed: of the fields.
        by: standard deviation of the shift at the knots of the field, in units of the side.
    """
    count, _, height, width = stack.variants.shape
    random = torch.Generator().manual_seed(seed)
    knots = torch.randn(count, 2, 4, 4, generator=random) * 2 * by
    field = F.interpolate(knots, size=(height, width), mode="bicubic", align_corners=True)
    still = F.affine_grid(
        torch.eye(2, 3).expand(count, 2, 3), [count, 3, height, width], align_corners=False
    )
    bent = F.grid_sample(
        stack.variants.float(),
        still + field.permute(0, 2, 3, 1),
        padding_mode="border",
        align_corners=False,
    )
    return stack.changed(bent.round().to(torch.uint8))


def generated(seed: int, *, c: int = 4, n: int = VARIANTS) -> Stack:
    """Variants by style mixing in the bundled generator; the judge says what the person is."""
    source = _source(c, n)
    ctx = covary.RunContext(seed=seed).at("source", source.id)
    variants = source.open(covary.Query(seed=seed), ctx)
    images = torch.cat([batch.images for batch in variants.batches])
    truth = judge()[0].regions(variants.image[None])[0] > 0
    return Stack(variants.image, images, truth)


@cache
def judge() -> tuple[Segmenter, Skill]:
    """The network that says where the person is on generated images, and its skill on renders."""
    return train_segmenter(steps=300, count=3000, seed=0, device=torch.device("cpu"))


@cache
def _source(c: int, n: int) -> covary.VariantSource:
    source = covary.create("stylegan2", kind="source", c=c, psi=0.8, n=n)
    assert isinstance(source, covary.VariantSource)
    return source


def _sought(
    stack: Stack, labels: Tensor, names: tuple[str, ...], parts: tuple[str, ...], margin: float
) -> Stack:
    truth = torch.isin(labels, torch.tensor([parts.index(name) for name in names]))
    return Stack(stack.image, stack.variants, truth, _around(truth, margin))


def _around(truth: Tensor, margin: float) -> covary.Box:
    """The smallest box around what is true, widened by a share of the image's side."""
    height, width = truth.shape
    ys, xs = truth.nonzero(as_tuple=True)
    wider = round(margin * height)
    return covary.Box(
        max(0, int(xs.min()) - wider),
        max(0, int(ys.min()) - wider),
        min(width, int(xs.max()) + 1 + wider),
        min(height, int(ys.max()) + 1 + wider),
    )
