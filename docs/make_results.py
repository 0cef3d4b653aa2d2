"""Writes ``docs/explanation/results.md`` from the files in ``benchmarks/results/``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from covary_bench.report import markdown_table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "results.md"
_REGIONS = ("background", "hair", "skin", "clothes")


def page() -> str:
    """The whole page."""
    lines = [
        "# How well it works",
        "",
        "Made from `benchmarks/results/` by `python docs/make_results.py`; the method is in",
        "[benchmarks/](../../benchmarks/README.md). mIoU is the mean of the IoU of foreground and",
        "background. Images where a rule finds nothing count as empty masks in `mIoU`, and are",
        "left out in `mIoU, found only`, which is how the paper counts.",
        "",
        *_rendered(_read("worlds-avatars")),
        *_generator(_read("avatars-generator")),
        *_photos(_read("avatars-photos")),
        *_projection(_read("projection")),
        *_costs(_read("costs")),
    ]
    return "\n".join(lines)


def _rendered(data: dict[str, Any]) -> Iterator[str]:
    rows = data["rows"]
    yield from ("## Rendered avatars, against exact masks", "")
    yield f"{rows[0]['seeds']} seeds at 64x64, 50 variants each."
    yield ""
    columns = ("colours", "k", "rule", "mIoU", "IoU of the foreground", "found", "mIoU, found only")
    yield from markdown_table(
        columns,
        (
            (
                row["space"].upper(),
                row["k"],
                row["rule"],
                _figure(row["miou"]),
                _figure(row["iou_foreground"]),
                _found(row),
                _figure(row["miou_found"]),
            )
            for row in sorted(rows, key=lambda row: (row["space"], row["k"], row["rule"]))
        ),
    )
    yield from (
        "",
        "The oracle chooses every cluster that lies mostly inside the exact mask: it says",
        "what the clusters are worth, and the distance to it what a rule loses. The upper corners",
        "are the right ones for portraits: shoulders fill the lower two, and the rule then takes",
        "clothes for background. The default saliency map, a Gaussian around the centre, loses",
        "clothes too. With more clusters than colours the background falls apart, and a piece of",
        "it may stay clear of the corners. The renderer gives the two background colours related",
        "hues; unrelated ones would cost a cluster each.",
        "",
    )


def _generator(data: dict[str, Any]) -> Iterator[str]:
    skill = data["segmenter"]
    yield from ("## The bundled generator", "")
    yield (
        "A small segmentation network, trained on rendered avatars, is the judge. On renders that "
        f"it has not seen it has a pixel accuracy of {skill['accuracy']:.3f} and a person IoU of "
        f"{skill['person_iou']:.3f}; on generated images, which are softer, it errs more."
    )
    yield from ("", "### Is structure kept, do colours change?", "")
    columns = ("c", "IoU of the person between X_0 and its variants", *_REGIONS)
    rows = [*data["cutoffs"].items(), ("renderer", data["renderer"])]
    yield from markdown_table(
        columns,
        (
            (
                name,
                _figure(row["iou"]),
                *("-" if row["colour_change"][r] is None else f"{row['colour_change'][r]:.1f}"
                  for r in _REGIONS),
            )
            for name, row in rows
        ),
    )  # fmt: skip
    yield from (
        "",
        "The last columns are mean CIE76 colour distances of each region from its colour in X_0.",
        f"{data['structures']} structures, {data['variants']} variants each, psi {data['psi']}.",
        "",
        "### Masks",
        "",
    )
    wanted = ("corner, upper", "saliency", "oracle")
    columns = ("c", "k", *(f"mIoU, {rule}" for rule in wanted), "found by corner, upper")
    scores = {(row["c"], row["k"], row["rule"]): row for row in data["masks"]}
    settings = sorted({(row["c"], row["k"]) for row in data["masks"]})
    yield from markdown_table(
        columns,
        (
            (
                c,
                k,
                *(_figure(scores[c, k, rule]["miou"]) for rule in wanted),
                _found(scores[c, k, "corner, upper"]),
            )
            for c, k in settings
        ),
    )
    yield from ("", "50 variants, LAB, against the judge's mask of X_0.", "")


def _photos(data: dict[str, Any]) -> Iterator[str]:
    rows = data["rows"]
    yield from ("## Pictures, inverted", "")
    yield (
        f"{rows[0]['seeds']} rendered avatars that the bundled ReStyle encoder never saw, as PNG "
        "files, by the preset `avatars-photo`; then with one of its parameters changed."
    )
    yield ""
    yield from _inverted(rows)
    spread = rows[0]["miou_spread"]
    yield from (
        "",
        f"Over the pictures the preset's mIoU is {spread['min']:.3f} to {spread['max']:.3f}, half",
        f"of them between {spread['q1']:.3f} and {spread['q3']:.3f}. Avatars are much alike: one",
        "mask for all, which looks at no picture, is the last row. What is lost is outline that",
        "the generator cannot draw, or that the encoder reads wrong: buns, long hair, strands.",
        "",
    )


def _projection(data: dict[str, Any]) -> Iterator[str]:
    rows = data["rows"]
    yield from ("### By optimisation", "")
    yield (
        f"{rows[0]['seeds']} other avatars by the source `project`, which needs no encoder and "
        "takes seconds for each; then with something changed."
    )
    yield ""
    yield from _inverted(rows)
    yield from (
        "",
        "With so few pictures differences of 0.005 mean nothing: what helps the reconstruction",
        "hardly changes the masks.",
        "",
    )


def _inverted(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    columns = ("", "mIoU", "IoU of the foreground", "found", "median reconstruction error (MSE)")
    yield from markdown_table(
        columns,
        (
            (
                row["what"],
                _figure(row["miou"]),
                _figure(row["iou_foreground"]),
                _found(row),
                f"{row['mse']['median']:.4f}" if row["mse"] else "-",
            )
            for row in rows
        ),
    )


def _costs(data: dict[str, Any]) -> Iterator[str]:
    machine = data["machine"]
    yield from ("## Time and memory", "")
    yield f"On {machine['processor']}, {machine['cores']} cores, torch {machine['torch']}, shared."
    yield ""
    yield from markdown_table(
        ("what", "median", "quartiles", "runs"),
        (
            (
                row["what"],
                f"{row['median']:.2f} s",
                f"{row['q1']:.2f} to {row['q3']:.2f} s",
                row["runs"],
            )
            for row in data["seconds"]
        ),
    )
    yield ""
    yield from markdown_table(
        ("1024x1024, n = 50, LAB, k = 4", "compact tensor", "beyond it, at the peak"),
        (
            (
                {"clustering_memory": "`lloyd` alone", "pipeline_memory": "the whole pipeline"}[
                    row["what"]
                ],
                f"{row['compact_mib']:.0f} MiB",
                f"{row['extra_mib']:.0f} MiB",
            )
            for row in data["memory"]
        ),
    )
    yield from ("", "In float32 the tensor alone would be 600 MiB.", "")


def _read(name: str) -> dict[str, Any]:
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def _found(row: dict[str, Any]) -> str:
    return f"{row['found']}/{row['seeds']}"


def _figure(value: float) -> str:
    return f"{value:.3f}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
