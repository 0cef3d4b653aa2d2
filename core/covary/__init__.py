"""Image segmentation without a segmentation network: pixels that co-vary belong together.

Make variants of one image that keep its structure and change its appearance, stack them into the
style summary tensor, cluster its pixels, and let a foreground rule choose clusters::

    import covary

    pipe = covary.Pipeline("stylegan2", "lab", ("lloyd", {"k": 4}), "corner")
    seg = pipe(seed=7)
    seg.save("out/7")

Importing this package loads no torch; names that need it load it when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._hooks import API_VERSION, hookimpl
    from ._registry import checkpoint_path, components, create, preset_names, problems
    from .catalogue import Catalogue, Checkpoint, Component, Preset, read_catalogue
    from .composition import compose, cut_out
    from .context import RunContext
    from .errors import (
        AmbiguousNameError,
        CheckpointError,
        CovaryDeprecationWarning,
        CovaryError,
        IncompatibleApiError,
        InputError,
        MemoryBudgetError,
        MissingPackageError,
        OutputError,
        ParamsError,
        PluginError,
        UnknownNameError,
    )
    from .evaluation import Evaluation, Pair, evaluate
    from .generation import Filters, GenerationReport, generate
    from .images import read_image, write_png
    from .interfaces import (
        Clusterer,
        Configurable,
        Detector,
        FeatureSpace,
        ForegroundRule,
        LandmarkDetector,
        Params,
        Refiner,
        Segmenter,
        SupportsFrontMatter,
        SupportsInitialCenters,
        SupportsInputs,
        SupportsLabels,
        SupportsManyQueries,
        SupportsMemoryEstimate,
        SupportsParts,
        SupportsPredict,
        SupportsReading,
        SupportsRegions,
        SupportsShards,
        SupportsSize,
        VariantSource,
        Writer,
    )
    from .pipeline import Pipeline
    from .plan import Plan
    from .recipe import Recipe, Spec
    from .samples import DataSet, Sample, SampleObject, Shard, check_sample
    from .segmentation import Object, Region, Segmentation
    from .soft import check_soft, pixel_confidence, soft_mask
    from .summary import StyleSummary, SummaryBuilder
    from .types import (
        Box,
        ClusterMap,
        Crop,
        Detection,
        Foreground,
        Query,
        VariantBatch,
        Variants,
        check_image,
        check_images,
    )

__version__ = "0.1.0"

_MODULES = {
    "_hooks": ("API_VERSION", "hookimpl"),
    "_registry": ("checkpoint_path", "components", "create", "preset_names", "problems"),
    "catalogue": ("Catalogue", "Checkpoint", "Component", "Preset", "read_catalogue"),
    "composition": ("compose", "cut_out"),
    "context": ("RunContext",),
    "errors": (
        "AmbiguousNameError",
        "CheckpointError",
        "CovaryDeprecationWarning",
        "CovaryError",
        "IncompatibleApiError",
        "InputError",
        "MemoryBudgetError",
        "MissingPackageError",
        "OutputError",
        "ParamsError",
        "PluginError",
        "UnknownNameError",
    ),
    "evaluation": ("Evaluation", "Pair", "evaluate"),
    "generation": ("Filters", "GenerationReport", "generate"),
    "images": ("read_image", "write_png"),
    "interfaces": (
        "Clusterer",
        "Configurable",
        "Detector",
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
    ),
    "pipeline": ("Pipeline",),
    "plan": ("Plan",),
    "recipe": ("Recipe", "Spec"),
    "samples": ("DataSet", "Sample", "SampleObject", "Shard", "check_sample"),
    "segmentation": ("Object", "Region", "Segmentation"),
    "soft": ("check_soft", "pixel_confidence", "soft_mask"),
    "summary": ("StyleSummary", "SummaryBuilder"),
    "types": (
        "Box",
        "ClusterMap",
        "Crop",
        "Detection",
        "Foreground",
        "Query",
        "VariantBatch",
        "Variants",
        "check_image",
        "check_images",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "API_VERSION",
    "AmbiguousNameError",
    "Box",
    "Catalogue",
    "Checkpoint",
    "CheckpointError",
    "ClusterMap",
    "Clusterer",
    "Component",
    "Configurable",
    "CovaryDeprecationWarning",
    "CovaryError",
    "Crop",
    "DataSet",
    "Detection",
    "Detector",
    "Evaluation",
    "FeatureSpace",
    "Filters",
    "Foreground",
    "ForegroundRule",
    "GenerationReport",
    "IncompatibleApiError",
    "InputError",
    "LandmarkDetector",
    "MemoryBudgetError",
    "MissingPackageError",
    "Object",
    "OutputError",
    "Pair",
    "Params",
    "ParamsError",
    "Pipeline",
    "Plan",
    "PluginError",
    "Preset",
    "Query",
    "Recipe",
    "Refiner",
    "Region",
    "RunContext",
    "Sample",
    "SampleObject",
    "Segmentation",
    "Segmenter",
    "Shard",
    "Spec",
    "StyleSummary",
    "SummaryBuilder",
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
    "UnknownNameError",
    "VariantBatch",
    "VariantSource",
    "Variants",
    "Writer",
    "check_image",
    "check_images",
    "check_sample",
    "check_soft",
    "checkpoint_path",
    "components",
    "compose",
    "create",
    "cut_out",
    "evaluate",
    "generate",
    "hookimpl",
    "pixel_confidence",
    "preset_names",
    "problems",
    "read_catalogue",
    "read_image",
    "soft_mask",
    "write_png",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'covary' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
