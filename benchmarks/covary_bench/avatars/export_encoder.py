"""Bundle the avatars' encoder: ``python -m covary_bench.avatars.export_encoder``.

Works at any time while training goes on; it takes the averaged encoder of the last checkpoint.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

import covary_plugins.restyle
from covary.images import replacing
from covary.provenance import file_sha256
from covary_plugins.stylegan2 import load_generator

from .encoder import REFINEMENTS, C, Trainer
from .export import WEIGHTS

__all__ = ["ENCODER", "export_encoder", "main"]

ENCODER = Path(covary_plugins.restyle.__file__).parent / "weights" / "avatars-encoder.safetensors"

OPTS = {
    "encoder_type": "ResNetBackboneEncoder",
    "input_nc": 6,
    "input_size": 64,
    "output_size": 64,
    "dataset_type": "covary_avatars",
    "n_iters_per_batch": REFINEMENTS,
    "decoder": "avatars-64",
}


def export_encoder(checkpoint: Path, target: Path) -> str:
    """Writes the averaged encoder as safetensors; returns the file's sha256."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    trainer = Trainer(load_generator(WEIGHTS), seed=0)
    tensors = {f"encoder.{name}": _small(value) for name, value in state["average"].items()}
    tensors["latent_avg"] = trainer.latent_avg.contiguous()
    metadata = {
        "title": "covary avatars encoder, 64 x 64",
        "license": "Apache-2.0",
        "made_by": "python -m covary_bench.avatars.encoder",
        "training": json.dumps({"steps": state["steps"], "cutoff": C}),
        "opts": json.dumps(OPTS),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        temporary.write_bytes(save(tensors, metadata))
    return file_sha256(target)


def _small(value: Tensor) -> Tensor:
    """Kernels and matrices as float16; statistics and biases are few and stay as they are."""
    return (value.half() if value.ndim > 1 else value).contiguous()


def main(argv: list[str] | None = None) -> None:
    """Command line of the export."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/encoder"), help="folder of the run")
    parser.add_argument("--out", type=Path, default=ENCODER, help="file to write")
    args = parser.parse_args(argv)
    digest = export_encoder(args.run / "checkpoint.pt", args.out)
    print(f"{args.out}  {args.out.stat().st_size} bytes\nsha256 {digest}")


if __name__ == "__main__":
    main()
