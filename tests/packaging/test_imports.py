"""Who may import whom, and what may not be loaded by merely looking around."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import covary
from covary._imports import HEAVY_PACKAGES

ROOT = Path(__file__).parents[2]


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(tree: ast.Module) -> Iterator[tuple[str, str | None]]:
    """(module, name) of every absolute import, name None where the module itself is meant."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                yield str(node.module), alias.name


def private_use(path: Path) -> list[str]:
    """What a module takes from covary that is not public."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bad = []
    for module, name in imported(tree):
        if module.split(".")[0] != "covary":
            continue
        if any(part.startswith("_") for part in module.split(".")):
            bad.append(module)
        elif name is not None and not public(module, name):
            bad.append(f"{module}.{name}")
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="covary"), attr=attr) if not public(
                "covary", attr
            ):
                bad.append(f"covary.{attr}")
    return bad


def public(module: str, name: str) -> bool:
    """Whether ``module`` promises ``name``, or has a public submodule of that name."""
    if name == "__version__" or name in getattr(importlib.import_module(module), "__all__", ()):
        return True
    if name.startswith("_"):
        return False
    try:
        return importlib.util.find_spec(f"{module}.{name}") is not None
    except ModuleNotFoundError:  # ``module`` is no package
        return False


@pytest.mark.parametrize("path", modules("core/covary"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_knows_no_plugin_and_no_benchmark(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for module, _ in imported(tree):
        assert module.split(".")[0] not in {"covary_plugins", "covary_bench"}


@pytest.mark.parametrize(
    "path",
    [*modules("plugins/covary_plugins"), *modules("benchmarks/covary_bench")],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_plugins_and_benchmarks_use_only_what_a_third_party_may(path: Path) -> None:
    assert private_use(path) == []


@pytest.mark.parametrize(
    "line",
    [
        "from covary._registry import registry",
        "import covary._hooks",
        "from covary import registry",
        "from covary.types import _canonical_order",
        "from covary.images import no_such_thing",
        "import covary\ncovary.cache_folder()",
    ],
)
def test_the_rule_would_notice(line: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(line)
    assert private_use(tmp_path / "module.py")


TRIPWIRE = """
import os
with open(os.environ["TRIPPED"], "a") as log:
    log.write(__name__ + "\\n")
raise ImportError(__name__ + " was imported")
"""

LOOK_AROUND = """
import covary
dir(covary), covary.__version__, covary.API_VERSION, covary.Component, covary.hookimpl
covary.Spec, covary.Recipe, covary.Clusterer, covary.InputError
for entry in covary.components():
    entry.load().Params.model_json_schema()
    entry.unavailable()
covary.preset_names()
covary.read_catalogue()
assert covary.problems() == (), covary.problems()

from click.testing import CliRunner
from covary.cli import cli

for arguments in (
    ["--help"], ["--version"], ["list"], ["list", "--json"], ["list", "clusterer"],
    ["list", "presets"], ["list", "checkpoints"], ["show", "lloyd"], ["show", "stylegan2"],
    ["show", "faiss", "--json"], ["show", "avatars"], ["segment", "--help"], ["schema"],
    ["checkpoints", "list"],
):
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, (arguments, result.output, result.exception)
"""


def test_looking_around_loads_nothing_heavy(tmp_path: Path) -> None:
    for name in HEAVY_PACKAGES:
        (tmp_path / "site" / name).mkdir(parents=True)
        (tmp_path / "site" / name / "__init__.py").write_text(TRIPWIRE)
    tripped = tmp_path / "tripped"
    env = {k: v for k, v in os.environ.items() if not k.startswith("COVARY_")}
    env |= {"PYTHONPATH": str(tmp_path / "site"), "TRIPPED": str(tripped)}

    def look(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=tmp_path
        )

    done = look(LOOK_AROUND)
    assert done.returncode == 0, done.stderr
    assert not tripped.exists()
    # The wires do trip.
    assert look("import covary; covary.StyleSummary").returncode != 0
    assert tripped.read_text().split() == ["torch"]


def public_modules() -> list[str]:
    """The modules of the core whose path holds no private part."""
    names = []
    for path in modules("core/covary"):
        parts = path.relative_to(ROOT / "core").with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            names.append(".".join(parts))
    return names


@pytest.mark.parametrize("name", public_modules())
def test_a_public_module_states_what_is_public(name: str) -> None:
    module = importlib.import_module(name)
    assert len(module.__all__) == len(set(module.__all__))
    for public_name in module.__all__:
        assert hasattr(module, public_name)


def test_every_public_name_of_covary_resolves_to_its_home() -> None:
    assert list(covary.__all__) == sorted(covary.__all__)
    for name in covary.__all__:
        home = importlib.import_module(f"covary.{covary._HOME[name]}")
        assert getattr(covary, name) is getattr(home, name)
        assert name in home.__all__, name
    assert set(covary.__all__) == set(covary._HOME)
    assert {*covary.__all__, "__version__"} == set(dir(covary))
    with pytest.raises(AttributeError, match="no attribute 'Piepline'"):
        covary.Piepline  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((ROOT / "core/covary/__init__.py").read_text())
    names = {
        alias.name: str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }
    assert names == covary._HOME
