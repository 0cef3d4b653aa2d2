"""Makes the pictures of the README and the documentation: ``python docs/make_pictures.py``.

Names of pictures may follow, to make only those: ``python docs/make_pictures.py method-curves``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from pictures import limits, masks, method, metrics, objects
from pictures.drawing import save
from PIL import Image

import covary
from covary.sheet import contact_sheet

PICTURES = Path(__file__).parent / "images"


def avatars(columns: int = 8, seeds: int = 16) -> Image.Image:
    """The contact sheet that ``make demo`` writes, reduced."""
    pipe = covary.Pipeline.preset("avatars")
    sheet = contact_sheet([pipe(seed=seed) for seed in range(seeds)], columns=columns)
    return sheet.reduce(2)


def pictures() -> Mapping[str, Callable[[], Image.Image]]:
    """What draws each picture, by the name of its file."""
    return {
        "avatars": avatars,
        **method.PICTURES,
        **objects.PICTURES,
        **masks.PICTURES,
        **metrics.PICTURES,
        **limits.pictures(),
    }


def main(wanted: list[str]) -> None:
    """Draw the wanted pictures, or all."""
    known = pictures()
    if unknown := set(wanted) - set(known):
        raise SystemExit(f"no such picture: {', '.join(unknown)}; there are {', '.join(known)}")
    PICTURES.mkdir(exist_ok=True)
    for name in wanted or known:
        save(known[name](), PICTURES / f"{name}.png")
        print(PICTURES / f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
