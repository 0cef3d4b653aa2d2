"""A photo's code in a StyleGAN2 generator, found by ReStyle's iterative refinement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from covary.errors import CheckpointError, InputError
from covary_plugins.batches import in_batches
from covary_plugins.stylegan2 import Generator

from .encoders import Encoder

__all__ = ["Inversion", "Inverter", "mean_code", "resized"]

Progress = Callable[[int, int, str], None]

_BATCH, _BATCH_PIXELS = 8, 8 * 256**2
"""Most photos at once, and most pixels of their reconstructions; more brings no speed."""


@dataclass(frozen=True, slots=True, eq=False)
class Inversion:
    """What each step of the refinement found."""

    codes: Tensor
    """float32 (n_iters, B, S, W); the last is the best."""
    images: Tensor
    """What the decoder makes of them, float32 (n_iters, B, 3, H, W), nominally in [-1, 1] but not
    clipped; for cars only the rows that hold the picture."""

    def pictures(self, step: int = -1) -> Tensor:
        """The images after one step, uint8 (B, 3, H, W), clipped and truncated as in ReStyle."""
        return ((self.images[step] + 1) / 2).clamp(0, 1).mul(255).to(torch.uint8)


class Inverter(nn.Module):
    """Photos to codes of ``decoder``: an encoder that corrects its own code step by step.

    Alaluf et al., "ReStyle: A Residual-Based StyleGAN Encoder via Iterative Refinement", 2021.

    Attributes:
        encoder: photo and reconstruction to the change of the code.
        decoder: the generator that the codes belong to.
        latent_avg: the code before the first step, float32 (S, W).
        n_iters: steps that the encoder was trained for.
        input_size: (h, w) of what the encoder sees.
        is_car: whether only the middle three quarters of the decoder's rows hold the picture, as
            in generators of cars.
    """

    latent_avg: Tensor

    def __init__(
        self,
        encoder: Encoder,
        decoder: Generator,
        latent_avg: Tensor,
        *,
        n_iters: int = 5,
        input_size: int | None = None,
        is_car: bool = False,
    ) -> None:
        """
        Args:
            latent_avg: (S, W), or (W,) for the same code in every layer.
            input_size: side in pixels of what the encoder sees; None is the largest that fits it.

        Raises:
            CheckpointError: parts that do not belong together; the message has both numbers.
        """
        super().__init__()
        _check_match(encoder, decoder)
        side = _input_side(encoder, input_size)
        self.encoder, self.decoder = encoder, decoder
        self.n_iters, self.is_car = n_iters, is_car
        self.input_size = (side * 3 // 4 if is_car else side, side)
        self.register_buffer("latent_avg", mean_code(latent_avg, encoder))

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) in pixels of the reconstructions."""
        side = self.decoder.resolution
        return (side * 3 // 4 if self.is_car else side), side

    @property
    def working_bytes(self) -> int:
        """Peak bytes of one photo on its way through the encoder.

        Its first layer is the widest: input, output and two temporaries of it, in float32.
        """
        sizes = self.encoder.sizes
        height, width = self.input_size
        pixels = height * width // (4 if sizes.backbone == "resnet" else 1)
        return 16 * sizes.widths[0] * pixels

    def invert(
        self, images: Tensor, n_iters: int | None = None, progress: Progress | None = None
    ) -> Inversion:
        """Codes and reconstructions of ``images`` after every step.

        Noise is the decoder's stored constant, and everything runs in float32.

        Args:
            images: uint8 (B, 3, H, W), RGB, of any size; scaled to ``input_size`` as PIL's
                bilinear filter does it, so they should have its proportions.
            n_iters: steps, at least 1; None is what the encoder was trained for.
            progress: called as ``progress(done, total, what)`` after every step.

        Raises:
            InputError: images of another shape or dtype, or no steps.
            MemoryBudgetError: one image alone does not fit on the device.
        """
        steps = self.n_iters if n_iters is None else n_iters
        _check_images(images)
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise InputError("n_iters", expected="an integer of at least 1", got=repr(steps))
        device, count = self.latent_avg.device, len(images)
        finished = 0

        def run(some: Tensor) -> Inversion:
            def report(step: int) -> None:
                if progress is not None:
                    done = finished * steps + step * len(some)
                    progress(done, count * steps, "inverting")

            return self._refine(some.to(device), steps, report)

        at_once = max(1, min(_BATCH, _BATCH_PIXELS // self.decoder.resolution**2))
        parts = []
        for part in in_batches(images, run, at_once, device=device):
            parts.append(part)
            finished += part.codes.shape[1]
        return Inversion(
            torch.cat([part.codes for part in parts], dim=1),
            torch.cat([part.images for part in parts], dim=1),
        )

    @torch.no_grad()
    def _refine(self, images: Tensor, steps: int, report: Callable[[int], None]) -> Inversion:
        photos = resized(images, self.input_size).float() / 127.5 - 1
        code = self.latent_avg.expand(len(images), -1, -1)
        codes, pictures = [], []
        # TF32, on by default in cuDNN, keeps ten bits: its error grows with every step.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            picture = self._synthesise(self.latent_avg[None]).expand(len(images), -1, -1, -1)
            for step in range(1, steps + 1):
                seen = F.adaptive_avg_pool2d(picture, self.input_size)
                code = code + self.encoder(torch.cat([photos, seen], dim=1))
                picture = self._synthesise(code)
                codes.append(code)
                pictures.append(picture)
                report(step)
        return Inversion(torch.stack(codes), torch.stack(pictures))

    def _synthesise(self, codes: Tensor) -> Tensor:
        return self.picture_rows(self.decoder.synthesis(codes))

    def picture_rows(self, images: Tensor) -> Tensor:
        """The rows of the decoder's images (..., H, W) that hold the picture."""
        top = (images.shape[-2] - self.image_size[0]) // 2
        return images[..., top : top + self.image_size[0], :]


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (B, 3, H, W) scaled to ``size`` (h, w) with PIL's antialiased bilinear filter.

    Equal to PIL's up to one grey level, whose filter weights are rounded.
    """
    if tuple(images.shape[-2:]) == size:
        return images
    scaled = F.interpolate(
        images.float(), size, mode="bilinear", antialias=True, align_corners=False
    )
    return scaled.round().clamp(0, 255).to(torch.uint8)


def _check_match(encoder: Encoder, decoder: Generator) -> None:
    sizes = encoder.sizes
    for what, wanted, found in (
        ("styles", sizes.styles, decoder.num_ws),
        ("numbers in a code", sizes.w_dim, decoder.w_dim),
    ):
        if wanted != found:
            raise CheckpointError(
                "encoder and decoder do not belong together",
                expected=f"a decoder with {wanted} {what}, as the encoder gives them",
                got=f"{found} ({decoder.resolution}x{decoder.resolution} pixels)",
                fix="give the generator that this encoder was trained for",
            )


def _input_side(encoder: Encoder, asked: int | None) -> int:
    sizes = encoder.sizes
    largest = int(sizes.reduction * 2**sizes.head_convs)
    if asked is None:
        return largest
    # A larger photo would leave more than the one pixel that the heads' linear layers take.
    if isinstance(asked, bool) or not isinstance(asked, int) or not 4 <= asked <= largest:
        raise CheckpointError(
            "option 'input_size'",
            expected=f"an integer in 4..{largest}, from the encoder's depth",
            got=repr(asked),
            fix="pass the options that belong to this checkpoint",
        )
    return asked


def mean_code(latent_avg: Tensor, encoder: Encoder) -> Tensor:
    """``latent_avg`` as float32 (S, W), one row for each of the encoder's styles.

    Raises:
        CheckpointError: neither (S, W) nor (W,).
    """
    styles, w_dim = encoder.sizes.styles, encoder.sizes.w_dim
    shape = tuple(latent_avg.shape)
    if shape not in ((w_dim,), (1, w_dim), (styles, w_dim)):
        raise CheckpointError(
            "latent_avg",
            expected=f"shape ({styles}, {w_dim}) or ({w_dim},), as the encoder's codes",
            got=str(shape),
            fix="pass the mean code of this very checkpoint",
        )
    return latent_avg.detach().to(torch.float32).expand(styles, w_dim).clone()


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        got = f"{type(images).__name__} {getattr(images, 'dtype', '')}".rstrip()
        raise InputError("images", expected="a uint8 tensor (B, 3, H, W)", got=got)
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise InputError("images", expected="shape (B, 3, H, W), RGB", got=str(tuple(images.shape)))
