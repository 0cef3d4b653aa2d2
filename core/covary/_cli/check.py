"""``covary check``: the contract of a component, from the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from textwrap import indent
from typing import TYPE_CHECKING

import click

from ..catalogue import KINDS
from ..errors import InputError, MissingPackageError
from ..settings import toml_value
from .output import json_option, print_json, print_table, progress_bar, remark

if TYPE_CHECKING:
    from ..testing.runner import CheckResult

__all__ = ["check"]


@click.command(short_help="Run the contract of a component.")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), help="Where one name stands for several kinds.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="PARAM=VALUE",
    help="Give this parameter whenever the contract makes the component.",
)
@click.option(
    "--expect",
    "expected",
    multiple=True,
    metavar="CHECK=REASON",
    help="A check that fails for a good reason; it is a failure if it passes.",
)
@click.option("--only", multiple=True, metavar="CHECK", help="Run these checks alone.")
@click.option("--device", default="cpu", show_default=True, help="Torch device to run on.")
@json_option
def check(
    name: str,
    kind: str | None,
    settings: Sequence[str],
    expected: Sequence[str],
    only: Sequence[str],
    device: str,
    as_json: bool,
) -> None:
    """Run the contract of the component NAME: every rule that its kind keeps to, one by one.

    \b
      covary check lloyd
      covary check acme/sketch --set keep=6 --only finds_distant_groups
      covary check acme/sketch --expect takes_a_single_pixel="needs two"

    Exits with 1 if a check failed, or passed that was expected to fail. A check that does not
    apply to the component is skipped, with the reason.
    """
    from .._registry import find
    from ..context import resolve_device

    entry = find(name, kind)
    resolve_device(device)
    if why := entry.unavailable():
        raise MissingPackageError(f"{entry.id} {why}", fix=entry.remedy())
    from ..testing import contract_for, run_contract

    contract = contract_for(
        entry.id,
        entry.kind,
        params={key: toml_value(text) for key, text in _pairs("--set", settings)},
        expected_failures=dict(_pairs("--expect", expected)),
        device=device,
    )
    contract().create()  # parameters that do not fit are wrong use, not thirty failures
    with progress_bar(len(only or contract.checks()), "checking") as (next_step, _):
        results = run_contract(contract, only, next_step)
    good = all(result.good for result in results)
    if as_json:
        rows = [{**asdict(result), "good": result.good} for result in results]
        print_json({"id": entry.id, "kind": entry.kind, "good": good, "checks": rows})
    else:
        _print(f"{entry.id} ({entry.kind})", results)
    if not good:
        raise SystemExit(1)


def _pairs(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """(name, value) of each ``name=value``."""
    pairs = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise InputError(f"{option} {text}", expected="name=value", got=repr(text))
        pairs.append((name.strip(), value.strip()))
    return pairs


def _print(title: str, results: Sequence[CheckResult]) -> None:
    """The table, then each failure with all that is known about it."""
    told = ("skipped", "expected failure")
    rows = [(r.check, r.outcome, r.message if r.outcome in told else r.rule) for r in results]
    print_table(title, ("check", "outcome", "rule, or why not"), rows)
    for result in results:
        if not result.good:
            click.echo(f"{result.check}: {result.outcome}")
            click.echo(f"  rule: {result.rule}")
            click.echo(indent(result.message, "  "))
            if result.example:
                click.echo(indent(result.example, "  "))
            click.echo()
    counts = Counter(result.outcome for result in results)
    remark(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
