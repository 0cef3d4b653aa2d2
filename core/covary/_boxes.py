"""What happens inside the boxes of one image: crop, cluster, judge, refine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from . import _verify
from ._stages import Inside, Stages
from .context import RunContext
from .errors import InputError, ParamsError
from .interfaces import Clusterer
from .provenance import Record
from .segmentation import Region
from .soft import soft_mask
from .summary import StyleSummary
from .types import ClusterMap, Detection, Foreground

__all__ = ["Boxes"]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Segments the boxes of one image, each on its own."""

    stages: Stages
    image: torch.Tensor
    """X_0, uint8 (3, H, W), on the run's device."""
    summaries: Mapping[int, StyleSummary]
    """By the identity of their feature spaces."""
    ctx: RunContext
    record: Record

    def segment(self, boxes: Sequence[Detection]) -> Iterator[Region]:
        """One region for each box, in the same order, on the CPU."""
        for done, box in enumerate(boxes, start=1):
            yield self._region(box)
            if self.stages.detector is not None:
                self.ctx.progress(done, len(boxes), "objects")

    def _region(self, detection: Detection) -> Region:
        box, inside = detection.box, self.stages.inside(detection.label)
        summary = self.summaries[id(inside.features)]
        part = summary if (box.height, box.width) == summary.size else summary.crop(box)
        image = self.image[(slice(None), *box.slices)]
        clusters, foreground = self._judged(inside, part, image)
        soft, refined = self._refined(part, clusters, foreground, image)
        return Region(
            box=box,
            clusters=clusters.cpu(),
            foreground=foreground.cpu(),
            label=detection.label,
            score=float(detection.score),
            soft=soft.cpu() if soft is not None and self.stages.soft else None,
            refined=None if refined is None else refined.cpu(),
        )

    def _judged(
        self, inside: Inside, part: StyleSummary, image: torch.Tensor
    ) -> tuple[ClusterMap, Foreground]:
        try:
            clusters = self._clustered(inside.clusterer, part)
        except ParamsError:
            raise
        except InputError as error:
            # A detector may find boxes of a pixel or of one colour; they must not cost the others.
            if self.stages.detector is None:
                raise
            return _not_clustered(part, error)
        return clusters, self._chosen(inside, clusters, image)

    def _clustered(self, clusterer: Clusterer, part: StyleSummary) -> ClusterMap:
        with (
            self.record.stage("clusterer"),
            _verify.untouched(clusterer, "clusterer", {"the style summary": part.data}),
        ):
            found = clusterer.fit(part, self.ctx.at("clusterer", clusterer.id))
        return _verify.clusters_of(clusterer, found, part)

    def _chosen(self, inside: Inside, clusters: ClusterMap, image: torch.Tensor) -> Foreground:
        rule = inside.foreground
        given = {"X_0": image, "the labels": clusters.labels, "the centres": clusters.centers}
        with self.record.stage("foreground"), _verify.untouched(rule, "foreground", given):
            found = rule.select(clusters, image, self.ctx.at("foreground", rule.id))
        return _verify.foreground_of(rule, found, clusters)

    def _refined(
        self,
        part: StyleSummary,
        clusters: ClusterMap,
        foreground: Foreground,
        image: torch.Tensor,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """The soft mask and, where refiners worked on it, what is above one half in the end."""
        if not (self.stages.soft or self.stages.refiners):
            return None, None
        with self.record.stage("soft"):
            soft = soft_mask(part, clusters, foreground)
        if not (self.stages.refiners and foreground.found):
            return soft, None
        for refiner in self.stages.refiners:
            given = {"X_0": image, "the soft mask": soft}
            with self.record.stage("refine"), _verify.untouched(refiner, "refiner", given):
                found = refiner.refine(soft, image, self.ctx.at("refiner", refiner.id))
            soft = _verify.refined_by(refiner, found, soft)
        return soft, soft > 0.5


def _not_clustered(part: StyleSummary, error: InputError) -> tuple[ClusterMap, Foreground]:
    """One cluster of all pixels that is no foreground, for the reason that ``error`` gives."""
    total = torch.zeros(part.features, dtype=torch.float64, device=part.device)
    for _, rows in part.chunks():
        total += rows.sum(dim=0, dtype=torch.float64)
    center = (total / part.pixels).to(torch.float32)[None]
    inertia = sum(float((rows - center).double().square().sum()) for _, rows in part.chunks())
    labels = torch.zeros(part.pixels, dtype=torch.int32, device=part.device)
    clusters = ClusterMap.from_labels(labels, center, size=part.size, inertia=inertia, iterations=0)
    none = torch.zeros(1, device=part.device)
    reason = f"the box cannot be clustered: {error}"
    return clusters, Foreground.from_clusters(clusters, none > 0, none, reason)
