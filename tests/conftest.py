"""Settings that all tests share."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["covary.testing.plugin"]

# One worker a core, one thread a worker: numerical libraries read this when they are first
# imported, and twice as many threads as cores make small fits ten times as slow.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadline: how long an example takes says more about the machine than about covary.
settings.register_profile(
    "covary",
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("covary")
