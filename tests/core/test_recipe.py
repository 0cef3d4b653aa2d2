"""Recipes: pipelines as data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, model_validator

import covary
from covary import InputError, ParamsError, Recipe, Spec
from covary.recipe import INSIDE, SLOTS, ClassSpec

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,6}", fullmatch=True)
USES = NAMES | st.tuples(NAMES, NAMES).map("/".join)
KEYS = st.from_regex(r"[a-z]{2,6}", fullmatch=True).filter(
    lambda key: key not in {"use", "copy", "json", "dict", "parse", "params", "create", "schema"}
)
SCALARS = (
    st.booleans()
    | st.integers(-(2**31), 2**31)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=8)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)
PARAMS = st.dictionaries(KEYS, VALUES, max_size=3)
SPECS = st.builds(lambda use, params: Spec(use=use, **params), USES, PARAMS)
MAYBE = st.none() | SPECS
CLASSES = st.builds(ClassSpec, **dict.fromkeys(INSIDE, MAYBE))
LABELS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=8)
RECIPES = st.builds(
    Recipe,
    **dict.fromkeys(SLOTS, SPECS),
    detector=MAYBE,
    classes=st.dictionaries(LABELS, CLASSES, max_size=2),
    refine=st.lists(SPECS, max_size=2).map(tuple),
    soft=st.booleans(),
)

GOOD = {"source": "worlds", "features": "lab", "clusterer": "lloyd", "foreground": "corner"}


class TestSpec:
    @given(USES, PARAMS)
    def test_all_forms_say_the_same(self, use: str, params: dict[str, object]) -> None:
        mapping = Spec.parse({"use": use, **params})
        assert Spec.parse((use, params)) == Spec.parse([use, params]) == mapping
        assert (mapping.use, mapping.params) == (use, params)
        assert Spec.parse(mapping) == mapping
        assert Spec.parse(use) == Spec(use=use)

    @pytest.mark.parametrize(
        "bad",
        [
            "os:abort", "covary_plugins.clusterers.lloyd:Lloyd", "a/b/c", "Lloyd", "../x", "", "/a",
            "a/", "a\n", 7, None, {}, {"k": 3}, ("lloyd",), ("lloyd", 3), ("lloyd", {}, 1),
        ],
    )  # fmt: skip
    def test_nothing_else_is_a_name(self, bad: object) -> None:
        with pytest.raises(
            InputError, match=r"stage 3: expected a registered name such as 'lloyd'"
        ):
            Spec.parse(bad, origin="stage 3")

    def test_creates_the_component(self) -> None:
        component = Spec(use="lloyd", k=7).create("clusterer")
        assert (component.id, component.params.k) == ("covary/lloyd", 7)

    def test_unknown_parameters_suggest(self) -> None:
        with pytest.raises(ParamsError, match=r"Lloyd has no parameter 'maxiter'; did you mean"):
            Spec(use="lloyd", maxiter=7).create("clusterer")
        with pytest.raises(
            ParamsError, match=r"'k' of Lloyd.*greater than or equal to 1 or 'auto', got 0"
        ):
            Spec(use="lloyd", k=0).create("clusterer")

    def test_parameters_without_a_default_are_asked_for(self) -> None:
        class Sized(covary.Clusterer):
            class Params(covary.Params):
                side: int

                @model_validator(mode="after")
                def _even(self):
                    if self.side % 2:
                        raise ValueError("an even side")
                    return self

            def fit(self, summary, ctx=None):
                raise NotImplementedError

        with pytest.raises(ParamsError, match=r"'side' of Sized: expected a value, .*, got none"):
            Sized()
        with pytest.raises(ParamsError, match=r"parameters of Sized: expected an even side, got"):
            Sized(side=3)

    def test_a_parameter_of_several_kinds_is_one_complaint(self) -> None:
        class Chosen(covary.Clusterer):
            class Params(covary.Params):
                k: Annotated[int, Field(ge=1)] | Literal["auto"] = 3
                n: int = 1

            def fit(self, summary, ctx=None):
                raise NotImplementedError

        with pytest.raises(ParamsError) as caught:
            Chosen(k=0)
        assert str(caught.value).startswith(
            "parameter 'k' of Chosen: expected greater than or equal to 1 or 'auto', got 0;"
        )
        with pytest.raises(ParamsError, match=r"'k' of Chosen \(and 1 more\): expected .*'auto'"):
            Chosen(k="many", n="many")

    def test_several_complaints_are_counted(self) -> None:
        with pytest.raises(ParamsError, match=r"\(and 1 more\)"):
            covary.create("lloyd", k="many", n_init=0)


class TestRecipe:
    @settings(max_examples=20)
    @given(RECIPES)
    def test_toml_round_trip(
        self, tmp_path_factory: pytest.TempPathFactory, recipe: Recipe
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "recipe.toml"
        path.write_text(recipe.to_toml(), encoding="utf-8")
        assert Recipe.from_toml(path) == recipe

    def test_what_is_not_used_is_not_in_the_data(self) -> None:
        assert set(Recipe.parse(GOOD).model_dump(mode="json")) == set(SLOTS)
        given = {
            **GOOD,
            "detector": "file",
            "classes": {"coffee table": {"clusterer": ("lloyd", {"k": 2})}},
            "refine": ["guided", ("cleanup", {"min_area": 0.1})],
            "soft": True,
        }
        assert Recipe.parse(given).model_dump(mode="json") == {
            **{slot: {"use": use} for slot, use in GOOD.items()},
            "detector": {"use": "file"},
            "classes": {"coffee table": {"clusterer": {"use": "lloyd", "k": 2}}},
            "refine": [{"use": "guided"}, {"use": "cleanup", "min_area": 0.1}],
            "soft": True,
        }

    def test_the_form_of_the_documentation(self, tmp_path: Path) -> None:
        path = tmp_path / "recipe.toml"
        path.write_text(
            """
            source = "worlds"
            features = "lab"
            clusterer = "lloyd"
            foreground = "border"
            refine = ["guided", { use = "cleanup", min_area = 0.001 }]
            soft = true
            [detector]
            use = "worlds"
            [classes."coffee table"]
            clusterer = { use = "lloyd", k = 2 }
            """
        )
        recipe = Recipe.from_toml(path)
        assert [(where, kind, spec.use) for where, kind, spec in recipe.specs()] == [
            ("source", "source", "worlds"),
            ("detector", "detector", "worlds"),
            ("features", "features", "lab"),
            ("clusterer", "clusterer", "lloyd"),
            ("foreground", "foreground", "border"),
            ('classes."coffee table".clusterer', "clusterer", "lloyd"),
            ("refine.0", "refiner", "guided"),
            ("refine.1", "refiner", "cleanup"),
        ]

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ({"detectr": "file"}, "unknown stage 'detectr'; did you mean 'detector'?"),
            ({"detector": 3}, "pipe, detector: expected a registered name.*got 3"),
            ({"detector": {"k": 3}}, "pipe, detector.use: expected a registered name"),
            (
                {"classes": {"sofa": {"clustrer": "lloyd"}}},
                "classes.sofa.clustrer: expected some of features, clusterer, foreground, got "
                "'clustrer'; did you mean 'clusterer'?",
            ),
            ({"classes": {"sofa": {"clusterer": {"k": 2}}}}, "sofa.clusterer.use: expected a reg"),
            ({"classes": {"sofa": "lloyd"}}, "classes.sofa: expected some of features, clusterer"),
            ({"classes": "sofa"}, "pipe, classes: expected tables of stages by label, got 'sofa'"),
            ({"refine": "guided"}, r"pipe, refine: expected a list of refiners.*got 'guided'"),
            ({"refine": [3]}, "pipe, refine.0: expected a registered name.*got 3"),
            ({"soft": 1}, "pipe, soft: expected true or false, got 1"),
            ({"soft": "yes"}, "pipe, soft: expected true or false, got 'yes'"),
        ],
    )
    def test_mistakes_in_other_entries(self, entry: dict[str, object], message: str) -> None:
        with pytest.raises(InputError, match=message):
            Recipe.parse({**GOOD, **entry}, origin="pipe")

    def test_none_is_left_out(self, tmp_path: Path) -> None:
        recipe = Recipe.parse({**GOOD, "clusterer": {"use": "lloyd", "coarse": None, "k": 2}})
        path = tmp_path / "recipe.toml"
        path.write_text(recipe.to_toml())
        assert Recipe.from_toml(path).clusterer == Spec(use="lloyd", k=2)

    @pytest.mark.parametrize("slot", SLOTS)
    def test_a_missing_stage(self, slot: str) -> None:
        data = {key: value for key, value in GOOD.items() if key != slot}
        with pytest.raises(InputError, match=f"recipe, {slot}: .*got nothing"):
            Recipe.parse(data)

    def test_an_unknown_stage_suggests(self) -> None:
        with pytest.raises(InputError, match="unknown stage 'cluster'; did you mean 'clusterer'"):
            Recipe.parse({**GOOD, "cluster": "lloyd"})

    def test_an_import_path_is_no_name(self) -> None:
        with pytest.raises(InputError, match=r"mine, clusterer\.use: .*got 'os:abort'"):
            Recipe.parse({**GOOD, "clusterer": "os:abort"}, origin="mine")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"source = ", "valid TOML"),
            (b"\xff\xfe", "valid TOML"),
            (b"", "got nothing"),
            (b"source = 3", "registered name"),
        ],
    )
    def test_a_bad_file_is_named(self, tmp_path: Path, content: bytes, message: str) -> None:
        path = tmp_path / "pipe.toml"
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"recipe .*pipe\.toml.*{message}"):
            Recipe.from_toml(path)

    def test_no_file_and_a_folder(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "no.toml"):
            with pytest.raises(InputError, match="expected a TOML file, got"):
                Recipe.from_toml(path)
