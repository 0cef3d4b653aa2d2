"""One component of each kind, written against plugin API 1.0. Never change this package."""

from collections.abc import Iterable
from pathlib import Path

import covary


@covary.hookimpl
def covary_components() -> Iterable[object]:
    """Five components as objects; a component, a checkpoint and a preset from a file."""
    kinds = {
        "source": "Stripes",
        "features": "Grey",
        "clusterer": "Levels",
        "foreground": "Smallest",
        "detector": "Middle",
    }
    made = [
        covary.Component(
            kind=kind,
            name=target.lower(),
            target=f"vintage_covary.parts:{target}",
            summary=f"the {kind} of API 1.0",
            requires=("torch",),
            extra="",
            devices=("cpu",),
            license="Apache-2.0",
            api="1.0",
        )
        for kind, target in kinds.items()
    ]
    return [*made, *covary.read_catalogue(Path(__file__).with_name("catalogue.toml")).entries()]
