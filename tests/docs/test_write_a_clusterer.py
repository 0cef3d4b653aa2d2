"""The tutorial's wrong clusterer fails as the page says, and the mended one passes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from covary.testing import ClustererContract, run_contract

PAGE = (Path(__file__).parents[2] / "docs/tutorial/write-a-clusterer.md").read_text("utf-8")
FIRST, MENDED = re.findall(r"```python\n(# file: \S+/sketch\.py\n.*?)```", PAGE, flags=re.DOTALL)
(OUTPUT,) = re.findall(r"```text\n(.*?)```", PAGE, flags=re.DOTALL)


def contract(source: str) -> type[ClustererContract]:
    module: dict[str, Any] = {"__name__": "acme_covary.sketch"}
    exec(source, module)

    class Contract(ClustererContract):
        def create(self, **params: Any) -> Any:
            component = module["Sketch"](**params)
            component.id = "acme/sketch"
            return component

    return Contract


def without_numbers(text: str) -> str:
    return re.sub(r"\d+(\.\d+)?", "0", text)


def test_the_wrong_one_fails_as_the_page_says() -> None:
    checks = re.findall(r"^(\w+): failed$", OUTPUT, flags=re.MULTILINE)
    (command,) = re.findall(r"^\$ covary check (.*--only.*)$", PAGE, flags=re.MULTILINE)
    assert re.findall(r"--only (\w+)", command) == checks
    results = run_contract(contract(FIRST), only=checks)
    told = "\n".join(f"{r.check}: {r.outcome}\n  rule: {r.rule}\n  {r.message}\n" for r in results)
    assert without_numbers(told) == without_numbers(OUTPUT)


def test_the_mended_one_breaks_no_rule() -> None:
    # These import its module, which only the page has.
    by_import = {"imports_nothing_heavy", "pickles", "finds_the_same_when_pickled"}
    checks = [check for check in ClustererContract.checks() if check not in by_import]
    results = run_contract(contract(MENDED), only=checks)
    assert [(r.check, r.message) for r in results if not r.good] == []
    assert sum(result.outcome == "passed" for result in results) > 20
