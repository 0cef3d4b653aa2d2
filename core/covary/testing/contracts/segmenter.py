"""The contract of segmenters: a class for every pixel, of a list that is known beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from hypothesis import given

from covary import CheckpointError, InputError, RunContext
from covary.interfaces import BACKGROUND
from covary.testing._errors import ContractError
from covary.testing.contracts._base import describe_shape, equal, examples, require
from covary.testing.contracts._image_contract import ContextContract
from covary.testing.contracts._images import awkward_images, layouts_of, noise, rendered
from covary.testing.contracts._interrupts import Calls
from covary.testing.contracts._rules import explained, on_device, refuses
from covary.testing.strategies import images

__all__ = ["SegmenterContract"]

_NOWHERE = "/no/such/folder/of-weights"


class SegmenterContract(ContextContract):
    """What a segmenter keeps to: labels by its own list of classes, and clean manners."""

    kind = "segmenter"
    _call = "segment"

    weights: ClassVar[str] = "checkpoint"
    """Name of the parameter that says where its weights are; "" where it needs none."""

    # --- for checks ---------------------------------------------------------------------------

    def sample(self, seed: int) -> torch.Tensor:
        """Three rendered avatars, uint8 (3, 3, H, W)."""
        size = (48, 40)
        avatars = [rendered(3 * seed + i, size).images(seed)[0] for i in range(3)]
        return torch.stack(avatars).to(self.device)

    def work(self, component: Any, sample: Any, ctx: RunContext | None) -> Any:
        """The labels."""
        return component.segment(sample, ctx)

    def run(self, component: Any, sample: Any, ctx: RunContext | None = None) -> Any:
        """The labels, of the right type and range."""
        labels = super().run(component, sample, ctx)
        count = len(component.classes)
        low, high = (int(end) for end in labels.aminmax())
        require(
            low >= 0 and high < count,
            "the labels",
            expected=f"0..{count - 1}, as it has {count} classes",
            got=f"{low}..{high}",
            fix="give the place of each class in `classes`, and 0 to whatever else there is",
        )
        return labels

    def checked(self, result: Any, sample: Any) -> Any:
        """int64 (B, H, W), where the images are."""
        size = (len(sample), *sample.shape[2:])
        require(
            isinstance(result, torch.Tensor)
            and result.dtype == torch.int64
            and tuple(result.shape) == size,
            "what segment returned",
            expected=f"int64 {size}, a class for every pixel of the images",
            got=describe_shape(result),
            fix="scale scores back to the images' size, and end with .argmax(dim=1)",
        )
        require(
            on_device(result, self.device),
            "what segment returned",
            expected=f"on {self.device}, as the images",
            got=f"on {result.device}",
            fix="move it: .to(images.device)",
        )
        return result

    def values(self, result: Any) -> Mapping[str, Any]:
        """The labels."""
        return {"set of labels": result}

    def tensors(self, sample: Any) -> Mapping[str, torch.Tensor]:
        """The images."""
        return {"the images": sample}

    # --- rules --------------------------------------------------------------------------------

    def test_names_its_classes(self) -> None:
        """Its classes are distinct names, and the first is `background`."""
        classes = self.create().classes
        require(
            isinstance(classes, (list, tuple))
            and len(classes) > 1
            and all(isinstance(name, str) and name for name in classes),
            "classes",
            expected="a list of two names or more",
            got=repr(classes),
            fix=f"return ({BACKGROUND!r}, 'sofa', ...)",
        )
        require(
            classes[0] == BACKGROUND,
            "the first of its classes",
            expected=repr(BACKGROUND),
            got=repr(classes[0]),
            fix="put what is none of the others first, and give it label 0",
        )
        twice = sorted({name for name in classes if list(classes).count(name) > 1})
        require(not twice, "classes", expected="each name once", got=f"{twice} more than once")

    def test_knows_its_classes_without_weights(self) -> None:
        """The names of its classes follow from its parameters; asking for them loads nothing."""
        component = self.create()
        with Calls() as calls:
            before = tuple(component.classes)
        require(
            not calls.tensors,
            "asking for its classes",
            expected="no work, because evaluations list them before they begin",
            got=f"{calls.tensors} tensors made on the way",
            fix="let the names follow from the parameters, and check them against the weights when "
            "these are loaded",
        )
        self.run(component, self.sample(0))
        after = tuple(component.classes)
        require(before == after, "its classes after work", expected=repr(before), got=repr(after))

    @examples(5)
    @given(image=images(40))
    def test_labels_every_pixel(self, image: torch.Tensor) -> None:
        """It gives int64 (B, H, W) with numbers of its classes for any images."""
        try:
            self.run(self.create(), image[None].to(self.device))
        except InputError:
            if min(image.shape[1:]) >= 32:
                raise

    def test_takes_small_images_or_refuses_them(self) -> None:
        """Images of one pixel, one row, one colour or odd sides give labels or an InputError."""
        component = self.create()
        for name, image in awkward_images().items():
            with explained(name, fix="scale small images up, or raise covary.InputError"):
                try:
                    self.run(component, image[None].to(self.device))
                except InputError:
                    continue

    def test_takes_images_with_odd_sides(self) -> None:
        """Sides need not be multiples of anything."""
        for height, width in ((65, 79), (97, 64)):
            with explained(f"images of {width}x{height} pixels", fix="scale or pad them"):
                self.run(self.create(), noise(height, 2, 3, height, width).to(self.device))

    def test_labels_each_image_on_its_own(self) -> None:
        """An image gets the labels that it gets alone, whatever is beside it, in its place."""
        if self.create().determinism == "none":
            self.skip("it declares no determinism")
        batch = self.sample(0)
        together = self.run(self.create(), batch)
        for i, image in enumerate(batch):
            alone = self.run(self.create(), image[None])[0]
            # Libraries sum in another order for another number of images.
            require(
                equal(alone, together[i], "numeric"),
                f"the labels of image {i} of {len(batch)}",
                expected="those that it gets alone",
                got=f"{int((alone != together[i]).sum())} pixels differ",
                fix="keep the order of the images, and put the network in evaluation mode: .eval()",
            )

    def test_follows_from_the_images_alone(self) -> None:
        """The seed of the run changes nothing."""
        one, other = (self.run(self.create(), self.sample(0), self.context(s)) for s in (0, 9))
        self.agree(
            one, other, "another seed", "draw no numbers: it is what others are held against"
        )

    def test_builds_no_graph(self) -> None:
        """It keeps nothing for gradients, and leaves it as it was whether there are any."""
        saved = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal saved
            saved += 1
            return tensor

        fix = "work inside `with torch.no_grad():`"
        component = self.create()
        with (
            torch.enable_grad(),
            torch.autograd.graph.saved_tensors_hooks(count, lambda kept: kept),
        ):
            self.run(component, self.sample(0))
            on = torch.is_grad_enabled()
        require(
            not saved,
            "its work",
            expected="no graph for gradients, which costs memory",
            got=f"{saved} tensors kept for one",
            fix=fix,
        )
        require(on, "gradients after its work", expected="still on", got="off", fix=fix)

    def test_ignores_the_layout_in_memory(self) -> None:
        """Strided images give what the same values in one piece give."""
        component, batch = self.create(), self.sample(0)
        whole = self.run(component, batch)
        for name, strided in layouts_of(batch).items():
            self.same_in_layout(name, whole, lambda some=strided: self.run(component, some))  # type: ignore[misc]

    def test_refuses_what_are_no_images(self) -> None:
        """A tensor of another dtype or shape than uint8 (B, 3, H, W) is an InputError."""
        component, batch = self.create(), self.sample(0)
        for name, wrong in {
            "images of floats": batch.float() / 255,
            "images (B, H, W, 3)": batch.movedim(1, -1),
            "grey images (B, 1, H, W)": batch[:, :1],
            "one image without a batch": batch[0],
            "a batch of no images": batch[:0],
            "images without pixels": batch[:, :, :0],
        }.items():
            refuses(
                lambda wrong=wrong: self.work(component, wrong, self.context()),  # type: ignore[misc]
                name,
                fix="begin with covary.check_images(images)",
            )

    def test_says_how_to_get_missing_weights(self) -> None:
        """Without its weights it raises a CheckpointError that says what to do."""
        if self.weights not in type(self.create()).Params.model_fields:
            self.skip(f"it has no parameter {self.weights!r} for its weights")
        what = f"weights at {_NOWHERE}, where there are none"
        fix = "raise covary.CheckpointError(what, expected=, got=, fix=) where they are loaded"
        component = self.create(**{self.weights: _NOWHERE})
        refuses(
            lambda: self.work(component, self.sample(0), self.context()),
            what,
            fix=fix,
            errors=(CheckpointError,),
            words=_NOWHERE,
        )
        try:
            self.work(component, self.sample(0), self.context())
        except CheckpointError as error:
            require(bool(error.fix), f"the error about {what}", expected="what to do", fix=fix)
            return
        raise ContractError(what, expected="an error the second time too", got="a result", fix=fix)
