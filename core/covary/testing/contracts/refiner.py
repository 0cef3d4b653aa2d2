"""The contract of refiners: a soft mask of the same image, that invents nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from hypothesis import given

from covary import RunContext
from covary.testing.contracts._base import describe_shape, examples, require
from covary.testing.contracts._image_contract import ContextContract
from covary.testing.contracts._images import awkward_images, layouts_of, rendered
from covary.testing.contracts._rules import explained, on_device, refuses
from covary.testing.strategies import soft_masks

__all__ = ["RefinerContract"]

_SIZE = (48, 40)


class RefinerContract(ContextContract):
    """What a refiner keeps to: a soft mask for a soft mask, and clean manners."""

    kind = "refiner"
    _call = "refine"

    # --- for checks ---------------------------------------------------------------------------

    def sample(self, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A blurred and noisy mask of a rendered avatar, float32 (H, W), and its image."""
        scene = rendered(seed, _SIZE)
        draw = torch.Generator().manual_seed(seed)
        exact = scene.truth.foreground.float()
        blurred = torch.nn.functional.avg_pool2d(exact, 5, stride=1, padding=2)[0]
        noisy = blurred + 0.15 * torch.randn(_SIZE, generator=draw)
        return noisy.clamp(0, 1).to(self.device), scene.images(seed)[0].to(self.device)

    def work(self, component: Any, sample: Any, ctx: RunContext | None) -> Any:
        """The refined mask."""
        return component.refine(*sample, ctx)

    def checked(self, result: Any, sample: Any) -> Any:
        """Float32 (H, W) in 0..1, where the mask is."""
        soft = sample[0]
        require(
            isinstance(result, torch.Tensor)
            and result.dtype == torch.float32
            and result.shape == soft.shape,
            "what refine returned",
            expected=f"float32 {tuple(soft.shape)}, as the mask that was given",
            got=describe_shape(result),
            fix="convert with .to(torch.float32), and take off the axes that a library added",
        )
        require(
            on_device(result, self.device),
            "what refine returned",
            expected=f"on {self.device}, as the mask that was given",
            got=f"on {result.device}",
            fix="move it: .to(soft.device)",
        )
        low, high = (float(end) for end in result.aminmax())
        require(
            low >= 0 and high <= 1,
            "what refine returned",
            expected="values in 0..1",
            got=f"{low:g}..{high:g}",
            fix="end with .clamp(0, 1), and mind divisions of 0",
        )
        return result

    def values(self, result: Any) -> Mapping[str, Any]:
        """The mask."""
        return {"mask": result}

    def tensors(self, sample: Any) -> Mapping[str, torch.Tensor]:
        """The mask and the image."""
        return {"the mask": sample[0], "the image": sample[1]}

    # --- rules --------------------------------------------------------------------------------

    @examples(20)
    @given(pair=soft_masks(40))
    def test_returns_a_soft_mask(self, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
        """It gives float32 (H, W) in 0..1 for any soft mask and image."""
        self.run(self.create(), tuple(each.to(self.device) for each in pair))

    def test_takes_images_of_any_size(self) -> None:
        """Images of one pixel, one row, one colour or odd sides give a mask of their size."""
        component = self.create()
        for name, image in awkward_images().items():
            soft = torch.linspace(0, 1, image[0].numel()).reshape(image.shape[1:])
            with explained(name):
                self.run(component, (soft.to(self.device), image.to(self.device)))

    def test_invents_nothing(self) -> None:
        """Where no pixel is foreground none is afterwards, and where all are, all remain."""
        _, image = self.sample(0)
        for value, what in ((0.0, "foreground"), (1.0, "background")):
            soft = torch.full(image.shape[1:], value, device=image.device)
            refined = self.run(self.create(), (soft, image))
            wrong = int(((refined > 0.5) != (soft > 0.5)).sum())
            require(
                not wrong,
                f"a mask that is {value:g} everywhere",
                expected=f"no {what}, as there was none",
                got=f"{wrong} pixels of it",
                fix="move borders, but leave it to the clusters what is there",
            )

    def test_keeps_most_of_a_mask(self) -> None:
        """It moves the border of a mask; at least half of what was foreground still is."""
        for seed in range(3):
            soft, image = self.sample(seed)
            before, after = (one > 0.5 for one in (soft, self.run(self.create(), (soft, image))))
            union = int((before | after).sum())
            kept = int((before & after).sum()) / union
            require(
                kept >= 0.5,
                "foreground before and after",
                expected="an intersection of at least half of the union",
                got=f"{kept:.2f}",
                fix="give the share of foreground, not of background, and mind rows and columns",
            )

    def test_ignores_the_layout_in_memory(self) -> None:
        """Strided masks and images, such as those of a box, give the same mask."""
        soft, image = self.sample(0)
        whole = self.run(self.create(), (soft, image))
        turned = soft.T.contiguous().T
        for name, strided in layouts_of(image).items():
            given = (turned, strided)
            self.same_in_layout(name, whole, lambda given=given: self.run(self.create(), given))  # type: ignore[misc]

    def test_refuses_what_is_no_mask_of_the_image(self) -> None:
        """Another dtype, size or range than a soft mask and its image have is an InputError."""
        soft, image = self.sample(0)
        for name, wrong in {
            "a hard mask": (soft > 0.5, image),
            "a mask of grey levels": ((soft * 255).to(torch.uint8), image),
            "a mask with a channel (1, H, W)": (soft[None], image),
            "a mask of another size": (soft[1:], image),
            "a mask turned on its side": (soft.T, image),
            "a mask in 0..255": (soft * 255, image),
            "a mask that is not a number": (soft * float("nan"), image),
            "an image of floats": (soft, image.float() / 255),
            "an image (H, W, 3)": (soft, image.movedim(0, -1)),
        }.items():
            refuses(
                lambda wrong=wrong: self.work(self.create(), wrong, self.context()),  # type: ignore[misc]
                name,
                fix="begin with covary.check_soft(soft, image)",
            )

    def test_serves_a_pipeline(self) -> None:
        """A pipeline that uses it gives its mask beside the clusters' own."""
        plain = self.in_pipeline(soft=True)
        segmentation = self.in_pipeline(refine=[self.create()], soft=True)
        require(
            bool((segmentation.raw_mask == plain.mask).all()),
            "the raw mask of a pipeline with it",
            expected="that of a pipeline without it",
            got="another",
        )
        given = torch.zeros(plain.size) if plain.soft is None else plain.soft
        image = plain.image.to(self.device)
        soft = self.run(self.create(), (given.to(self.device), image))
        different = int((segmentation.mask != (soft.cpu() > 0.5)).sum())
        if self.create().determinism == "bitwise":
            require(
                not different,
                "the mask of a pipeline with it",
                expected="what it makes of the soft mask, above 0.5",
                got=f"{different} pixels differ",
            )
