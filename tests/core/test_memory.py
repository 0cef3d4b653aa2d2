"""What measures the peak of main memory, and what it falls back to."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from covary import processes
from covary.testing import memory


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_peak_is_above_what_was_held_before() -> None:
    held = np.ones(100 * 2**20, np.uint8)
    with memory.host_peak() as peak:
        more = np.ones(50 * 2**20, np.uint8)
    assert peak.bytes is not None
    assert 45 * 2**20 < peak.bytes < 80 * 2**20
    with memory.host_peak() as none:
        pass
    assert none.bytes is not None
    assert none.bytes < 10 * 2**20
    del held, more


def test_without_proc_the_lifetime_maximum_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_RESET", Path("/no/such/file"))
    with memory.host_peak() as peak:
        pass
    assert "ru_maxrss" in peak.method
    assert peak.bytes is not None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_measure_sees_an_allocation() -> None:
    before = memory.resident_bytes()  # other tests have left freed memory to be used again
    peak, _ = memory.highest(lambda: torch.ones(64 * 2**18))
    assert 60 * 2**20 < peak - before < 90 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_peak_does_not_depend_on_what_was_freed_before() -> None:
    """Without `map_large_blocks` most of these are 45 to 80 MiB: the heap keeps its gaps."""
    ended, peaks = processes.call("peaks:after_others", 20, timeout=120)
    assert ended.status == "ok", ended.reason
    assert max(peaks) < 40 * 2**20
