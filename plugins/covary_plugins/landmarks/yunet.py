"""Faces and their five points, by YuNet."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import Field

import covary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from covary import RunContext

__all__ = ["YuNet"]


class YuNet(covary.LandmarkDetector):
    """Five points of each face, the surest first, by kornia's YuNet (Wu et al. 2023).

    Its weights, ``yunet_final.pth`` of the kornia project, are not part of covary:
    ``covary checkpoints fetch yunet``, or give the path of a copy as ``checkpoint``. Photos larger
    than ``max_side`` are looked at in that size, for YuNet knows faces of up to some 250 pixels
    best.
    """

    class Params(covary.Params):
        checkpoint: str = Field(
            "yunet", description="The weights: a .pth file, or a name from the catalogue."
        )
        threshold: float = Field(0.6, ge=0, le=1, description="Score below which nothing counts.")
        overlap: float = Field(
            0.3, ge=0, le=1, description="IoU above which two boxes are taken for one face."
        )
        max_side: int = Field(
            640, ge=64, description="Longer side in pixels at which large photos are looked at."
        )

    params: Params
    determinism = "numeric"

    _network: Any = None
    _inputs: Mapping[str, str] = MappingProxyType({})

    def inputs(self) -> Mapping[str, str]:
        """The weights, once they are loaded."""
        return self._inputs

    def landmarks(self, image: Tensor, ctx: RunContext | None = None) -> Sequence[Tensor]:
        """Left eye, right eye, nose, left and right corner of the mouth of each face.

        Raises:
            CheckpointError: the weights are missing, or are not YuNet's.
        """
        from ._yunet import find_faces, load

        ctx = ctx or covary.RunContext(device=image.device)
        if self._network is None:
            from covary.files import file_sha256

            path = covary.checkpoint_path(self.params.checkpoint)
            self._network = load(path)
            self._inputs = {self.params.checkpoint: file_sha256(path)}
        return find_faces(
            self._network.to(ctx.device),
            covary.check_image(image).to(ctx.device),
            threshold=self.params.threshold,
            overlap=self.params.overlap,
            max_side=self.params.max_side,
        )
