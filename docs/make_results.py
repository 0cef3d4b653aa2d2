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
        *_auto(_read("worlds-auto")),
        *_parts(_read("worlds-parts")),
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
                "-" if row["miou_found"] is None else _figure(row["miou_found"]),
            )
            for row in sorted(rows, key=lambda row: (row["space"], _order(row["k"]), row["rule"]))
        ),
    )
    yield from (
        "",
        "The oracle chooses every cluster that lies mostly inside the exact mask: it says",
        "what the clusters are worth, and the distance to it what a rule loses. Shoulders fill",
        "the lower corners and stand on the lower side, and rules that count those take clothes",
        "for background. The default saliency map, a Gaussian around the centre, loses clothes",
        "too. With more clusters than colours the background falls apart; a piece of it may stay",
        "clear of the corners, but hardly of the sides: `border` loses little at any k. The vote",
        "of `border`, `corner` and `saliency` is no better than its rules: what two of them get",
        "wrong together, it does. The renderer gives the two background colours related hues;",
        "unrelated ones would cost a cluster each.",
        "",
    )


def _auto(data: dict[str, Any]) -> Iterator[str]:
    rows = {row["k"]: row for row in data["rows"]}
    names = list(rows["auto"]["things"])
    yield from ("## How many clusters", "")
    yield (
        f"One k for everything the renderer draws, at {data['resolution']}x{data['resolution']}: "
        "avatars, and each kind of object of rooms in its box, by the rule `border` with its "
        f"defaults. mIoU over {rows['auto']['things'][names[0]]['seeds']} seeds; the sheet is the "
        "mean of the avatars and of the mean over objects."
    )
    yield ""
    yield from markdown_table(
        ("k", "the sheet", *names),
        (
            (k, _figure(row["sheet"]), *(_figure(row["things"][name]["miou"]) for name in names))
            for k, row in rows.items()
        ),
    )
    chosen = rows["auto"]["things"]
    most = {name: max(one["chosen"], key=one["chosen"].__getitem__) for name, one in chosen.items()}
    cost = {row["k"]: row for row in data["cost"]}["auto"]
    times, seconds = cost["times_k_4"], cost["seconds"]
    yield ""
    yield (
        "Every thing has a k that suits it. What `auto` chooses most often: "
        + ", ".join(f"{most[name]} for {name}" for name in names)
        + f". It clusters more finely first, and so takes {times['median']:.1f} times as long as "
        f"k = 4 ({times['q1']:.1f} to {times['q3']:.1f} by quartiles; {seconds['median']:.2f} s an "
        "avatar)."
    )
    yield ""


def _parts(data: dict[str, Any]) -> Iterator[str]:
    rows = data["rows"]
    names = list(rows[0]["parts"])
    yield from ("## Parts of rendered avatars", "")
    yield (
        f"The preset `worlds-parts` (k = {data['preset']['clusterer']['k']}) and other k, at "
        f"{data['resolution']}x{data['resolution']}, {rows[0]['seeds']} seeds: IoU of each part. "
        "Brows count as hair, whose hue they have; ears and neck as skin. The oracle names each "
        "cluster after the part that most of its pixels belong to."
    )
    yield ""
    yield from markdown_table(
        ("k", "names by", "mean IoU", *names, "mouths missed"),
        (
            (
                row["k"],
                {"parts": "the rule", "oracle": "the oracle"}[row["names"]],
                _figure(row["mean_iou"]),
                *(_figure(row["parts"][name]["iou"]) for name in names),
                f"{row['parts']['mouth']['missed']}/{row['seeds']}",
            )
            for row in rows
        ),
    )
    yield from (
        "",
        "A mouth is four pixels in a thousand, and red beside skin: with few clusters it is",
        "outvoted, and even the oracle has none to name. Pupils and dark irises may go with hair.",
        "With more clusters than parts, shades of hair and skin come apart, and a shade may lie",
        "where another part usually does.",
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
    wanted = ("border, upper", "corner, upper", "saliency", "oracle")
    columns = ("c", "k", *(f"mIoU, {rule}" for rule in wanted), "found by border, upper")
    scores = {(row["c"], row["k"], row["rule"]): row for row in data["masks"]}
    settings = sorted(
        {(row["c"], row["k"]) for row in data["masks"]}, key=lambda one: (one[0], _order(one[1]))
    )
    yield from markdown_table(
        columns,
        (
            (
                c,
                k,
                *(_figure(scores[c, k, rule]["miou"]) for rule in wanted),
                _found(scores[c, k, "border, upper"]),
            )
            for c, k in settings
        ),
    )
    parts = data["parts"]
    yield from ("", "50 variants, LAB, against the judge's mask of X_0.", "", "### Parts", "")
    yield (
        f"The preset `avatars-parts` (k = {parts['k']}), {parts['seeds']} seeds, against the "
        "judge's regions, of which eyes and mouth are skin: IoU of "
        + ", ".join(f"{name} {_figure(one['iou'])}" for name, one in parts["parts"].items())
        + f"; mean {_figure(parts['mean_iou'])}."
    )
    yield ""


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


def _order(k: int | str) -> tuple[bool, int | str]:
    """Numbers first, then auto."""
    return isinstance(k, str), k


def _found(row: dict[str, Any]) -> str:
    return f"{row['found']}/{row['seeds']}"


def _figure(value: float) -> str:
    return f"{value:.3f}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
