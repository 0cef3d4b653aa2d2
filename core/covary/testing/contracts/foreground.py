"""The contract of foreground rules: a mask that follows from the chosen clusters, with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from hypothesis import given

from covary import Box, ClusterMap, Foreground, InputError, RunContext, SupportsRegions
from covary.testing.contracts._base import describe_shape, examples, require, unchanged
from covary.testing.contracts._image_contract import ContextContract
from covary.testing.contracts._images import exact_clusters, layouts_of, noise, rendered
from covary.testing.contracts._rules import check_inside, explained, on_device
from covary.testing.strategies import cluster_maps

__all__ = ["ForegroundRuleContract"]

_FROM_CLUSTERS = "return Foreground.from_clusters(clusters, chosen, scores, reason)"
_SIZE = (32, 40)


class ForegroundRuleContract(ContextContract):
    """What a foreground rule keeps to: a mask made of clusters, or none, and why."""

    kind = "foreground"
    _call = "select"

    # --- for checks ---------------------------------------------------------------------------

    def sample(self, seed: int) -> tuple[ClusterMap, torch.Tensor]:
        """The parts of a rendered avatar as clusters, and its image."""
        return self.moved(*exact_clusters(rendered(seed, _SIZE)))

    def moved(self, clusters: ClusterMap, image: torch.Tensor) -> tuple[ClusterMap, torch.Tensor]:
        """Both on the contract's device."""
        labels, centers = (t.to(self.device) for t in (clusters.labels, clusters.centers))
        return replace(clusters, labels=labels, centers=centers), image.to(self.device)

    def work(self, component: Any, sample: Any, ctx: RunContext | None) -> Any:
        """The foreground."""
        return component.select(*sample, ctx)

    def checked(self, result: Any, sample: Any) -> Any:
        """A foreground whose tensors have the shapes and dtypes of the interface."""
        clusters: ClusterMap = sample[0]
        require(
            isinstance(result, Foreground),
            "what select returned",
            expected="a covary.Foreground",
            got=type(result).__name__,
            fix=_FROM_CLUSTERS,
        )
        for name, dtype, shape in (
            ("clusters", torch.bool, (clusters.k,)),
            ("mask", torch.bool, clusters.size),
            ("scores", torch.float32, (clusters.k,)),
            ("confidence", torch.float32, (clusters.k,)),
        ):
            value = getattr(result, name)
            require(
                isinstance(value, torch.Tensor)
                and value.dtype == dtype
                and tuple(value.shape) == shape,
                f"{name} of the foreground",
                expected=f"{str(dtype).removeprefix('torch.')} {shape}",
                got=describe_shape(value),
                fix=_FROM_CLUSTERS,
            )
            require(
                on_device(value, self.device),
                f"{name} of the foreground",
                expected=f"on {self.device}, as the cluster map is",
                got=f"on {value.device}",
                fix=_FROM_CLUSTERS,
            )
        return result.cpu()

    def values(self, result: Any) -> Mapping[str, Any]:
        """The tensors and whether anything was found."""
        names = ("clusters", "mask", "scores", "confidence", "names", "found")
        return {name: getattr(result, name) for name in names}

    def tensors(self, sample: Any) -> Mapping[str, torch.Tensor]:
        """Labels, centres and the image."""
        clusters, image = sample
        return {
            "the labels": clusters.labels,
            "the tensor of centres": clusters.centers,
            "the image": image,
        }

    def select(self, clusters: ClusterMap) -> Foreground:
        """What it chooses of these clusters in an image of noise."""
        sample = self.moved(clusters, noise(1, 3, *clusters.size))
        found: Foreground = self.run(self.create(), sample)
        return found

    # --- rules --------------------------------------------------------------------------------

    @examples(15)
    @given(clusters=cluster_maps())
    def test_returns_a_foreground(self, clusters: ClusterMap) -> None:
        """It gives clusters bool (K,), mask bool (H, W), scores float32 (K,) for any clusters."""
        self.select(clusters)

    @examples(15)
    @given(clusters=cluster_maps())
    def test_masks_the_chosen_clusters(self, clusters: ClusterMap) -> None:
        """The mask is the union of the chosen clusters, and empty where nothing was found."""
        scene = self.sample(0)
        for map_, found in (
            (clusters, self.select(clusters)),
            (scene[0].cpu(), self.run(self.create(), scene)),
        ):
            expected = found.clusters[map_.labels.long()] & found.found
            wrong = int((found.mask != expected).sum())
            chosen = "the pixels of the chosen clusters"
            require(
                not wrong,
                "the mask",
                expected=chosen if found.found else "all False, as nothing was found",
                got=f"{wrong} of {expected.numel()} pixels differ",
                fix=_FROM_CLUSTERS,
            )

    @examples(15)
    @given(clusters=cluster_maps())
    def test_finds_neither_nothing_nor_everything(self, clusters: ClusterMap) -> None:
        """Something is found exactly where some pixels are chosen and others are not."""
        found = self.select(clusters)
        covered = int(found.clusters[clusters.labels.long()].sum())
        expected = 0 < covered < clusters.labels.numel()
        require(
            found.found is expected,
            f"found, with {covered} of {clusters.labels.numel()} pixels chosen",
            expected=str(expected),
            got=repr(found.found),
            fix=_FROM_CLUSTERS,
        )

    @examples(15)
    @given(clusters=cluster_maps())
    def test_gives_finite_scores(self, clusters: ClusterMap) -> None:
        """Every cluster has a finite score, those without pixels too."""
        scores = self.select(clusters).scores
        require(
            bool(torch.isfinite(scores).all()),
            "scores",
            expected="a finite number for each cluster",
            got=f"{scores.tolist()} for clusters of {clusters.counts.tolist()} pixels",
            fix="do not divide by the size of an empty cluster: .clamp(min=1)",
        )

    @examples(15)
    @given(clusters=cluster_maps())
    def test_gives_confidences(self, clusters: ClusterMap) -> None:
        """Every cluster has a confidence in 0..1, those without pixels too."""
        confidence = self.select(clusters).confidence
        require(
            bool(((confidence >= 0) & (confidence <= 1)).all()),
            "confidence",
            expected="a number in 0..1 for each cluster",
            got=f"{confidence.tolist()} for clusters of {clusters.counts.tolist()} pixels",
            fix="pass confidence=... to Foreground.from_clusters, which checks it",
        )

    @examples(15)
    @given(clusters=cluster_maps())
    def test_names_every_cluster_or_none(self, clusters: ClusterMap) -> None:
        """It names no cluster, or gives each a name, which is empty for those that are no part."""
        names = self.select(clusters).names
        require(
            isinstance(names, tuple)
            and len(names) in (0, clusters.k)
            and all(isinstance(name, str) for name in names),
            "names",
            expected=f"(), or a tuple of {clusters.k} strings",
            got=repr(names),
            fix="pass names=[...] to Foreground.from_clusters, in the order of the clusters",
        )

    @examples(15)
    @given(clusters=cluster_maps())
    def test_gives_a_reason(self, clusters: ClusterMap) -> None:
        """It says in words why it chose, or why it chose nothing."""
        reason = self.select(clusters).reason
        require(
            isinstance(reason, str) and len(reason.strip()) >= 3,
            "the reason",
            expected="a sentence on how it decided",
            got=repr(reason),
            fix="pass reason='...' to Foreground.from_clusters",
        )

    def test_finds_something_in_some_scene(self) -> None:
        """Of eight rendered scenes with exact clusters it finds the content of some."""
        scenes = [rendered(seed, _SIZE) for seed in range(5)]
        scenes += [rendered(seed, _SIZE, "rooms") for seed in range(3)]
        found = [self.run(self.create(), self.moved(*exact_clusters(scene))) for scene in scenes]
        require(
            any(each.found for each in found),
            "eight rendered scenes with exact clusters",
            expected="a foreground in at least one",
            got=f"none, for this reason: {found[0].reason}",
            fix="if it is made for other images, expect this failure and say so",
        )

    # --- hard cases ---------------------------------------------------------------------------

    def test_takes_a_single_pixel(self) -> None:
        """An image of one pixel is a cluster alone: nothing is found, without an error."""
        with explained("an image of one pixel"):
            self._nothing(self.select(_clusters(torch.zeros(1, 1))), "an image of one pixel")

    def test_takes_a_single_cluster(self) -> None:
        """Where all pixels are of one cluster nothing is found, without an error."""
        with explained("one cluster"):
            self._nothing(self.select(_clusters(torch.zeros(9, 7))), "an image of one cluster")

    def test_takes_a_cluster_for_each_pixel(self) -> None:
        """Clusters of one pixel each are judged without an error."""
        with explained("a cluster for each pixel"):
            self.select(_clusters(torch.arange(30).reshape(5, 6)))

    def test_takes_clusters_without_pixels(self) -> None:
        """Clusters that no pixel belongs to do not change the mask."""
        for seed in range(2):
            labels = exact_clusters(rendered(seed, _SIZE))[0].labels
            with explained("clusters without pixels"):
                one, more = (self.select(_clusters(labels, spare)) for spare in (0, 40))
            different = int((one.mask != more.mask).sum())
            require(
                not different,
                "the mask once forty clusters without pixels are added",
                expected="the same",
                got=f"{different} pixels differ",
                fix="leave clusters of clusters.counts == 0 out of averages and rankings",
            )

    def test_ignores_the_layout_in_memory(self) -> None:
        """Strided labels and images, such as those of a box, give the same foreground."""
        clusters, image = self.sample(0)
        whole = self.run(self.create(), (clusters, image))
        for name, strided in layouts_of(image).items():
            turned = replace(clusters, labels=clusters.labels.T.contiguous().T)
            given = (turned, strided)
            self.same_in_layout(name, whole, lambda given=given: self.run(self.create(), given))  # type: ignore[misc]

    def test_refuses_an_image_of_another_size(self) -> None:
        """An image that is not the clusters' is an InputError, unless it does not look at it."""
        rule = self.create()
        clusters, image = self.sample(0)
        turned = image.mT.contiguous()
        try:
            found = self.run(rule, (clusters, turned))
        except InputError:
            return
        except Exception as error:
            got = f"{type(error).__name__}: {error}"
        else:
            same = self.values(self.run(rule, (clusters, image)))
            got = "" if _alike(self.values(found), same) else "another result"
        require(
            not got,
            f"an image of {tuple(turned.shape[1:])} with clusters of {clusters.size}",
            expected="covary.InputError",
            got=got,
            fix="compare image.shape[1:] with clusters.size first",
        )

    # --- in a pipeline ------------------------------------------------------------------------

    def test_works_in_boxes_inside_the_image(self) -> None:
        """The boxes that it asks for are covary.Box, lie inside the image, and repeat."""
        rule, image = self.create(), self.sample(0)[1]
        level = rule.determinism
        if not isinstance(rule, SupportsRegions):
            self.skip("it works on the whole image (no regions)")
        with unchanged(image, "the image"):
            boxes = rule.regions(image, self.context())
        require(
            isinstance(boxes, Sequence) and all(isinstance(box, Box) for box in boxes),
            "what regions returned",
            expected="a list of covary.Box",
            got=repr(boxes),
            fix="return [Box(x0, y0, x1, y1), ...]",
        )
        for box in boxes:
            check_inside(box, image, "a box of regions")
        if level != "none":
            again = list(self.create().regions(image))
            require(again == list(boxes), "regions of the same image", expected=f"{list(boxes)}",
                    got=f"{again}", fix="draw from ctx.generator() if at all")  # fmt: skip

    def test_serves_a_pipeline(self) -> None:
        """A pipeline that uses it gives a mask of each box, or a reason why there is none."""
        segmentation = self.in_pipeline(foreground=self.create())
        mask = segmentation.mask
        require(
            mask.dtype == torch.bool and tuple(mask.shape) == (32, 32),
            "the mask of a pipeline",
            expected="bool (32, 32)",
            got=describe_shape(mask),
        )
        require(
            segmentation.found or bool(segmentation.reason),
            "a pipeline that found nothing",
            expected="the reason",
            got="none",
            fix=_FROM_CLUSTERS,
        )

    # --- helpers ------------------------------------------------------------------------------

    def _nothing(self, found: Foreground, what: str) -> None:
        require(
            not found.found and not bool(found.mask.any()),
            what,
            expected="nothing found, as there is no background beside it",
            got=f"found = {found.found}, {int(found.mask.sum())} pixels masked",
            fix=_FROM_CLUSTERS,
        )


def _clusters(labels: torch.Tensor, spare: int = 0) -> ClusterMap:
    """A map of these labels with so many clusters without pixels."""
    k = int(labels.max()) + 1 + spare
    size = (int(labels.shape[0]), int(labels.shape[1]))
    centers = torch.arange(3.0 * k).reshape(k, 3)
    return ClusterMap.from_labels(labels.int(), centers, size=size, inertia=0.0, iterations=1)


def _alike(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return all(
        torch.equal(a[name], b[name]) if isinstance(a[name], torch.Tensor) else a[name] == b[name]
        for name in b
    )
