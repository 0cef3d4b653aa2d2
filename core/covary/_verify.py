"""What the pipeline asks of a component's answer before it uses it; all of it cheap."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import Any, NoReturn

import torch

from ._registry import registry
from .errors import InputError, PluginError
from .interfaces import Configurable, FeatureSpace
from .summary import StyleSummary
from .types import Box, ClusterMap, Detection, Foreground, VariantBatch, Variants

__all__ = [
    "MOST_BOXES",
    "batch_of",
    "boxes_of",
    "check_device",
    "clusters_of",
    "detections_of",
    "encoded_by",
    "foreground_of",
    "number_of_variants",
    "opened_by",
    "opened_together",
    "refined_by",
    "untouched",
]

MOST_BOXES = 10_000
"""More than any detector means; instances are told apart by 16 bits in files."""


def check_device(stage: str, component: Configurable, device: torch.device) -> None:
    """Refuse a registered component that cannot run on the device, before any work.

    Raises:
        InputError: it needs another type of device.
    """
    for entry in registry().components:
        devices = entry.component.devices
        # One for the CPU takes data of any device and gives its answer there.
        if (entry.id, entry.kind) == (component.id, stage) and not {"cpu", device.type} & {
            *devices
        }:
            raise InputError(
                f"{stage} {component.id}",
                expected=f"a device of type {' or '.join(devices)}",
                got=repr(str(device)),
                fix=f"give device={devices[0]!r} where there is one, or use another {stage}",
            )


@contextmanager
def untouched(
    component: Configurable, stage: str, inputs: Mapping[str, torch.Tensor]
) -> Iterator[None]:
    """Notice that the component changes one of its inputs in place by an operation of torch.

    Raises:
        PluginError: it did.
    """
    tracked = {name: one for name, one in inputs.items() if not one.is_inference()}
    before = {name: one._version for name, one in tracked.items()}
    yield
    for name, one in tracked.items():
        if one._version != before[name]:
            _refuse(
                f"{stage} {component.id}",
                expected=f"its input, {name}, left as it was",
                got="a change in place",
                fix="work on a copy: tensor.clone(); summary.matrix() is one, too",
            )


def opened_by(source: Configurable, found: Any, method: str = "open()") -> Variants:
    """What ``open``, or another ``method``, returned for one query."""
    if not isinstance(found, Variants):
        _refuse(
            f"source {source.id}, {method}",
            expected="covary.Variants",
            got=_type(found),
            fix="return covary.Variants(image=..., count=n, batches=...)",
        )
    if not hasattr(found.batches, "__iter__"):
        _refuse(
            f"source {source.id}, batches of its Variants",
            expected="an iterator of covary.VariantBatch",
            got=_type(found.batches),
            fix="make it with a generator method that yields covary.VariantBatch(images)",
        )
    return found


def opened_together(source: Configurable, found: Any, queries: int) -> Sequence[Variants]:
    """What ``open_many`` returned."""
    whole = isinstance(found, Sequence) and len(found) == queries
    if not whole:
        _refuse(
            f"source {source.id}, open_many()",
            expected=f"a sequence of {queries} covary.Variants, one for each query",
            got=f"{len(found)} of them" if isinstance(found, Sequence) else _type(found),
            fix="return a list in the order of the queries",
        )
    return [opened_by(source, one, "open_many()") for one in found]


def batch_of(source: Configurable, found: Any, size: tuple[int, int]) -> VariantBatch:
    """One of the batches, of images (H, W) as X_0 is."""
    if not isinstance(found, VariantBatch):
        _refuse(
            f"source {source.id}, a batch of its variants",
            expected="covary.VariantBatch",
            got=_type(found),
            fix="yield covary.VariantBatch(images)",
        )
    if tuple(found.images.shape[2:]) != size:
        _refuse(
            f"source {source.id}, a batch of its variants",
            expected=f"shape (B, 3, {size[0]}, {size[1]}), as X_0 is",
            got=str(tuple(found.images.shape)),
            fix="all variants of a query must have the same size",
        )
    return found


def number_of_variants(source: Configurable, done: int, count: int, ended: bool) -> None:
    """Whether the batches held as many variants as ``Variants.count`` said."""
    if done > count or (ended and done != count):
        _refuse(
            f"source {source.id}, variants",
            expected=f"{count} of them, as Variants.count says",
            got=str(done) if ended else f"{done} or more",
            fix="give the number that the batches hold together",
        )


def encoded_by(
    features: FeatureSpace, batch: VariantBatch, size: tuple[int, int], found: Any
) -> torch.Tensor:
    """What ``encode`` returned for a batch."""
    dtype = getattr(torch, features.dtype)
    shape = (len(batch.images), features.channels, *size)
    return _check_tensor(
        found, f"features {features.id}, encode()", dtype, shape, batch.images.device
    )


def clusters_of(clusterer: Configurable, found: Any, summary: StyleSummary) -> ClusterMap:
    """What ``fit`` returned."""
    what = f"clusterer {clusterer.id}"
    make = "make it with covary.ClusterMap.from_labels(labels, centers, size=summary.size, ...)"
    if not isinstance(found, ClusterMap):
        _refuse(f"{what}, fit()", expected="covary.ClusterMap", got=_type(found), fix=make)
    _check_tensor(found.labels, f"{what}, labels", torch.int32, summary.size, summary.device, make)
    centers = found.centers
    k = max(1, len(centers)) if isinstance(centers, torch.Tensor) and centers.ndim else 1
    _check_tensor(
        centers, f"{what}, centers (K, D)", torch.float32, (k, summary.features), None, make
    )
    low, high = (int(end) for end in found.labels.aminmax())
    if low < 0 or high >= k:
        _refuse(f"{what}, labels", expected=f"values in 0..{k - 1}", got=f"{low}..{high}", fix=make)
    counts = found.counts
    if bool((counts[1:] > counts[:-1]).any()):
        got = f"clusters of {', '.join(map(str, counts.tolist()[:8]))} pixels"
        _refuse(f"{what}, labels", expected="ids by falling size", got=got, fix=make)
    if not math.isfinite(found.inertia):
        _refuse(
            f"{what}, inertia",
            expected="the sum of squared distances to the centres",
            got=repr(found.inertia),
            fix="compute it in float64 from the labels that are returned",
        )
    return found


def foreground_of(rule: Configurable, found: Any, clusters: ClusterMap) -> Foreground:
    """What ``select`` returned."""
    what = f"foreground {rule.id}"
    make = "make it with covary.Foreground.from_clusters(clusters, chosen, scores, reason)"
    if not isinstance(found, Foreground):
        _refuse(f"{what}, select()", expected="covary.Foreground", got=_type(found), fix=make)
    k, device = (clusters.k,), clusters.labels.device
    _check_tensor(found.clusters, f"{what}, clusters", torch.bool, k, None, make)
    _check_tensor(found.scores, f"{what}, scores", torch.float32, k, None, make)
    _check_tensor(found.confidence, f"{what}, confidence", torch.float32, k, None, make)
    _check_unit_range(found.confidence, f"{what}, confidence", make)
    if len(found.names) not in (0, clusters.k):
        got = f"{len(found.names)} names"
        _refuse(f"{what}, names", expected=f"{clusters.k}, or none", got=got, fix=make)
    _check_tensor(found.mask, f"{what}, mask", torch.bool, clusters.size, device, make)
    if bool(found.mask.any()) != found.found:
        _refuse(
            f"{what}, mask",
            expected="pixels where found is True, and none where it is False",
            got=f"{int(found.mask.sum())} pixels with found={found.found}",
            fix=make,
        )
    return found


def boxes_of(rule: Configurable, found: Any) -> Sequence[Box]:
    """What ``regions`` returned."""
    boxes = list(found) if hasattr(found, "__iter__") else found
    wrong = [box for box in boxes if not isinstance(box, Box)] if boxes is not found else [found]
    if wrong:
        _refuse(
            f"foreground {rule.id}, regions()",
            expected="a sequence of covary.Box",
            got=_type(wrong[0]),
            fix="return covary.Box(x0, y0, x1, y1) for each",
        )
    return boxes


def detections_of(detector: Configurable, found: Any, size: tuple[int, int]) -> Sequence[Detection]:
    """What ``detect`` returned for an image (H, W)."""
    what = f"detector {detector.id}, detect()"
    if isinstance(found, (str, Mapping)) or not hasattr(found, "__iter__"):
        give = "return [covary.Detection(box, label, score), ...]"
        _refuse(what, expected="a sequence of covary.Detection", got=_type(found), fix=give)
    detections = list(found)
    if len(detections) > MOST_BOXES:
        raise InputError(
            f"detector {detector.id}",
            expected=f"at most {MOST_BOXES:,} boxes",
            got=f"{len(detections):,}",
            fix="raise its score threshold, or let it suppress boxes that overlap",
        )
    for index, one in enumerate(detections):
        _check_detection(f"detector {detector.id}, detection {index}", one, size)
    return detections


def _check_detection(what: str, one: Any, size: tuple[int, int]) -> None:
    make = "return covary.Detection(covary.Box(x0, y0, x1, y1), label, score)"
    if not isinstance(one, Detection) or not isinstance(one.box, Box):
        got = _type(one.box if isinstance(one, Detection) else one)
        _refuse(what, expected="covary.Detection with a covary.Box", got=got, fix=make)
    if not isinstance(one.label, str):
        fix = "give the name of the class, not its number"
        _refuse(f"{what}, label", expected="text", got=repr(one.label), fix=fix)
    # Numbers of numpy are as good; a bool, which Python counts as a number, is not a score.
    number = isinstance(one.score, Real) and not isinstance(one.score, bool)
    if not number or not 0 <= one.score <= 1:
        fix = "give a probability, and leave out what is not finite"
        _refuse(f"{what}, score", expected="a number in 0..1", got=repr(one.score), fix=fix)
    try:
        one.box.inside(size)
    except InputError as error:
        fix = "clip the box to the image, and leave out one that lies wholly outside"
        _refuse(f"{what}, {error.what}", expected=error.expected, got=error.got, fix=fix)


def refined_by(refiner: Configurable, found: Any, soft: torch.Tensor) -> torch.Tensor:
    """What ``refine`` returned for a soft mask."""
    what, give = f"refiner {refiner.id}, refine()", "return a mask like the one that was given"
    shape = tuple(soft.shape)
    _check_tensor(found, what, torch.float32, shape, soft.device, give)
    return _check_unit_range(found, what, "clamp it: .clamp(0, 1)")


def _check_unit_range(found: torch.Tensor, what: str, fix: str) -> torch.Tensor:
    low, high = (float(end) for end in found.aminmax())
    if not (low >= 0 and high <= 1):  # NaN comes out as both ends
        _refuse(what, expected="values in 0..1", got=f"{low:g}..{high:g}", fix=fix)
    return found


def _check_tensor(
    found: Any,
    what: str,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    device: torch.device | None,
    fix: str = "",
) -> torch.Tensor:
    if not isinstance(found, torch.Tensor):
        give = fix or f"return a tensor of shape {shape}"
        _refuse(what, expected="a torch.Tensor", got=_type(found), fix=give)
    if found.dtype != dtype:
        name = _name(dtype)
        convert = fix or f"convert it: .to(torch.{name}); this is the dtype that it declares"
        _refuse(what, expected=f"dtype {name}", got=_name(found.dtype), fix=convert)
    if tuple(found.shape) != shape:
        reshape = fix or "give one value for each pixel and channel: (B, C, H, W)"
        _refuse(what, expected=f"shape {shape}", got=str(tuple(found.shape)), fix=reshape)
    if device is not None and found.device != device:
        move = f"move it: .to({str(device)!r})"
        _refuse(what, expected=f"a tensor on {device}", got=f"one on {found.device}", fix=move)
    return found


def _refuse(what: str, *, expected: str = "", got: str = "", fix: str = "") -> NoReturn:
    raise PluginError(what, expected=expected, got=got, fix=fix)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _type(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
