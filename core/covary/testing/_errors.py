"""What a broken rule raises."""

from __future__ import annotations

from covary.errors import CovaryError

__all__ = ["ContractError"]


class ContractError(CovaryError, AssertionError):
    """A component breaks a rule of its contract."""
