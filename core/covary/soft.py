"""Soft masks: how far each pixel is from being of another cluster.

Both functions here look at a pixel's place between two centres c1 and c2::

    share of c1 = 1/2 + (|x - c2|^2 - |x - c1|^2) / (2 |c1 - c2|^2)

the least-squares share of c1 in a mixture of the two, as in image matting: 1 at c1, 0 at c2, 1/2
half-way. What displaces a pixel across the line between the two, as most noise does, cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from .errors import InputError
from .types import check_image

if TYPE_CHECKING:
    from .summary import StyleSummary
    from .types import ClusterMap, Foreground

__all__ = ["check_soft", "pixel_confidence", "soft_mask"]

_Pair = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def soft_mask(summary: StyleSummary, clusters: ClusterMap, foreground: Foreground) -> torch.Tensor:
    """How much of the foreground each pixel is, float32 (H, W) in 0..1, on the summary's device.

    The share of the nearest foreground centre in the least-squares mixture of that centre and the
    nearest background centre, cut off at 0 and 1. (Soft k-means would put the same margin of
    squared distances through a logistic function, with a stiffness that somebody has to choose:
    MacKay, Information Theory, Inference, and Learning Algorithms, ch. 20.)

    ``soft_mask(...) > 0.5`` is the mask wherever a pixel's label is that of its nearest centre; a
    pixel half-way between two may be either. Clusters without pixels count for nothing. Where no
    foreground was found the result is all 0, and as little a result as the mask is.

    Args:
        summary: what was clustered; read in chunks.
        clusters: its clusters.
        foreground: which of them are the content.

    Raises:
        InputError: the three do not belong together.
    """
    _check(summary, clusters)
    if tuple(foreground.clusters.shape) != (clusters.k,):
        raise InputError(
            "foreground",
            expected=f"a verdict on each of the {clusters.k} clusters",
            got=str(tuple(foreground.clusters.shape)),
            fix="give the foreground that was chosen from these clusters",
        )
    if not foreground.found:
        return torch.zeros(summary.size, device=summary.device)
    used = (clusters.counts > 0).to(summary.device)
    chosen = foreground.clusters.to(summary.device)[used]
    inside, outside = chosen.nonzero().flatten(), (~chosen).nonzero().flatten()
    if not len(inside) or not len(outside):
        raise InputError(
            "foreground",
            expected="some clusters with pixels that are chosen and some that are not",
            got=f"{len(inside)} and {len(outside)}",
            fix="make it with covary.Foreground.from_clusters, which calls that none found",
        )

    def nearest_of_each(distances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (
            inside[distances[:, inside].argmin(dim=1)],
            outside[distances[:, outside].argmin(dim=1)],
        )

    return _shares(summary, clusters.centers.to(summary.device)[used], nearest_of_each)


def pixel_confidence(summary: StyleSummary, clusters: ClusterMap) -> torch.Tensor:
    """How sure each pixel is of its cluster, float32 (H, W) in 0..1, on the summary's device.

    The margin between the nearest and the second-nearest centre: the difference of the squared
    distances over the squared distance of the two centres, cut off at 1. 0 is half-way between
    them; a centre itself has 1, and so has a pixel beyond it. A single cluster has no rival: 1
    everywhere. Clusters without pixels count for nothing.

    Args:
        summary: what was clustered; read in chunks.
        clusters: its clusters.

    Raises:
        InputError: the two do not belong together.
    """
    _check(summary, clusters)
    used = (clusters.counts > 0).to(summary.device)
    if int(used.sum()) == 1:
        return torch.ones(summary.size, device=summary.device)

    def nearest_two(distances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first, second = distances.topk(2, dim=1, largest=False).indices.unbind(dim=1)
        return first, second

    return (
        _shares(summary, clusters.centers.to(summary.device)[used], nearest_two)
        .mul_(2)
        .sub_(1)
        .clamp_(min=0)
    )


def check_soft(soft: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """``soft`` itself if it is a soft mask of that image: float32 (H, W) with values in 0..1.

    Raises:
        InputError: it is not, or ``image`` is not uint8 (3, H, W).
    """
    check_image(image)
    if not isinstance(soft, torch.Tensor) or soft.dtype != torch.float32:
        got = f"{type(soft).__name__} {getattr(soft, 'dtype', '')}".rstrip()
        fix = "convert a hard mask with mask.float()"
        raise InputError("soft mask", expected="a float32 tensor (H, W)", got=got, fix=fix)
    if soft.shape != image.shape[1:]:
        expected = f"{tuple(image.shape[1:])}, the size of the image"
        raise InputError("soft mask", expected=expected, got=str(tuple(soft.shape)))
    low, high = (float(end) for end in soft.aminmax())
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise InputError("soft mask", expected="values in 0..1", got=f"{low:g}..{high:g}")
    return soft


def _shares(summary: StyleSummary, centers: torch.Tensor, pair: _Pair) -> torch.Tensor:
    """The share of the first of two centres, chosen for each pixel by ``pair``.

    ``pair`` is given squared distances (M, K), less what is the same for all centres of a pixel.
    """
    exact = centers.to(torch.float64)
    apart = torch.cdist(exact, exact).square().to(torch.float32)
    # Relative to their mean the centres are small numbers, and their products lose fewer digits.
    mean = exact.mean(dim=0)
    offsets = (exact - mean).square().sum(dim=1) + 2 * (exact - mean) @ mean
    directions, offsets = (exact - mean).to(torch.float32).T, offsets.to(torch.float32)
    shares = torch.empty(summary.pixels, device=summary.device)
    for start, rows in summary.chunks():
        distances = offsets - 2 * (rows @ directions)
        first, second = pair(distances)
        margin = distances.gather(1, second[:, None]) - distances.gather(1, first[:, None])
        # Two equal centres make a pixel as much of one as of the other.
        between = apart[first, second].clamp(min=torch.finfo(torch.float32).tiny)
        shares[start : start + len(rows)] = (0.5 + margin[:, 0] / (2 * between)).clamp_(0, 1)
    return shares.reshape(summary.size)


def _check(summary: StyleSummary, clusters: ClusterMap) -> None:
    if clusters.size != summary.size:
        raise InputError(
            "clusters",
            expected=f"labels of {summary.size[0]}x{summary.size[1]} pixels, as the summary has",
            got=f"{clusters.size[0]}x{clusters.size[1]}",
            fix="crop the summary to the region's box first: summary.crop(region.box)",
        )
    if tuple(clusters.centers.shape) != (clusters.k, summary.features):
        raise InputError(
            "clusters",
            expected=f"centres with {summary.features} features, as the summary has",
            got=str(tuple(clusters.centers.shape)),
            fix="give the summary that was clustered",
        )
