"""The reference pages say what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path

from covary._cli.commands import OWN
from covary._registry import find
from covary.catalogue import builtin_registry, read_catalogue

DOCS = Path(__file__).parents[2] / "docs"


def test_components_page_is_up_to_date(monkeypatch) -> None:
    monkeypatch.setenv("COVARY_PLUGINS", "")
    made = runpy.run_path(str(DOCS / "make_reference.py"))
    text = (DOCS / "reference" / "components.md").read_text(encoding="utf-8")
    assert text == made["page"](), "run: python docs/make_reference.py"


def test_every_component_and_parameter_is_described() -> None:
    for entry in read_catalogue(builtin_registry()).component:
        assert entry.summary
        assert entry.license
        component_class = find(f"covary/{entry.name}", entry.kind).load()
        assert component_class.__doc__
        for name, field in component_class.Params.model_fields.items():
            assert field.description, f"{entry.name}.{name}"


def test_environment_switches_are_documented() -> None:
    text = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    for name in (
        "COVARY_PLUGINS",
        "COVARY_DISABLE",
        "COVARY_RAISE",
        "COVARY_TRACE",
        "COVARY_REGISTRY",
    ):
        assert name in text


def test_every_command_is_documented() -> None:
    text = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    for name in OWN:
        assert f"## covary {name}" in text


def test_results_page_is_made_from_the_committed_results() -> None:
    made = runpy.run_path(str(DOCS / "make_results.py"))
    text = (DOCS / "explanation" / "results.md").read_text(encoding="utf-8")
    assert text == made["page"](), "run: python docs/make_results.py"
