"""StyleGAN2's mapping network: latents, and classes where there are any, to codes."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from covary.errors import CheckpointError, InputError

from .architecture import Architecture
from .layers import FullyConnected
from .ops import LRELU_GAIN, LRELU_SLOPE

__all__ = ["Mapping"]


class Mapping(nn.Module):
    """z, and a class label in conditional networks, to per-layer codes w."""

    w_avg: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths = architecture.mapping_widths
        self.num_layers = len(widths) - 1
        self.num_ws, self.c_dim = architecture.num_ws, architecture.c_dim
        self.z_dim, self.w_dim = widths[0], widths[-1]
        if self.c_dim:
            self.embed = FullyConnected(self.c_dim, architecture.embed_features)
        joined = (self.z_dim + architecture.embed_features, *widths[1:])
        for i, (n_in, n_out) in enumerate(pairwise(joined)):
            layer = FullyConnected(n_in, n_out, lr_multiplier=architecture.lr_multiplier)
            self.add_module(f"fc{i}", layer)
        self.register_buffer("w_avg", torch.zeros(self.w_dim))
        self.has_w_avg = True

    def forward(
        self,
        z: Tensor,
        psi: float = 1.0,
        cutoff: int | None = None,
        label: int | Tensor | None = None,
    ) -> Tensor:
        """Codes ws (B, num_ws, w_dim) of z (B, z_dim), truncated towards the mean code.

        Args:
            psi: truncation; 1 leaves w as it is, 0 gives the mean code.
            cutoff: truncate only the layers before this one; all of them when None.
            label: class in 0..c_dim-1, one for all or integers (B,); for conditional networks.

        Raises:
            InputError: z of another shape, a cutoff outside 0..num_ws, or a label that is missing,
                out of range, or given to an unconditional network.
            CheckpointError: psi is not 1 and the checkpoint came without a mean code.
        """
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise InputError(
                "z", expected=f"shape (B, {self.z_dim})", got=str(tuple(z.shape)), fix="reshape it"
            )
        x = _normalised(z.float())
        classes = self._classes(label, len(z))
        if classes is not None:
            one_hot = F.one_hot(classes.to(z.device), self.c_dim).float()
            x = torch.cat([x, _normalised(self.embed(one_hot))], dim=1)
        for i in range(self.num_layers):
            x = F.leaky_relu(self.get_submodule(f"fc{i}")(x), LRELU_SLOPE) * LRELU_GAIN
        return self.truncate(x[:, None, :].repeat(1, self.num_ws, 1), psi, cutoff)

    def truncate(self, ws: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """``w_avg + psi * (ws - w_avg)`` for the layers before ``cutoff``, (B, num_ws, w_dim)."""
        if cutoff is not None and not 0 <= cutoff <= self.num_ws:
            raise InputError(
                "truncation cutoff", expected=f"0..{self.num_ws} or None", got=str(cutoff)
            )
        if psi == 1:
            return ws
        if not self.has_w_avg:
            raise CheckpointError(
                "truncation",
                expected="a checkpoint with the mean code (w_avg or latent_avg)",
                got="one without",
                fix="pass psi=1, or add the tensor 'latent_avg' to the state dict",
            )
        cut = self.num_ws if cutoff is None else cutoff
        return torch.cat([torch.lerp(self.w_avg, ws[:, :cut], psi), ws[:, cut:]], dim=1)

    def _classes(self, label: int | Tensor | None, batch: int) -> Tensor | None:
        """The class of each sample, int64 (B,), or None for an unconditional network."""
        if label is None and not self.c_dim:
            return None
        if not self.c_dim:
            raise InputError(
                "label", expected="none: the network has no classes", got=str(label), fix="drop it"
            )
        classes = torch.as_tensor(-1 if label is None else label)
        whole = not classes.is_floating_point() and classes.dtype != torch.bool
        fits = whole and (classes.ndim == 0 or classes.shape == (batch,))
        if not fits or not bool(((classes >= 0) & (classes < self.c_dim)).all()):
            raise InputError(
                "label",
                expected=f"a class in 0..{self.c_dim - 1}, one for all or one for each z",
                got="none" if label is None else str(label),
                fix="pass label=...; the network was trained with classes",
            )
        return classes.long().expand(batch)


def _normalised(x: Tensor) -> Tensor:
    """Each row at mean square 1."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
