"""An oracle for "nothing was executed": the interpreter's own audit events."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from covary_plugins.stylegan2 import Architecture, Generator, load_generator, save_safetensors
from plugins.checkpoints import writers

_SUSPICIOUS = (
    "compile",
    "exec",
    "import",
    "os.",
    "subprocess.",
    "socket.",
    "ctypes.",
    "marshal.",
    "pickle.find_class",
    "shutil.",
)
_seen: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is None:
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event.startswith(_SUSPICIOUS):
        _seen.append(f"{event} {arguments!r:.200}")


sys.addaudithook(_watch)  # for good: hooks cannot be taken away


@contextmanager
def _nothing_runs() -> Iterator[None]:
    global _seen
    modules = set(sys.modules)
    _seen = []
    try:
        yield
    finally:
        seen, _seen = _seen, None
        executed, writers.EXECUTED[:] = list(writers.EXECUTED), []
    assert not seen
    assert not executed
    assert set(sys.modules) == modules


@pytest.fixture(scope="session")
def _warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """torch and safetensors import parts of themselves when they are first used."""
    folder: Path = tmp_path_factory.mktemp("warm")
    generator = Generator(Architecture((4, 4), (4, 4)))
    save_safetensors(generator, folder / "g.safetensors")
    for name in ("g.safetensors", "g.pt"):
        if name == "g.pt":
            torch.save({"g_ema": generator.state_dict()}, folder / name)
        load_generator(folder / name)


@pytest.fixture
def nothing_runs(_warm: None) -> Callable[[], Any]:
    """A context in which no code may be compiled, run or imported and no file written."""
    return _nothing_runs
