"""A style summary that notices how it is read."""

from __future__ import annotations

import torch

from covary import StyleSummary

__all__ = ["Spy"]


class Spy(StyleSummary):
    """Notes how much of it is asked for at once."""

    def __init__(self, data, size):
        super().__init__(data, size)
        self.asked = []

    def rows(self, start, stop):
        self.asked.append(stop - start)
        return super().rows(start, stop)

    def matrix(self, dtype=torch.float32):
        raise AssertionError("the whole was asked for")
