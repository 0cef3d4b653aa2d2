"""Tests that must not run beside each other, such as two that start Ray, do not."""

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process has no groups")
@pytest.mark.xdist_group("canary")
def test_groups_reach_the_scheduler(request: pytest.FixtureRequest) -> None:
    """pytest-xdist says nothing where it cannot tell the groups: pytest-dev/pytest-xdist#1386."""
    assert request.node.nodeid.endswith("@canary")
