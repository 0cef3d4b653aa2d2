"""What to look for, in words."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Prompt"]

_CONTEXT = ("in", "on", "at", "inside", "within", "against", "under", "near", "with", "of")


@dataclass(frozen=True, slots=True)
class Prompt:
    """The classes that a prompt names, and words about all of them."""

    classes: tuple[str, ...]
    """As they were written; the detections' labels."""
    context: str = ""
    """What follows every class when it is looked for."""

    @classmethod
    def parse(cls, text: str) -> Prompt:
        """The prompt ``"sofa, coffee table, lamp, in a livingroom"`` taken apart.

        Commas, semicolons, full stops and line breaks separate classes. A last piece that starts
        with a preposition is no class but the context.

        Raises:
            ValueError: no class, or the same one twice.
        """
        pieces = [" ".join(piece.split()) for piece in re.split(r"[,;.\n]", text)]
        pieces = [piece for piece in pieces if piece]
        context = pieces.pop() if pieces and pieces[-1].split()[0].lower() in _CONTEXT else ""
        if not pieces:
            raise ValueError("classes separated by commas, e.g. 'sofa, coffee table'")
        lower = [piece.lower() for piece in pieces]
        if twice := [piece for i, piece in enumerate(pieces) if piece.lower() in lower[:i]]:
            raise ValueError(f"each class once, not {twice[0]!r} twice")
        return cls(tuple(pieces), context)

    def phrases(self) -> tuple[str, ...]:
        """Each class with the context after it."""
        return tuple(f"{name} {self.context}".rstrip() for name in self.classes)
