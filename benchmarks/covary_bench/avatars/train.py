"""Train the avatars generator: ``python -m covary_bench.avatars.train --out runs/avatars``.

StyleGAN2 in the skip architecture against a residual discriminator, grown over 16, 32 and 64
pixels, with a relativistic loss, penalised gradients (R1 and R2), style-mixing regularisation and
an averaged generator. Runs on two CPU cores in a
few hours, or on a GPU in minutes, until stopped or until ``--minutes`` or the image counts end it.
Ctrl-C (or SIGTERM) saves and stops; the same command resumes.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from covary_bench.avatars.data import load_or_render
from covary_bench.avatars.discriminator import Discriminator
from covary_bench.avatars.sheets import mixing_sheet, sample_sheet
from covary_plugins.stylegan2 import Architecture, Generator
from covary_plugins.stylegan2.ops import upsample

__all__ = ["ARCHITECTURE", "Stage", "Trainer", "main"]

ARCHITECTURE = Architecture(
    mapping_widths=(64,) * 5, channels=(96, 96, 96, 48, 24), use_noise=False
)
BATCH = 16  # small: on a CPU more steps count for more than smoother ones
LEARNING_RATE = 2e-3
PENALTY_EVERY = 16
PENALTY_BATCH = 8  # half a batch estimates the penalties well enough, at half the price
PENALTY_GAMMA = {16: 0.05, 32: 0.1, 64: 0.3}
STYLE_MIXING = 0.9
# ToRGB stays zero at these resolutions. Otherwise the coarse layers take over the colour of large
# areas, and mixing the later layers recolours only what is small.
COLOURLESS = (4, 8)
W_AVG_BETA = 0.995
EMA_SHARE, EMA_MAX = 0.05, 20_000  # half-life: this share of the images seen, at most so many


@dataclass(frozen=True, slots=True)
class Stage:
    """Training at one resolution.

    Attributes:
        resolution: pixels.
        images: real images shown; 0 means until stopped.
    """

    resolution: int
    images: int

    @property
    def fade_images(self) -> int:
        """Images over which the stage's own resolution is blended in."""
        return 0 if self.resolution == 16 else (self.images or 100_000) // 10


class Trainer:
    """The networks, their optimisers and how far training has come."""

    def __init__(self, device: torch.device, dtype: torch.dtype, seed: int) -> None:
        torch.manual_seed(seed)
        self.device, self.dtype = device, dtype
        self.generator = Generator(ARCHITECTURE).to(device)
        for resolution in COLOURLESS:
            torgb = self.generator.synthesis.get_submodule(f"b{resolution}.torgb")
            torgb.requires_grad_(False).get_parameter("weight").zero_()
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.discriminator = Discriminator(ARCHITECTURE.resolution).to(device)
        self.optim_g = _adam(self.generator)
        self.optim_d = _adam(self.discriminator)
        self.seen = 0
        self.seen_in_stage = 0
        self.stage = 0
        self.steps = 0

    def step(self, real: Tensor, fade: float) -> dict[str, Tensor]:
        """One update of both networks with real images uint8 (B, 3, r, r); returns what to log.

        Both losses are taken from one generator pass, so each network moves against the other as
        it was before the step: two passes fewer than alternating updates. The loss
        compares each fake with a real image (Huang et al., "The GAN is dead; long live the GAN!",
        2024), which keeps the generator from dropping modes.
        """
        real = real.float() / 127.5 - 1
        fake = self.generate(len(real), real.shape[-1], fade)
        detached = fake.detach().requires_grad_()
        logits_real = self.discriminator(real, fade, self.dtype)
        logits_fake = self.discriminator(detached, fade, self.dtype)
        loss_g = F.softplus(logits_real.detach() - logits_fake).mean()
        (grad_fake,) = torch.autograd.grad(loss_g, detached, retain_graph=True)

        self.optim_d.zero_grad(set_to_none=True)
        loss_d = F.softplus(logits_fake - logits_real).mean()
        loss_d.backward(inputs=list(self.discriminator.parameters()))
        log = {"loss_g": loss_g, "loss_d": loss_d, "real": logits_real.mean()}
        log["fake"] = logits_fake.mean()
        if self.steps % PENALTY_EVERY == 0:
            log["r1"] = self._penalise(real, fade)
            log["r2"] = self._penalise(detached, fade)
        self.optim_d.step()

        self.optim_g.zero_grad(set_to_none=True)
        fake.backward(grad_fake)
        self.optim_g.step()

        self.steps += 1
        self.seen += len(real)
        self.seen_in_stage += len(real)
        self._update_average(len(real))
        return {key: value.detach() for key, value in log.items()}

    def generate(self, batch: int, resolution: int, fade: float) -> Tensor:
        """Fresh images float32 (B, 3, r, r) with gradients, from style-mixed codes."""
        synthesis = self.generator.synthesis
        until = synthesis.steps_to(resolution)
        ws = self._codes(batch, layers=synthesis.steps[until - 1].ws_index + 1)
        state = synthesis.start("none", self.dtype)
        if fade >= 1:
            return synthesis.advance(state, ws, until).image
        state = synthesis.advance(state, ws, synthesis.steps_to(resolution // 2))
        low, high = state.image, synthesis.advance(state, ws, until).image
        fir = synthesis.get_buffer(f"b{resolution}.resample_filter")
        return torch.lerp(upsample(low, fir), high, fade)

    def _codes(self, batch: int, layers: int) -> Tensor:
        """Codes (B, L, W) of which most change from one latent to another at a random layer."""
        mapping = self.generator.mapping
        z = torch.randn(2 * batch, mapping.z_dim, device=self.device)
        ws = mapping(z)
        with torch.no_grad():
            mapping.w_avg.lerp_(ws[:, 0].mean(dim=0), 1 - W_AVG_BETA)
        first, second = ws.chunk(2)
        cut = torch.randint(1, layers, (batch, 1), device=self.device)
        keep = torch.rand(batch, 1, device=self.device) >= STYLE_MIXING
        from_first = keep | (torch.arange(ws.shape[1], device=self.device) < cut)
        return torch.where(from_first[:, :, None], first, second)

    def _penalise(self, images: Tensor, fade: float) -> Tensor:
        """Adds the gradient of a lazy zero-centred penalty, in float32, to the discriminator's."""
        images = images[:PENALTY_BATCH].detach().requires_grad_()
        logits = self.discriminator(images, fade)
        (grad,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        penalty = grad.square().sum(dim=(1, 2, 3)).mean()
        weight = PENALTY_GAMMA[images.shape[-1]] / 2 * PENALTY_EVERY
        (penalty * weight).backward(inputs=list(self.discriminator.parameters()))
        return penalty

    @torch.no_grad()
    def _update_average(self, batch: int) -> None:
        half_life = min(EMA_MAX, max(self.seen * EMA_SHARE, 1))
        beta = 0.5 ** (batch / half_life)
        pairs = zip(self.average.parameters(), self.generator.parameters(), strict=True)
        for average, current in pairs:
            average.lerp_(current, 1 - beta)
        self.average.mapping.w_avg.copy_(self.generator.mapping.w_avg)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on as if never stopped."""
        names = ("generator", "average", "discriminator", "optim_g", "optim_d")
        state: dict[str, Any] = {name: getattr(self, name).state_dict() for name in names}
        state |= {k: getattr(self, k) for k in ("seen", "seen_in_stage", "stage", "steps")}
        state["rng"] = torch.get_rng_state()
        if self.device.type == "cuda":
            state["rng_cuda"] = torch.cuda.get_rng_state()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up what `state` returned."""
        for name in ("generator", "average", "discriminator", "optim_g", "optim_d"):
            getattr(self, name).load_state_dict(state[name])
        for name in ("seen", "seen_in_stage", "stage", "steps"):
            setattr(self, name, state[name])
        torch.set_rng_state(state["rng"])
        if self.device.type == "cuda" and "rng_cuda" in state:
            torch.cuda.set_rng_state(state["rng_cuda"])


def _adam(module: torch.nn.Module) -> torch.optim.Adam:
    trained = [p for p in module.parameters() if p.requires_grad]
    return torch.optim.Adam(trained, lr=LEARNING_RATE, betas=(0.0, 0.99), fused=True)


class _Run:
    """One invocation: data, files, timing and the wish to stop."""

    def __init__(self, trainer: Trainer, args: argparse.Namespace) -> None:
        self.trainer, self.out = trainer, Path(args.out)
        self.stages = tuple(Stage(r, n) for r, n in zip((16, 32, 64), args.images, strict=True))
        self.checkpoint = self.out / "checkpoint.pt"
        self.deadline = time.monotonic() + args.minutes * 60 if args.minutes else float("inf")
        self.save_every = args.save_minutes * 60
        self.stopping = False
        full = load_or_render(self.out, args.data, args.seed, 64)
        self.data = {r: _shrink(full, r).to(trainer.device) for r in (16, 32, 64)}

    def stop(self, *_: Any) -> None:
        """Asks the loop to save and end after the step at hand."""
        self.stopping = True

    def train(self) -> None:
        trainer = self.trainer
        self._run_stage(self.stages[trainer.stage])
        while trainer.stage + 1 < len(self.stages) and not self._over():
            trainer.stage, trainer.seen_in_stage = trainer.stage + 1, 0
            self._run_stage(self.stages[trainer.stage])
        self._save()
        self._sheets()

    def _over(self) -> bool:
        return self.stopping or time.monotonic() > self.deadline

    def _run_stage(self, stage: Stage) -> None:
        trainer = self.trainer
        saved = logged = time.monotonic()
        images_then = trainer.seen
        while (not stage.images or trainer.seen_in_stage < stage.images) and not self._over():
            fade = min(1.0, trainer.seen_in_stage / max(stage.fade_images, 1))
            fade = 1.0 if stage.fade_images == 0 else fade
            values = trainer.step(self._batch(stage.resolution), fade)
            now = time.monotonic()
            if trainer.steps % 200 == 1:
                if not torch.isfinite(values["loss_d"]):
                    raise SystemExit("training diverged: a loss is not finite")
                speed = (trainer.seen - images_then) / max(now - logged, 1e-9)
                self._log(stage.resolution, fade, speed, values)
                logged, images_then = now, trainer.seen
            if now - saved > self.save_every:
                saved = now
                self._save()
                self._sheets()

    def _batch(self, resolution: int) -> Tensor:
        data = self.data[resolution]
        index = torch.randint(len(data), (BATCH,))
        batch = data[index.to(data.device)]
        flip = torch.rand(BATCH, 1, 1, 1, device=data.device) < 0.5
        return torch.where(flip, batch.flip(3), batch)

    def _log(self, resolution: int, fade: float, speed: float, values: dict[str, Tensor]) -> None:
        record = {
            "time": round(time.time()),
            "images": self.trainer.seen,
            "resolution": resolution,
            "fade": round(fade, 3),
            "images_per_s": round(speed, 1),
        }
        record |= {key: round(float(value), 4) for key, value in values.items()}
        line = json.dumps(record)
        with (self.out / "log.jsonl").open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)

    def _save(self) -> None:
        part = self.checkpoint.with_suffix(".part")
        torch.save(self.trainer.state(), part)
        os.replace(part, self.checkpoint)

    def _sheets(self) -> None:
        """Sheets at full resolution; early on they are only as sharp as what has been trained."""
        resolution = self.stages[self.trainer.stage].resolution
        stem = f"{self.trainer.seen:07d}"
        average = self.trainer.average
        sample_sheet(average, self.out / f"{stem}-samples.png", resolution=resolution)
        for c in (3, 5, 7):
            mixing_sheet(average, self.out / f"{stem}-mix{c}.png", c, resolution=resolution)


def _shrink(images: Tensor, resolution: int) -> Tensor:
    """Area average, uint8 to uint8."""
    factor = images.shape[-1] // resolution
    if factor == 1:
        return images
    parts = [F.avg_pool2d(part.float(), factor) for part in images.split(1024)]
    return torch.cat([part.round().to(torch.uint8) for part in parts])


def main(argv: list[str] | None = None) -> None:
    """Command line of the training run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="runs/avatars", help="folder of the run")
    parser.add_argument(
        "--images",
        type=int,
        nargs=3,
        default=(50_000, 70_000, 0),
        metavar=("N16", "N32", "N64"),
        help="images shown at 16, 32 and 64 pixels; 0 for until stopped",
    )
    parser.add_argument("--minutes", type=float, default=0, help="stop after this time; 0: never")
    parser.add_argument("--save-minutes", type=float, default=4, help="between checkpoints")
    parser.add_argument("--data", type=int, default=30_000, help="rendered avatars")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--float32", action="store_true", help="no bfloat16")
    args = parser.parse_args(argv)

    torch.set_num_threads(args.threads)
    Path(args.out).mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float32 if args.float32 else torch.bfloat16
    trainer = Trainer(device, dtype, args.seed)
    run = _Run(trainer, args)
    if run.checkpoint.exists():
        trainer.restore(torch.load(run.checkpoint, map_location=device, weights_only=True))
        print(f"resumed at {trainer.seen} images", flush=True)
    signal.signal(signal.SIGINT, run.stop)
    signal.signal(signal.SIGTERM, run.stop)
    run.train()


if __name__ == "__main__":
    main()
