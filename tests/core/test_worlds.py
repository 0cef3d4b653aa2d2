"""Procedural worlds: exact masks, and structure and appearance that do not touch each other."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from covary.errors import InputError, UnknownNameError
from covary.testing import worlds
from covary.testing.worlds import World

# The parts that a field of the appearance may colour, by the beginning of its name.
COLOURED = {
    "avatars": {
        "skin": {"head", "ears", "neck", "eyes", "mouth"},
        "blush": {"head"},
        "hair": {"hair", "brows"},
        "brow": {"brows"},
        "clothes": {"clothes"},
        "collar": {"clothes"},
        "iris": {"irises", "pupils"},
        "pupil": {"pupils"},
        "eye": {"eyes", "mouth"},
        "mouth": {"mouth"},
        "background": {"background", "stripes"},
        "second": {"background"},
        "stripe": {"stripes"},
        "light": {"hair", "neck", "clothes", "ears", "head", "brows", "mouth"},
    },
    "rooms": {
        "wall": {"wall", "side wall", "skirting"},
        "side": {"side wall"},
        "skirting": {"skirting"},
        "floor": {"floor"},
        "rug": {"rug"},
        "border": {"rug"},
        "sofa": {"sofa back", "sofa seat", "sofa arms"},
        "pillow": {"pillows"},
        "table": {"table top", "table legs"},
        "stand": {"lamp stand"},
        "shade": {"lamp shade"},
        "glow": {"wall"},
        "sky": {"window"},
        "land": {"window"},
        "frame": {"window"},
        "curtain": {"window"},
        "light": {
            *("floor", "window", "rug", "sofa back", "sofa seat", "sofa arms", "pillows"),
            *("table top", "table legs", "lamp shade"),
        },
    },
}


@pytest.fixture(params=worlds.WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    return worlds.get(request.param)


def draw(world: World, batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return world.sample_structure(batch, generator), world.sample_appearance(batch, generator)


def shares(world: World, weights: Tensor) -> Tensor:
    """Visible share of each part, float (B, parts, H, W), from the shares of the inks."""
    per_part = [
        sum(weights[:, i].float() for i, p in enumerate(world.inks.values()) if p == part)
        for part in world.parts
    ]
    return torch.stack(per_part, dim=1)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(worlds.WORLDS),
    seed=st.integers(0, 2**31),
    height=st.integers(16, 80),
    width=st.integers(16, 80),
)
def test_every_scene_is_whole(name: str, seed: int, height: int, width: int) -> None:
    world = worlds.get(name)
    scene = world.scene(seed, (height, width))
    weights, truth = scene.layout.weights, scene.truth
    assert weights.shape == (1, len(world.inks), height, width)
    assert bool(((weights >= 0) & (weights <= 1)).all())
    torch.testing.assert_close(
        weights.float().sum(1), torch.ones(1, height, width), atol=3e-3, rtol=0
    )

    images = scene.images(seed, 2)
    assert images.shape == (2, 3, height, width)
    assert images.dtype == torch.uint8

    labels, foreground = truth.labels[0], truth.foreground[0]
    assert labels.dtype == torch.int64
    assert labels.shape == foreground.shape == (height, width)
    content = {i for i, part in enumerate(world.parts) if part in world.foreground}
    assert foreground.tolist() == [[int(label) in content for label in row] for row in labels]
    assert 0.05 < foreground.float().mean() < 0.9


def test_labels_name_the_part_with_the_largest_share(world: World) -> None:
    structure, _ = draw(world, 6)
    size = (48, 64)
    visible = shares(world, world.layout(structure, size).weights)
    labels = world.truth(structure, size).labels
    chosen = visible.gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(chosen, visible.amax(1))


@settings(max_examples=20, deadline=None)
@given(name=st.sampled_from(worlds.WORLDS), seed=st.integers(0, 10**6), side=st.integers(16, 72))
def test_boxes_hold_exactly_what_is_labelled(name: str, seed: int, side: int) -> None:
    world = worlds.get(name)
    truth = world.scene(seed, (side, side + 8)).truth
    boxes = {name: box for name, *box in truth.boxes[0]}
    names = [[world.parts[label] for label in row] for row in truth.labels[0].tolist()]
    for thing, parts in world.objects.items():
        at = [(x, y) for y, row in enumerate(names) for x, part in enumerate(row) if part in parts]
        if not at:
            assert thing not in boxes
            continue
        xs, ys = zip(*at, strict=True)
        assert boxes[thing] == [min(xs), min(ys), max(xs) + 1, max(ys) + 1]
    assert boxes.keys() <= world.objects.keys()


@pytest.mark.parametrize(("side", "tolerance", "agreement"), [(32, 2.5, 0.96), (64, 1.5, 0.985)])
def test_a_scene_is_the_same_at_any_size(
    world: World, side: int, tolerance: float, agreement: float
) -> None:
    structure, appearance = draw(world, 8)
    small, large = (world.layout(structure, (s, s)) for s in (side, 4 * side))
    direct = world.paint(small, appearance).float()
    averaged = F.avg_pool2d(world.paint(large, appearance).float(), 4)
    assert (direct - averaged).abs().mean((1, 2, 3)).max() < tolerance

    fine = F.avg_pool2d(shares(world, large.weights), 4).argmax(1)
    same = (fine == world.truth_of(small).labels).float().mean()
    assert same > agreement


def test_a_wider_image_shows_the_same_middle(world: World) -> None:
    structure, appearance = draw(world, 4)
    square = world.paint(world.layout(structure, (64, 64)), appearance)
    wide = world.paint(world.layout(structure, (64, 96)), appearance)
    difference = (wide[..., 16:80].int() - square.int()).abs()
    assert difference.max() <= 1


def test_edges_are_anti_aliased(world: World) -> None:
    structure, _ = draw(world, 8)
    visible = shares(world, world.layout(structure, (64, 64)).weights).amax(1)
    mixed = (visible < 0.95).float().mean()
    assert 0.02 < mixed < 0.5


def test_colours_stay_in_their_parts(world: World) -> None:
    structure, appearance = draw(world, 6, seed=3)
    layout = world.layout(structure, (64, 64))
    visible = shares(world, layout.weights)
    before = world.paint(layout, appearance)
    prefixes = COLOURED[world.name]
    for column, field in enumerate(world.APPEARANCE):
        changed = appearance.clone()
        changed[:, column] = (changed[:, column] + 0.5) % 1
        differs = (world.paint(layout, changed) != before).any(1)
        allowed = prefixes[field.name.split("_")[0]]
        index = [i for i, part in enumerate(world.parts) if part in allowed]
        reachable = visible[:, index].sum(1) > 0
        assert not bool((differs & ~reachable).any()), field.name
        assert bool(differs.any()), f"{field.name} changes nothing"


def test_every_structure_field_moves_something(world: World) -> None:
    structure, _ = draw(world, 6, seed=1)
    fields = len(world.STRUCTURE)
    varied = structure.repeat(fields * 2, 1).view(fields, 2, 6, fields)
    for column in range(fields):
        varied[column, 0, :, column], varied[column, 1, :, column] = 0.05, 0.95
    weights = world.layout(varied.flatten(0, 2), (32, 32)).weights.unflatten(0, (fields, 2, 6))
    for column, field in enumerate(world.STRUCTURE):
        low, high = weights[column]
        assert not torch.equal(low, high), f"{field.name} changes nothing"


def test_fields_have_unique_names_and_ranges(world: World) -> None:
    for fields in (world.STRUCTURE, world.APPEARANCE):
        assert len({field.name for field in fields}) == len(fields)
        assert all(field.low < field.high for field in fields)
    structure, appearance = draw(world, 3)
    assert structure.shape == (3, len(world.STRUCTURE))
    assert appearance.shape == (3, len(world.APPEARANCE))


def test_parts_vary_independently_over_appearances() -> None:
    world = worlds.get("avatars")
    scene = world.scene(2, (64, 64))
    images = scene.images(0, 600).float().mean(1)
    visible = shares(world, scene.layout.weights)[0]
    main = ["background", "hair", "clothes", "head"]
    series = []
    for part in main:
        pure = visible[world.parts.index(part)] > 0.99
        assert pure.any(), part
        series.append(images[:, pure].mean(1))
    correlation = torch.corrcoef(torch.stack(series))
    # 600 independent draws stay within 0.16 of zero with a probability of 0.9999.
    assert (correlation - torch.eye(len(main))).abs().max() < 0.16


def test_background_never_shows_through_the_seams() -> None:
    world = worlds.get("rooms")
    structure, _ = draw(world, 8, seed=5)
    layout = world.layout(structure, (128, 128))
    visible = shares(world, layout.weights)
    labels = world.truth_of(layout).labels
    sofa = torch.tensor([part in world.objects["sofa"] for part in world.parts])
    inside = F.max_pool2d((~sofa[labels]).float(), 5, stride=1, padding=2) == 0
    assert inside.any()
    behind = [world.parts.index(p) for p in ("wall", "side wall", "skirting", "floor", "window")]
    assert visible[:, behind].sum(1)[inside].max() < 0.02


def test_an_avatar_stands_at_the_lower_edge_and_leaves_the_upper_corners() -> None:
    world = worlds.get("avatars")
    structure, _ = draw(world, 64)
    foreground = world.truth(structure, (64, 64)).foreground
    assert not foreground[:, :8, :8].any()
    assert not foreground[:, :8, -8:].any()
    assert foreground[:, -1, 32].all()


def test_a_seed_gives_the_same_scene(world: World) -> None:
    first, again, other = (world.scene(seed, (32, 32)) for seed in (7, 7, 8))
    assert torch.equal(first.layout.weights, again.layout.weights)
    assert torch.equal(first.images(1, 3), again.images(1, 3))
    assert not torch.equal(first.images(1, 1), first.images(2, 1))
    assert not torch.equal(first.layout.weights, other.layout.weights)


def test_drawing_in_blocks_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    structure, appearance = draw(world, 3)
    whole = world.layout(structure, (40, 24))
    image = world.paint(whole, appearance)
    truth = world.truth_of(whole)
    monkeypatch.setattr("covary.testing.worlds._scene._BLOCK", 100)
    parts = world.layout(structure, (40, 24))
    torch.testing.assert_close(parts.weights, whole.weights, atol=2e-3, rtol=0)
    assert (world.paint(parts, appearance).int() - image.int()).abs().max() <= 1
    assert torch.equal(world.truth_of(whole).labels, truth.labels)


def test_one_layout_serves_many_appearances(world: World) -> None:
    structure, appearance = draw(world, 20)
    one = world.layout(structure[:1], (32, 32))
    many = world.layout(structure[:1].expand(20, -1), (32, 32))
    difference = world.paint(one, appearance).int() - world.paint(many, appearance).int()
    # The two are summed in a different order: a value half way may round either way.
    assert difference.abs().max() <= 1


@pytest.mark.parametrize(
    "size", [(15, 64), (64, 2049), (64,), (64, 64, 3), (64.0, 64), 64, (True, 64)]
)
def test_a_wrong_size_is_refused(world: World, size: object) -> None:
    structure, _ = draw(world, 1)
    with pytest.raises(InputError, match=r"the size: expected \(height, width\).*16 to 2048"):
        world.layout(structure, size)  # type: ignore[arg-type]


def test_wrong_latents_are_refused(world: World) -> None:
    structure, appearance = draw(world, 2)
    with pytest.raises(InputError, match=r"structure: expected latents of shape"):
        world.layout(appearance, (16, 16))
    with pytest.raises(InputError, match=r"values in \[0, 1\]"):
        world.layout(structure * float("nan"), (16, 16))
    layout = world.layout(structure, (16, 16))
    with pytest.raises(InputError, match=r"values in \[0, 1\]"):
        world.paint(layout, appearance + 1)
    with pytest.raises(InputError, match="expected one layout or as many"):
        world.paint(layout, appearance[[0, 1, 1]])
    with pytest.raises(InputError, match="expected a tensor, got list"):
        world.paint(layout, appearance.tolist())  # type: ignore[arg-type]


def test_an_unknown_world_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'avatars'"):
        worlds.get("avatar")


def test_the_testing_package_itself_needs_no_torch() -> None:
    code = (
        "import sys, covary.testing as t; assert 'worlds' in dir(t); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
