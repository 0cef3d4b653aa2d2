"""Acme's components for covary; the modules that they live in load when they are used."""

from __future__ import annotations

from collections.abc import Iterable

import covary


@covary.hookimpl
def covary_components() -> Iterable[covary.Component]:
    """One clusterer."""
    return [
        covary.Component(
            kind="clusterer",
            name="levels",
            target="acme_covary.levels:Levels",
            summary="equally wide levels of a pixel's mean feature",
            devices=("cpu",),
            license="MIT",
            api="1.0",
        )
    ]
