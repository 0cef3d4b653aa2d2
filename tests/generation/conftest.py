"""Every test here sees the plugins that this environment installs, and no user's settings."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _fresh_registry(isolated_settings: None) -> None:
    """Nothing that another test discovered is left."""
