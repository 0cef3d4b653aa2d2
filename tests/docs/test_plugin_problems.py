"""The how-to on problems with plugins quotes what covary says, word for word."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import covary
from covary._deep import Trial, attempt
from covary._registry import registry
from covary.doctor import examine
from plugin_factory import write_plugin
from tiny_components import Colours, Distinct, Rest, Stripes

PAGE = (Path(__file__).parents[2] / "docs/how-to/plugin-problems.md").read_text(encoding="utf-8")

HOOK = """
import covary

@covary.hookimpl
def covary_components():
    return [covary.Component(kind="clusterer", name="kmeans", target="acme_fast:Fast")]
"""

COMPONENT = """
import covary

class Fast(covary.Clusterer):
    def fit(self, summary, ctx=None): ...
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("covary.doctor._damaged_checkpoints", list)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    registry.cache_clear()


def quoted(text: str) -> None:
    """The page shows it in a block, where a long line may be wrapped."""
    assert " ".join(text.split()) in " ".join(PAGE.split()), text


Case = tuple[str, str, dict[str, Any]]

# What the doctor says: of the hook's module, of the component's, of how it was installed.
DOCTOR: dict[str, Case] = {
    "misspelt hook": (HOOK.replace("covary_components", "covary_component"), COMPONENT, {}),
    "undecorated hook": (HOOK.replace("@covary.hookimpl\n", ""), COMPONENT, {}),
    "hook returns nothing": (HOOK.replace("return [", "x = ["), COMPONENT, {}),
    "invalid component": (HOOK.replace("clusterer", "cluster"), COMPONENT, {}),
    "wrong group": (HOOK, COMPONENT, {"group": "covary.plugins"}),
    "no entry point": (HOOK, COMPONENT, {"group": "console_scripts", "requires": "covary"}),
    "entry point to nothing": (HOOK, COMPONENT, {"target": "acme_kmean"}),
    "misspelt class": (HOOK.replace(":Fast", ":Fats"), COMPONENT, {}),
    "wrong base class": (HOOK.replace("clusterer", "features"), COMPONENT, {}),
    "abstract method": (HOOK, COMPONENT.replace("def fit", "def cluster"), {}),
    "heavy import": (HOOK, "import torch\n" + COMPONENT, {}),
}


@pytest.mark.parametrize("case", DOCTOR)
def test_what_the_doctor_says(site: Path, case: str) -> None:
    hook, component, more = DOCTOR[case]
    write_plugin(site, "acme", hook, distribution="acme-kmeans", **more)
    (site / "acme_fast.py").write_text(component)
    registry.cache_clear()
    report = examine()
    found = [*report["problems"], *report["remarks"]]
    (told,) = [each for each in found if each["distribution"] == "acme-kmeans"]
    what = told["what"].replace(f"{site}/", "").replace("<class 'acme_fast.Fast'>", "...")
    quoted(f"acme-kmeans: {what}\n to do: {told['fix']}")


def test_a_name_without_entry_point(site: Path) -> None:
    write_plugin(site, "x", HOOK, distribution="acme-kmeans", group="y", requires="covary")
    registry.cache_clear()
    with pytest.raises(covary.UnknownNameError) as caught:
        covary.create("acme/kmeans")
    quoted(f"error: {caught.value}")


def test_a_crash(site: Path) -> None:
    (site / "acme_fast.py").write_text("import os; os.kill(os.getpid(), 11)")
    trial = Trial("acme/kmeans (clusterer)", ("acme_fast",), None, ("acme", "acme-kmeans"))
    problem = attempt(trial, 60).problem()
    quoted(f"acme-kmeans: {problem.what}")


def fitting(change: Callable[..., Any]) -> covary.Clusterer:
    def fit(self: Any, summary: Any, ctx: Any = None) -> Any:
        return change(Distinct.fit(self, summary, ctx), summary)

    component = type("Fast", (Distinct,), {"fit": fit})()
    component.id = "acme/kmeans"
    return component


def make(found: covary.ClusterMap, **changes: Any) -> covary.ClusterMap:
    fields = {name: getattr(found, name) for name in ("labels", "centers", "inertia", "iterations")}
    return covary.ClusterMap(**{**fields, **changes})


@pytest.mark.parametrize(
    "change",
    [
        lambda found, summary: found.labels,
        lambda found, summary: make(found, labels=found.labels.long()),
        lambda found, summary: make(found, labels=found.labels.reshape(-1)),
        lambda found, summary: make(found, labels=found.labels + 1),
        lambda found, summary: make(found, labels=2 - found.labels),
        lambda found, summary: summary.data.add_(1) is not None and found,
    ],
)
def test_what_the_pipeline_says(change: Callable[..., Any]) -> None:
    source = Stripes(height=64, width=64)
    pipe = covary.Pipeline(source, Colours(), fitting(change), Rest(), device="cpu")
    with pytest.raises(covary.PluginError) as caught:
        pipe(seed=0)
    quoted(str(caught.value))
