"""Inversion of a photo into a StyleGAN2 generator by optimisation."""

from __future__ import annotations

from .inversion import Projection, Schedule, project, training_bytes
from .loss import pyramid_loss
from .tuning import tune

__all__ = ["Projection", "Schedule", "project", "pyramid_loss", "training_bytes", "tune"]
