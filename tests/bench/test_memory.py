"""What measures the peak of a device's memory, and what it falls back to."""

from __future__ import annotations

import os
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from covary_bench import memory


def test_a_cpu_has_no_device_memory() -> None:
    for measure in (memory.device_peak, memory.torch_peak):
        with measure(torch.device("cpu")) as peak:
            pass
        assert (peak.bytes, peak.method) == (None, "")


class Nvml:
    """Stands in for pynvml: one GPU, on which this process and another have memory."""

    def __init__(self, lists_us: bool = True) -> None:
        self.ours, self.lists_us, self.asked = 100, lists_us, b""

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes) -> str:
        self.asked = uuid
        return "the GPU"

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:
        assert handle == "the GPU"
        us = [SimpleNamespace(pid=os.getpid(), usedGpuMemory=self.ours)] if self.lists_us else []
        return [SimpleNamespace(pid=1, usedGpuMemory=9999), *us]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much of a GPU as measuring memory asks for."""
    held = iter([10, 70])
    properties = SimpleNamespace(uuid="1234-56")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: next(held))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: next(held))


@pytest.mark.usefixtures("cuda")
def test_nvml_sees_a_peak_that_is_over_when_the_work_is(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    with memory.device_peak(torch.device("cuda")) as peak:
        nvml.ours = 700
        time.sleep(0.2)
        nvml.ours = 100
    assert (peak.bytes, nvml.asked) == (600, b"GPU-1234-56")
    assert peak.method.startswith("NVML")
    with memory.device_peak(torch.device("cuda")) as last:
        nvml.ours = 150
    assert last.bytes == 50


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("nvml", [Nvml(lists_us=False), None])
def test_where_nvml_does_not_list_the_process_torch_is_asked(
    nvml: Nvml | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)  # None: importing it fails
    with memory.device_peak(torch.device("cuda")) as peak:
        pass
    assert peak.bytes == 60
    assert "torch" in peak.method
