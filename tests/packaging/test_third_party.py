"""A package of somebody else's, installed for real: code, TOML and command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

USE = """
import json, sys
from pathlib import Path

import covary
from covary.provenance import rerun

out = Path(sys.argv[1])
(entry,) = [entry for entry in covary.components("clusterer") if entry.name == "levels"]
alone = covary.create("levels", k=3)
pipe = covary.Pipeline(
    ("worlds", {"n": 4, "resolution": 32}), "rgb", ("acme/levels", {"k": 3}), "corner",
    device="cpu",
)
seg = pipe(seed=1)
pipe.save(out / "pipe.toml")
again = covary.Pipeline.load(out / "pipe.toml", device="cpu")(seed=1)
seg.save(out / "one")
compared = rerun(out / "one", device="cpu")
replaced = covary.Pipeline.preset("worlds").replace(clusterer="levels")
print(json.dumps({
    "problems": [problem.what for problem in covary.problems()],
    "id": entry.id,
    "origin": [entry.origin.distribution, entry.origin.version],
    "alone": [alone.id, alone.params.k],
    "toml": (out / "pipe.toml").read_text(),
    "same": bool((seg.labels == again.labels).all()),
    "clusters": sorted(seg.labels.unique().tolist()),
    "provenance": seg.provenance["components"]["clusterer"],
    "reproduced": compared.reproduced,
    "replaced": replaced.clusterer.id,
}))
"""


def test_works_in_code_and_toml(acme: Path, python: Callable[..., str], tmp_path: Path) -> None:
    told = json.loads(python(["-c", USE, str(tmp_path)], acme))
    assert told["problems"] == []
    assert told["id"] == told["replaced"] == "acme/levels"
    assert told["origin"] == ["acme-covary", "0.3.0"]
    assert told["alone"] == ["acme/levels", 3]
    assert 'use = "acme/levels"' in told["toml"]
    assert told["same"]
    assert told["reproduced"]
    assert set(told["clusters"]) <= {0, 1, 2}
    assert told["provenance"] == {
        "id": "acme/levels", "distribution": "acme-covary", "version": "0.3.0"
    }  # fmt: skip


def test_works_on_the_command_line(acme: Path, python: Callable[..., str], tmp_path: Path) -> None:
    def covary(*arguments: str) -> str:
        return python(["-m", "covary", *arguments], acme)

    listed = covary("list", "--json")
    assert "acme/levels" in listed
    shown = covary("show", "levels")
    assert "acme-covary 0.3.0" in shown
    assert "Number of levels." in shown
    assert "acme/levels" in covary("schema")
    assert "acme-covary" in covary("list", "plugins")
    changes = ["source.n=4", "source.resolution=32", "clusterer=levels", "clusterer.k=3"]
    settings = [part for change in changes for part in ("--set", change)]
    covary("segment", "0-1", "--preset", "worlds", "-o", str(tmp_path / "out"), *settings)
    for seed in "01":
        provenance = json.loads((tmp_path / "out" / seed / "provenance.json").read_text())
        assert provenance["recipe"]["clusterer"] == {"use": "acme/levels", "k": 3}
