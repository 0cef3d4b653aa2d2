"""From results to the pairs of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..errors import PluginError
from ..samples import Sample, SampleObject

if TYPE_CHECKING:
    from ..segmentation import Segmentation
    from ._job import Job

__all__ = ["key_of", "measures", "pair"]


def key_of(seed: int) -> str:
    """The name of a seed's pair."""
    return f"{seed:09d}"


def measures(result: Segmentation, content: torch.Tensor) -> dict[str, Any]:
    """What filters judge, and what a pair says of itself: found, area, confidence, reason.

    ``area`` is a share of the image, ``confidence`` as :class:`~covary.Filters` has it; both are
    rounded to four digits.

    Args:
        result: of the pipeline.
        content: bool (H, W), where the pair's mask is not background.
    """
    if not (result.found and bool(content.any())):
        return {"found": False, "area": 0.0, "confidence": None, "reason": result.reason}
    confidence = None
    if result.soft is not None:
        sure = (2 * result.soft[content].double() - 1).clamp(min=0)
        confidence = round(float(sure.mean()), 4)
    return {
        "found": True,
        "area": round(float(content.double().mean()), 4),
        "confidence": confidence,
        "reason": result.reason,
    }


def pair(result: Segmentation, seed: int, job: Job) -> Sample:
    """A result as a pair of the job's task.

    Raises:
        PluginError: it shows a part of a name that its rule did not announce.
    """
    mask, instances, objects = _mask(result, job)
    return Sample(
        key=key_of(seed),
        seed=seed,
        image=result.image,
        mask=mask,
        instances=instances,
        objects=objects,
        metadata=measures(result, mask > 0),
    )


def _mask(
    result: Segmentation, job: Job
) -> tuple[torch.Tensor, torch.Tensor | None, tuple[SampleObject, ...]]:
    if job.task == "instances":
        return _instances(result, job)
    if job.task == "foreground":
        return result.mask.to(torch.uint8), None, ()
    return _renumbered(result, job), None, ()


def _renumbered(result: Segmentation, job: Job) -> torch.Tensor:
    """The parts by the job's classes."""
    numbers = {name: number for number, name in enumerate(job.classes)}
    table = torch.zeros(len(result.part_names) + 1, dtype=torch.uint8)
    shown = set(result.parts.unique().tolist())
    for number, name in enumerate(result.part_names, start=1):
        if name in numbers:
            table[number] = numbers[name]
        elif number in shown:
            raise PluginError(
                "foreground rule",
                expected=f"names of parts among {', '.join(job.classes)}",
                got=repr(name),
                fix="let its part_names() list every name that it may give",
            )
    return table[result.parts.long()]


def _instances(
    result: Segmentation, job: Job
) -> tuple[torch.Tensor, torch.Tensor, tuple[SampleObject, ...]]:
    """Class and number of each pixel, and the objects; those of no class of the job are not."""
    mask = torch.zeros(result.size, dtype=torch.uint8)
    instances = torch.zeros(result.size, dtype=torch.int32)
    objects: list[SampleObject] = []
    for one in result.objects:
        if not one.found or one.label not in job.classes[1:]:
            continue
        category = job.classes.index(one.label)
        objects.append(SampleObject(category, one.box, float(one.score)))
        mask[one.box.slices].masked_fill_(one.inside, category)
        instances[one.box.slices].masked_fill_(one.inside, len(objects))
    return mask, instances, tuple(objects)
