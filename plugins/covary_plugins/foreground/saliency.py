"""Foreground by saliency."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

import covary
from covary import ForegroundRule, InputError

from ._gaussians import Covariance, Position

if TYPE_CHECKING:
    import numpy as np
    import torch

    from covary import ClusterMap, Foreground, RunContext

__all__ = ["Saliency"]


class Saliency(ForegroundRule):
    """A cluster is foreground where its pixels are salient on average (paper Sec. 3.2).

    Without a map of your own, saliency is a Gaussian heat map of peak 1 around the centre of the
    image, in coordinates relative to its sides: it keeps its shape at every size, and fills the
    box when the rule works inside one. Your own ``map`` is resized the same way; inside boxes it
    is squeezed into each, so give a map of one object there, not of the whole scene.

    A cluster's score is its mean saliency; a cluster without pixels is never chosen.
    """

    class Params(covary.Params):
        theta_saliency: float = Field(
            0.33, ge=0, le=1, description="Mean saliency above which a cluster is foreground."
        )
        mean: Position = Field(
            (0.5, 0.5), description="Centre (x, y) of the heat map, in 0..1 of width and height."
        )
        sigma: float = Field(
            0.28, gt=0, description="Standard deviation of the heat map, relative to the sides."
        )
        covariance: Covariance | None = Field(
            None, description="Relative covariance ((xx, xy), (xy, yy)), instead of sigma."
        )
        map: Path | None = Field(
            None,
            description="Your own saliency instead of the heat map: a greyscale image, or a .npy "
            "or .npz of one (H, W) array with values in 0..1 (0..255 if uint8).",
        )
        array_sha256: str | None = Field(
            None, description="Set by Saliency.from_array, which see; not by hand."
        )

    params: Params
    _array: torch.Tensor | None = None

    @classmethod
    def from_array(
        cls, array: np.ndarray[Any, Any] | torch.Tensor, theta_saliency: float = 0.33
    ) -> Self:
        """The rule with a saliency map from memory.

        Its sha256 goes into the parameters, and so into provenance; to make a run repeatable from
        its provenance alone, save the array as .npy and pass ``map`` instead.

        Args:
            array: (H, W) of any size, floats in 0..1, bool, or uint8 in 0..255.
            theta_saliency: mean saliency above which a cluster is foreground.

        Raises:
            InputError: another shape, dtype or range, or values that are not finite.
        """
        import hashlib

        from ._maps import as_map

        values = as_map(array, "saliency map")
        digest = hashlib.sha256(values.numpy().tobytes()).hexdigest()
        rule = cls(theta_saliency=theta_saliency, array_sha256=digest)
        rule._array = values
        return rule

    def select(
        self, clusters: ClusterMap, image: torch.Tensor, ctx: RunContext | None = None
    ) -> Foreground:
        """Choose the clusters whose mean saliency exceeds theta_saliency.

        Raises:
            InputError: the map cannot be used, or the image is not that of ``clusters``.
        """
        import torch

        from covary import Foreground

        from ._confidence import confidence, probability
        from ._sizes import check_same_size

        check_same_size(clusters, image)
        saliency = self.heat_map(clusters.size).to(clusters.labels.device, torch.float64)
        # Cluster by cluster: a weighted bincount is not deterministic on CUDA.
        sums = [saliency[clusters.labels == cluster].sum() for cluster in range(clusters.k)]
        counts = clusters.counts
        scores = torch.stack(sums) / counts.clamp(min=1)
        theta = self.params.theta_saliency
        chosen = (counts > 0) & (scores > theta)
        listed = ", ".join(f"{score:.2f}" for score in scores.tolist())
        reason = f"mean saliency of the clusters is {listed}; foreground is above {theta:g}"
        sure = confidence(clusters, chosen, probability(scores, theta, limit=1))
        return Foreground.from_clusters(clusters, chosen, scores, reason, sure)

    def heat_map(self, size: tuple[int, int]) -> torch.Tensor:
        """The saliency of an image or box (H, W), float32 in 0..1.

        Raises:
            InputError: the map cannot be used.
        """
        from ._maps import gaussian, read_map, resize

        params = self.params
        if self._array is not None:
            return resize(self._array, size)
        if params.array_sha256 is not None:
            raise InputError(
                "saliency map",
                expected=f"the array of sha256 {params.array_sha256[:12]}...",
                got="no array",
                fix="build the rule with Saliency.from_array, or save the array and pass map",
            )
        if params.map is not None:
            return resize(read_map(params.map), size)
        variance = params.sigma**2
        covariance = params.covariance or ((variance, 0.0), (0.0, variance))
        return gaussian(size, params.mean, covariance)
