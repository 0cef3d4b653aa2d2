"""Styles and demodulation of all layers at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .layers import ConvLayer, Modulation, ToRGB

__all__ = ["StyleBank"]


class StyleBank:
    """The style layers of a synthesis network as one matrix each, padded to the widest.

    Two batched products then give what every layer needs for every sample, where layer by layer
    there would be four small operations each.
    """

    def __init__(self, layers: Sequence[ConvLayer | ToRGB]) -> None:
        self.inputs = [layer.weight.shape[1] for layer in layers]
        self.outputs = [layer.weight.shape[0] for layer in layers]
        self.convs = [i for i, layer in enumerate(layers) if isinstance(layer, ConvLayer)]
        first, widest = layers[0].affine.weight, max(self.inputs)
        self.weight = first.new_zeros(len(layers), first.shape[1], widest)
        self.bias = first.new_zeros(len(layers), 1, widest)
        for i, layer in enumerate(layers):
            affine = layer.affine
            self.weight[i, :, : self.inputs[i]] = (affine.weight * affine.weight_gain).T
            self.bias[i, 0, : self.inputs[i]] = affine.bias * affine.lr_multiplier
        # Squared weights summed over the kernel: a demodulation is a product with them.
        self.energy = first.new_zeros(
            len(self.convs), widest, max(self.outputs[i] for i in self.convs)
        )
        for k, i in enumerate(self.convs):
            energy = layers[i].weight.square().sum(dim=(2, 3)).T
            self.energy[k, : self.inputs[i], : self.outputs[i]] = energy

    @staticmethod
    def sources(layers: Sequence[ConvLayer | ToRGB]) -> list[Tensor]:
        """The parameters that a bank of ``layers`` is made of."""
        return [
            parameter
            for layer in layers
            for parameter in (layer.weight, layer.affine.weight, layer.affine.bias)
        ]

    def modulations(self, ws: Tensor, first: int, until: int) -> list[Modulation]:
        """Of the layers ``first`` to ``until``, each from its own code in ws (B, layers, W)."""
        styles = torch.baddbmm(self.bias[first:until], ws.transpose(0, 1), self.weight[first:until])
        order = {i: k for k, i in enumerate(self.convs) if first <= i < until}
        demodulations = None
        if order:
            squares = styles[[i - first for i in order]].square()
            energy = self.energy[min(order.values()) : max(order.values()) + 1]
            demodulations = (torch.bmm(squares, energy) + 1e-8).rsqrt()
        found = []
        for i, style in enumerate(styles, start=first):
            row = None
            if demodulations is not None and i in order:
                row = demodulations[order[i] - min(order.values()), :, : self.outputs[i]]
            found.append(Modulation(style[:, : self.inputs[i]], row))
        return found
