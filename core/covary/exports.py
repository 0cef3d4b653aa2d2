"""Results in the formats of other tools: COCO, palette PNG, RGBA cut-outs, SVG outlines.

Every function takes results as they are, as read back, or as the folders they were saved in. What
was not found is exported as not found: a COCO image without annotations, an error where a picture
would have to be made up.

COCO needs pycocotools, outlines need scikit-image: ``pip install 'covary[masks]'``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image

from . import _drawing
from .composition import cut_out
from .errors import InputError, MissingPackageError
from .saved import SavedResult, as_saved
from .segmentation import Object, Segmentation

if TYPE_CHECKING:
    import numpy.typing as npt

    Points = npt.NDArray[np.float64]

__all__ = [
    "FOREGROUND",
    "Map",
    "ResultLike",
    "class_names",
    "coco",
    "coco_mask",
    "cut_outs",
    "named_parts",
    "palette",
    "svg",
]

ResultLike = SavedResult | Segmentation | str | os.PathLike[str]
"""A result in memory, one that was read back, or the folder of one."""

Map = Literal["instances", "classes", "parts", "clusters"]
"""What the indices of a palette picture stand for."""

FOREGROUND = "foreground"
"""The class of objects without a label."""


def coco(results: Iterable[ResultLike], files: Sequence[str] | None = None) -> dict[str, Any]:
    """Results as the data of a COCO file for instance segmentation, with RLE masks.

    Images, annotations and categories are numbered from 1; categories are the objects' labels in
    alphabetical order. An annotation has ``segmentation`` (compressed RLE), ``area`` and ``bbox``
    of that mask, not of the detector's box, ``iscrowd`` 0, and the detector's ``score``. An object
    that was not found has none, but its image is listed.

    Args:
        results: in the order of the images.
        files: ``file_name`` of each image; None makes it ``NAME.png``.

    Returns:
        Plain data for ``json.dump``; pycocotools' ``COCO`` reads it.

    Raises:
        InputError: not a whole result, or not as many files as results.
        MissingPackageError: pycocotools is not installed.
    """
    saved = [as_saved(result) for result in results]
    if files is None:
        files = [f"{one.name}.png" for one in saved]
    if len(files) != len(saved):
        raise InputError("files", expected=f"{len(saved)}, one a result", got=str(len(files)))
    names = class_names(saved)
    annotations: list[dict[str, Any]] = []
    for image_id, one in enumerate(saved, start=1):
        for each in filter(_was_found, one.objects):
            category = names.index(_class_name(each)) + 1
            about = {"id": len(annotations) + 1, "image_id": image_id, "category_id": category}
            annotations.append(about | coco_mask(each.mask) | {"score": each.score})
    return {
        "info": {"description": "made by covary"},
        "images": [
            {"id": number, "file_name": file, "height": one.size[0], "width": one.size[1]}
            for number, (file, one) in enumerate(zip(files, saved, strict=True), start=1)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, start=1)],
    }


def coco_mask(mask: torch.Tensor) -> dict[str, Any]:
    """What a COCO annotation says about a mask: ``segmentation``, ``area``, ``bbox``, ``iscrowd``.

    Args:
        mask: bool (H, W).

    Returns:
        Plain data; the segmentation is a compressed RLE, ``iscrowd`` is 0.

    Raises:
        MissingPackageError: pycocotools is not installed.
    """
    rle = _package("pycocotools.mask")
    encoded = rle.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
    return {
        "segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")},
        "area": float(rle.area(encoded)),
        "bbox": [float(end) for end in rle.toBbox(encoded)],
        "iscrowd": 0,
    }


def class_names(results: Iterable[ResultLike]) -> tuple[str, ...]:
    """The labels of the objects that were found, in alphabetical order."""
    return tuple(sorted({_class_name(o) for r in results for o in as_saved(r).objects if o.found}))


def named_parts(results: Iterable[ResultLike]) -> tuple[str, ...]:
    """The names of the parts of all results, in alphabetical order."""
    return tuple(sorted({name for r in results for name in as_saved(r).part_names}))


def palette(
    result: ResultLike, show: Map = "instances", names: Sequence[str] | None = None
) -> Image.Image:
    """A palette picture whose index says to which object, class, part or cluster a pixel belongs.

    0 is none and black; object, class, part or cluster i has index i + 1. For more than 255 of
    them it is 16-bit grey instead.

    Args:
        result: one result.
        show: what to show.
        names: classes or parts in the order of their indices, so that one index means the same in
            several pictures; None takes those of this result, in alphabetical order.

    Raises:
        InputError: nothing was found, the rule names no parts, or a name is not in ``names``.
    """
    saved = _found(result)
    if show == "clusters":
        count = int(saved.labels.max()) + 1
        colours = [_drawing.PALETTE[i % len(_drawing.PALETTE)] for i in range(count)]
        return _drawing.indexed(saved.labels + 1, colours)
    if show == "instances":
        labels = [one.label for one in saved.objects]
        colours = _drawing.object_colours(labels, _drawing.name_colours(labels))
        return _drawing.indexed(saved.instances, colours)
    if show == "classes":
        own = [_class_name(one) for one in saved.objects]
        names = class_names([saved]) if names is None else names
        index = _renumbered(saved.instances, own, names, saved)
    elif show == "parts":
        if not saved.part_names:
            raise InputError(
                f"parts of result {saved.name}",
                expected="a foreground rule that names clusters",
                got="none",
                fix="segment with such a rule (`covary list foreground`), or show another map",
            )
        names = saved.part_names if names is None else names
        index = _renumbered(saved.parts, saved.part_names, names, saved)
    else:
        known = "instances, classes, parts or clusters"
        raise InputError("show", expected=known, got=repr(show))
    by_name = _drawing.name_colours(names)
    return _drawing.indexed(index, [by_name[name] for name in names])


def cut_outs(
    result: ResultLike, *, each: bool = False, trim: bool = False, edge: int | None = None
) -> list[tuple[str, Image.Image]]:
    """(name, picture) of the content on a transparent ground, RGBA with straight alpha.

    Names are the result's and, one by one, the object's number and label: ``7`` or ``7-2-sofa``.
    Where the result has a soft mask, borders are soft: see :func:`covary.cut_out`.

    Args:
        result: one result.
        each: a picture for each object instead of one of the whole foreground.
        trim: cut off what is transparent on all sides; else pictures are as large as the image.
        edge: as for :func:`covary.compose`.

    Raises:
        InputError: nothing was found.
    """
    saved = _found(result)
    instances = saved.instances
    if each:
        wanted = [
            (f"{saved.name}-{number}{_slug(one.label)}", instances == number)
            for number, one in enumerate(saved.objects, start=1)
            if one.found
        ]
    else:
        wanted = [(saved.name, instances > 0)]
    pictures = []
    for name, mask in wanted:
        share = saved.share_of(mask)
        rgba = cut_out(saved.image, mask if share is None else share, edge=edge)
        picture = Image.fromarray(rgba.permute(1, 2, 0).contiguous().numpy())
        box = picture.getchannel("A").getbbox() if trim else None
        pictures.append((name, picture.crop(box) if box else picture))
    return pictures


def svg(result: ResultLike, *, tolerance: float = 0.0) -> str:
    """The outlines of the objects as an SVG drawing, one path for each.

    A path follows the line where the soft mask is one half, between pixels, or the border of the
    mask where there is none (marching squares). Holes are left open by the even-odd rule. One unit
    is one pixel, (0, 0) the corner of the first.

    Args:
        result: one result.
        tolerance: pixels by which a line may be simplified.

    Raises:
        InputError: nothing was found.
        MissingPackageError: scikit-image is not installed.
    """
    saved = _found(result)
    height, width = saved.size
    instances = saved.instances
    labels = [one.label for one in saved.objects]
    colours = _drawing.object_colours(labels, _drawing.name_colours(labels))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" fill-rule="evenodd">'
    ]
    for number, one in enumerate(saved.objects, start=1):
        if not one.found:
            continue
        mask = instances == number
        share = saved.share_of(mask)
        outlines = _outlines(mask if share is None else share, tolerance)
        path = " ".join(map(_path, outlines))
        colour = "#{:02x}{:02x}{:02x}".format(*colours[number - 1])
        name = escape(_class_name(one))
        lines.append(f'  <path fill="{colour}" d="{path}"><title>{name}</title></path>')
    return "\n".join([*lines, "</svg>", ""])


def _found(result: ResultLike) -> SavedResult:
    """The result, once it is one."""
    saved = as_saved(result)
    if not saved.found:
        raise InputError(
            f"result {saved.name}",
            expected="a foreground",
            got=f"none: {saved.reason}",
            fix="ask a result for `found` first",
        )
    return saved


def _was_found(one: Object) -> bool:
    return one.found


def _class_name(one: Object) -> str:
    return one.label or FOREGROUND


def _slug(label: str) -> str:
    """A label as the end of a file's name: ``-side-table``."""
    kept = "".join(letter if letter.isalnum() else " " for letter in label)
    return "".join(f"-{word}" for word in kept.split())


def _renumbered(
    numbers: torch.Tensor, own: Sequence[str], names: Sequence[str], saved: SavedResult
) -> torch.Tensor:
    """Numbers i + 1 of ``own[i]`` as the numbers of the same names in ``names``."""
    if strangers := {own[i - 1] for i in numbers.unique().tolist() if i} - set(names):
        raise InputError(
            f"names for result {saved.name}", expected="all that it shows",
            got=f"no {min(strangers)!r}", fix="give class_names or named_parts of all results",
        )  # fmt: skip
    places = {name: number for number, name in enumerate(names, start=1)}
    table = torch.tensor([0, *(places.get(name, 0) for name in own)], dtype=torch.int32)
    return table[numbers.long()]


def _outlines(share: torch.Tensor, tolerance: float) -> Iterator[Points]:
    """Closed lines (P, 2) of x and y around what is above one half."""
    measure = _package("skimage.measure")
    # The frame of background closes lines that would end at the image's border.
    framed = np.pad(share.double().numpy(), 1)
    for line in measure.find_contours(framed, 0.5):
        simple = measure.approximate_polygon(line, tolerance) if tolerance else line
        # From the frame's first pixel to the image's, and from its middle to its corner.
        yield simple[:-1, ::-1] - 0.5


def _path(line: Points) -> str:
    return "M" + " L".join(f"{x:.2f} {y:.2f}" for x, y in line) + " Z"


def _package(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"this export needs {module.partition('.')[0]}",
            got=str(error),
            fix="run: pip install 'covary[masks]'",
        ) from error
