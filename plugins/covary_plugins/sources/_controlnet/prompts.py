"""Prompts that keep the subject and change how it looks."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .words import APPEARANCES

__all__ = ["choose_prompts"]


def choose_prompts(
    subject: str, given: Sequence[str] | None, n: int, generator: torch.Generator
) -> list[str]:
    """n prompts drawn without replacement, from ``given`` or from words after ``subject``.

    There must be n of them, which the parameters of the source see to.
    """
    if given is None:
        words = [word for group in APPEARANCES.values() for word in group]
        given = [f"{subject.strip()} {word}" for word in words]
    order = torch.randperm(len(given), generator=generator)[:n]
    return [given[index] for index in order.tolist()]
