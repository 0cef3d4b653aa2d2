"""``covary compose``: the content of a saved result on another image."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import InputError
from .output import remark

__all__ = ["compose"]


@click.command(short_help="Put the content of a result on another image.")
@click.argument("folder", type=click.Path(path_type=Path), metavar="RESULT")
@click.option(
    "--onto", type=click.Path(path_type=Path), metavar="IMAGE", help="The new background."
)
@click.option(
    "--variant",
    type=click.IntRange(0),
    metavar="N",
    help="As new background the result's variant N, from 0, made again.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PNG",
    help="Where to write it.",
)
@click.option("--hard", is_flag=True, help="Use mask.png even where there is a soft.png.")
@click.option(
    "--feather",
    type=click.FloatRange(0),
    default=0.0,
    metavar="PIXELS",
    help="Blur the mask's border by so many pixels.",
)
@click.option(
    "--fit",
    type=click.Choice(["exact", "cover", "stretch"]),
    default="exact",
    show_default=True,
    help="Where the background has another size: refuse it, scale and crop it, or stretch it.",
)
@click.option("--device", default="auto", show_default=True, help="For --variant: auto, cpu, cuda.")
def compose(
    folder: Path,
    onto: Path | None,
    variant: int | None,
    out: Path,
    hard: bool,
    feather: float,
    fit: str,
    device: str,
) -> None:
    """Put the content of a saved result on another image (paper Fig. 8).

    RESULT is the folder of one result. Its soft mask is used where it has one (`covary segment
    --set soft=true`), else its mask.

    \b
      covary compose out/7 --onto beach.jpg --fit cover -o 7-beach.png
      covary compose out/7 --variant 3 -o 7-restyled.png
    """
    import torch

    from ..composition import compose as compose_images
    from ..images import read_image, write_png
    from ..provenance import saved_variant
    from ..saved import SavedResult

    if (onto is None) == (variant is None):
        raise InputError(
            "new background",
            expected="either --onto or --variant",
            got="neither" if onto is None else "both",
            fix="give --onto IMAGE or --variant N",
        )
    result = SavedResult.read(folder)
    if not result.found:
        raise InputError(
            f"result {folder}",
            expected="a foreground to put on another image",
            got=f"none: {result.reason}",
        )
    if onto is not None:
        background = read_image(onto)
    else:
        again, background = saved_variant(folder, variant or 0, device)
        if not torch.equal(again, result.image):
            remark("the image made again differs from the saved one; see `covary rerun`")
    mask = result.mask if hard or result.soft is None else result.share
    composed = compose_images(result.image, mask, background, feather=feather, fit=fit)  # type: ignore[arg-type]
    write_png(composed, out)
    click.echo(str(out))
