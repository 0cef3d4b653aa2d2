"""A plugin that was written against plugin API 1.0 works with every covary that has API 1.x."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fresh_environment import Environment

pytestmark = pytest.mark.xdist_group("api-1-0")

KINDS = {
    "source": "stripes", "features": "grey", "clusterer": "levels", "foreground": "smallest",
    "detector": "middle", "landmarks": "corners",
}  # fmt: skip

USE = """
import json, warnings
from pathlib import Path

import covary

warnings.simplefilter("error", covary.CovaryDeprecationWarning)
import torch
from covary.provenance import rerun

pipe = covary.Pipeline.preset("vintage")
seg = pipe(seed=3)
seg.save("out")
pipe.plan()
pipe.save("pipe.toml")
image = seg.image
summary = covary.StyleSummary.from_images(image[None], "vintage/grey")
levels = covary.create("vintage/levels", k=2)
found = levels.fit(summary)
again = levels.fit_from(summary, found.centers)
boxes = covary.create("box", detector="vintage/middle", rule="vintage/smallest").regions(image)
print(json.dumps({
    "problems": [problem.what for problem in covary.problems()],
    "kinds": {e.kind: e.name for e in covary.components() if e.origin.namespace == "vintage"},
    "found": seg.found,
    "share": float(seg.mask.float().mean()),
    "again": bool((covary.Pipeline.load("pipe.toml")(seed=3).labels == seg.labels).all()),
    "reproduced": rerun(Path("out")).reproduced,
    "predicted": bool((levels.predict(summary, found.centers) == again.labels).all()),
    "abilities": [name for name in ("SupportsInitialCenters", "SupportsPredict",
        "SupportsMemoryEstimate") if isinstance(levels, getattr(covary, name))],
    "boxes": [str(box) for box in boxes],
    "points": [list(p.shape) for p in covary.create("vintage/corners").landmarks(image)],
    "params": list(type(levels).Params.model_json_schema()["properties"]),
}))
"""


@pytest.fixture(scope="module")
def installed(
    build: Callable[..., Path],
    environment: Callable[..., Environment],
    tmp_path_factory: pytest.TempPathFactory,
) -> Environment:
    folder = tmp_path_factory.mktemp("vintage")
    # Built from a copy, so that nothing is written into the checkout.
    source = shutil.copytree(Path(__file__).with_name("api_1_0"), folder / "source")
    return environment(build(source, "wheel", folder / "dist"))


def test_every_part_of_it_works(installed: Environment, tmp_path: Path) -> None:
    told = json.loads(installed.run("python", "-c", USE, cwd=tmp_path))
    assert told["problems"] == []
    assert told["kinds"] == KINDS
    assert told["found"]
    assert told["share"] == pytest.approx(6 / 24)
    assert told["again"]
    assert told["reproduced"]
    assert told["predicted"]
    assert len(told["abilities"]) == 3
    assert told["boxes"] == ["(6, 4, 18, 12)"]
    assert told["points"] == [[5, 2]]
    assert told["params"] == ["k"]


def test_it_works_on_the_command_line(installed: Environment, tmp_path: Path) -> None:
    def covary(*arguments: str) -> str:
        words = ("-W", "error::DeprecationWarning:vintage_covary", "-m", "covary", *arguments)
        return installed.run("python", *words, cwd=tmp_path)

    listed = covary("list", "--json")
    assert all(f"vintage/{name}" in listed for name in KINDS.values())
    assert "vintage-weights" in covary("list", "checkpoints")
    assert "plugin API" in covary("show", "vintage/levels")
    covary("segment", "3", "--preset", "vintage", "-o", "out", "--set", "clusterer.k=2")
    assert (tmp_path / "out/3/mask.png").is_file()
