"""Runs a contract without pytest: the ground of ``covary check``."""

from __future__ import annotations

import os
import tempfile
import time
import unittest
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.reporting import with_reporter

from covary._registry import describe, find
from covary.errors import InputError, UnknownNameError, did_you_mean
from covary.testing._errors import ContractError
from covary.testing.contracts import CONTRACTS, Contract

__all__ = ["CheckResult", "Outcome", "contract_for", "run_contract"]

Outcome = Literal["passed", "failed", "skipped", "expected failure", "unexpected pass"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How one check of a contract went."""

    check: str
    """Its name."""
    rule: str
    """What it demands, in one sentence."""
    outcome: Outcome
    """What happened; ``failed`` and ``unexpected pass`` are what is wrong."""
    message: str = ""
    """Why it failed, was skipped, or was expected to fail."""
    example: str = ""
    """The input that shows the failure, where one was searched for."""
    seconds: float = 0.0
    """How long it took."""

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return self.outcome not in ("failed", "unexpected pass")


def contract_for(
    name: str,
    kind: str | None = None,
    *,
    params: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    device: str = "cpu",
) -> type[Contract]:
    """The contract of a registered component, as a test class would state it.

    Args:
        name: short name or canonical id.
        kind: needed only where one name stands for several kinds.
        params: given whenever the contract makes one.
        expected_failures: check -> reason.
        device: where to run.

    Raises:
        UnknownNameError: no such component, or no such check.
        InputError: a reason is empty.
    """
    entry = find(name, kind)
    for check, reason in (expected_failures or {}).items():
        if not reason.strip():
            raise InputError(f"expected failure {check!r}", expected="its reason", got="nothing")
    attributes = {
        "name": entry.id,
        "params": dict(params or {}),
        "expected_failures": dict(expected_failures or {}),
        "device": device,
    }
    return type(f"Test_{entry.id}", (CONTRACTS[entry.kind],), attributes)


def run_contract(
    contract: type[Contract],
    only: Iterable[str] = (),
    before: Callable[[str], None] = lambda check: None,
) -> list[CheckResult]:
    """Every check of a contract, run in order.

    Args:
        contract: a class with a component's name, or one that makes its component.
        only: names of checks to run; empty means all.
        before: called with the name of each check before it runs.

    Raises:
        UnknownNameError: ``only`` names no check of this contract.
    """
    chosen = tuple(only)
    for check in chosen:
        if check not in contract.checks():
            fix = did_you_mean(check, contract.checks())
            raise UnknownNameError(f"there is no check {check!r}", fix=fix)
    # What hypothesis keeps of its own would otherwise land in the folder of whoever runs this.
    if "HYPOTHESIS_STORAGE_DIRECTORY" not in os.environ:
        set_hypothesis_home_dir(os.path.join(tempfile.gettempdir(), "covary-hypothesis"))
    results = []
    for check in chosen or contract.checks():
        before(check)
        # How hypothesis would repeat a failure is in the result; stdout is the caller's.
        with with_reporter(_silent):
            results.append(_run(contract, check))
    return results


def _silent(text: object) -> None:
    """Print nothing."""


def _run(contract: type[Contract], check: str) -> CheckResult:
    reason = contract.expected_failures.get(check, "")
    start = time.perf_counter()
    outcome: Outcome = "unexpected pass" if reason else "passed"
    message = "it passes: take it off the expected failures" if reason else ""
    example = ""
    try:
        contract.plain(check)(contract())
    except unittest.SkipTest as skipped:
        outcome, message = "skipped", str(skipped)
    except Exception as error:
        outcome = "expected failure" if reason else "failed"
        message = reason or _explanation(error)
        example = "\n".join(getattr(error, "__notes__", ()))
    seconds = time.perf_counter() - start
    return CheckResult(check, contract.rule(check), outcome, message, example, seconds)


def _explanation(error: Exception) -> str:
    """A broken rule in its own words; anything else by its class, as it is a defect as well."""
    return str(error) if isinstance(error, ContractError) else f"it raised {describe(error)}"
