"""How well a generator reproduces a photo: bad reconstructions are why masks go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from math import log10
from pathlib import Path

import torch
from torch import Tensor

from covary import InputError, check_image

__all__ = ["ACCEPTABLE_MSE", "error_warning", "reconstruction_error"]

ACCEPTABLE_MSE = 0.02
"""Mean squared error, values in [0, 1], above which a reconstruction shows something else.

It is how far the nearest of 500 random images of the bundled generator is from a rendered avatar.
"""

_ALEXNET = "alexnet-owt-7be5be79.pth"


def reconstruction_error(image: Tensor, reconstruction: Tensor) -> dict[str, float]:
    """How far ``reconstruction`` is from ``image``.

    Args:
        image: uint8 (3, H, W).
        reconstruction: uint8 (3, H, W) of the same size.

    Returns:
        ``mse``, the mean squared error over all values scaled to [0, 1]; ``psnr`` in decibels
        unless the two are equal; ``lpips`` (AlexNet, v0.1) only where the lpips package and the
        backbone's weights are on this machine already, for nothing is downloaded.

    Raises:
        InputError: not two images of one size.
    """
    check_image(image)
    if check_image(reconstruction, "reconstruction").shape != image.shape:
        raise InputError(
            "reconstruction",
            expected=f"the shape of the image, {tuple(image.shape)}",
            got=str(tuple(reconstruction.shape)),
        )
    difference = image.to("cpu", torch.float64) - reconstruction.to("cpu", torch.float64)
    mse = float((difference / 255).square().mean())
    errors = {"mse": mse}
    if mse > 0:
        errors["psnr"] = -10 * log10(mse)
    return errors | _lpips(image, reconstruction)


def error_warning(metrics: Mapping[str, float]) -> str | None:
    """What to tell the user about the errors of `reconstruction_error`; None where all is well."""
    mse = metrics["mse"]
    if mse <= ACCEPTABLE_MSE:
        return None
    return (
        f"the reconstruction is far from the photo (mean squared error {mse:.3f}, good ones stay "
        f"below {ACCEPTABLE_MSE:g}), so the mask may be of something else: compare "
        "reconstruction.png with image.png, align the photo as the generator's training images "
        "were, or use a generator of such images"
    )


def _lpips(image: Tensor, reconstruction: Tensor) -> dict[str, float]:
    backbone = Path(torch.hub.get_dir()) / "checkpoints" / _ALEXNET
    # The package fetches a missing backbone by itself, so look before it is asked.
    if not backbone.is_file() or find_spec("lpips") is None or min(image.shape[1:]) < 64:
        return {}
    try:
        import lpips  # type: ignore[import-not-found, unused-ignore]
    except ImportError:  # it needs torchvision, which need not fit this torch
        return {}
    pair = [x.cpu().float()[None] / 127.5 - 1 for x in (image, reconstruction)]
    with torch.inference_mode():
        return {"lpips": float(lpips.LPIPS(net="alex", verbose=False)(*pair))}
