"""The contract of feature spaces: features as declared, of each image on its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from hypothesis import given

from covary import RunContext, VariantBatch
from covary.summary import SummaryBuilder
from covary.testing.contracts._base import describe_shape, examples, require
from covary.testing.contracts._image_contract import ImageContract
from covary.testing.contracts._images import awkward_images, layouts_of, noise, rendered
from covary.testing.contracts._rules import explained, on_device
from covary.testing.strategies import batches

__all__ = ["FeatureSpaceContract"]

_DTYPES = ("uint8", "float16", "float32")
_ALONE = "use nothing of the other images of the batch: no mean or range over it"
_STRIDES = "use .reshape instead of .view, and .contiguous() where a library needs it"


class FeatureSpaceContract(ImageContract):
    """What a feature space keeps to: what it declares, image by image, and clean manners."""

    kind = "features"
    _call = "encode"

    # --- for checks ---------------------------------------------------------------------------

    def sample(self, seed: int) -> VariantBatch:
        """Three images of noise."""
        return VariantBatch(noise(seed, 3, 3, 6, 7).to(self.device))

    def work(self, component: Any, sample: Any, ctx: RunContext | None) -> Any:
        """The batch's features."""
        return component.encode(sample)

    def checked(self, result: Any, sample: Any) -> Any:
        """Features of the declared dtype and shape, on the batch's device."""
        declared = self.create()
        count, _, height, width = sample.images.shape
        shape = (count, declared.channels, height, width)
        require(
            isinstance(result, torch.Tensor)
            and tuple(result.shape) == shape
            and result.dtype == getattr(torch, declared.dtype, None),
            "features",
            expected=f"{declared.dtype} {shape}: as declared, (B, channels, H, W)",
            got=describe_shape(result),
            fix="convert with .to(torch.<dtype>), or correct `dtype` and `channels` of the class",
        )
        require(
            on_device(result, self.device),
            "features",
            expected=f"on {self.device}, the batch's device",
            got=f"on {result.device}",
            fix="make tensors with device=batch.images.device",
        )
        return result

    def values(self, result: Any) -> Mapping[str, Any]:
        """The features."""
        return {"tensor of features": result}

    def tensors(self, sample: Any) -> Mapping[str, torch.Tensor]:
        """The batch's images."""
        return {"the batch": sample.images}

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Features of uint8 (B, 3, H, W), checked, on the CPU."""
        features: torch.Tensor = self.run(self.create(), VariantBatch(images.to(self.device)))
        return features.cpu()

    # --- rules --------------------------------------------------------------------------------

    def test_declares_channels_and_dtype(self) -> None:
        """Its channels are a number from 1, its dtype is one that the style summary stores."""
        declared = self.create()
        require(
            type(declared.channels) is int and declared.channels >= 1,
            "channels",
            expected="an integer from 1",
            got=repr(declared.channels),
            fix="write channels = 3 in the class",
        )
        require(
            declared.dtype in _DTYPES,
            "dtype",
            expected=f"one of {', '.join(map(repr, _DTYPES))}",
            got=repr(declared.dtype),
            fix="write dtype = 'float16' in the class",
        )

    @examples(15)
    @given(batch=batches())
    def test_gives_the_declared_dtype_and_shape(self, batch: VariantBatch) -> None:
        """Features are (B, channels, H, W) in the declared dtype, for any batch."""
        self.encode(batch.images)

    @examples(15)
    @given(batch=batches())
    def test_gives_finite_features(self, batch: VariantBatch) -> None:
        """Every feature is a finite number."""
        self._finite(self.encode(batch.images), "any batch")

    def test_encodes_the_corners_of_the_colour_cube(self) -> None:
        """Black, white and the saturated colours have finite features."""
        cube = torch.cartesian_prod(*3 * [torch.tensor([0, 255], dtype=torch.uint8)])
        images = cube[:, :, None, None].expand(-1, -1, 4, 5).contiguous()
        self._finite(self.encode(images), "images of black, white and saturated colours")

    def test_encodes_each_image_on_its_own(self) -> None:
        """An image has the same features in a batch of any size."""
        images = noise(0, 5, 3, 6, 7)
        together = self.encode(images)
        alone = torch.cat([self.encode(image) for image in images.split(1)])
        self._close(together, alone, "five images one by one", _ALONE)
        pairs = torch.cat([self.encode(some) for some in images.flip(0).split(2)]).flip(0)
        self._close(together, pairs, "five images two by two, the last first", _ALONE)

    def test_ignores_the_layout_in_memory(self) -> None:
        """Strided batches have the features of the same values in one piece."""
        images = noise(1, 3, 3, 6, 8)
        whole = self.encode(images)
        for name, strided in layouts_of(images).items():
            with explained(f"a batch stored as {name}", _STRIDES):
                self._close(whole, self.encode(strided), f"a batch stored as {name}", _STRIDES)
        repeated = images[:1].expand(3, -1, -1, -1)
        whole = self.encode(repeated.contiguous())
        self._close(whole, self.encode(repeated), "one image thrice", _STRIDES)

    def test_takes_images_of_any_size(self) -> None:
        """Images of one pixel, one row, one colour or odd sides have features."""
        for name, image in awkward_images().items():
            with explained(name):
                self._finite(self.encode(image[None]), name)

    def test_tells_images_apart(self) -> None:
        """Different images have different features."""
        one, other = (self.encode(noise(seed, 1, 3, 6, 7)) for seed in (1, 2))
        require(
            not torch.equal(one, other),
            "the features of two different images",
            expected="different ones",
            got="the same",
            fix="compute them from batch.images",
        )

    def test_fits_the_style_summary(self) -> None:
        """Batches of any size make a style summary of D = channels times n features."""
        declared, images = self.create(), rendered(1, (24, 16)).images(0, 5)
        builder = SummaryBuilder(
            count=5,
            channels=declared.channels,
            size=(24, 16),
            dtype=getattr(torch, declared.dtype),
            device=torch.device(self.device),
        )
        for some in images.split(2):
            builder.add(self.run(declared, VariantBatch(some.to(self.device))))
        summary = builder.finish()
        expected = 5 * declared.channels
        require(
            summary.features == expected,
            "the style summary",
            expected=f"{expected} features",
            got=str(summary.features),
        )

    def test_serves_a_pipeline(self) -> None:
        """A pipeline that uses it segments a rendered scene."""
        segmentation = self.in_pipeline(features=self.create())
        require(
            tuple(segmentation.labels.shape) == (32, 32),
            "the labels of a pipeline",
            expected="(32, 32)",
            got=describe_shape(segmentation.labels),
        )

    # --- helpers ------------------------------------------------------------------------------

    def _finite(self, features: torch.Tensor, what: str) -> None:
        wrong = int((~torch.isfinite(features)).sum())
        require(
            not wrong,
            f"features of {what}",
            expected="finite numbers",
            got=f"NaN or infinity in {wrong} of {features.numel()}",
            fix="mind logarithms, powers and divisions of 0, and the range of float16",
        )

    def _close(self, a: torch.Tensor, b: torch.Tensor, what: str, fix: str) -> None:
        """Require the same up to rounding in the declared dtype."""
        if self.create().determinism == "none":
            self.skip("it declares no determinism")
        one, two = a.double(), b.double()
        relative = {torch.float16: 4e-3, torch.float32: 1e-4}.get(a.dtype)
        allowed = 1 if relative is None else relative * one.abs().clamp(min=one.abs().max() / 100)
        wrong = int(((one - two).abs() > allowed).sum()) if a.shape == b.shape else a.numel()
        require(
            not wrong,
            f"features of {what}",
            expected="the same as together and in one piece, up to rounding",
            got=f"{wrong} of {a.numel()} differ",
            fix=fix,
        )
