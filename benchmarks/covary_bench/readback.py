"""A data set of ``covary generate`` read back by other libraries: ``covary_bench.readback DIR``.

The data set is of the format ``webdataset``. Its manifest says which seeds are in which shard and
which were left out. Three readers go through it: ``webdataset`` itself, with its own decoding of
pictures; ``datasets``, by the README that lies in the folder; and covary's reader. Counted are the
pairs of each; checked is that

- every seed of the job is either in one pair, once, or among those left out with a reason;
- every file has the sha256 that the manifest states;
- the three readers give the same pixels, of images and masks, for every pair;
- masks are single-channel and hold no value but those of the classes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import covary
from covary.files import file_sha256
from covary.generation import Seeds, read_manifest

from .progress import progress
from .report import RESULTS, print_table, write_results

__all__ = ["compare", "digests_by_covary", "digests_by_datasets", "digests_by_webdataset"]

Pixels = NDArray[np.uint8]


def digests_by_webdataset(root: Path) -> Iterator[tuple[int, str]]:
    """(seed, digest of the pixels) of every pair, as ``webdataset`` gives it."""
    import webdataset

    # Its decoders would make masks RGB: "pil" leaves the mode, which is what is to be checked.
    urls = [str(path) for path in sorted(root.glob("*.tar"))]
    pairs = webdataset.WebDataset(urls, shardshuffle=False).decode(_picture)
    for pair in pairs:
        yield int(pair["__key__"]), _digest(pair["image.png"], pair["mask.png"])


def digests_by_datasets(root: Path, cache: Path) -> Iterator[tuple[int, str]]:
    """(seed, digest of the pixels) of every pair, as ``datasets`` gives it."""
    import datasets

    datasets.disable_progress_bars()
    splits = datasets.load_dataset(str(root), cache_dir=str(cache))
    for split in splits.values():
        for pair in split:
            images = np.asarray(pair["image.png"]), np.asarray(pair["mask.png"])
            yield int(pair["__key__"]), _digest(*images)


def digests_by_covary(root: Path, classes: int) -> Iterator[tuple[int, str]]:
    """(seed, digest of the pixels) of every pair, as its writer reads it.

    Raises:
        SystemExit: a mask has a value beyond the classes.
    """
    writer = read_manifest(root)[1].create("writer")
    if not isinstance(writer, covary.SupportsReading):
        raise SystemExit(f"{writer!r} cannot read")
    for sample in writer.read(root):
        if int(sample.mask.max()) >= classes:
            raise SystemExit(f"mask of {sample.key} has a value beyond its {classes} classes")
        image = sample.image.permute(1, 2, 0).numpy()
        yield sample.seed, _digest(image, sample.mask.numpy())


def compare(root: Path, cache: Path) -> dict[str, Any]:
    """Counts of every reader, once all that is stated above has been found to hold.

    Raises:
        SystemExit: something does not hold, and what.
    """
    head, shards = _manifest(root)
    kept = _seeds_once(head, shards)
    damaged = [
        entry["path"]
        for shard in shards
        for entry in shard["files"]
        if file_sha256(root / entry["path"]) != entry["sha256"]
    ]
    if damaged:
        raise SystemExit(f"other bytes than the manifest says: {', '.join(damaged)}")
    readers = {
        "covary": digests_by_covary(root, len(head["classes"])),
        "webdataset": digests_by_webdataset(root),
        "datasets": digests_by_datasets(root, cache),
    }
    found: dict[str, dict[int, str]] = {}
    with progress(len(kept) * len(readers)) as report:
        for name, pairs in readers.items():
            found[name] = _once(name, pairs, partial(report, name))
            if found[name].keys() != kept:
                raise SystemExit(f"{name}: other seeds than the manifest says")
            if found[name] != found["covary"]:
                raise SystemExit(f"{name}: other pixels than covary reads")
    return {
        "pairs": {name: len(pairs) for name, pairs in found.items()},
        "seeds": len(kept) + sum(len(shard["left_out"]) for shard in shards),
        "left_out": sum(len(shard["left_out"]) for shard in shards),
        "splits": dict(_splits(shards)),
        "shards": len(shards),
        "bytes": sum(entry["bytes"] for shard in shards for entry in shard["files"]),
        "manifest_sha256": file_sha256(root / "manifest.jsonl"),
    }


def _manifest(root: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    with (root / "manifest.jsonl").open(encoding="utf-8") as lines:
        head, *shards = map(json.loads, lines)
    return head, shards


def _seeds_once(head: dict[str, Any], shards: list[dict[str, Any]]) -> set[int]:
    """The seeds that have a pair, once every seed of the job is in one shard."""
    times = Counter(seed for shard in shards for seed in Seeds.of(shard["seeds"]))
    if set(times) != set(Seeds.of(head["job"]["seeds"])) or set(times.values()) != {1}:
        raise SystemExit("the shards do not hold every seed once")
    return set(times) - {int(seed) for shard in shards for seed in shard["left_out"]}


def _once(
    name: str, pairs: Iterator[tuple[int, str]], report: Callable[[int], None]
) -> dict[int, str]:
    found: dict[int, str] = {}
    for seed, digest in pairs:
        if seed in found:
            raise SystemExit(f"{name}: seed {seed} twice")
        found[seed] = digest
        report(len(found))
    return found


def _splits(shards: list[dict[str, Any]]) -> Counter[str]:
    pairs: Counter[str] = Counter()
    for shard in shards:
        pairs[shard["split"]] += len(Seeds.of(shard["seeds"])) - len(shard["left_out"])
    return pairs


def _picture(key: str, data: bytes) -> Pixels | None:
    """A decoder for ``webdataset``: pictures as Pillow reads them, in their own mode."""
    from io import BytesIO

    from PIL import Image

    return np.asarray(Image.open(BytesIO(data))) if key.endswith(".png") else None


def _digest(image: Pixels, mask: Pixels) -> str:
    """A sha256 of the pixels of both and their shapes; a mask with channels would differ."""
    digest = hashlib.sha256(repr((image.shape, mask.shape)).encode())
    for pixels in (image, mask):
        digest.update(np.ascontiguousarray(pixels, dtype=np.uint8).tobytes())
    return digest.hexdigest()


def main() -> None:
    """Read, check, print what was found and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("bench/readback"), help="of datasets")
    parser.add_argument("--made-by", default="", help="the command that made it, for the results")
    parser.add_argument("--remark", default="", help="kept in the results")
    parser.add_argument("--name", default="readback")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    found = compare(args.folder, args.cache)
    print_table("read back", [{"reader": name, "pairs": n} for name, n in found["pairs"].items()])
    data = {
        "method": __doc__,
        "command": f"python -m covary_bench.readback {args.folder}",
        "made_by": args.made_by,
        "remark": args.remark,
        **found,
    }
    print(write_results(args.name, data, args.out))


if __name__ == "__main__":
    main()
