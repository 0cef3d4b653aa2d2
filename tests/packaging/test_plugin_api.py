"""The plugin API keeps what version 1.0 promised: nothing gone, nothing changed, only added to.

``plugin_api_1_0.json`` is what ``python tests/api_snapshot.py`` printed when 1.0 was declared. A
failure here means that plugins of others break. Either undo the change, e.g. by keeping the old
name and warning with ``covary.CovaryDeprecationWarning``; or, after the time that
docs/explanation/plugin-api-stability.md promises, raise the major part of ``API_VERSION`` in
core/covary/_hooks.py and commit a new file beside the old one. What was added in the meantime
needs a new minor part.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api_snapshot import broken, snapshot

FROZEN = json.loads(Path(__file__).with_name("plugin_api_1_0.json").read_text(encoding="utf-8"))
Change = Callable[[dict[str, Any]], object]


def test_api_1_0_is_kept() -> None:
    now = snapshot()
    if now["api"].split(".")[0] != FROZEN["api"].split(".")[0]:
        pytest.fail(f"plugin API {now['api']}: freeze it in a file of its own, and test that one")
    assert broken(FROZEN, now) == [], __doc__


def test_the_snapshot_survives_json() -> None:
    now = snapshot()
    assert json.loads(json.dumps(now)) == now


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda api: api["provided"].pop("Query"), "covary.Query is gone"),
        (lambda api: api["kinds"].remove("detector"), "kind detector is gone"),
        (lambda api: api["hooks"].update(another={}), "hooks changed"),
        (lambda api: api["params"].update(extra="allow"), "params changed"),
        (
            lambda api: api["implemented"]["Clusterer"]["methods"]["fit"].update(signature="()"),
            "covary.Clusterer, which plugins implement, changed",
        ),
        (
            lambda api: api["implemented"]["SupportsSize"]["methods"].update(more={}),
            "covary.SupportsSize, which plugins implement, changed",
        ),
        (
            lambda api: api["provided"]["StyleSummary"]["names"].pop("rows"),
            "covary.StyleSummary.rows is gone",
        ),
        (
            lambda api: api["provided"]["Variants"]["fields"].update(new="required"),
            "covary.Variants: of its fields, new is new and required",
        ),
        (
            lambda api: api["provided"]["Component"]["fields"].update(summary="required"),
            "covary.Component: of its fields, summary was optional and is required",
        ),
        (
            lambda api: api["provided"]["create"]["parameters"].pop("kind"),
            "covary.create: of its parameters, kind is gone",
        ),
        (
            lambda api: api["provided"]["Box"].update(
                fields=dict(reversed(api["provided"]["Box"]["fields"].items()))
            ),
            "covary.Box: the order of its fields changed",
        ),
        (
            lambda api: api["provided"]["InputError"]["bases"].remove("ValueError"),
            "covary.InputError no longer is a ValueError",
        ),
        (
            lambda api: api["provided"]["testing.ClustererContract"]["names"].pop("test_pickles"),
            "covary.testing.ClustererContract.test_pickles is gone",
        ),
    ],
)
def test_what_breaks_plugins_is_noticed(change: Change, says: str) -> None:
    changed = copy.deepcopy(FROZEN)
    change(changed)
    assert broken(FROZEN, changed) == [says]


@pytest.mark.parametrize(
    "change",
    [
        lambda api: api["kinds"].append("another"),
        lambda api: api["provided"].update(another={"is": "function", "parameters": {}}),
        lambda api: api["provided"]["Variants"]["fields"].update(new="optional"),
        lambda api: api["provided"]["StyleSummary"]["names"].update(new={"is": "value"}),
        lambda api: api["provided"]["create"]["parameters"].update(new="optional by keyword"),
        lambda api: api["provided"]["Preset"]["fields"].update(cite="optional"),
    ],
)
def test_what_only_adds_is_allowed(change: Change) -> None:
    changed = copy.deepcopy(FROZEN)
    change(changed)
    assert broken(FROZEN, changed) == []
