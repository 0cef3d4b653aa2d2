"""The page of contract checks, from the contracts of ``covary.testing``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from covary.catalogue import KINDS
from covary.testing.contracts import CONTRACTS, Contract
from covary_bench.clusterers.tables import prose
from covary_bench.report import markdown_table

_INTRODUCTION = """\
# Contract checks

Made from `covary.testing` by `python docs/make_reference.py`.

Every kind of component has a contract, and every rule of it is a check with a name. A plugin's
tests inherit them, `covary check NAME` runs the same, and covary's own components are tested by
them. Where a rule cannot hold, the component's test names the check and the reason in
`expected_failures`.
"""


def page() -> str:
    """The whole page."""
    lines = [_INTRODUCTION, "## Every component", "", *_table(Contract, Contract.checks()), ""]
    for kind in KINDS:
        if kind in CONTRACTS:
            lines += _kind(CONTRACTS[kind])
    return "\n".join(lines)


def _kind(contract: type[Contract]) -> Iterator[str]:
    shared = set(Contract.checks())
    yield from (f"## {contract.__name__}", "", (contract.__doc__ or "").partition("\n")[0], "")
    yield from _table(contract, [check for check in contract.checks() if check not in shared])
    yield ""


def _table(contract: type[Contract], checks: Iterable[str]) -> Iterator[str]:
    rows = ((f"`{check}`", prose(contract.rule(check))) for check in checks)
    yield from markdown_table(("check", "rule"), rows)
