"""Masks of pictures of avatars: ``python -m covary_bench.avatars.photos``.

Rendered avatars that the encoder never saw are written as PNG files and segmented by the preset
``avatars-photo``: inverted into the bundled generator by the bundled ReStyle encoder, varied by
style mixing, clustered. The mask is held against the renderer's exact one. Beside the preset, the
number of refinements and the cutoff c are changed one at a time. For comparison: the one mask that
is most like all others (each pixel's majority over 500 further avatars), which looks at nothing.
Seeds start at 2000; the preset was chosen on seeds 100 to 199.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

import covary
from covary.testing import worlds
from covary_bench.quality import Score, score, summarise
from covary_bench.report import RESULTS, print_table, spread, write_results

__all__ = ["main", "majority_mask", "measure"]

PRESET = "avatars-photo"
SIZE = (64, 64)


def measure(pipeline: covary.Pipeline, seeds: range, folder: Path) -> dict[str, Any]:
    """Scores of one pipeline over avatars, and how well they were inverted."""
    scores: list[Score] = []
    errors: list[float] = []
    for seed in seeds:
        scene = worlds.get("avatars").scene(seed, SIZE)
        path = folder / f"{seed}.png"
        if not path.exists():
            covary.write_png(scene.images(seed, 1)[0], path)
        result = pipeline(path, seed=seed)
        scores.append(score(result.mask, scene.truth.foreground[0], result.found))
        errors.append(result.provenance["image"]["metrics"]["mse"])
    return {**summarise(scores), "mse": spread(errors)}


def majority_mask(seeds: range) -> torch.Tensor:
    """Where most avatars are foreground, bool (H, W)."""
    world = worlds.get("avatars")
    truths = [world.scene(seed, SIZE).truth.foreground[0] for seed in seeds]
    return torch.stack(truths).float().mean(dim=0) > 0.5


def _changes(recipe: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Name of a row -> what of the preset's source it changes."""
    source = recipe["source"]
    rows: dict[str, dict[str, Any]] = {"preset": {}}
    rows |= {f"n_iters = {n}": {"n_iters": n} for n in (1, 2, 3, 5) if n != source["n_iters"]}
    rows |= {f"c = {c}": {"c": c} for c in (2, 3, 4, 5, 6) if c != source["c"]}
    return rows


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    preset = covary.Pipeline.preset(PRESET, device="cpu")
    recipe = preset.recipe.model_dump(mode="json")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, change in _changes(recipe).items():
            source = {key: v for key, v in recipe["source"].items() if key != "use"} | change
            pipeline = preset.replace(source=("restyle", source))
            rows.append({"what": name, **measure(pipeline, seeds, Path(folder))})
    same = majority_mask(range(500, 1000))
    world = worlds.get("avatars")
    blind = [score(same, world.scene(seed, SIZE).truth.foreground[0]) for seed in seeds]
    rows.append({"what": "the same mask for all", **summarise(blind), "mse": None})
    columns = ("what", "seeds", "found", "miou", "iou_foreground")
    table = [{column: row[column] for column in columns} for row in rows]
    for shown, row in zip(table, rows, strict=True):
        shown["mse"] = row["mse"]["median"] if row["mse"] else "-"
    print_table("pictures of avatars by the preset avatars-photo", table)
    data = {
        "method": __doc__,
        "command": f"python -m covary_bench.avatars.photos --seeds {args.seeds} "
        f"--first-seed {args.first_seed}",
        "recipe": recipe,
        "rows": rows,
    }
    print(write_results("avatars-photos", data, args.out))


if __name__ == "__main__":
    main()
