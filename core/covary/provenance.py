"""What made a result, and running it again."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ._metadata import installed_version
from ._registry import find
from .context import RunContext, resolve_device
from .errors import CovaryError, InputError, PluginError
from .files import file_sha256
from .images import read_image
from .recipe import Recipe
from .types import Query, Variants

if TYPE_CHECKING:
    from .segmentation import Region, Segmentation

__all__ = [
    "Comparison",
    "Record",
    "adjusted_rand_index",
    "component_data",
    "components_data",
    "file_sha256",
    "iou",
    "objects_data",
    "query_data",
    "read_provenance",
    "rerun",
    "saved_query",
    "saved_variant",
]

_VERSIONS = ("covary", "torch", "numpy", "kornia")


class Record:
    """Collects timings and memory while a pipeline runs."""

    def __init__(self, ctx: RunContext, together: Sequence[Query] = ()) -> None:
        """Of the run of ``ctx``, and of the queries that were opened together, if there were."""
        self._ctx, self._together = ctx, together
        self.seconds: dict[str, float] = defaultdict(float)
        if ctx.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(ctx.device)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to a stage; work queued on the device is waited for."""
        start = time.perf_counter()
        yield
        if self._ctx.device.type == "cuda":
            torch.cuda.synchronize(self._ctx.device)
        self.seconds[name] += time.perf_counter() - start

    def finish(
        self,
        recipe: Recipe,
        query: Query,
        variants: Variants,
        result: Segmentation,
        inputs: Mapping[str, str],
    ) -> dict[str, Any]:
        """Everything there is to say, as plain data.

        ``inputs`` are the files that components other than the source have read, with their sha256.
        """
        # Which queries shared the batches bears on rounding.
        together = [query_data(each) for each in self._together]
        return {
            "format": 1,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "query": query_data(query),
            "seed": self._ctx.seed,
            **({"together": together} if together else {}),
            "recipe": recipe.model_dump(mode="json"),
            "components": components_data(recipe),
            "inputs": {**variants.inputs, **inputs},
            "image": _image_data(result, variants),
            "result": _result_data(result, recipe),
            "seconds": {name: round(value, 6) for name, value in self.seconds.items()},
            "memory": _memory_data(self._ctx.device),
            "machine": _machine_data(self._ctx.device),
            "versions": {"python": platform.python_version(), **_versions()},
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a second run compares with the saved first."""

    folder: Path
    """Where the first is."""
    ari: float
    """Adjusted Rand index of the cluster labels, 1 for the same partition; 0 if sizes differ."""
    iou: float
    """Intersection over union of the masks; 1 where both found nothing, 0 if sizes differ."""
    same_image: bool
    """Whether X_0 is equal to the last bit."""
    changed: tuple[str, ...] = ()
    """What differs in inputs, components, versions or detected objects since the first run."""

    @property
    def reproduced(self) -> bool:
        """Same partition and mask up to rounding (ARI and IoU of at least 0.99)."""
        return self.ari >= 0.99 and self.iou >= 0.99


def rerun(folder: str | os.PathLike[str], device: str = "auto") -> Comparison:
    """Run a saved result again and compare; nothing is written.

    Args:
        folder: what ``Segmentation.save`` wrote.
        device: where to run it, which may differ from the first run's.

    Raises:
        InputError: no whole result there, or one of its inputs is gone.
        PluginError: it was made with a component that was never registered.
        UnknownNameError: its component's plugin is not installed here.
    """
    from .pipeline import Pipeline
    from .segmentation import read_labels

    folder = Path(folder)
    saved = read_provenance(folder)
    recipe = _saved_recipe(saved, folder)
    labels = read_labels(folder / "clusters.png")
    image = read_image(folder / "image.png")
    mask_file = folder / "mask.png"
    mask = (
        read_image(mask_file)[0] > 127
        if mask_file.exists()
        else torch.zeros_like(labels, dtype=torch.bool)
    )
    query = _present_query(saved)
    again = Pipeline.from_recipe(recipe, device=device)(query, seed=saved["seed"])
    comparable = again.size == tuple(labels.shape) == tuple(mask.shape)
    return Comparison(
        folder=folder,
        ari=adjusted_rand_index(labels, again.labels) if comparable else 0.0,
        iou=iou(mask, again.mask) if comparable else 0.0,
        same_image=torch.equal(image, again.image),
        changed=_changes(saved, again.provenance),
    )


def saved_variant(
    folder: str | os.PathLike[str], number: int, device: str = "auto"
) -> tuple[torch.Tensor, torch.Tensor]:
    """The image of a saved result and one of its variants, both made again.

    Args:
        folder: what ``Segmentation.save`` wrote.
        number: of the variant, from 0.
        device: where to make them, which may differ from the first run's.

    Returns:
        X_0 and the variant, uint8 (3, H, W), on the CPU. As after :func:`rerun`, they may differ
        from the first run's where versions or devices do.

    Raises:
        InputError: no whole result there, one of its inputs is gone, or there is no such variant.
        PluginError: it was made with a component that was never registered.
        UnknownNameError: its component's plugin is not installed here.
    """
    from .pipeline import Pipeline

    saved = read_provenance(folder)
    query = _present_query(saved)
    source = Pipeline.from_recipe(_saved_recipe(saved, folder), device=device).source
    ctx = RunContext(device=resolve_device(device), seed=saved["seed"], query=query)
    variants = source.open(query, ctx.at("source", source.id))
    if not 0 <= number < variants.count:
        got = str(number)
        raise InputError("variant", expected=f"a number in 0..{variants.count - 1}", got=got)
    first = 0
    for batch in variants.batches:
        if number < first + len(batch.images):
            return variants.image.cpu(), batch.images[number - first].cpu()
        first += len(batch.images)
    raise PluginError(
        f"source {source.id}", expected=f"{variants.count} variants", got=f"{first} of them"
    )


def _saved_recipe(saved: Mapping[str, Any], folder: str | os.PathLike[str]) -> Recipe:
    """The recipe of a provenance, once all its components are registered ones."""
    recipe = Recipe.parse(saved["recipe"], origin=f"provenance of {folder}")
    for _, _, spec in recipe.specs():
        if spec.use.startswith("local/"):
            raise PluginError(
                f"{spec.use} is not a registered component, so this result cannot be run again",
                fix="register it through a plugin (see the tutorial)",
            )
    return recipe


def _present_query(saved: Mapping[str, Any]) -> Query:
    """The query of a provenance; refuses paths that are gone."""
    from .pipeline import as_query

    query = saved_query(saved)
    return as_query(query.paths or query.seed)


def read_provenance(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The provenance in a result's folder.

    Raises:
        InputError: there is none, or it is not covary's.
    """
    path = Path(folder) / "provenance.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"result folder {folder}",
            expected="a provenance.json, which every finished result has",
            got=str(error),
            fix="give a folder that `covary segment` wrote",
        ) from error
    if not isinstance(data, dict) or data.get("format") != 1:
        got = str(data.get("format") if isinstance(data, dict) else type(data).__name__)
        raise InputError(f"provenance {path}", expected="format 1", got=got)
    if missing := sorted({"query", "recipe", "seed"} - set(data)):
        raise InputError(f"provenance {path}", expected=f"an entry {missing[0]!r}", got="none")
    return data


def saved_query(saved: Mapping[str, Any]) -> Query:
    """The query that a provenance records."""
    data = saved["query"]
    return Query(seed=data.get("seed"), paths=tuple(map(Path, data.get("paths", ()))))


def adjusted_rand_index(a: torch.Tensor, b: torch.Tensor) -> float:
    """The adjusted Rand index of two labellings of the same pixels (Hubert and Arabie 1985).

    Args:
        a: integer labels of any shape.
        b: integer labels of the same shape.

    Returns:
        1 for equal partitions, about 0 for independent ones.

    Raises:
        InputError: the shapes differ.
    """
    if a.shape != b.shape:
        raise InputError("labels", expected=f"shape {tuple(a.shape)}", got=str(tuple(b.shape)))
    _, a = a.reshape(-1).unique(return_inverse=True)
    _, b = b.reshape(-1).unique(return_inverse=True)
    width = int(b.max()) + 1
    table = torch.bincount(a * width + b, minlength=(int(a.max()) + 1) * width)
    table = table.reshape(-1, width).to(torch.float64)

    def pairs(counts: torch.Tensor) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    total = a.numel() * (a.numel() - 1) / 2
    expected = rows * columns / total if total else 0.0
    most = (rows + columns) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    """Intersection over union of two bool masks of one shape; 1 where both are empty.

    Raises:
        InputError: the shapes differ.
    """
    if a.shape != b.shape:
        raise InputError("masks", expected=f"shape {tuple(a.shape)}", got=str(tuple(b.shape)))
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def query_data(query: Query) -> dict[str, Any]:
    """How a provenance records a query; :func:`saved_query` reads it back."""
    if query.kind == "seed":
        return {"seed": query.seed}
    return {"paths": [str(path.resolve()) for path in query.paths]}


def components_data(recipe: Recipe) -> dict[str, dict[str, str]]:
    """Where a recipe's components come from: id, distribution and version, by their places."""
    return {where: component_data(kind, spec.use) for where, kind, spec in recipe.specs()}


def component_data(kind: str, component_id: str) -> dict[str, str]:
    """Where a component comes from: id, distribution and version."""
    unknown = {"id": component_id, "distribution": "not registered"}
    if component_id.startswith("local/"):
        return unknown  # to look for it would be to search all distributions for a hint
    try:
        origin = find(component_id, kind).origin
    except CovaryError:
        return unknown
    return {"id": component_id, "distribution": origin.distribution, "version": origin.version}


def _result_data(result: Segmentation, recipe: Recipe) -> dict[str, Any]:
    data: dict[str, Any] = {
        "found": result.found,
        "reason": result.reason,
        "regions": [_region_data(region) for region in result.regions],
    }
    if result.detected:
        data["objects"] = objects_data(result)
        labels = {region.label for region in result.regions}
        if unused := [label for label in recipe.classes if label not in labels]:
            data["warnings"] = [f"the detector gave no box of class {label!r}" for label in unused]
    if result.part_names:
        data["parts"] = list(result.part_names)
    if result.soft is not None:
        data["soft"] = True
    if any(region.refined is not None for region in result.regions):
        data["refined"] = True
    return data


def _region_data(region: Region) -> dict[str, Any]:
    foreground = region.foreground
    return {
        "box": list(region.box.corners),
        "found": region.found,
        "reason": region.reason,
        "foreground_clusters": foreground.clusters.nonzero().flatten().tolist(),
        "scores": [_number(score) for score in foreground.scores.tolist()],
        "cluster_pixels": region.clusters.counts.tolist(),
        "inertia": _number(region.clusters.inertia),
        "iterations": region.clusters.iterations,
        "converged": region.clusters.converged,
    }


def objects_data(result: Segmentation) -> list[dict[str, Any]]:
    """The objects of a result as plain data, without their masks.

    ``id`` is an object's number in ``instances.png``, ``area`` the pixels that it has there.
    """
    return [
        {
            "id": number,
            "label": one.label,
            "score": _number(one.score),
            "box": list(one.box.corners),
            "area": one.area,
            "found": one.found,
            "reason": one.reason,
        }
        for number, one in enumerate(result.objects, start=1)
    ]


def _image_data(result: Segmentation, variants: Variants) -> dict[str, Any]:
    crop = result.crop
    photo = None
    if crop is not None:
        photo = {"size": list(crop.size), "matrix": crop.matrix.tolist()}
    return {
        "size": list(result.size),
        "variants": variants.count,
        "photo": photo,
        "reconstruction": result.reconstruction is not None,
        "metrics": {name: _number(value) for name, value in variants.metrics.items()},
        "warnings": list(variants.warnings),
    }


def _number(value: float) -> float | None:
    """``value`` with seven digits, or None where it is not finite, which JSON cannot say."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def _memory_data(device: torch.device) -> dict[str, Any]:
    import psutil

    data: dict[str, Any] = {}
    peak = getattr(psutil.Process().memory_info(), "peak_wset", None)
    if peak is None:
        import resource

        kilobyte = 1 if platform.system() == "Darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte
    data["process_peak_bytes"] = int(peak)
    if device.type == "cuda":
        data["device_peak_bytes"] = torch.cuda.max_memory_allocated(device)
    return data


def _machine_data(device: torch.device) -> dict[str, Any]:
    data: dict[str, Any] = {
        "device": str(device),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        data["gpu"] = torch.cuda.get_device_name(device)
    return data


@cache  # asked for at every result, of which data sets have millions
def _versions() -> Mapping[str, str]:
    return {name: installed_version(name) or "not installed" for name in _VERSIONS}


def _changes(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    """What differs between two runs: inputs, components, versions, machine, detected objects."""
    changes = []
    for group in ("inputs", "components", "versions", "machine"):
        old, new = before.get(group, {}), after.get(group, {})
        for key in sorted(set(old) | set(new)):
            if old.get(key) != new.get(key):
                changes.append(f"{group} {key}: {old.get(key)} -> {new.get(key)}")
    labels = [
        ", ".join(one["label"] for one in data.get("result", {}).get("objects", ())) or "none"
        for data in (before, after)
    ]
    if labels[0] != labels[1]:
        changes.append(f"objects: {labels[0]} -> {labels[1]}")
    return tuple(changes)
