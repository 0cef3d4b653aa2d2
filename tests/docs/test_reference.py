"""The reference pages say what the code says."""

from __future__ import annotations

import importlib
import re
import runpy
from pathlib import Path
from types import ModuleType

import pytest

import covary
from covary._cli.commands import OWN
from covary._hooks import Hooks
from covary._registry import find
from covary.catalogue import builtin_registry, read_catalogue
from covary.testing.contracts import CONTRACTS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def make_reference(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with nothing but what is built in for it to see."""
    monkeypatch.setenv("COVARY_PLUGINS", "")
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module("make_reference")


def test_generated_pages_are_up_to_date(make_reference: ModuleType) -> None:
    for name, page in make_reference.PAGES.items():
        text = (DOCS / "reference" / name).read_text(encoding="utf-8")
        assert text == page(), f"{name}: run python docs/make_reference.py"


def test_every_hook_is_documented() -> None:
    text = (DOCS / "reference" / "hooks.md").read_text(encoding="utf-8")
    names = [name for name in vars(Hooks) if name.startswith("covary_")]
    assert names
    for name in names:
        assert f"\n## {name}\n" in text


def test_every_check_of_every_contract_is_documented() -> None:
    text = (DOCS / "reference" / "contracts.md").read_text(encoding="utf-8")
    for contract in CONTRACTS.values():
        for name in dir(contract):
            if name.startswith("test_"):
                assert f"| `{name.removeprefix('test_')}` | " in text, f"{contract.__name__}.{name}"


def test_every_component_and_parameter_is_described() -> None:
    for entry in read_catalogue(builtin_registry()).component:
        assert entry.summary
        assert entry.license
        component_class = find(f"covary/{entry.name}", entry.kind).load()
        assert component_class.__doc__
        for name, field in component_class.Params.model_fields.items():
            assert field.description, f"{entry.name}.{name}"


def test_environment_variables_are_documented() -> None:
    text = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    code = [file.read_text("utf-8") for file in Path(covary.__file__).parent.rglob("*.py")]
    names = {name for source in code for name in re.findall(r'"(COVARY_[A-Z]+)"', source)}
    assert "COVARY_PLUGINS" in names
    for name in names:
        assert f"`{name}`" in text


def test_every_command_is_documented() -> None:
    text = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    for name in OWN:
        assert f"## covary {name}" in text


def test_results_page_is_made_from_the_committed_results() -> None:
    made = runpy.run_path(str(DOCS / "make_results.py"))
    text = (DOCS / "explanation" / "results.md").read_text(encoding="utf-8")
    assert text == made["page"](), "run: python docs/make_results.py"
