"""The renderer's own boxes: against the labels of the scene, in and out of a pipeline."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import covary
from covary import Box, InputError, Query, RunContext
from covary.testing import worlds

OBJECTS = ("window", "rug", "sofa", "coffee table", "lamp")


def find(image: torch.Tensor, seed: int | None, **params: Any) -> dict[str, Box]:
    query = None if seed is None else Query(seed=seed)
    found = covary.create("worlds", "detector", **params).detect(image, RunContext(query=query))
    assert all(each.score == 1 for each in found)
    return {each.label: each.box for each in found}


@pytest.mark.parametrize("seed", [0, 7, 41])
def test_boxes_are_as_tight_as_the_labels(seed: int) -> None:
    scene = worlds.get("rooms").scene(seed, (96, 128))
    found = find(scene.images(seed)[0], seed)
    for name, parts in scene.world.objects.items():
        labels = [scene.world.parts.index(part) for part in parts]
        mask = torch.isin(scene.truth.labels[0], torch.tensor(labels))
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        assert found.pop(name) == Box(
            int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
        )
    assert not found


def test_some_of_the_objects() -> None:
    image = worlds.get("rooms").scene(3, (64, 64)).images(3)[0]
    every, some = find(image, 3), find(image, 3, labels=("sofa", "lamp"))
    assert set(every) == set(OBJECTS)
    assert some == {name: every[name] for name in ("sofa", "lamp")}


def test_what_the_world_does_not_have() -> None:
    image = worlds.get("rooms").scene(3, (64, 64)).images(3)[0]
    with pytest.raises(InputError, match=r"'coffe table'.*an object of rooms.*'coffee table'"):
        find(image, 3, labels=("coffe table",))


@pytest.mark.parametrize("query", [None, Query(paths=(".",))])  # type: ignore[arg-type]
def test_it_goes_by_seeds(query: Query | None) -> None:
    image = worlds.get("rooms").scene(3, (64, 64)).images(3)[0]
    with pytest.raises(InputError, match=r"the seed of a rendered scene, got (none|files)"):
        covary.create("worlds", "detector").detect(image, RunContext(query=query))


def test_other_images_are_refused() -> None:
    image = worlds.get("rooms").scene(3, (64, 64)).images(3)[0]
    recoloured = worlds.get("rooms").scene(3, (64, 64)).images(4)[0]
    for other, seed, world in (
        (image, 4, "rooms"),
        (image, 3, "avatars"),
        (recoloured, 3, "rooms"),
        (image[:, :32, :32], 3, "rooms"),
    ):
        with pytest.raises(InputError, match=rf"seed {seed} of the world {world}"):
            find(other, seed, world=world)


def test_rounding_of_another_machine_is_no_other_image() -> None:
    image = worlds.get("rooms").scene(3, (64, 64)).images(3)[0]
    nearly = torch.where(image < 255, image + 1, image)
    assert find(nearly, 3) == find(image, 3)


def test_rooms_in_a_pipeline() -> None:
    pipe = covary.Pipeline(
        ("worlds", {"world": "rooms", "resolution": 96, "n": 8}),
        "lab",
        ("lloyd", {"k": 3}),
        "saliency",
        detector=("worlds", {"world": "rooms", "labels": ["sofa", "coffee table"]}),
    )
    segmentation = pipe(seed=7)
    found = find(segmentation.image, 7, labels=("sofa", "coffee table"))
    assert {region.label: region.box for region in segmentation.regions} == found
