"""Silence from the libraries that diffuse: no bars, no remarks, errors only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Bars and log lines of diffusers and transformers off inside the block, then as before."""
    # transformers first: diffusers imports it, and it remarks on packages that are not installed.
    from transformers.utils import logging as transformers_log

    verbosity = transformers_log.get_verbosity()
    bars = transformers_log.is_progress_bar_enabled()
    transformers_log.set_verbosity_error()
    try:
        from diffusers.utils import logging as diffusers_log

        own_verbosity = diffusers_log.get_verbosity()
        # There is no public way to ask.
        own_bars = getattr(diffusers_log, "_tqdm_active", True)
        diffusers_log.set_verbosity_error()
        transformers_log.disable_progress_bar()
        diffusers_log.disable_progress_bar()
        try:
            yield
        finally:
            diffusers_log.set_verbosity(own_verbosity)
            if own_bars:
                diffusers_log.enable_progress_bar()
            if bars:
                transformers_log.enable_progress_bar()
    finally:
        transformers_log.set_verbosity(verbosity)
