"""The one small U-Net that covary trains: for ``worlds-unet``, and to judge generated data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from covary import MissingPackageError

__all__ = ["MIN_SIDE", "make_unet", "predict", "prepare"]

WIDTHS = (16, 32, 48, 64, 64, 16)
MIN_SIDE = 16
"""Shortest side of an image in pixels: it is halved four times."""

_BATCH = 32


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


def prepare(images: Tensor) -> Tensor:
    """Images 0..255, uint8 or floating (B, 3, H, W), as the network takes them: float32, -1..1."""
    scaled = images.float() / 127.5 - 1
    return scaled.contiguous(memory_format=torch.channels_last)


def predict(net: nn.Module, images: Tensor) -> Tensor:
    """The most likely class of every pixel, int64 (B, H, W), on the images' device.

    Args:
        net: of :func:`make_unet`, trained, on that device; it is used in evaluation mode and left
            in the mode it was in.
        images: uint8 (B, 3, H, W), RGB.
    """
    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            labels = [net(prepare(some)).argmax(dim=1) for some in images.split(_BATCH)]
    finally:
        net.train(training)
    return torch.cat(labels)
