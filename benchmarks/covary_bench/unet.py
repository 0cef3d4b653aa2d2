"""Training the small U-Net: on exact masks, or on those that covary generates.

Flips and random batches depend on the seed and the number of the step alone, so that a run that was
stopped and went on ends with the same weights as one that was not, on one machine.
"""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from covary import InputError
from covary.files import output_folder, replacing
from covary_plugins.segmenters.unet import MIN_SIDE, make_unet, predict, prepare

__all__ = ["CHECKPOINT", "predict", "train_unet"]

CHECKPOINT = "checkpoint.pt"
"""File in the run's folder from which training goes on."""

LEARNING_RATE = 6e-3
WEIGHT_DECAY = 1e-4
NOISE = 3.0
"""Standard deviation of the noise that softening adds, in grey levels."""
SAVE_SECONDS = 60.0
_STEPS_A_REPORT = 20


def train_unet(
    images: Tensor,
    masks: Tensor,
    *,
    classes: int,
    steps: int,
    batch: int = 16,
    seed: int = 0,
    folder: Path | None = None,
    progress: Callable[[str, int], None] | None = None,
    soften: bool = False,
) -> nn.Module:
    """The U-Net trained from scratch on pairs of image and mask, in evaluation mode.

    Cross-entropy, AdamW, one cycle of the learning rate; half of the images are mirrored.

    Args:
        images: uint8 (N, 3, H, W), RGB, on the device to train on; sides of 16 or more.
        masks: integers or booleans (N, H, W) below ``classes``.
        classes: how many labels there are, 2 or more.
        steps: updates, each of ``batch`` images drawn with replacement.
        batch: images an update.
        seed: of the first weights, the batches, flips and softening.
        folder: where to keep a checkpoint, written once a minute, at the end, and when
            interrupted (SIGINT, SIGTERM). The same call goes on from there.
        progress: called with a text (loss, images a second, time left) and the steps done.
        soften: blur half of the images a little and add noise to all of them, so that the network
            also serves images that are less crisp than these.

    Raises:
        InputError: tensors that do not fit each other, or a folder with the checkpoint of another
            training.
        KeyboardInterrupt: interrupted; the checkpoint is written.
    """
    _check(images, masks, classes)
    run = _Run(images, masks, classes, steps, batch, seed, soften)
    checkpoint = output_folder(folder) / CHECKPOINT if folder else None
    if checkpoint and checkpoint.exists():
        run.restore(checkpoint)
    rate = _Rate(run.done, steps, batch)
    saved = time.monotonic()
    with _stop_requests() as stopping:
        while run.done < steps:
            loss = run.step()
            if progress and (run.done % _STEPS_A_REPORT == 0 or run.done == steps):
                progress(f"loss {float(loss):.3f}, {rate.text(run.done)}", run.done)
            late = time.monotonic() - saved > SAVE_SECONDS
            if checkpoint and (late or stopping.is_set() or run.done == steps):
                run.save(checkpoint)
                saved = time.monotonic()
            if stopping.is_set():
                raise KeyboardInterrupt
    return run.net.eval().requires_grad_(False)


class _Run:
    """The network, its optimiser and how far training has come."""

    def __init__(
        self,
        images: Tensor,
        masks: Tensor,
        classes: int,
        steps: int,
        batch: int,
        seed: int,
        soften: bool,
    ) -> None:
        self.images, self.masks = images, masks
        self.batch, self.seed, self.soften = batch, seed, soften
        self.device = images.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = make_unet(classes).to(self.device).train()
        self.optim = torch.optim.AdamW(self.net.parameters(), weight_decay=WEIGHT_DECAY)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optim, LEARNING_RATE, total_steps=max(steps, 1)
        )
        self.done = 0
        self.about = {
            "classes": classes,
            "steps": steps,
            "batch": batch,
            "seed": seed,
            "soften": soften,
            "data": _digest(images, masks),
        }

    def step(self) -> Tensor:
        """One update; its loss."""
        images, masks = self._pairs(torch.Generator().manual_seed(self._step_seed()))
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            logits = self.net(prepare(images))
        loss = F.cross_entropy(logits.float(), masks)
        self.optim.zero_grad(set_to_none=True)
        loss.backward()
        self.optim.step()
        self.schedule.step()
        self.done += 1
        return loss.detach()

    def save(self, path: Path) -> None:
        """Write what :meth:`restore` takes up, whole or not at all."""
        parts = {name: getattr(self, name).state_dict() for name in ("net", "optim", "schedule")}
        with replacing(path) as temporary:
            torch.save({"about": self.about, "done": self.done, **parts}, temporary)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same training."""
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        about = state["about"]
        if other := [name for name, value in self.about.items() if about.get(name) != value]:
            raise InputError(
                f"checkpoint {path}",
                expected="one of the same training",
                got=f"another {', '.join(other)}",
                fix="give each training a folder of its own, or remove the old one",
            )
        for name in ("net", "optim", "schedule"):
            getattr(self, name).load_state_dict(state[name])
        self.done = state["done"]

    def _step_seed(self) -> int:
        text = f"{self.seed}/{self.done}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "big", signed=True)

    def _pairs(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A batch of images, 0..255, and of masks int64."""
        index = torch.randint(len(self.images), (self.batch,), generator=generator)
        flip = torch.rand(self.batch, generator=generator) < 0.5
        chosen, flip = index.to(self.device), flip.to(self.device)
        images, masks = self.images[chosen], self.masks[chosen].long()
        images = torch.where(flip[:, None, None, None], images.flip(3), images)
        masks = torch.where(flip[:, None, None], masks.flip(2), masks)
        return (_softened(images, generator) if self.soften else images), masks


def _softened(images: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the images blurred by a share of a 3 x 3 mean, and all with a little noise."""
    x = images.float()
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    share = torch.rand(len(x), 1, 1, 1, generator=generator) * 2 - 1
    noise = torch.randn(x.shape, generator=generator) * NOISE
    x = torch.lerp(x, blurred, share.clamp_min(0).to(x.device)) + noise.to(x.device)
    return x.clamp(0, 255)


class _Rate:
    """Speed and time left, since the start of this process's part of the training."""

    def __init__(self, done: int, steps: int, batch: int) -> None:
        self.first, self.steps, self.batch = done, steps, batch
        self.start = time.monotonic()

    def text(self, done: int) -> str:
        """``215 images/s, 3:20 left``."""
        a_second = (done - self.first) / max(time.monotonic() - self.start, 1e-9)
        minutes, seconds = divmod(round((self.steps - done) / a_second), 60)
        return f"{a_second * self.batch:.0f} images/s, {minutes}:{seconds:02d} left"


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set meanwhile, so that no update is cut in two."""
    wanted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield wanted  # only the main thread can be told of signals
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, lambda *_: wanted.set()) for kind in kinds}
    try:
        yield wanted
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _digest(images: Tensor, masks: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in (images, masks):
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _check(images: Tensor, masks: Tensor, classes: int) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        got = f"{images.dtype} {tuple(images.shape)}"
        raise InputError("training images", expected="uint8 (N, 3, H, W)", got=got)
    if min(images.shape[2:]) < MIN_SIDE:
        got = f"{images.shape[3]} x {images.shape[2]}"
        raise InputError("training images", expected=f"sides of {MIN_SIDE} pixels or more", got=got)
    size = (len(images), *images.shape[2:])
    if tuple(masks.shape) != size or masks.is_floating_point():
        got = f"{masks.dtype} {tuple(masks.shape)}"
        raise InputError("training masks", expected=f"integers of shape {size}", got=got)
    lowest, highest = int(masks.min()), int(masks.max())
    if lowest < 0 or highest >= classes:
        expected = f"labels 0..{classes - 1}"
        raise InputError("training masks", expected=expected, got=f"{lowest}..{highest}")
