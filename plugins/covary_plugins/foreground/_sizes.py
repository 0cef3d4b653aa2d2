"""The check that every rule here makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from covary import ClusterMap, InputError, check_image

if TYPE_CHECKING:
    import torch

__all__ = ["check_same_size"]


def check_same_size(clusters: ClusterMap, image: torch.Tensor) -> None:
    """Refuse an image that is not the one that was clustered.

    Raises:
        InputError: not uint8 (3, H, W), or of another size than ``clusters``.
    """
    size = tuple(check_image(image).shape[1:])
    if size != clusters.size:
        raise InputError(
            "image",
            expected=f"the cluster map's size {clusters.size}",
            got=str(size),
            fix="pass X_0, the image that was clustered",
        )
