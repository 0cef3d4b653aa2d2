"""Silence from the libraries that diffuse: no bars, no remarks, errors only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...hub.quiet import quiet as quiet_transformers

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Bars and log lines of diffusers and transformers off inside the block, then as before."""
    # transformers first: diffusers imports it, and it remarks on packages that are not installed.
    with quiet_transformers():
        from diffusers.utils import logging

        verbosity = logging.get_verbosity()
        # There is no public way to ask.
        bars = getattr(logging, "_tqdm_active", True)
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()
