"""Turn a training run into the bundled file: ``python -m covary_bench.avatars.export``.

Works at any time while training goes on; it takes the averaged generator of the last checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import torch

import covary_plugins.stylegan2
from covary_bench.avatars.train import ARCHITECTURE
from covary_plugins.stylegan2 import Generator, save_safetensors

__all__ = ["export", "main"]

WEIGHTS = Path(covary_plugins.stylegan2.__file__).parent / "weights" / "avatars-64.safetensors"


def export(checkpoint: Path, target: Path) -> str:
    """Writes the averaged generator as float16 safetensors; returns the file's sha256."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    generator = Generator.from_state_dict(state["average"], ARCHITECTURE.init_kwargs())
    metadata = {
        "title": "covary avatars, 64 x 64",
        "license": "Apache-2.0",
        "made_by": "python -m covary_bench.avatars.train",
        "training": json.dumps({"images": state["seen"], "steps": state["steps"]}),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    save_safetensors(generator, target, metadata, torch.float16)
    return hashlib.sha256(target.read_bytes()).hexdigest()


def main(argv: list[str] | None = None) -> None:
    """Command line of the export."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/avatars"), help="folder of the run")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="file to write")
    args = parser.parse_args(argv)
    digest = export(args.run / "checkpoint.pt", args.out)
    print(f"{args.out}  {args.out.stat().st_size} bytes\nsha256 {digest}")


if __name__ == "__main__":
    main()
