"""``covary rerun``: saved results made again, and compared with what was saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import CovaryError
from .output import json_option, print_json, print_table, progress_bar, raising, remark
from .results import results_in

if TYPE_CHECKING:
    from ..provenance import Comparison

__all__ = ["rerun"]


@click.command(short_help="Make saved results again and compare.")
@click.argument("folders", nargs=-1, required=True, metavar="DIR...")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@json_option
def rerun(folders: tuple[str, ...], device: str, as_json: bool) -> None:
    """Make saved results again and compare them with what was saved; nothing is written.

    DIR is the folder of a result, or a folder of such folders. The clusters are compared by the
    adjusted Rand index (ARI), the masks by intersection over union (IoU): a result is reproduced
    where both are at least 0.99. What has changed since, such as the version of torch, is listed.

    Exits with 1 if any result is not reproduced.
    """
    from ..context import resolve_device

    resolve_device(device)
    results = [result for folder in folders for result in results_in(Path(folder))]
    rows = []
    with progress_bar(len(results), "again") as (next_step, _):
        for folder in results:
            next_step(folder.name)
            rows.append(_compare(folder, device))
    if as_json:
        print_json(rows)
    else:
        _print(rows)
    if not all(row["reproduced"] for row in rows):
        raise SystemExit(1)


def _compare(folder: Path, device: str) -> dict[str, Any]:
    from ..provenance import rerun as rerun_result

    try:
        return _row(rerun_result(folder, device=device))
    except CovaryError as error:
        if raising():
            raise
        remark(f"error: {folder}: {error}")
        return {"folder": str(folder), "reproduced": False, "error": str(error)}


def _row(comparison: Comparison) -> dict[str, Any]:
    return {
        "folder": str(comparison.folder),
        "reproduced": comparison.reproduced,
        "ari": comparison.ari,
        "iou": comparison.iou,
        "same_image": comparison.same_image,
        "changed": list(comparison.changed),
    }


def _print(rows: Sequence[dict[str, Any]]) -> None:
    cells = []
    for row in rows:
        if "error" in row:
            cells.append((row["folder"], "failed", "", "", "", row["error"]))
            continue
        cells.append(
            (
                row["folder"],
                "yes" if row["reproduced"] else "no",
                f"{row['ari']:.4f}",
                f"{row['iou']:.4f}",
                "equal" if row["same_image"] else "differs",
                "\n".join(row["changed"]) or "nothing",
            )
        )
    columns = ("result", "reproduced", "ARI", "IoU", "image", "changed since")
    print_table("Run again", columns, cells)
