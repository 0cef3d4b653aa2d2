"""Putting the content of one image on another (paper Fig. 8), and cutting it out.

Where a soft mask says that a pixel is partly content, its colour is a mixture with the old
background. Laid on a new one as it is, that background would show as a halo, so the content's own
colour is estimated first, from what surrounds the pixel (blur fusion: Forte, "Approximate Fast
Foreground Colour Estimation", ICIP 2021).

Colours are mixed as they are coded, in sRGB, not in linear light: the shares of a soft mask were
measured between coded colours, and only there do they give back the image they come from.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.nn.functional import avg_pool2d, max_pool2d, pad

from .errors import InputError
from .images import to_pil
from .soft import check_soft
from .types import check_image

__all__ = ["Fit", "border_only", "compose", "content_colours", "cut_out"]

Fit = Literal["exact", "cover", "stretch"]
"""What to do with a new background of another size."""

_LEAST_FEATHER = 0.05
"""A Gaussian this narrow, in pixels, has no weight but in its middle pixel."""


def compose(
    content: torch.Tensor,
    mask: torch.Tensor,
    onto: torch.Tensor,
    *,
    feather: float = 0.0,
    edge: int | None = None,
    fit: Fit = "exact",
) -> torch.Tensor:
    """The content of one image on another, uint8 (3, H, W), the size of ``content``.

    Args:
        content: uint8 (3, H, W).
        mask: what of it to take: bool (H, W), or a soft mask float32 (H, W) in 0..1.
        onto: uint8 (3, H, W), e.g. a variant of the same image, or any other.
        feather: standard deviation in pixels of a blur of the mask's border; 0 for none.
        edge: pixels on either side of the border in which a soft mask is soft; beyond them it is
            taken for all or nothing, lest content that is unsure of itself become a ghost. None:
            1/128 of the shorter side, at least one.
        fit: where ``onto`` has another size: ``"exact"`` refuses it, ``"cover"`` scales it to
            cover the content and cuts off what protrudes, ``"stretch"`` changes its aspect.

    Raises:
        InputError: dtypes, sizes or values that do not fit, or a mask without foreground.
    """
    alpha = _alpha(content, mask, edge)
    if not (0 <= feather < float("inf")):
        raise InputError("feather", expected="a finite number of pixels, from 0", got=str(feather))
    background = _fitted(check_image(onto, "onto"), (content.shape[1], content.shape[2]), fit)
    reach = _edge(content, edge) + round(2 * feather) + 1
    colours = content_colours(content, alpha, reach) if _mixes(alpha, feather) else content.float()
    if feather:
        alpha = _blurred(alpha, feather)
    mixed = alpha * colours + (1 - alpha) * background.to(content.device)
    return mixed.round().clamp(0, 255).to(torch.uint8)


def cut_out(content: torch.Tensor, mask: torch.Tensor, *, edge: int | None = None) -> torch.Tensor:
    """The content alone, uint8 (4, H, W): RGB and straight alpha, on a transparent ground.

    At a soft border the colours are the content's own, not mixed with the old background. Fully
    transparent pixels are black.

    Args:
        content: uint8 (3, H, W).
        mask: bool (H, W), or a soft mask float32 (H, W) in 0..1.
        edge: as for :func:`compose`.

    Raises:
        InputError: dtypes, sizes or values that do not fit, or a mask without foreground.
    """
    alpha = _alpha(content, mask, edge)
    colours = content.float()
    if _mixes(alpha):
        colours = content_colours(content, alpha, _edge(content, edge) + 1)
    opacity = (255 * alpha).round()
    rgba = torch.cat([colours * (opacity > 0), opacity[None]])
    return rgba.round().clamp(0, 255).to(torch.uint8)


def border_only(soft: torch.Tensor, edge: int) -> torch.Tensor:
    """A soft mask that is soft at most ``edge`` pixels from its border, elsewhere 0 or 1.

    Args:
        soft: float32 (H, W) in 0..1; its border is where it crosses 0.5.
        edge: pixels, from 0.

    Returns:
        float32 (H, W) in 0..1; the same side of 0.5 as before at every pixel.
    """
    hard = (soft > 0.5).float()[None]
    window = 2 * edge + 1
    most = max_pool2d(hard, window, stride=1, padding=edge)
    least = -max_pool2d(-hard, window, stride=1, padding=edge)
    return torch.where(most > least, soft, hard)[0]


def content_colours(image: torch.Tensor, alpha: torch.Tensor, reach: int) -> torch.Tensor:
    """The colours of the content where it is mixed with its background, float32 (3, H, W).

    Content and background around each pixel are averaged, weighted by their shares; what the two
    averages leave unexplained of the pixel is the content's. Where nothing within ``reach`` is
    content, the image as it is.

    Args:
        image: uint8 (3, H, W).
        alpha: how much of each pixel is content, float32 (H, W) in 0..1.
        reach: pixels to look in each direction, from 1.
    """
    colours = image.float()
    content = background = colours
    # The first averages still hold mixed pixels; the second are of what the first made of them.
    for _ in range(2):
        content = _local_mean(content, alpha, reach)
        background = _local_mean(background, 1 - alpha, reach)
        unexplained = colours - alpha * content - (1 - alpha) * background
        content = (content + alpha * unexplained).clamp(0, 255)
    return content


def _local_mean(colours: torch.Tensor, weight: torch.Tensor, reach: int) -> torch.Tensor:
    """The weighted mean around each pixel, or its own colour where there is no weight."""
    window = 2 * reach + 1
    weighted = torch.cat([colours * weight, weight[None]])
    framed = pad(weighted[None], [reach] * 4, mode="replicate")
    # One axis after the other: time then grows with the reach, not with its square.
    sums = avg_pool2d(avg_pool2d(framed, (1, window), stride=1), (window, 1), stride=1)[0]
    total = sums[3:]
    return torch.where(total > 1e-4, sums[:3] / total.clamp(min=1e-4), colours)


def _alpha(content: torch.Tensor, mask: torch.Tensor, edge: int | None) -> torch.Tensor:
    """The checked mask as float32 (H, W)."""
    check_image(content, "content")
    if not isinstance(mask, torch.Tensor) or mask.dtype not in (torch.bool, torch.float32):
        raise InputError(
            "mask",
            expected="bool (H, W), or float32 (H, W) in 0..1",
            got=f"{type(mask).__name__} {getattr(mask, 'dtype', '')}".rstrip(),
            fix="of grey levels 0..255 use mask > 127",
        )
    hard = mask.dtype == torch.bool
    soft = check_soft(mask.to(content.device, torch.float32), content)
    if not bool((soft > 0.5).any()):
        raise InputError(
            "mask",
            expected="at least one pixel of foreground",
            got="none",
            fix="ask a segmentation for `found` before using its mask",
        )
    return soft if hard else border_only(soft, _edge(content, edge))


def _edge(content: torch.Tensor, edge: int | None) -> int:
    if edge is None:
        return max(1, round(min(content.shape[1:]) / 128))
    if not isinstance(edge, int) or edge < 0:
        raise InputError("edge", expected="a number of pixels, from 0", got=repr(edge))
    return edge


def _mixes(alpha: torch.Tensor, feather: float = 0.0) -> bool:
    """Whether any pixel will be neither all content nor all background."""
    return feather > 0 or bool(((alpha > 0) & (alpha < 1)).any())


def _blurred(alpha: torch.Tensor, deviation: float) -> torch.Tensor:
    """``alpha`` under a Gaussian blur."""
    if deviation < _LEAST_FEATHER:
        return alpha
    from kornia.filters import gaussian_blur2d

    window = 2 * max(1, round(3 * deviation)) + 1
    blurred = gaussian_blur2d(
        alpha[None, None], window, (deviation, deviation), border_type="replicate"
    )
    return blurred[0, 0].clamp(0, 1)


def _fitted(onto: torch.Tensor, size: tuple[int, int], fit: Fit) -> torch.Tensor:
    """``onto`` at ``size`` (H, W)."""
    if fit not in get_args(Fit):
        raise InputError("fit", expected=" or ".join(get_args(Fit)), got=repr(fit))
    if tuple(onto.shape[1:]) == size:
        return onto
    if fit == "exact":
        raise InputError(
            "onto",
            expected=f"{size[0]}x{size[1]} pixels, as the content has",
            got=f"{onto.shape[1]}x{onto.shape[2]}",
            fix="give fit='cover' to scale it and cut off what protrudes, or fit='stretch'",
        )
    picture, wanted = to_pil(onto), (size[1], size[0])
    lanczos = Image.Resampling.LANCZOS
    scaled = (
        ImageOps.fit(picture, wanted, lanczos)
        if fit == "cover"
        else picture.resize(wanted, lanczos)
    )
    return torch.from_numpy(np.array(scaled)).permute(2, 0, 1)
