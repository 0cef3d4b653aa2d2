"""Which line of a plugin loads a heavy package."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from covary._imports import HEAVY_PACKAGES, HeavyImport, heavy_imports
from covary.errors import PluginError

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes modules into a folder on the path; ``kornia`` and ``torch`` there are empty."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    write("torch.py", "uint8 = float16 = float32 = Tensor = None")
    write("kornia.py", "import torch")
    return write


def test_a_light_module_has_none(write: Write) -> None:
    write("light.py", "import json\ndef f():\n    import torch")
    assert heavy_imports(["light"]) == []


def test_the_line_is_named(write: Write) -> None:
    path = write("heavy.py", '"""A plugin."""\n\nimport json\nfrom torch import *\n')
    assert heavy_imports(["heavy"]) == [HeavyImport("torch", str(path), 4)]


def test_the_plugin_is_named_and_not_what_it_imports(write: Write) -> None:
    write("helper.py", "import kornia")
    path = write("acme.py", "import json\n\nimport helper")
    found = heavy_imports(["acme"])
    assert found == [HeavyImport("kornia", str(path), 3), HeavyImport("torch", str(path), 3)]


def test_of_the_plugins_own_modules_the_innermost_is_named(write: Write) -> None:
    write("acme/__init__.py", "")
    write("acme/a.py", "from . import b")
    path = write("acme/b.py", "import importlib\n\nimportlib.import_module('torch')")
    assert heavy_imports(["acme.a"]) == [HeavyImport("torch", str(path), 3)]


def test_a_lazy_name_of_covary_is_noticed(write: Write) -> None:
    path = write("lazy.py", "import covary\n\ndef f(summary: covary.StyleSummary): ...")
    (found,) = [each for each in heavy_imports(["lazy"]) if each.package == "torch"]
    assert (found.file, found.line) == (str(path), 3)


def test_looking_whether_it_is_installed_is_not_importing_it(write: Write) -> None:
    write("looks.py", "from importlib.util import find_spec\nfind_spec('torch')")
    assert heavy_imports(["looks"]) == []
    path = write(
        "both.py", "from importlib.util import find_spec\nfind_spec('torch')\nimport torch"
    )
    assert heavy_imports(["both"]) == [HeavyImport("torch", str(path), 3)]


def test_a_missing_one_counts_where_the_module_goes_on_without(write: Write) -> None:
    path = write("tries.py", "try:\n    import mxnet, jax\nexcept ImportError:\n    pass")
    assert "jax" in HEAVY_PACKAGES
    write("mxnet.py", "")
    assert heavy_imports(["tries"]) == [HeavyImport("jax", str(path), 2)]


def test_what_it_prints_is_not_the_answer(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    path = write("prints.py", "print('{}' * 99999)\nimport torch")
    assert heavy_imports(["prints"]) == [HeavyImport("torch", str(path), 2)]
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("import os; os._exit(0)", "ended early"),
        ("import os; os.abort()", "died of SIGABRT"),
        ("import time; time.sleep(99)", "not done after 2 s"),
    ],
)
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals")
def test_a_module_that_does_not_import_is_an_error(write: Write, text: str, words: str) -> None:
    write("broken.py", text)
    with pytest.raises(PluginError, match="broken cannot be imported") as caught:
        heavy_imports(["broken"], timeout=2)
    assert words in caught.value.got
    assert "python -c 'import broken'" in caught.value.fix
