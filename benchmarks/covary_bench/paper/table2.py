"""Objects of rooms inside boxes, by class.

Stands for the paper's Table 2, on rendered rooms: every object that a room shows, in its exact box,
against its exact visible pixels. `preset rooms` was chosen for them; `preset deeprooms` has the
parameters of the paper's Table S1 (RGB, k = 2, `corner` with all corners), in the same boxes.
Beside them the whole box taken for the object, and `worlds-unet`, which was trained on exact masks
of rendered rooms and sees the whole image. With another preset, a detector gives the boxes and a
network says which pixels of a class lie in them.

IoU of the object and of the rest of its box, their mean, and trimap and boundary figures as in
Table 1, all inside the exact box. "None found" counts as an empty mask. `mean` weighs all classes
alike. Seeds start at 1000: smaller ones were used while the preset was chosen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import covary
from covary.testing import worlds

from .. import rooms
from .figures import COLUMNS, Figures, compare, summarise
from .pictures import Row, save_rows, shown
from .reference import Reference
from .study import Study

__all__ = ["OURS", "check_rendered", "run", "run_detected"]

OURS, PAPER, BOX = "preset rooms", "preset deeprooms", "the whole box"
_DEEPROOMS = "preset deeprooms, in boxes"
_SHOWN = 4
_TILE = 128

_Masks = dict[tuple[str, str], tuple[Tensor, bool]]
"""By (class, what): the mask in the exact box, and whether it was found."""


def segmented(room: rooms.Room, image: Tensor, supervised: Reference | None) -> _Masks:
    """The masks of every object by every row of the table, each in its exact box."""
    found: _Masks = {}
    labels = None if supervised is None else supervised.labels(image[None])[0]
    for label, box in room.boxes.items():
        settings = {one.what: one for one in rooms.settings(label)}
        for what, setting in ((OURS, settings[rooms.PRESET]), (PAPER, settings[_DEEPROOMS])):
            mask, _, confident = room.segment(label, setting)
            found[label, what] = mask, confident
        found[label, BOX] = torch.ones(box.y1 - box.y0, box.x1 - box.x0, dtype=torch.bool), True
        if supervised is not None and labels is not None:
            inside = labels[box.slices] == class_number(supervised, label)
            found[label, supervised.spec.use] = inside, bool(inside.any())
    return found


def class_number(reference: Reference, label: str) -> int:
    """The number of a class.

    Raises:
        InputError: the segmenter does not know it.
    """
    if label not in reference.classes:
        raise covary.InputError(
            f"class {label!r} of {reference.spec.use}",
            expected=f"one of {', '.join(reference.classes)}",
            got=repr(label),
            fix="choose its classes by --set segmenter.classes=[...], or another --against",
        )
    return list(reference.classes).index(label)


def check_rendered(given: Sequence[str | None]) -> None:
    """Refuse what rendered rooms in exact boxes have no use for.

    Args:
        given: options of a generator, a detector or a pipeline; None where they were not.

    Raises:
        InputError: one was given.
    """
    if wrong := [one for one in given if one]:
        raise covary.InputError(
            "table2 of rendered rooms",
            expected="no other generator, detector, prompt or parameter",
            got=", ".join(wrong),
            fix="name a preset too, e.g. --preset deeprooms",
        )


def run(
    study: Study,
    supervised: Reference | None,
    *,
    resolution: int,
    variants: int,
) -> dict[str, Any]:
    """Measure rendered rooms in exact boxes, draw some, write the results."""

    def one(seed: str) -> dict[str, Any]:
        room, image = _room(int(seed), resolution, variants)
        figures: dict[str, dict[str, Any]] = defaultdict(dict)
        for (label, what), (mask, found) in segmented(room, image, supervised).items():
            truth = room.masks[label][room.boxes[label].slices]
            figures[label][what] = compare(mask, truth, found).data()
        return figures

    preset = covary.Pipeline.preset("rooms").recipe
    about = {
        "recipe": preset.model_dump(mode="json"),
        "resolution": resolution,
        "variants": variants,
        "supervised": supervised and supervised.about(),
    }
    entries = list(study.measure(map(str, study.seeds), one, about))
    whats = [OURS, PAPER, BOX, *([supervised.spec.use] if supervised else [])]
    sheet = save_rows(
        list(_pictures(study.seeds, resolution, variants, supervised)),
        study.out / f"{study.name}.webp",
    )
    data = {**about, "rows": table(entries, whats), "pictures": sheet}
    study.write(data, __doc__)
    return data


def run_detected(study: Study, pipe: covary.Pipeline, reference: Reference) -> dict[str, Any]:
    """Measure a pipeline with a detector against a network, inside the detected boxes."""
    if pipe.detector is None:
        raise covary.InputError(
            "table2",
            expected="a pipeline that segments in boxes",
            got="a preset without a detector",
            fix="add one: --detector grounding-dino --prompt 'sofa, coffee table'",
        )

    def one(seed: str) -> dict[str, Any]:
        result = pipe(seed=int(seed))
        labels = reference.labels(result.image[None])[0]
        figures: dict[str, dict[str, Any]] = defaultdict(dict)
        for number, region in enumerate(result.regions):
            truth = labels[region.box.slices] == class_number(reference, region.label)
            figures[region.label][f"ours {number}"] = compare(
                region.mask, truth, region.found
            ).data()
        return figures

    about = {"recipe": pipe.recipe.model_dump(mode="json"), "judge": reference.about()}
    measured = study.measure(map(str, study.seeds), one, about)
    entries = [own for entry in measured for own in _joined(entry)]
    if not entries:
        raise covary.InputError(
            "objects in boxes",
            expected=f"some in {len(study.seeds)} images",
            got="none",
            fix="try another --prompt or --detector",
        )
    data = {**about, "rows": table(entries, ["ours"])}
    study.write(data, __doc__)
    return data


def _joined(entry: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """An entry for each object, all of them by the name ours."""
    for label, found in entry.items():
        for figures in found.values():
            yield {label: {"ours": figures}}


def table(
    entries: Sequence[Mapping[str, Mapping[str, Any]]], whats: Sequence[str]
) -> list[dict[str, Any]]:
    """A row for each class and way, and the means over classes."""
    labels = sorted({label for entry in entries for label in entry})
    rows = []
    for what in whats:
        kind = {OURS: "ours", PAPER: "ours", BOX: "blind", "ours": "ours"}.get(what, "supervised")
        own = []
        for label in labels:
            figures = [Figures(**entry[label][what]) for entry in entries if label in entry]
            own.append({"object": label, "what": what, "kind": kind, **summarise(figures)})
        rows += own
        if own:
            rows.append({"object": "mean", "what": what, "kind": kind, **_means(own)})
    return rows


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    counts = {name: sum(row[name] for row in rows) for name in ("seeds", "found")}
    return {**counts, **{name: sum(row[name] for row in rows) / len(rows) for name in COLUMNS}}


def _room(seed: int, resolution: int, variants: int) -> tuple[rooms.Room, Tensor]:
    room = rooms.Room.of(seed, resolution, variants, ("lab", "rgb"))
    image = worlds.get("rooms").scene(seed, (resolution, resolution)).images(seed)[0]
    return room, image


def _pictures(
    seeds: Sequence[int], resolution: int, variants: int, supervised: Reference | None
) -> Iterator[Row]:
    """The first rooms: the true objects, then those of every row."""
    made = [_room(seed, resolution, variants) for seed in seeds[:_SHOWN]]
    yield Row(
        "exact",
        [
            shown(image, _numbers(dict(enumerate(room.masks.values(), 1))), _TILE)
            for room, image in made
        ],
    )
    masks = [segmented(room, image, supervised) for room, image in made]
    for what in dict.fromkeys(what for _, what in masks[0]):
        if what == BOX:
            continue
        tiles = []
        for (room, image), found in zip(made, masks, strict=True):
            numbers = torch.zeros(image.shape[1:], dtype=torch.int64)
            # Smaller boxes last: they lie in front, or inside.
            order = sorted(room.boxes, key=lambda label: -room.boxes[label].area)
            for label in order:
                inside = numbers[room.boxes[label].slices]
                inside[found[label, what][0]] = list(room.masks).index(label) + 1
            tiles.append(shown(image, numbers, _TILE))
        yield Row(what, tiles)


def _numbers(masks: Mapping[int, Tensor]) -> Tensor:
    numbers = torch.zeros_like(next(iter(masks.values())), dtype=torch.int64)
    for number, mask in masks.items():
        numbers[mask] = number
    return numbers
