"""Data sets read back by other libraries: what holds is counted, what does not is said."""

import shutil
from pathlib import Path

import pytest

import covary

pytest.importorskip("webdataset")
pytest.importorskip("datasets")

from covary_bench.readback import compare


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of twelve seeds, of which the filters may leave some out."""
    root = tmp_path_factory.mktemp("readback") / "data"
    pipe = covary.Pipeline(
        ("worlds", {"resolution": 32, "n": 8}), "lab", ("lloyd", {"k": 4}), "border", device="cpu"
    )
    covary.generate(pipe, range(12), root, "webdataset", val=0.3, shard_size=4, workers=1)
    return root


def copied(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def test_all_readers_agree_on_every_seed(made: Path, tmp_path: Path) -> None:
    found = compare(made, tmp_path)
    assert found["seeds"] == 12
    pairs = 12 - found["left_out"]
    assert found["pairs"] == {"covary": pairs, "webdataset": pairs, "datasets": pairs}
    assert sum(found["splits"].values()) == pairs
    assert set(found["splits"]) == {"train", "val"}


def test_a_damaged_shard_is_named(made: Path, tmp_path: Path) -> None:
    root = copied(made, tmp_path)
    shard = next(root.rglob("train-00000.tar"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(SystemExit, match=r"other bytes .*train-00000\.tar"):
        compare(root, tmp_path)


def test_a_seed_that_no_shard_holds_is_missed(made: Path, tmp_path: Path) -> None:
    root = copied(made, tmp_path)
    manifest = root / "manifest.jsonl"
    lines = manifest.read_text(encoding="utf-8").splitlines(keepends=True)
    manifest.write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(SystemExit, match="every seed once"):
        compare(root, tmp_path)
