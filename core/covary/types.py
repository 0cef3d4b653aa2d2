"""The values that travel between the stages: small, frozen, checked once when they are made."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from .crop import Crop
from .errors import InputError
from .summary import StyleSummary

__all__ = [
    "Box",
    "ClusterMap",
    "Crop",
    "Detection",
    "Foreground",
    "Query",
    "StyleSummary",
    "VariantBatch",
    "Variants",
    "check_image",
    "check_images",
]

_LABELS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def check_image(image: torch.Tensor, what: str = "image") -> torch.Tensor:
    """``image`` itself if it is uint8 (3, H, W), RGB.

    Raises:
        InputError: another dtype or shape.
    """
    if not isinstance(image, torch.Tensor) or image.dtype != torch.uint8:
        got = f"{type(image).__name__} {getattr(image, 'dtype', '')}".rstrip()
        raise InputError(what, expected="a uint8 tensor (3, H, W)", got=got)
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise InputError(what, expected="shape (3, H, W), RGB", got=str(tuple(image.shape)))
    return image


def check_images(images: torch.Tensor, what: str = "images") -> torch.Tensor:
    """``images`` themselves if they are uint8 (B, 3, H, W), RGB.

    Raises:
        InputError: another dtype or shape, or none at all.
    """
    if not isinstance(images, torch.Tensor) or images.dtype != torch.uint8:
        got = f"{type(images).__name__} {getattr(images, 'dtype', '')}".rstrip()
        raise InputError(what, expected="a uint8 tensor (B, 3, H, W)", got=got)
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != 3 or 0 in shape:
        raise InputError(what, expected="shape (B, 3, H, W), RGB", got=str(shape))
    return images


def check_seed(seed: Any) -> int:
    """``seed`` as a plain int; numpy's integers are taken too.

    Raises:
        InputError: not an integer in 0..2^32-1.
    """
    value = _integer(seed)
    if value is None or not 0 <= value < 2**32:
        # numpy.random.RandomState, the published seed convention, takes no other.
        raise InputError("seed", expected="an integer in 0..2^32-1", got=repr(seed))
    return value


@dataclass(frozen=True, slots=True)
class Query:
    """What to segment: one seed, or the paths of a photo, a stack, a folder, a latent file."""

    seed: int | None = None
    """Seed of a generated image, >= 0."""
    paths: tuple[Path, ...] = ()
    """Files or folders that exist on disk."""

    def __post_init__(self) -> None:
        if (self.seed is None) == (not self.paths):
            raise InputError("query", expected="either a seed or paths", got=repr(self))
        if self.seed is not None:
            object.__setattr__(self, "seed", check_seed(self.seed))

    @property
    def kind(self) -> str:
        """``"seed"`` or ``"files"``."""
        return "files" if self.paths else "seed"

    @property
    def name(self) -> str:
        """A short name fit for a folder: the seed, or the first path's stem."""
        if self.seed is not None:
            return str(self.seed)
        # Resolved, because "." and ".." have no name of their own.
        return self.paths[0].resolve().stem or "root"


@dataclass(frozen=True, slots=True, eq=False)
class VariantBatch:
    """Some variants of one query."""

    images: torch.Tensor
    """uint8 (B, 3, H, W), RGB, on the run's device."""

    def __post_init__(self) -> None:
        check_images(self.images, "variants")


@dataclass(frozen=True, slots=True, eq=False)
class Variants:
    """An opened query: the image and, lazily, its variants."""

    image: torch.Tensor
    """X_0, uint8 (3, H, W)."""
    count: int
    """n, how many variants the batches hold together."""
    batches: Iterator[VariantBatch]
    """The variants, to be read once."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Provenance: name of every file that was read -> its sha256."""
    crop: Crop | None = None
    """Where X_0 was cut from a photo; masks then come back in the photo's own pixels too."""
    reconstruction: torch.Tensor | None = None
    """What the generator makes of X_0 where X_0 is a photo, uint8 (3, H, W)."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Figures to report with the result, e.g. the reconstruction error ``{"mse": 0.01}``."""
    warnings: tuple[str, ...] = ()
    """What the user should know before trusting the result, each with its remedy."""

    def __post_init__(self) -> None:
        check_image(self.image, "X_0")
        if self.count < 1:
            raise InputError("variants", expected="at least 1", got=str(self.count))
        if self.reconstruction is not None:
            check_image(self.reconstruction, "reconstruction")
            if self.reconstruction.shape != self.image.shape:
                raise InputError(
                    "reconstruction",
                    expected=f"the shape of X_0, {tuple(self.image.shape)}",
                    got=str(tuple(self.reconstruction.shape)),
                )


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels with exclusive ends, as in ``image[:, y0:y1, x0:x1]``."""

    x0: int
    y0: int
    x1: int
    y1: int

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = _integer(given := getattr(self, name))
            if value is None:
                raise InputError(f"box {name}", expected="an integer", got=repr(given))
            object.__setattr__(self, name, value)
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            raise InputError("box", expected="x0 < x1 and y0 < y1", got=str(self))

    def __str__(self) -> str:
        return f"({self.x0}, {self.y0}, {self.x1}, {self.y1})"

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the box in a map (H, W)."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1."""
        return self.x0, self.y0, self.x1, self.y1

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.y1 - self.y0

    @property
    def area(self) -> int:
        """Its number of pixels."""
        return self.width * self.height

    def inside(self, size: tuple[int, int]) -> Box:
        """The box itself if it lies within an image (H, W).

        Raises:
            InputError: any part of it lies outside; boxes are never clipped silently.
        """
        height, width = size
        if self.x0 < 0 or self.y0 < 0 or self.x1 > width or self.y1 > height:
            raise InputError(
                f"box {self}",
                expected=f"inside the image, x in 0..{width} and y in 0..{height}",
                got=str(self),
                fix="give x0, y0, x1, y1 in pixels with exclusive ends",
            )
        return self


@dataclass(frozen=True, slots=True)
class Detection:
    """One box that a detector found."""

    box: Box
    label: str = ""
    """What it is said to be."""
    score: float = 1.0
    """Confidence in 0..1."""


@dataclass(frozen=True, slots=True, eq=False)
class ClusterMap:
    """Which cluster each pixel belongs to (Y' in the paper).

    Ids are canonical, by falling size and, among equals, by first pixel in raster order, so two
    backends that find the same partition give the same labels.
    """

    labels: torch.Tensor
    """int32 (H, W) in 0..K-1."""
    centers: torch.Tensor
    """float32 (K, D)."""
    inertia: float
    """Sum over pixels of the squared distance to their centre."""
    iterations: int
    """Passes over the data until it stopped."""
    converged: bool = True
    """False where the iteration limit stopped it."""

    @classmethod
    def from_labels(
        cls,
        labels: torch.Tensor,
        centers: torch.Tensor,
        *,
        size: tuple[int, int],
        inertia: float,
        iterations: int,
        converged: bool = True,
    ) -> ClusterMap:
        """A cluster map with canonical ids.

        Args:
            labels: integer (N,) or (H, W), values in 0..K-1 in any order.
            centers: (K, D), row i the centre of label i.
            size: (H, W).
            inertia: sum of squared distances.
            iterations: passes made.
            converged: whether the stop rule was reached.

        Raises:
            InputError: shapes or labels that do not fit each other.
        """
        if not isinstance(labels, torch.Tensor) or labels.dtype not in _LABELS:
            got = f"{type(labels).__name__} {getattr(labels, 'dtype', '')}".rstrip()
            raise InputError("labels", expected="a tensor of integers", got=got)
        if centers.ndim != 2:
            got = str(tuple(centers.shape))
            raise InputError("centers", expected="shape (K, D)", got=got)
        flat, k = labels.reshape(-1), centers.shape[0]
        if flat.numel() != size[0] * size[1] or not flat.numel():
            expected = f"{size[0]}x{size[1]} pixels, at least one"
            raise InputError("labels", expected=expected, got=str(flat.numel()))
        low, high = (int(end) for end in flat.aminmax())
        if low < 0 or high >= k:
            raise InputError("labels", expected=f"values in 0..{k - 1}", got=f"{low}..{high}")
        flat = flat.to(torch.int32)
        new_id, order = _canonical_order(flat, k)
        return cls(
            labels=new_id[flat].reshape(size),
            centers=centers[order.to(centers.device)].to(torch.float32),
            inertia=float(inertia),
            iterations=int(iterations),
            converged=bool(converged),
        )

    def cpu(self) -> ClusterMap:
        """This map in the CPU's memory."""
        return replace(self, labels=self.labels.cpu(), centers=self.centers.cpu())

    @property
    def k(self) -> int:
        """Number of clusters, empty ones included."""
        return int(self.centers.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return int(self.labels.shape[0]), int(self.labels.shape[1])

    @property
    def counts(self) -> torch.Tensor:
        """Pixels per cluster, int64 (K,), never rising."""
        return torch.bincount(self.labels.reshape(-1).long(), minlength=self.k)


@dataclass(frozen=True, slots=True, eq=False)
class Foreground:
    """Which clusters are the content, and the mask they make; possibly none, with the reason."""

    clusters: torch.Tensor
    """bool (K,)."""
    mask: torch.Tensor
    """bool (H, W); all False where nothing was found."""
    found: bool
    """False: no confident foreground. The mask is then not a result."""
    reason: str
    """Why these clusters, or why none."""
    scores: torch.Tensor
    """float32 (K,), the rule's evidence for foreground; higher is more."""
    confidence: torch.Tensor = None  # type: ignore[assignment]
    """float32 (K,) in 0..1, how sure the rule is of its verdict on each cluster: 0.5 could be
    either. Ones where the rule does not say."""
    names: tuple[str, ...] = ()
    """What each cluster is, e.g. ``"hair"``, empty for one without a name; () if the rule names
    no parts."""

    def __post_init__(self) -> None:
        # A plugin's scores of another type are refused by name when its answer is checked.
        if self.confidence is None and isinstance(self.scores, torch.Tensor):
            object.__setattr__(self, "confidence", torch.ones_like(self.scores))

    @classmethod
    def from_clusters(
        cls,
        clusters: ClusterMap,
        chosen: torch.Tensor,
        scores: torch.Tensor,
        reason: str,
        confidence: torch.Tensor | None = None,
        names: Sequence[str] = (),
    ) -> Foreground:
        """The union of the chosen clusters; choosing none or all of the pixels is "none found".

        Args:
            clusters: the map that was judged.
            chosen: bool (K,).
            scores: (K,), evidence for foreground.
            reason: how the rule decided, in words; it is kept whatever the outcome.
            confidence: (K,) in 0..1, how sure the verdict on each cluster is; None is ones.
            names: a name for each cluster, empty for one that is no part; or nothing at all.

        Raises:
            InputError: ``chosen``, ``scores`` or ``confidence`` is not of shape (K,), ``chosen``
                not bool, a confidence outside 0..1, or another number of names.
        """
        if chosen.dtype != torch.bool:
            raise InputError("chosen", expected="dtype bool", got=str(chosen.dtype))
        confidence = torch.ones(clusters.k) if confidence is None else confidence
        given = {"chosen": chosen, "scores": scores, "confidence": confidence}
        for name, value in given.items():
            if tuple(value.shape) != (clusters.k,):
                got = str(tuple(value.shape))
                raise InputError(name, expected=f"shape ({clusters.k},)", got=got)
        if not bool(((confidence >= 0) & (confidence <= 1)).all()):
            got = str([round(value, 3) for value in confidence.tolist()])
            raise InputError("confidence", expected="values in 0..1", got=got)
        if len(names) not in (0, clusters.k):
            expected = f"a name for each of {clusters.k} clusters, or none"
            raise InputError("names", expected=expected, got=f"{len(names)} names")
        device = clusters.labels.device
        chosen = chosen.to(device)
        mask = chosen[clusters.labels.long()]
        covered = int(mask.sum())
        if covered == 0:
            reason = f"no cluster qualifies as foreground: {reason}"
        elif covered == mask.numel():
            reason = f"every pixel qualifies as foreground: {reason}"
        found = 0 < covered < mask.numel()
        return cls(
            clusters=chosen,
            mask=mask if found else torch.zeros_like(mask),
            found=found,
            reason=reason,
            scores=scores.to(device=device, dtype=torch.float32),
            confidence=confidence.to(device=device, dtype=torch.float32),
            names=tuple(names),
        )

    def cpu(self) -> Foreground:
        """This foreground in the CPU's memory."""
        return replace(
            self,
            clusters=self.clusters.cpu(),
            mask=self.mask.cpu(),
            scores=self.scores.cpu(),
            confidence=self.confidence.cpu(),
        )


def _canonical_order(labels: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(int32 new id of each old one, old id of each new one): by falling size, then first pixel."""
    sizes = torch.bincount(labels, minlength=k).tolist()

    def key(old: int) -> tuple[int, int]:
        tied = sizes[old] > 0 and sizes.count(sizes[old]) > 1
        return -sizes[old], int((labels == old).to(torch.uint8).argmax()) if tied else 0

    order = torch.tensor(sorted(range(k), key=key), device=labels.device)
    new_id = torch.empty(k, dtype=torch.int32, device=labels.device)
    new_id[order] = torch.arange(k, dtype=torch.int32, device=labels.device)
    return new_id, order


def _integer(value: Any) -> int | None:
    """``value`` as a plain int, or None if it is no integer (bool counts as none)."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None
