"""A StyleGAN2 generator in plain PyTorch, weight-compatible with the public checkpoints."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from covary.errors import InputError

from .architecture import Architecture
from .execution import FP32, Execution
from .layers import Noise
from .mapping import Mapping
from .names import check_state, load_plan
from .synthesis import Prefix, Synthesis, check_noise

__all__ = ["Generator", "Prefix", "Synthesis"]


class Generator(nn.Module):
    """StyleGAN2: ``mapping`` turns z into codes ws, ``synthesis`` turns ws into images.

    Attributes:
        num_ws: layers, i.e. codes per image (l in the paper).
        resolution: height and width of the images, pixels.
        z_dim: size of z.
        w_dim: size of one code.
        c_dim: number of classes; 0 for an unconditional network.
        architecture: widths and settings, enough to build the same network again.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.resolution = architecture.resolution
        self.num_ws = architecture.num_ws
        self.z_dim = architecture.mapping_widths[0]
        self.w_dim = architecture.w_dim
        self.c_dim = architecture.c_dim
        self.mapping = Mapping(architecture)
        self.synthesis = Synthesis(architecture)

    @classmethod
    def from_state_dict(
        cls, state: MappingABC[str, Any], init_kwargs: MappingABC[str, Any] | None = None
    ) -> Generator:
        """A generator in evaluation mode with the weights of ``state``, upcast to float32.

        Sizes are read from the shapes. NVIDIA's and rosinality's parameter names are understood;
        for the latter the mean code is expected as ``latent_avg`` beside the parameters, or beside
        ``g_ema`` when ``state`` is the whole checkpoint.

        Args:
            init_kwargs: the constructor arguments the checkpoint was trained with, flat or nested
                as NVIDIA stores them. Those the shapes do not show are read from here:
                ``conv_clamp`` (None), ``lr_multiplier`` (0.01), ``resample_filter`` (1, 3, 3, 1),
                ``num_fp16_res`` (0), which `Execution.choose` looks at.

        Raises:
            CheckpointError: another layout, missing or unknown tensors, or shapes that do not fit.
        """
        plan = load_plan(state, init_kwargs or {})
        with torch.device("meta"):  # no memory until the stored tensors take their places
            generator = cls(plan.architecture)
        check_state(plan.tensors, generator.state_dict())
        generator.load_state_dict(plan.tensors, strict=False, assign=True)
        device = plan.tensors["synthesis.b4.const"].device
        if "mapping.w_avg" not in plan.tensors:
            generator.mapping.w_avg = torch.zeros(generator.w_dim, device=device)
            generator.mapping.has_w_avg = False
        for name, module in generator.named_modules():
            if hasattr(module, "resample_filter"):
                module.resample_filter = plan.filters.get(name, plan.default_filter).to(
                    device, copy=True
                )
        return generator.eval().requires_grad_(False)

    def prefix(
        self,
        w_structure: Tensor,
        c: int,
        noise: Noise = "const",
        *,
        how: Execution = FP32,
        max_resolution: int | None = None,
    ) -> Prefix:
        """The synthesis up to layer ``c``, done once for all variants of a structure.

        Not an approximation: with ``prefix=g.prefix(w, c)``, ``synthesis`` of codes that
        ``style_mix`` made from w and c gives what it gives without, up to float rounding.

        Args:
            w_structure: (1, L, W) or (L, W), or several structures (q, L, W); `Prefix.of` then
                gives each code its own.
            noise, how, max_resolution: as for ``synthesis``.
        """
        self._check_cutoff(c)
        check_noise(noise)
        ws = self._structures(w_structure)
        synthesis = self.synthesis
        last = synthesis.steps_to(synthesis.check_max_resolution(max_resolution))
        steps = min(synthesis.steps_before(c), last)
        return synthesis.advance(synthesis.start(noise, how), ws, steps)

    def style_mix(self, w_structure: Tensor, w_styles: Tensor, c: int) -> Tensor:
        """Codes (n, L, W): layers before ``c`` from ``w_structure``, from ``c`` on from each style.

        Truncate both before mixing.

        Args:
            w_structure: (1, L, W) or (L, W).
            w_styles: (n, L, W).
            c: cutoff in 0..L; 0 takes all from the styles, L all from the structure.

        Raises:
            InputError: c outside 0..L, or codes of another shape.
        """
        self._check_cutoff(c)
        structure = self._structures(w_structure, most=1)
        if w_styles.ndim != 3 or w_styles.shape[1:] != structure.shape[1:]:
            raise InputError(
                "w_styles",
                expected=f"shape (n, {self.num_ws}, {self.w_dim})",
                got=str(tuple(w_styles.shape)),
            )
        return torch.cat([structure[:, :c].expand(len(w_styles), -1, -1), w_styles[:, c:]], dim=1)

    def _check_cutoff(self, c: int) -> None:
        if isinstance(c, bool) or not isinstance(c, Integral) or not 0 <= c <= self.num_ws:
            raise InputError(
                "cutoff c",
                expected=f"an integer in 0..{self.num_ws}, the generator's layers",
                got=repr(c),
            )

    def _structures(self, w: Tensor, most: int | None = None) -> Tensor:
        """Codes (q, L, W) of ``w``, which may be one without its batch."""
        w = w[None] if w.ndim == 2 else w
        fits = w.ndim == 3 and w.shape[1:] == (self.num_ws, self.w_dim)
        if not fits or not 1 <= len(w) <= (most or len(w)):
            raise InputError(
                "w_structure",
                expected=f"shape ({most or 'q'}, {self.num_ws}, {self.w_dim})",
                got=str(tuple(w.shape)),
                fix="pass one structure at a time" if most else "",
            )
        return w
