"""Do these tensors fit that network?"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from covary.errors import CheckpointError

__all__ = ["check_tensors", "listed"]


def check_tensors(
    tensors: Mapping[str, Tensor],
    network: Mapping[str, Tensor],
    *,
    of: str,
    fix: str,
    optional: Collection[str] = (),
    prefix: str = "",
) -> None:
    """Compares ``tensors`` with the state dict of the ``network`` they are meant for.

    Args:
        of: the network in words, e.g. ``"a StyleGAN2"``.
        fix: what to do where the names do not fit.
        optional: names that may be missing.
        prefix: what the file's names have before those given.

    Raises:
        CheckpointError: names missing or unknown, another shape, values that are not finite.
    """
    missing = sorted(network.keys() - tensors.keys() - set(optional))
    unknown = sorted(tensors.keys() - network.keys())
    if missing or unknown:
        raise CheckpointError(
            "the state dict",
            expected=f"the {len(network)} tensors of {of} of these sizes",
            got=f"{listed(missing)} missing, {listed(unknown)} unknown",
            fix=fix,
        )
    for name, tensor in tensors.items():
        if tensor.shape != network[name].shape:
            raise CheckpointError(
                f"tensor '{prefix}{name}'",
                expected=f"shape {tuple(network[name].shape)}",
                got=str(tuple(tensor.shape)),
                fix="the file seems damaged or of another network; get it again",
            )
        # Tensors without storage (torch's device "meta") have names and shapes to compare only.
        if not (tensor.is_meta or math.isfinite(float(tensor.sum(dtype=torch.float64)))):
            raise CheckpointError(
                f"tensor '{prefix}{name}'",
                expected="finite values",
                got="NaN or infinity",
                fix="the file seems damaged; get it again",
            )


def listed(names: Iterable[object], none: str = "none") -> str:
    """The first few of ``names``, shortened, and how many more there are; fit for a message."""
    texts = [repr(str(name)[:60]) for name in names]
    shown = ", ".join(texts[:4]) or none
    return shown if len(texts) <= 4 else f"{shown} and {len(texts) - 4} more"
