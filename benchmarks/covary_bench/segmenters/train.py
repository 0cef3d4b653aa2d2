"""Train ``worlds-unet``: ``python -m covary_bench.segmenters.train --world avatars``.

Draws scenes with their exact classes, trains the small U-Net on them, softened and mirrored, and
writes its weights. Ctrl-C (or SIGTERM) saves and stops; the same command goes on. The scenes are
drawn from a seed of a million, far from those that anything is measured on, and are none of them
the scene of a seed as the source ``worlds`` draws it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

import covary_plugins.segmenters
from covary.files import file_sha256, output_folder, replacing
from covary.testing import worlds

from ..progress import progress
from ..unet import train_unet
from .data import groups, render_labelled

__all__ = ["DEFAULTS", "WEIGHTS", "Training", "export", "main"]

WEIGHTS = Path(covary_plugins.segmenters.__file__).parent / "weights"
"""Where the bundled weights lie."""

FIRST_SEED = 1_000_000


@dataclass(frozen=True, slots=True)
class Training:
    """What decides the weights, on one machine."""

    world: str
    size: int
    """Side of the images in pixels, at which the segmenter then works."""
    scenes: int
    steps: int
    batch: int = 16
    seed: int = FIRST_SEED


DEFAULTS = {
    "avatars": Training("avatars", size=64, scenes=20_000, steps=6_000),
    "rooms": Training("rooms", size=128, scenes=1_000, steps=500, batch=8),
}
"""How the bundled weights were trained."""


def export(net: nn.Module, training: Training, path: Path) -> str:
    """Write the weights as safetensors, whole or not at all; the file's sha256."""
    metadata = {
        "title": f"covary worlds-unet, {training.world}, {training.size} x {training.size}",
        "license": "Apache-2.0",
        "made_by": f"python -m covary_bench.segmenters.train --world {training.world}",
        "classes": ", ".join(groups(worlds.get(training.world))),
        **{name: str(value) for name, value in asdict(training).items()},
    }
    tensors = {name: _small(value) for name, value in net.state_dict().items()}
    output_folder(path.parent)
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))
    return file_sha256(path)


def _small(value: Tensor) -> Tensor:
    """Kernels as float16; biases and statistics are few and stay as they are."""
    return (value.half() if value.ndim > 1 else value).contiguous()


def _lines() -> Callable[[str, int], None]:
    """Reports as lines, one in ten seconds, for where there is no bar."""
    last = time.monotonic()

    def report(what: str, done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= 10:
            last = time.monotonic()
            print(f"step {done}: {what}", file=sys.stderr, flush=True)

    return report


def main(argv: list[str] | None = None) -> None:
    """Command line of the training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", choices=DEFAULTS, required=True)
    parser.add_argument("--scenes", type=int, help="how many to draw")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=FIRST_SEED)
    parser.add_argument("--out", type=Path, default=Path("runs/worlds-unet"), help="run's folder")
    parser.add_argument("--weights", type=Path, help="file to write; by default the bundled one")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args(argv)

    torch.set_num_threads(args.threads)
    usual = DEFAULTS[args.world]
    training = replace(
        usual,
        scenes=args.scenes or usual.scenes,
        steps=args.steps or usual.steps,
        seed=args.seed,
    )
    world = worlds.get(training.world)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images, labels = render_labelled(world, training.scenes, training.seed, training.size)
    with progress(training.steps) as bar:
        net = train_unet(
            images.to(device),
            labels.to(device),
            classes=len(groups(world)),
            steps=training.steps,
            batch=training.batch,
            seed=training.seed,
            folder=args.out / training.world,
            progress=bar if sys.stderr.isatty() else _lines(),
            soften=True,
        )
    path = args.weights or WEIGHTS / f"{training.world}.safetensors"
    digest = export(net.cpu(), training, path)
    print(f"{path}  {path.stat().st_size} bytes\nsha256 {digest}")


if __name__ == "__main__":
    main()
