"""The CUDA engine: right in Triton's interpreter or on a GPU, and compiled without one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from covary_plugins.clusterers import _triton_engine
from covary_plugins.clusterers._triton_engine import Tiling, available

triton = pytest.importorskip("triton")

CASES = Path(__file__).with_name("triton_cases.py")
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
STORED = {"*u8": torch.uint8, "*fp16": torch.float16, "*fp32": torch.float32}
# Registers of a multiprocessor, and what a program may take of its shared memory on any GPU
# since Ampere.
REGISTERS, SHARED = 65536, 99 * 1024


def run_cases(**environment):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)]
    done = subprocess.run(
        command, env=os.environ | environment, cwd=CASES.parents[2], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(900)
def test_cases_in_the_interpreter():
    run_cases(TRITON_INTERPRET="1")


@pytest.mark.timeout(900)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_cases_on_the_gpu():
    run_cases(TRITON_INTERPRET="0")


# --- compiling without a GPU -------------------------------------------------------------------


class Compiled:
    """One kernel as machine code for a GPU."""

    def __init__(self, kernel, types, constants, *, capability, warps, stages=2):
        signature = {
            name: "constexpr" if name in constants else types.get(name, "i32")
            for name in kernel.arg_names
        }
        # As Triton finds them at 1024x1024: aligned tensors, and planes of a multiple of 16 pixels.
        even = [
            name
            for name, kind in signature.items()
            if kind.startswith("*") or (name in ("n", "stride_d") and name not in constants)
        ]
        attributes = {(kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in even}
        self.code = triton.compile(
            triton.compiler.ASTSource(kernel, signature, constants, attributes),
            target=triton.backends.compiler.GPUTarget("cuda", capability, 32),
            options={"num_warps": warps, "num_stages": stages, "enable_fp_fusion": True},
        )
        self.threads, self.shared = 32 * warps, self.code.metadata.shared

    def usage(self, folder):
        """Registers a thread, and bytes a thread of what did not fit into them."""
        path = folder / "kernel.cubin"
        path.write_bytes(self.code.asm["cubin"])
        command = [str(TOOLS / "cuobjdump"), "-res-usage", str(path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = re.search(r"REG:(\d+) STACK:(\d+)", done.stdout + done.stderr)
        return int(found[1]), int(found[2])


def over_pixels(stored, features, k, capability, planar=True):
    """The kernels of one pass, as the engine starts them."""
    from covary_plugins.clusterers import _triton

    tiling = Tiling.choose(features, k, STORED[stored])
    half = "*fp16" if tiling.split else "*fp32"
    types = dict.fromkeys(["offset_ptr", "bias_ptr", "sums_ptr"], "*fp32")
    types |= dict.fromkeys(["labels_ptr", "counts_ptr", "moved_ptr", "status_ptr"], "*i32")
    types |= {"x_ptr": stored, "high_ptr": half, "low_ptr": half}
    constants = {"KP": tiling.clusters, "PIXELS": tiling.pixels, "SPLIT": tiling.split}
    constants["stride_n" if planar else "stride_d"] = 1
    how = {"capability": capability, "warps": tiling.warps, "stages": tiling.stages}
    if tiling.fused:
        tile = {"HEAD": tiling.head, "TAIL": tiling.tail, "STAGES": tiling.stages}
        return [Compiled(_triton.assign_and_sum, types, constants | tile, **how)]
    block, padded = {"BLOCK": tiling.head}, {"PADDED": tiling.padded}
    return [
        Compiled(_triton.assign, types, constants | block | padded, **how),
        Compiled(_triton.sum_up, types, constants | block, **how),
    ]


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Nothing compiled is found or left elsewhere."""
    if not (TOOLS / "ptxas").exists():
        pytest.skip("this Triton brings no ptxas")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(
    ("stored", "features", "k"),
    [("*fp16", 150, 3), ("*u8", 150, 8), ("*fp16", 30, 3), ("*fp32", 150, 3), ("*fp16", 600, 64)],
)
def test_passes_compile_and_fit(compiler, stored, features, k, capability):
    for kernel in over_pixels(stored, features, k, capability):
        assert kernel.shared <= SHARED


@pytest.mark.parametrize(
    ("stored", "features"), [("*fp16", 30), ("*fp16", 150), ("*fp16", 300), ("*u8", 150)]
)
def test_fused_passes_keep_everything_on_chip(compiler, stored, features):
    (kernel,) = over_pixels(stored, features, 8, 90)
    registers, spilled = kernel.usage(compiler)
    assert spilled <= 32  # bytes; some versions of Triton need a few
    programs = _triton_engine._PROGRAMS
    assert programs * registers * kernel.threads <= REGISTERS


def test_kernels_over_the_centres_compile(compiler):
    from covary_plugins.clusterers import _triton

    types = dict.fromkeys(["centers_ptr", "sums_ptr", "counts_ptr", "tol_ptr"], "*fp64")
    types |= dict.fromkeys(["offset_ptr", "bias_ptr", "partials_ptr"], "*fp32")
    names = ["partial_counts_ptr", "moved_ptr", "passes_ptr", "settled_ptr", "status_ptr"]
    types |= dict.fromkeys(names, "*i32")
    types |= dict.fromkeys(["high_ptr", "low_ptr"], "*fp16")
    shape = {"KP": 16, "PADDED": 160, "BLOCK": 256, "SPLIT": True}
    for kernel, constants in (
        (_triton.split_centers, shape),
        (_triton.update, shape | {"PARTS": 512}),
        (_triton.reduce_sums, {"PARTS": 256, "BLOCK": 16, "SPLIT": True}),
    ):
        compiled = Compiled(kernel, types, constants, capability=90, warps=8)
        assert compiled.usage(compiler)[1] == 0


@pytest.mark.parametrize("own", [True, False])
def test_distances_compile(compiler, own):
    from covary_plugins.clusterers import _triton

    types = dict.fromkeys(["offset_ptr", "points_ptr", "closest_ptr"], "*fp32")
    types |= {"x_ptr": "*fp16", "labels_ptr": "*i32", "potentials_ptr": "*fp64"}
    constants = {"BLOCK": 16, "PIXELS": 256, "OWN": own, "KEEP": not own, "stride_n": 1}
    if not own:
        constants["labels_ptr"] = None
    compiled = Compiled(_triton.closer, types, constants, capability=90, warps=8)
    assert compiled.usage(compiler)[1] == 0


# --- choices -----------------------------------------------------------------------------------


@given(
    features=st.integers(1, 3000),
    k=st.integers(1, 64),
    dtype=st.sampled_from(list(STORED.values())),
)
def test_tiles_hold_all_features(features, k, dtype):
    tiling = Tiling.choose(features, k, dtype)
    assert tiling.clusters >= k
    assert tiling.split == (dtype != torch.float32)
    for size in (
        tiling.head,
        tiling.clusters,
        tiling.pixels,
        *([tiling.tail] if tiling.tail else []),
    ):
        assert size >= 16
        assert size & (size - 1) == 0
    if tiling.fused:
        assert tiling.padded == tiling.head + tiling.tail >= features
        assert tiling.padded <= max(16, 2 * features)
    else:
        assert tiling.padded - features < tiling.head
        assert tiling.padded % tiling.head == 0


def test_it_is_not_for_processors():
    assert not available(torch.device("cpu"))


@pytest.mark.parametrize(
    ("capability", "hip", "version", "compiler", "good"),
    [
        ((9, 0), None, (3, 9), True, True),
        ((8, 0), None, (3, 3), True, True),
        ((7, 5), None, (3, 9), True, False),
        ((9, 0), "6.2", (3, 9), True, False),
        ((9, 0), None, (3, 2), True, False),
        ((9, 0), None, (0,), True, False),
        ((9, 0), None, (3, 9), False, False),
    ],
)
def test_where_it_can_run(monkeypatch, capability, hip, version, compiler, good):
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(_triton_engine, "_triton_version", lambda: version)
    monkeypatch.setattr(_triton_engine, "_has_compiler", lambda: compiler)
    available.cache_clear()
    assert available(torch.device("cuda")) is good
    available.cache_clear()


@pytest.mark.parametrize(
    ("version", "found"), [("3.3.1+gitabc", (3, 3)), ("3.10.0", (3, 10)), (None, (0,))]
)
def test_versions_of_triton(monkeypatch, version, found):
    if version is None:
        monkeypatch.setitem(sys.modules, "triton", None)
    else:
        monkeypatch.setattr(triton, "__version__", version)
    assert _triton_engine._triton_version() == found


@pytest.mark.parametrize(("names", "headers", "good"), [
    ({"gcc"}, True, True), ({"clang"}, True, True), (set(), True, False), ({"gcc"}, False, False),
])  # fmt: skip
def test_triton_needs_a_c_compiler_and_headers(monkeypatch, tmp_path, names, headers, good):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(_triton_engine, "which", lambda name: name if name in names else None)
    if headers:
        (tmp_path / "Python.h").touch()
    monkeypatch.setattr(_triton_engine, "get_path", lambda name: str(tmp_path))
    assert _triton_engine._has_compiler() is good
