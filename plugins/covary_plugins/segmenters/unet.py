"""The one small U-Net that covary trains: for ``worlds-unet``, and to judge generated data."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from covary import CheckpointError, MissingPackageError

from ..batches import in_batches
from ..checkpoints import check_tensors, sniff

__all__ = ["MIN_SIDE", "load_unet", "make_unet", "predict", "prepare"]

WIDTHS = (16, 32, 48, 64, 64, 16)
MIN_SIDE = 16
"""Shortest side of an image in pixels: it is halved four times."""

# Pixels looked at once: 64 images of 64 x 64.
_BATCH_PIXELS = 2**18
_LONGEST = 4
"""Longer side of a scaled image, of its shorter side."""
_FIX = "train one with `python -m covary_bench.segmenters.train`, or use the bundled weights"


def make_unet(classes: int) -> nn.Module:
    """A U-Net with random weights: prepared images (B, 3, H, W) to logits (B, classes, H, W).

    MONAI's BasicUNet (Ronneberger et al. 2015; Falk et al. 2019): five levels of two convolutions
    with batch normalisation, 0.38 M parameters. H and W are 16 or more, odd sizes too.

    Args:
        classes: how many labels it tells apart, 2 or more.

    Raises:
        MissingPackageError: MONAI is not installed.
    """
    try:
        from monai.networks.nets.basic_unet import BasicUNet
    except ImportError:
        raise MissingPackageError(
            "the U-Net needs monai, which is not installed",
            fix="run: pip install 'covary[unet]'",
        ) from None
    net = BasicUNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=classes,
        features=WIDTHS,
        norm="batch",
        act="relu",
        upsample="nontrainable",
    )
    # On a processor that alone halves the time of a step.
    torch.nn.utils.convert_conv2d_weight_memory_format(net, torch.channels_last)
    return net


def load_unet(path: Path, classes: int) -> nn.Module:
    """The U-Net with the weights in a safetensors file, on the CPU, in evaluation mode.

    Raises:
        CheckpointError: no safetensors file, a damaged one, or one of another network or of
            another number of classes.
        MissingPackageError: MONAI is not installed.
    """
    found = sniff(path)
    if found.kind != "safetensors":
        raise CheckpointError(
            str(path),
            expected="the weights of a worlds-unet, a safetensors file",
            got=found.what,
            fix=found.fix or _FIX,
        )
    # The weights that it starts from are random, and must not move torch's global generator.
    with torch.random.fork_rng(devices=[]):
        network = make_unet(classes)
    try:
        tensors = load_file(path)
        check_tensors(tensors, network.state_dict(), of=f"a U-Net for {classes} classes", fix=_FIX)
    except SafetensorError as error:
        raise CheckpointError(
            str(path), expected="a whole safetensors file", got=str(error), fix="get it again"
        ) from error
    except CheckpointError as error:
        raise CheckpointError(
            f"{error.what} of {path}", expected=error.expected, got=error.got, fix=error.fix
        ) from error
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)


def prepare(images: Tensor) -> Tensor:
    """Images 0..255, uint8 or floating (B, 3, H, W), as the network takes them: float32, -1..1."""
    scaled = images.float() / 127.5 - 1
    return scaled.contiguous(memory_format=torch.channels_last)


def predict(net: nn.Module, images: Tensor, *, side: int | None = None) -> Tensor:
    """The most likely class of every pixel, int64 (B, H, W), where the network is.

    Args:
        net: of :func:`make_unet`, trained; it is used in evaluation mode and left in the mode it
            was in.
        images: uint8 (B, 3, H, W), RGB.
        side: shorter side in pixels at which the network looks at them; its logits are scaled back
            by bilinear interpolation. None: as they are, with sides of 16 or more.

    Raises:
        MemoryBudgetError: not even one image fits on the device.
    """
    device = next(net.parameters()).device
    size = (int(images.shape[2]), int(images.shape[3]))
    seen = size if side is None else _scaled(size, side)

    def labels(some: Tensor) -> Tensor:
        pixels = prepare(some.to(device))
        if seen != size:
            pixels = F.interpolate(pixels, seen, mode="bilinear", antialias=True)
        logits = net(pixels)
        if seen != size:
            logits = F.interpolate(logits, size, mode="bilinear")
        found: Tensor = logits.argmax(dim=1)
        return found

    most = max(1, _BATCH_PIXELS // max(seen[0] * seen[1], size[0] * size[1]))
    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            return torch.cat(list(in_batches(images, labels, most, device=device)))
    finally:
        net.train(training)


def _scaled(size: tuple[int, int], side: int) -> tuple[int, int]:
    """A size (H, W) of the same proportions whose shorter side is ``side``; never very long."""
    height, width = (
        min(max(round(each * side / min(size)), side), _LONGEST * side) for each in size
    )
    return height, width
