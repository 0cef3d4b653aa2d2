"""Training the small U-Net: it learns, and stopping it changes nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from covary import InputError
from covary.testing import worlds
from covary_bench import unet
from covary_bench.segmenters.data import exact, groups, render_labelled
from covary_bench.segmenters.train import Training, export
from covary_bench.unet import CHECKPOINT, predict, train_unet
from covary_plugins.segmenters.unet import load_unet, make_unet, prepare
from covary_plugins.segmenters.worlds_unet import WORLDS


def squares(count: int = 40, side: int = 32) -> tuple[Tensor, Tensor]:
    """Bright squares on noise, and their masks."""
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 120, (count, 3, side, side), generator=draw, dtype=torch.uint8)
    masks = torch.zeros(count, side, side, dtype=torch.uint8)
    for image, mask in zip(images, masks, strict=True):
        x, y = torch.randint(0, side - 12, (2,), generator=draw).tolist()
        mask[y : y + 12, x : x + 12] = 1
        image[:, mask.bool()] += 100
    return images, masks


def trained(folder: Path | None = None, **changes: Any) -> nn.Module:
    images, masks = squares()
    settings = {"classes": 2, "steps": 4, "batch": 4, "folder": folder} | changes
    return train_unet(images, masks, **settings)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_learns_what_it_is_shown() -> None:
    images, masks = squares()
    net = train_unet(images[:30], masks[:30], classes=2, steps=30, batch=4)
    found = predict(net, images[30:])
    assert found.dtype == torch.int64
    assert found.shape == masks[30:].shape
    assert (found == masks[30:]).double().mean() > 0.97


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_goes_on_to_the_same_weights(kind: int, tmp_path: Path) -> None:
    whole = trained()
    steps, original = 0, unet._Run.step

    def step(self: Any) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == 2:
            os.kill(os.getpid(), kind)  # arrives in the middle of an update
        return original(self)

    before = signal.getsignal(kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unet._Run, "step", step)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path)
    assert signal.getsignal(kind) is before
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["done"] == 2
    assert same(trained(tmp_path), whole)


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    whole = trained(tmp_path)
    reports: list[int] = []
    again = trained(tmp_path, progress=lambda what, done: reports.append(done))
    assert same(again, whole)
    assert reports == []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"steps": 5}, "steps"),
        ({"seed": 1}, "seed"),
        ({"batch": 2}, "batch"),
        ({"soften": True}, "soften"),
        ({"classes": 3}, "classes"),
    ],
)
def test_the_checkpoint_of_another_training_is_refused(
    changes: dict[str, Any], what: str, tmp_path: Path
) -> None:
    trained(tmp_path, steps=1)
    with pytest.raises(InputError, match=f"another .*{what}"):
        trained(tmp_path, **({"steps": 1} | changes))


def test_other_data_are_another_training(tmp_path: Path) -> None:
    images, masks = squares()
    train_unet(images, masks, classes=2, steps=1, batch=2, folder=tmp_path)
    with pytest.raises(InputError, match="another data"):
        train_unet(images, 1 - masks, classes=2, steps=1, batch=2, folder=tmp_path)


def test_the_seed_decides_everything() -> None:
    state = torch.get_rng_state()
    assert same(trained(), trained())
    assert not same(trained(), trained(seed=1))
    assert not same(trained(), trained(soften=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_progress_tells_rate_and_time_left() -> None:
    told: list[tuple[str, int]] = []
    trained(progress=lambda what, done: told.append((what, done)))
    ((what, done),) = told
    assert done == 4
    assert "loss" in what
    assert "images/s, 0:00 left" in what


@pytest.mark.parametrize(
    ("images", "masks", "says"),
    [
        (torch.zeros(2, 3, 32, 32), torch.zeros(2, 32, 32, dtype=torch.uint8), r"uint8 \(N, 3"),
        (torch.zeros(2, 3, 8, 32, dtype=torch.uint8), torch.zeros(2, 8, 32).long(), "16 pixels"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(2, 32, 32), "integers"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(1, 32, 32).long(), "shape"),
        (
            torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
            torch.full((2, 32, 32), 2),
            r"labels 0\.\.1, got 2\.\.2",
        ),
    ],
)
def test_data_that_do_not_fit_are_refused(images: Tensor, masks: Tensor, says: str) -> None:
    with pytest.raises(InputError, match=says):
        train_unet(images, masks, classes=2, steps=1)


def test_prediction_leaves_the_network_as_it_was() -> None:
    net = make_unet(3).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    images, _ = squares(2, 33)
    found = predict(net, images)
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    with torch.no_grad():
        assert torch.equal(found, net.eval()(prepare(images)).argmax(dim=1))


def test_weights_are_written_and_read_again(tmp_path: Path) -> None:
    net = trained().eval()
    images, _ = squares(4)
    training = Training("avatars", size=32, scenes=1, steps=4)
    export(net, training, tmp_path / "weights.safetensors")
    again = load_unet(tmp_path / "weights.safetensors", classes=2)
    agree = (predict(again, images) == predict(net, images)).double().mean()
    assert agree > 0.99  # kernels are stored in float16


@pytest.mark.parametrize("name", WORLDS)
def test_classes_are_the_renderers(name: str) -> None:
    world = worlds.get(name)
    classes = groups(world)
    assert tuple(classes) == WORLDS[name].classes
    assert sorted(part for own in classes.values() for part in own) == sorted(world.parts)
    background = next(iter(classes.values()))
    assert background.isdisjoint(world.foreground)


@pytest.mark.parametrize("name", WORLDS)
def test_scenes_come_with_their_exact_classes(name: str) -> None:
    world = worlds.get(name)
    image, labels = exact(world, 3, 48)
    scene = world.scene(3, (48, 48))
    assert torch.equal(image, scene.images(3)[0])
    assert torch.equal(labels > 0, scene.truth.foreground[0])
    for i, own in enumerate(groups(world).values()):
        parts = [world.parts.index(part) for part in own]
        assert torch.equal(labels == i, torch.isin(scene.truth.labels[0], torch.tensor(parts)))
    images, masks = render_labelled(world, 3, 7, 48)
    assert images.shape == (3, 3, 48, 48)
    assert masks.dtype == torch.uint8
    assert int(masks.max()) < len(groups(world))
    assert not torch.equal(images[0], images[1])
