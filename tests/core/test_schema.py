"""The JSON Schema of pipeline files: what an editor says is what covary says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import covary
from covary import Pipeline, Recipe
from covary._registry import registry
from covary.cli import cli
from covary.errors import CovaryError
from covary.recipe import SLOTS, recipe_schema
from plugin_factory import write_plugin

ROOT = Path(__file__).parents[2]

WHOLE = {"source": "worlds", "features": "rgb", "clusterer": "lloyd", "foreground": "corner"}


def errors(data: dict[str, Any]) -> list[str]:
    """What the schema says against a file: ``path: message`` each."""
    found = Draft202012Validator(recipe_schema()).iter_errors(data)
    return [f"{error.json_path.removeprefix('$.')}: {error.message}" for error in found]


def documented_files() -> Iterator[tuple[str, str]]:
    """Every pipeline file in the documentation."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for block in re.findall(r"^```toml\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            if set(tomllib.loads(block)) >= set(SLOTS):
                yield page.name, block


def test_is_a_schema() -> None:
    Draft202012Validator.check_schema(recipe_schema())


@pytest.mark.parametrize("kind", [*SLOTS, "detector", "refiner"])
def test_knows_every_component_and_its_parameters(kind: str) -> None:
    schema = recipe_schema()
    assert schema["required"] == list(SLOTS)
    definitions = schema["$defs"]
    stage = definitions["stage:refiner"] if kind == "refiner" else schema["properties"][kind]
    for entry in covary.components(kind):
        assert entry.id in stage["then"]["enum"]
        known = definitions[f"{kind}:{entry.id.replace('/', ':')}"]["properties"]
        fields = entry.load().Params.model_fields
        assert set(known) == set(fields) | {"use"}
        for name, field in fields.items():
            assert known[name]["description"] == field.description


def test_of_every_preset(tmp_path: Path) -> None:
    for preset in covary.read_catalogue().preset:
        given = preset.recipe.model_dump(mode="json")
        assert errors(given) == [], preset.name
        Pipeline.preset(preset.name, device="cpu").save(tmp_path / "resolved.toml")
        assert errors(tomllib.loads((tmp_path / "resolved.toml").read_text())) == [], preset.name


def test_of_every_documented_file() -> None:
    files = list(documented_files())
    assert {"pipeline-files.md", "your-variants.md", "controlnet.md"} <= {name for name, _ in files}
    for name, text in files:
        data = tomllib.loads(text)
        uses = [spec.use for _, _, spec in Recipe.parse(data).specs()]
        known = {name for entry in covary.components() for name in (entry.name, entry.id)}
        if {*uses} <= known:  # the tutorials make plugins that are not installed here
            assert errors(data) == [], name


@pytest.mark.parametrize(
    ("stage", "given", "message"),
    [
        ("clusterer", {"use": "lloyd", "kk": 3}, r"clusterer: .*\('kk' was unexpected\)"),
        (
            "clusterer",
            {"use": "lloyd", "n_init": 0},
            "clusterer.n_init: 0 is less than the minimum of 1",
        ),
        (
            "clusterer",
            {"use": "covary/lloyd", "n_init": "3"},
            "clusterer.n_init: '3' is not of type",
        ),
        ("clusterer", {"use": "loyd"}, "clusterer.use: 'loyd' is not one of .*'lloyd'"),
        ("clusterer", {"use": "acme/lloyd"}, "clusterer.use: 'acme/lloyd' is not one of"),
        ("clusterer", {"use": "lab"}, "clusterer.use: 'lab' is not one of"),
        ("clusterer", {"k": 3}, "clusterer: 'use' is a required property"),
        ("clusterer", "loyd", "clusterer: 'loyd' is not one of .*'lloyd'"),
        ("clusterer", 3, "clusterer: 3 is not of type 'string', 'object'"),
        ("features", {"use": "rgb", "k": 3}, r"features: .*\('k' was unexpected\)"),
        ("detectr", "x", r"\$: .*\('detectr' was unexpected\)"),
        ("detector", "x", "detector: 'x' is not one of "),
        ("detector", {"use": "lloyd"}, "detector.use: 'lloyd' is not one of "),
        ("classes", {"sofa": {"k": 3}}, r"classes.sofa: .*\('k' was unexpected\)"),
        ("classes", {"sofa": {"source": "worlds"}}, r"classes.sofa: .*'source' was unexpected"),
        ("classes", {"sofa": {"clusterer": "rgb"}}, "classes.sofa.clusterer: 'rgb' is not one of"),
        (
            "classes",
            {"coffee table": {"clusterer": {"use": "lloyd", "n_init": 0}}},
            r"classes\['coffee table'\].clusterer.n_init: 0 is less than the minimum of 1",
        ),
        ("classes", ["sofa"], r"classes: \['sofa'\] is not of type 'object'"),
        ("refine", ["lloyd"], r"refine\[0\]: 'lloyd' is not one of "),
        ("refine", 3, "refine: 3 is not "),
        ("soft", "yes", "soft: 'yes' is not of type 'boolean'"),
    ],
)
def test_a_mistake_is_one_error_that_names_it(stage: str, given: object, message: str) -> None:
    found = errors({**WHOLE, stage: given})
    assert len(found) == 1, found
    assert re.match(message, found[0])


def test_of_everything_that_a_file_may_say() -> None:
    own = {"features": "rgb", "clusterer": {"use": "lloyd", "k": 2}, "foreground": "covary/border"}
    whole = {
        **WHOLE,
        "detector": {"use": "worlds", "labels": ["sofa"]},
        "classes": {"sofa": own, "coffee table": {}},
        "refine": ["guided", {"use": "cleanup"}],
        "soft": True,
    }
    assert errors(whole) == []
    assert errors(Recipe.parse(whole).model_dump(mode="json")) == []


def test_a_missing_stage() -> None:
    (found,) = errors({slot: WHOLE[slot] for slot in SLOTS[1:]})
    assert found == "$: 'source' is a required property"


KINDS = [
    (entry.kind, entry.id)
    for entry in covary.components()
    if entry.kind in (*SLOTS, "detector", "refiner")
]


def with_component(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A whole file in which a component has its place."""
    return {**WHOLE, "refine": ["guided", spec]} if kind == "refiner" else {**WHOLE, kind: spec}


@given(st.data())
def test_what_covary_accepts_has_no_error(data: st.DataObject) -> None:
    """For numbers, texts and switches of every parameter of every component."""
    slot, name = data.draw(st.sampled_from(KINDS))
    fields = sorted(registry().find(name, slot).load().Params.model_fields)
    keys = data.draw(st.lists(st.sampled_from(fields), max_size=2, unique=True)) if fields else []
    values = st.integers(-3, 300) | st.floats(-1, 9) | st.booleans() | st.text("abc", max_size=2)
    params = {key: data.draw(values) for key in keys}
    component = registry().find(name, slot).load()
    try:  # strictly, as JSON Schema has no conversion of "3" to 3
        component.Params.model_validate(params, strict=True)
    except ValueError:
        return
    assert errors(with_component(slot, {"use": name, **params})) == []


@given(st.sampled_from(KINDS), st.from_regex(r"[a-z]{1,6}", fullmatch=True))
def test_an_unknown_parameter_is_refused(component: tuple[str, str], key: str) -> None:
    slot, name = component
    if key == "use" or key in registry().find(name, slot).load().Params.model_fields:
        return
    found = errors(with_component(slot, {"use": name, key: 1}))
    assert any(f"{key!r} was unexpected" in error for error in found)


NESTED = """
import enum
import covary
import tiny_components

class Way(enum.Enum):
    UP = "{up}"
    DOWN = "{down}"

class C(tiny_components.Distinct):
    class Params(covary.Params):
        way: Way = Way.UP

    params: Params
"""

HOOK = """
import covary

@covary.hookimpl
def covary_components():
    return [covary.Component(kind="clusterer", name="n", target="{module}:C"),
            covary.Component(kind="clusterer", name="gone", target="no_such_module:C")]
"""


def test_equal_names_in_two_components_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for namespace, up, down in (("one", "north", "south"), ("two", "left", "right")):
        (tmp_path / f"nested_{namespace}.py").write_text(NESTED.format(up=up, down=down))
        write_plugin(tmp_path, namespace, HOOK.format(module=f"nested_{namespace}"))
    registry.cache_clear()
    assert errors({**WHOLE, "clusterer": {"use": "one/n", "way": "south"}}) == []
    assert errors({**WHOLE, "clusterer": {"use": "two/n", "way": "left"}}) == []
    (found,) = errors({**WHOLE, "clusterer": {"use": "two/n", "way": "south"}})
    assert "'south' is not one of ['left', 'right']" in found
    # A component whose module is broken may be named, with whatever parameters.
    assert errors({**WHOLE, "clusterer": {"use": "one/gone", "x": 1}}) == []
    # A short name that two plugins share means neither.
    assert errors({**WHOLE, "clusterer": "n"})
    with pytest.raises(CovaryError):
        covary.create("n")


def test_the_command_writes_it_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "covary.schema.json"
    result = CliRunner().invoke(cli, ["schema", "-o", str(path)])
    assert (result.exit_code, result.output) == (0, "")
    assert json.loads(path.read_text(encoding="utf-8")) == recipe_schema()
    (tmp_path / "pipe.toml").write_text(
        '#:schema ./covary.schema.json\nsource = "worlds"\nfeatures = "rgb"\n'
        'clusterer = "lloyd"\nforeground = "corner"\n'
    )
    assert Pipeline.load(tmp_path / "pipe.toml").clusterer.id == "covary/lloyd"


@pytest.mark.skipif(shutil.which("taplo") is None, reason="needs taplo, the tool of TOML editors")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("k = 4", "k = 4"), ""),
        (("k = 4", "kk = 4"), "'kk' was unexpected"),
        (("k = 4", "n_init = 0"), "0 is less than the minimum of 1"),
        (('"lloyd"', '"loyd"'), '"loyd" is not one of'),
    ],
)
def test_taplo_says_the_same(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    (tmp_path / "covary.schema.json").write_text(json.dumps(recipe_schema()))
    text = (
        '#:schema ./covary.schema.json\nsource = "worlds"\nfeatures = "rgb"\n'
        'foreground = "corner"\n[clusterer]\nuse = "lloyd"\nk = 4\n'
    )
    (tmp_path / "pipe.toml").write_text(text.replace(*change))
    done = subprocess.run(
        ["taplo", "check", "pipe.toml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode == 0) is (words == ""), done.stderr
    assert words in done.stderr
