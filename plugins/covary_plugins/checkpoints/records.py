"""What objects of foreign classes become: their names and attributes, without any behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Namespace", "Network", "Persistent"]


class Namespace(dict[str, Any]):
    """The attributes of an ``argparse.Namespace``, as a dictionary."""


@dataclass(eq=False, slots=True)
class Persistent:
    """An object of NVIDIA's ``torch_utils.persistence``; the source it came with is dropped.

    Attributes:
        class_name: name of its class, for instance ``"Generator"``.
        state: its attributes; those of a module hold ``_parameters``, ``_buffers``, ``_modules``.
    """

    class_name: str
    state: dict[str, Any]


@dataclass(eq=False, slots=True)
class Network:
    """A ``dnnlib.tflib`` network of the TensorFlow era; the source it came with is dropped.

    Attributes:
        state: its attributes: ``version``, ``name``, ``static_kwargs``, ``variables``,
            ``components``, ...
    """

    state: dict[str, Any] = field(default_factory=dict)
