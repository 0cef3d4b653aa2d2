"""What a plugin implements: one abstract class per kind, Protocols for optional abilities.

Nothing here imports torch, so a component's module that follows suit (torch inside its methods,
or in a private module beside it) can be listed and inspected at no cost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Protocol,
    Union,
    get_args,
    get_origin,
    runtime_checkable,
)

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import InputError, ParamsError, did_you_mean

if TYPE_CHECKING:
    import torch
    from pydantic.fields import FieldInfo

    from .context import RunContext
    from .samples import DataSet, Sample, Shard
    from .types import (
        Box,
        ClusterMap,
        Detection,
        Foreground,
        Query,
        StyleSummary,
        VariantBatch,
        Variants,
    )

__all__ = [
    "BACKGROUND",
    "Clusterer",
    "Configurable",
    "Detector",
    "Determinism",
    "FeatureSpace",
    "ForegroundRule",
    "LandmarkDetector",
    "Params",
    "Refiner",
    "Segmenter",
    "SupportsFrontMatter",
    "SupportsInitialCenters",
    "SupportsInputs",
    "SupportsLabels",
    "SupportsManyQueries",
    "SupportsMemoryEstimate",
    "SupportsParts",
    "SupportsPredict",
    "SupportsReading",
    "SupportsRegions",
    "SupportsShards",
    "SupportsSize",
    "VariantSource",
    "Writer",
]

BACKGROUND = "background"
"""The name of class 0 of data sets and segmenters, whatever else there is."""

Determinism = Literal["bitwise", "numeric", "none"]
"""How far two runs with the same seed, device and versions agree.

``bitwise``: identical tensors. ``numeric``: equal up to rounding. ``none``: may differ freely.
"""


class Params(BaseModel):
    """Base of every component's parameters: frozen, unknown names refused.

    A component nests its own subclass named ``Params``; ``Field(description=...)`` is the only
    place where a parameter is documented, and ``covary show`` prints it from there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)


# Inside a component the name Params means its own nested class.
_Params = Params


class Configurable:
    """Base of all components: validated parameters, an id, and nothing else.

    Constructing one is cheap and touches no device or file; weights load when a source opens.

    Args:
        **params: fields of the class's own ``Params``.

    Raises:
        ParamsError: an unknown field (with a suggestion) or a value outside its range.
    """

    Params: ClassVar[type[_Params]] = _Params
    """The class of its parameters; a component with parameters nests its own of this name."""

    id: str = ""
    """Canonical id ``namespace/name``; the registry sets it on the components it creates."""

    determinism: ClassVar[Determinism] = "bitwise"

    params: Any
    """The validated parameters, an instance of the class's own ``Params``.

    A component that annotates it, ``params: Params``, tells type checkers of its fields.
    """

    def __init__(self, /, **params: Any) -> None:
        try:
            self.params = type(self).Params(**params)
        except ValidationError as error:
            raise _params_error(type(self), error) from None

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.params)
        return f"{type(self).__name__}({given})"


class VariantSource(Configurable, ABC):
    """Gives an image X_0 and n variants of it that keep its structure (paper Sec. 3.1)."""

    accepts: ClassVar[frozenset[str]] = frozenset({"seed"})
    """Kinds of query that :meth:`open` understands: ``"seed"``, ``"files"`` or both."""

    @abstractmethod
    def open(self, query: Query, ctx: RunContext) -> Variants:
        """Open one query.

        Args:
            query: a seed, or one or more paths; its kind is in ``accepts``.
            ctx: device, generator, memory budget. Style latents are drawn from
                ``ctx.generator()`` so that a run is repeatable.

        Returns:
            The image X_0 and a lazy iterator over its variants in batches. Nothing beyond one
            batch of variants is held at a time.

        Raises:
            InputError: the query does not exist or does not fit.
            CheckpointError: weights are missing or damaged.
        """


class FeatureSpace(Configurable, ABC):
    """Turns a batch of variants into per-pixel features (the paper uses RGB and CIE LAB)."""

    channels: ClassVar[int] = 3
    """C, features per pixel and variant."""

    dtype: ClassVar[Literal["uint8", "float16", "float32"]] = "float16"
    """How the style summary stores these features."""

    @abstractmethod
    def encode(self, batch: VariantBatch) -> torch.Tensor:
        """Features (B, C, H, W) of ``batch`` in this space's ``dtype``, on the batch's device."""


class Clusterer(Configurable, ABC):
    """Groups the pixels of a style summary (paper Sec. 3.2: k-means)."""

    @abstractmethod
    def fit(self, summary: StyleSummary, ctx: RunContext | None = None) -> ClusterMap:
        """Cluster the N = H*W pixels of ``summary``.

        Args:
            summary: N pixels with D features; read it through ``rows`` in chunks, and leave it
                unchanged.
            ctx: where and with which seed to run; None means a default context on the summary's
                device.

        Returns:
            Labels, centres and inertia with canonical ids (use ``ClusterMap.from_labels``).

        Raises:
            InputError: more clusters than distinct pixels, or values that are not finite.
        """


class ForegroundRule(Configurable, ABC):
    """Decides which clusters are the content of the image (paper Sec. 3.2)."""

    @abstractmethod
    def select(
        self, clusters: ClusterMap, image: torch.Tensor, ctx: RunContext | None = None
    ) -> Foreground:
        """Choose the foreground clusters.

        Args:
            clusters: labels (H, W) with K clusters.
            image: X_0, uint8 (3, H, W).
            ctx: as for a clusterer.

        Returns:
            The chosen clusters and the mask, or "none found" with the reason
            (use ``Foreground.from_clusters``).
        """


class Detector(Configurable, ABC):
    """Finds the boxes inside which the pipeline runs (paper Sec. 3.3)."""

    @abstractmethod
    def detect(self, image: torch.Tensor, ctx: RunContext | None = None) -> Sequence[Detection]:
        """Boxes with labels and scores found in ``image``, uint8 (3, H, W); may be empty."""


class LandmarkDetector(Configurable, ABC):
    """Finds the points of faces by which a photo is aligned (FFHQ's crop)."""

    @abstractmethod
    def landmarks(
        self, image: torch.Tensor, ctx: RunContext | None = None
    ) -> Sequence[torch.Tensor]:
        """Landmarks of each face in ``image``, uint8 (3, H, W), the most prominent first.

        Returns:
            float32 (P, 2) for each face, x and y in pixels of ``image``, (0, 0) being the middle
            of the first pixel; may be empty.
            P is 68, in the order of iBUG 300-W, or 5: left eye, right eye, nose, left and right
            corner of the mouth, left as seen in the image.
        """


class Refiner(Configurable, ABC):
    """Improves a soft mask by looking at the image, e.g. at its edges."""

    @abstractmethod
    def refine(
        self, soft: torch.Tensor, image: torch.Tensor, ctx: RunContext | None = None
    ) -> torch.Tensor:
        """The improved mask, float32 (H, W) in 0..1, on the device of ``soft``.

        Several refiners work one after another, each on what the one before gave; what is above
        0.5 in the end is foreground. The clusters' own mask is kept beside it.

        Args:
            soft: how much of the foreground each pixel is, float32 (H, W) in 0..1; not to be
                changed in place.
            image: the image of these pixels, uint8 (3, H, W): all of X_0, or a box of it.
            ctx: as for a clusterer.

        Raises:
            InputError: the two are of other dtypes or different sizes.
        """


class Segmenter(Configurable, ABC):
    """Labels the pixels of images by a trained network: the reference that masks are held against.

    covary's own masks never come from one.
    """

    @property
    @abstractmethod
    def classes(self) -> Sequence[str]:
        """The names of its labels, by number; the first is ``background``. Loads no weights."""

    @abstractmethod
    def segment(self, images: torch.Tensor, ctx: RunContext | None = None) -> torch.Tensor:
        """The class of every pixel, int64 (B, H, W): indices into ``classes``.

        Args:
            images: uint8 (B, 3, H, W), RGB, on the run's device; not to be changed in place.
            ctx: as for a clusterer.

        Raises:
            InputError: another dtype or shape, or images too small for it.
        """


class Writer(Configurable, ABC):
    """Writes data sets of image and mask pairs in one format."""

    @abstractmethod
    def write(
        self, samples: Iterable[Sample], shard: Shard, dataset: DataSet, folder: Path
    ) -> None:
        """Write the samples of one shard as files below ``folder``, which is empty.

        When all of them are whole they are moved to the same paths below the data set's folder,
        so no two shards may have a path in common: let it contain the shard's name or the
        samples' keys. The same samples give the same bytes, on any day and machine.

        Args:
            samples: some or all of the shard's seeds, ascending, each once; to be taken one at a
                time, as they are made meanwhile. There may be none.
            shard: its name, split and seeds.
            dataset: its name, task and classes; the shards are not known yet.
            folder: where to write.

        Raises:
            OutputError: nothing can be written there.
        """

    def finish(self, dataset: DataSet, root: Path, folder: Path) -> None:
        """Write what describes the data set as a whole, e.g. an index, below ``folder``.

        Called when all shards are in place; what it writes is moved to the same paths below
        ``root`` and replaces what is there. There is nothing to do unless a subclass says so.

        Args:
            dataset: with its shards and number of pairs.
            root: the folder of the data set, to read from.
            folder: where to write; empty.
        """


@runtime_checkable
class SupportsReading(Protocol):
    """A writer that can read what it wrote."""

    def read(self, root: Path, split: str | None = None) -> Iterator[Sample]:
        """The samples of a finished data set, or of one split, by their keys.

        Raises:
            InputError: no such data set there, or a damaged one.
        """


@runtime_checkable
class SupportsShards(Protocol):
    """A writer that can read one shard alone, and what is left of a damaged one."""

    def read_shard(self, root: Path, shard: str) -> Iterator[Sample | InputError]:
        """The samples of a shard by their keys; in the place of a damaged one, what is wrong.

        Raises:
            InputError: no such shard, or one whose rest cannot be read.
        """


@runtime_checkable
class SupportsFrontMatter(Protocol):
    """A writer whose format is described at the top of the data set's README.md, as on hubs."""

    def front_matter(self, dataset: DataSet) -> Mapping[str, Any]:
        """What to say there in YAML: plain data. ``dataset`` has its shards and number of pairs."""


@runtime_checkable
class SupportsManyQueries(Protocol):
    """A source that makes the variants of several queries in shared batches.

    A small image does not fill a device; several queries at once do.
    """

    def open_many(
        self, queries: Sequence[Query], contexts: Sequence[RunContext]
    ) -> Sequence[Variants]:
        """The same as ``open`` of each query with its context, up to rounding.

        The batches of the first are asked for, to their end, before those of the second. What
        cannot be opened may raise for all of them: each is then opened on its own.
        """

    def memory_many(self, size: tuple[int, int], features: int, queries: int) -> int:
        """Peak bytes of so many queries together, beyond one style summary; as ``memory``."""


@runtime_checkable
class SupportsInitialCenters(Protocol):
    """A clusterer that can start from given centres, so that backends can be compared."""

    def fit_from(
        self, summary: StyleSummary, centers: torch.Tensor, ctx: RunContext | None = None
    ) -> ClusterMap:
        """As ``fit``, from ``centers`` float32 (K, D) instead of its own initialisation."""


@runtime_checkable
class SupportsPredict(Protocol):
    """A clusterer that can label the pixels of another summary with existing centres."""

    def predict(
        self, summary: StyleSummary, centers: torch.Tensor, ctx: RunContext | None = None
    ) -> torch.Tensor:
        """Labels int32 (H, W) of the nearest of ``centers`` float32 (K, D)."""


@runtime_checkable
class SupportsParts(Protocol):
    """A foreground rule that names clusters from a fixed list.

    Parts then have the same numbers and colours in every image, whichever of them it shows.
    """

    def part_names(self) -> Sequence[str]:
        """Every name that the rule may give, in the order in which parts are numbered."""


@runtime_checkable
class SupportsLabels(Protocol):
    """A detector that knows every label that it may give."""

    def labels(self) -> Sequence[str]:
        """The labels, in the order in which the classes of a data set are numbered."""


@runtime_checkable
class SupportsRegions(Protocol):
    """A foreground rule that works inside boxes: the pipeline clusters each box on its own."""

    def regions(self, image: torch.Tensor, ctx: RunContext | None = None) -> Sequence[Box]:
        """Boxes of ``image`` to work in; empty means that there is nothing to segment."""


@runtime_checkable
class SupportsInputs(Protocol):
    """A component that reads files, such as weights, whose hashes belong to a result's origin."""

    def inputs(self) -> Mapping[str, str]:
        """Name or absolute path of every file read so far -> its sha256."""


@runtime_checkable
class SupportsSize(Protocol):
    """A source that knows the size of its images before opening a query."""

    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""


@runtime_checkable
class SupportsMemoryEstimate(Protocol):
    """A component that can say how much memory it will need, for ``Pipeline.plan``."""

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes beyond the style summary, for images (H, W) and D = C*n features a pixel."""


def _params_error(owner: type, error: ValidationError) -> ParamsError:
    """The first complaint of pydantic in covary's wording; the others are counted."""
    problems = error.errors(include_url=False)
    first = problems[0]
    name = ".".join(str(part) for part in first["loc"])
    fields = owner.Params.model_fields  # type: ignore[attr-defined]
    expected = _expectation(first["msg"])
    if first["loc"] and _is_union(fields.get(first["loc"][0])):
        # Pydantic complains once for each kind of value that the parameter could have had.
        name = str(first["loc"][0])
        same = [problem for problem in problems if problem["loc"][:1] == first["loc"][:1]]
        expected = " or ".join(dict.fromkeys(_expectation(problem["msg"]) for problem in same))
        problems = [first, *(problem for problem in problems if problem not in same)]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        return ParamsError(
            f"{owner.__name__} has no parameter {name!r}{more}", fix=did_you_mean(name, fields)
        )
    # A check of several parameters together names none of them.
    what = f"parameter {name!r}" if name else "parameters"
    got = repr(first["input"])
    if first["type"] == "missing":
        expected, got = "a value, as it has no default", "none"
    return ParamsError(
        f"{what} of {owner.__name__}{more}",
        expected=expected,
        got=got,
        fix=f"see `covary show` for {owner.__name__}'s parameters",
    )


def _is_union(field: FieldInfo | None) -> bool:
    """Whether a parameter may be of several kinds, None aside."""
    if field is None or get_origin(field.annotation) not in (Union, UnionType):
        return False
    return len(set(get_args(field.annotation)) - {NoneType}) > 1


def _expectation(message: str) -> str:
    """Pydantic's "Input should be X" reduced to X."""
    for prefix in ("Input should be ", "Value error, "):
        message = message.removeprefix(prefix)
    return message
