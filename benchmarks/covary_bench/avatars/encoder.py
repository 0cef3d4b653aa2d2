"""Train the avatars' encoder: ``python -m covary_bench.avatars.encoder --out runs/encoder``.

A small ReStyle encoder for the bundled generator, trained on rendered avatars without labels. Each
step shows the same avatar in two appearances. Both are inverted, over a few refinements; each code
must give its own image back, and the structure of the one with the appearance of the other must
give the other's. So the encoder learns to put the structure before the cutoff c, where mixing keeps
it: reconstruction alone leaves part of it behind c, where mixing throws it away. Generated images,
whose codes are known, keep it close to the codes that the generator was trained with.

Ctrl-C (or SIGTERM) saves and stops; the same command resumes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from covary.testing import worlds
from covary_bench.avatars.export import WEIGHTS
from covary_plugins.restyle.encoders import Encoder, EncoderSizes
from covary_plugins.stylegan2 import Generator, load_generator

__all__ = ["SIZES", "Trainer", "main", "render_pairs"]

SIZES = EncoderSizes(
    backbone="resnet",
    progressive=False,
    in_channels=6,
    widths=(32, 32, 32, 64, 64, 96, 96, 128, 128),
    strides=(1, 1, 2, 1, 2, 1, 2, 1),
    head_convs=2,
    styles=10,
    w_dim=64,
)
C = 4  # the cutoff of the preset
PAIRS, GENERATED = 8, 4  # in a batch
REFINEMENTS = 2  # in the second half of the training; before, only the first guess
LEARNING_RATE, WARM_UP = 2e-3, 200
PSI = 0.8
WEIGHT_SWAP, WEIGHT_CODE, WEIGHT_SAME = 1.0, 0.05, 0.05
EMA_STEPS, EMA_EVERY = 400, 5


class Trainer:
    """The encoder, its average, its optimiser and how far training has come."""

    def __init__(self, decoder: Generator, seed: int) -> None:
        torch.manual_seed(seed)
        self.decoder = decoder
        self.device = decoder.mapping.w_avg.device
        self.encoder = Encoder(SIZES).to(self.device)
        torch.nn.utils.convert_conv2d_weight_memory_format(self.encoder, torch.channels_last)
        for head in self.encoder.styles:  # first guess: the mean code
            head.get_submodule("linear").get_parameter("weight").data.mul_(0.1)
        self.average = Encoder(SIZES).to(self.device)
        self.average.load_state_dict(self.encoder.state_dict())
        self.average.eval().requires_grad_(False)
        self.latent_avg = decoder.mapping.w_avg.expand(decoder.num_ws, -1).clone()
        self.optim = torch.optim.AdamW(
            self.encoder.parameters(),
            lr=LEARNING_RATE,
            betas=(0.9, 0.99),
            weight_decay=1e-3,
            fused=True,
        )
        self.steps = 0

    def step(self, share: float) -> dict[str, float]:
        """One update with freshly rendered avatars; returns what to log.

        Args:
            share: how much of the training is done, 0..1; the learning rate falls with it.
        """
        rate = LEARNING_RATE * min(1, (self.steps + 1) / WARM_UP) * max(0.01, 1 - share)
        for group in self.optim.param_groups:
            group["lr"] = rate
        codes_known = self._known_codes(GENERATED)
        with torch.no_grad():
            generated = self.decoder.synthesis(codes_known).clamp(-1, 1)
        pairs = render_pairs(PAIRS, torch.default_generator).to(self.device)
        photos = pairs.transpose(0, 1).flatten(0, 1).float() / 127.5 - 1
        images = torch.cat([photos, generated])
        codes = self.latent_avg.expand(len(images), -1, -1)
        with torch.no_grad():
            shown = self.decoder.synthesis(codes[:1]).expand(len(images), -1, -1, -1)
        log: dict[str, float] = {}
        self.optim.zero_grad(set_to_none=True)
        turns = 1 if share < 0.5 else REFINEMENTS
        for turn in range(turns):
            seen = torch.cat([images, shown], dim=1).contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, torch.bfloat16):
                change = self.encoder(seen)
            codes = codes.detach() + change.float()
            losses, shown = self._losses(codes, images, codes_known)
            loss = sum(losses.values())
            (loss / turns).backward()  # type: ignore[union-attr]
            log |= {f"{name}{turn}": float(value.detach()) for name, value in losses.items()}
        torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), 1.0)
        self.optim.step()
        self.steps += 1
        if self.steps % EMA_EVERY == 0:
            self._update_average()
        return log

    def _losses(
        self, codes: Tensor, images: Tensor, codes_known: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        photos, pairs = len(images) - GENERATED, (len(images) - GENERATED) // 2
        first, second = codes[:pairs], codes[pairs:photos]
        swapped = torch.cat(
            [
                torch.cat([second[:, :C], first[:, C:]], dim=1),
                torch.cat([first[:, :C], second[:, C:]], dim=1),
            ]
        )
        made = self._decode(torch.cat([codes, swapped]))
        own, other = made[: len(images)], made[len(images) :]
        losses = {
            "own": distance(own, images),
            "swap": WEIGHT_SWAP * distance(other, images[:photos]),
            "code": WEIGHT_CODE * (codes[photos:] - codes_known).square().mean(),
            "same": WEIGHT_SAME * (first[:, :C] - second[:, :C]).square().mean(),
        }
        return losses, own.detach()

    def _decode(self, codes: Tensor) -> Tensor:
        """Images float32 (B, 3, h, w), with activations in bfloat16: half the time on a CPU."""
        synthesis = self.decoder.synthesis
        state = synthesis.start("const", torch.bfloat16)
        return synthesis.advance(state, codes, len(synthesis.steps)).image

    def _known_codes(self, count: int) -> Tensor:
        """Codes of generated images: structure and appearance of different latents."""
        with torch.no_grad():
            z = torch.randn(2 * count, self.decoder.z_dim, device=self.device)
            first, second = self.decoder.mapping(z, PSI).chunk(2)
            return torch.cat([first[:, :C], second[:, C:]], dim=1)

    @torch.no_grad()
    def _update_average(self) -> None:
        beta = 1 - EMA_EVERY / min(EMA_STEPS, EMA_EVERY + self.steps / 5)
        current = self.encoder.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(current[name], 1 - beta)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on as if never stopped."""
        parts = ("encoder", "average", "optim")
        state: dict[str, Any] = {name: getattr(self, name).state_dict() for name in parts}
        return state | {"steps": self.steps, "rng": torch.get_rng_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up what `state` returned."""
        for name in ("encoder", "average", "optim"):
            getattr(self, name).load_state_dict(state[name])
        self.steps = state["steps"]
        torch.set_rng_state(state["rng"])


def distance(made: Tensor, wanted: Tensor) -> Tensor:
    """How far images are apart, over three scales: absolute differences of pixels and of edges."""
    total = made.new_zeros(())
    for _ in range(3):
        error = made - wanted
        total = total + error.abs().mean() + error.square().mean()
        total = total + error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        made, wanted = F.avg_pool2d(made, 2), F.avg_pool2d(wanted, 2)
    return total / 3


def render_pairs(count: int, generator: torch.Generator, size: int = 64) -> Tensor:
    """Avatars in two appearances each, uint8 (count, 2, 3, size, size), half of them mirrored."""
    world = worlds.get("avatars")
    layout = world.layout(world.sample_structure(count, generator), size=(size, size))
    two = [world.paint(layout, world.sample_appearance(count, generator)) for _ in range(2)]
    pairs = torch.stack(two, dim=1)
    mirrored = torch.rand(count, 1, 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored, pairs.flip(4), pairs)


def _save(path: Path, state: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def main(argv: list[str] | None = None) -> None:
    """Command line of the training run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/encoder"), help="folder of the run")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="the generator")
    parser.add_argument("--steps", type=int, default=7_500)
    parser.add_argument("--save-minutes", type=float, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    args = parser.parse_args(argv)

    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainer = Trainer(load_generator(args.weights).to(device), args.seed)
    checkpoint = args.out / "checkpoint.pt"
    if checkpoint.exists():
        trainer.restore(torch.load(checkpoint, map_location=device, weights_only=True))
        print(f"resumed at step {trainer.steps}", flush=True)
    stopping = False

    def stop(*_: Any) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    saved = logged = time.monotonic()
    while trainer.steps < args.steps and not stopping:
        log = trainer.step(trainer.steps / args.steps)
        now = time.monotonic()
        if trainer.steps % 100 == 0:
            record = {"step": trainer.steps, "seconds_per_step": round((now - logged) / 100, 4)}
            line = json.dumps(record | {name: round(value, 4) for name, value in log.items()})
            with (args.out / "log.jsonl").open("a") as file:
                file.write(line + "\n")
            print(line, flush=True)
            logged = now
        if now - saved > args.save_minutes * 60:
            saved = now
            _save(checkpoint, trainer.state())
    _save(checkpoint, trainer.state())


if __name__ == "__main__":
    main()
