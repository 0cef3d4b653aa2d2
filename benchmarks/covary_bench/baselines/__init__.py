"""Other ways to get masks from a frozen StyleGAN2, to hold covary's against.

::

    generator = FrozenGenerator("avatars-64", psi=0.8)
    baseline = create("sis")
    baseline.fit(generator, label=judge)          # judge: images -> masks, for those that need it
    images, masks = baseline.masks(range(1000, 1016))

Each is written from its paper's description; docs/explanation/baselines.md says what differs.
"""

from __future__ import annotations

from covary.errors import unknown_name

from .activations import FrozenGenerator
from .base import Baseline, Label, Needs
from .datasetgan import DatasetGAN
from .labels4free import Labels4Free
from .sis import SiS, SiSOracle

__all__ = [
    "BASELINES",
    "Baseline",
    "DatasetGAN",
    "FrozenGenerator",
    "Label",
    "Labels4Free",
    "Needs",
    "SiS",
    "SiSOracle",
    "create",
]

BASELINES: dict[str, type[Baseline]] = {
    one.name: one for one in (SiS, SiSOracle, DatasetGAN, Labels4Free)
}
"""All of them by name, in the order of the tables."""


def create(name: str) -> Baseline:
    """The baseline of that name, with its defaults, to be fitted.

    Raises:
        UnknownNameError: there is none; the message suggests the closest.
    """
    if name not in BASELINES:
        raise unknown_name("the baseline", name, BASELINES)
    return BASELINES[name]()
