"""Public checkpoints as data: pickles of several kinds are read, and nothing of them is run.

`read_checkpoint` understands NVIDIA's PyTorch pickles, TensorFlow-era pickles and files of
torch.save; `sniff` says what any file is. Safetensors are data already and need no reader of this
kind: where ``sniff(path).kind`` is ``"safetensors"``, use the safetensors package.
"""

from __future__ import annotations

from .matching import check_tensors, listed
from .records import Namespace, Network, Persistent
from .sniffing import Sniffed, sniff
from .tensors import LazyTensor, load_tensors
from .tree import Tree, read_checkpoint

__all__ = [
    "LazyTensor",
    "Namespace",
    "Network",
    "Persistent",
    "Sniffed",
    "Tree",
    "check_tensors",
    "listed",
    "load_tensors",
    "read_checkpoint",
    "sniff",
]
