"""Settings that all tests share."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["covary.testing.plugin"]

# One worker a core, one thread a worker: numerical libraries read this when they are first
# imported, and twice as many threads as cores make small fits ten times as slow.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# As numba starts it sets the OpenMP threads of torch as well, to this many.
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

# Read when huggingface_hub is first imported: whatever a test does, nothing may be fetched.
os.environ["HF_HUB_OFFLINE"] = "1"

# Read by Ray's workers and drivers, which otherwise put a function of their own in print's place.
os.environ["RAY_TQDM_PATCH_PRINT"] = "0"

# No deadline: how long an example takes says more about the machine than about covary.
settings.register_profile(
    "covary",
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("covary")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for the network is a failure."""

    def refuse(*_: Any) -> None:
        raise AssertionError("something asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
