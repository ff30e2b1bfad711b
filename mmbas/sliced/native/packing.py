"""Weights in the order in which the kernels read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmbas.backbones.description import Description
from mmbas.gates import ChannelGate, Gate


@dataclass(frozen=True)
class PackedConv:
    """Weights of a convolution; see conv_kernel.h.

    Attributes:
        conv: The module.
        weights: OIHW, or [O / rows][I][taps][rows] with zeros for missing outputs.
        bias: Shape (O,).
        packed: Choice of the two.
    """

    conv: nn.Conv2d
    weights: Tensor
    bias: Tensor
    packed: bool

    @property
    def num_bytes(self) -> int:
        """Memory of the copies."""
        return 4 * (self.weights.numel() + self.bias.numel())


@dataclass(frozen=True)
class PackedGate:
    """A gate network, its normalisation folded into the first layer.

    Attributes:
        weights: First layer, shape (hidden, C).
        bias: Shape (hidden,).
        weights2: Second layer, shape (G, hidden).
        bias2: Shape (G,).
    """

    weights: Tensor
    bias: Tensor
    weights2: Tensor
    bias2: Tensor

    @property
    def num_bytes(self) -> int:
        """Memory of the copies."""
        tensors = (self.weights, self.bias, self.weights2, self.bias2)
        return 4 * sum(tensor.numel() for tensor in tensors)


@torch.no_grad()
def pack_conv(conv: nn.Conv2d, *, gated_outputs: bool, rows: int) -> PackedConv:
    """Copy the weights of ``conv``, in blocks of ``rows`` outputs unless those are gated."""
    weight = conv.weight.detach()
    bias = (
        conv.weight.new_zeros(conv.out_channels)
        if conv.bias is None
        else conv.bias.detach().clone()
    )
    if gated_outputs:
        return PackedConv(conv, weight.clone(memory_format=torch.contiguous_format), bias, False)
    missing = -conv.out_channels % rows
    padded = nn.functional.pad(weight.flatten(2), (0, 0, 0, 0, 0, missing))
    blocks = padded.unflatten(0, (-1, rows)).permute(0, 2, 3, 1)
    return PackedConv(conv, blocks.clone(memory_format=torch.contiguous_format), bias, True)


@torch.no_grad()
def pack_gate(gate: ChannelGate) -> PackedGate:
    """Copy the weights of ``gate``."""
    norm: Any = gate.norm
    scale = torch.rsqrt(norm.running_var + norm.eps)
    shift = -norm.running_mean * scale
    if norm.affine:
        scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
    weights2, bias2 = gate.last_layer()
    return PackedGate((gate.fc1.weight * scale[:, None]).contiguous(), shift, weights2, bias2)


class PackedWeights:
    """Copies of the weights of a backbone.

    Args:
        description: Where they come from.
        rows: Output channels per block.
    """

    def __init__(self, description: Description, *, rows: int) -> None:
        self._rows = rows
        self._convs: dict[nn.Conv2d, PackedConv] = {}
        self._gates: dict[Gate, PackedGate] = {}
        for layer in description.stem:
            self._add(layer.conv)
        for block in description.blocks:
            for conv, gated in zip(block.convs, [*block.gated, None], strict=True):
                self._add(conv, gated_outputs=gated is not None)
            if block.shortcut is not None and block.shortcut.layer is not None:
                self._add(block.shortcut.layer.conv)
            if isinstance(block.gate, ChannelGate):
                self._gates[block.gate] = pack_gate(block.gate)

    def _add(self, conv: nn.Conv2d, *, gated_outputs: bool = False) -> None:
        self._convs[conv] = pack_conv(conv, gated_outputs=gated_outputs, rows=self._rows)

    def of_conv(self, conv: nn.Conv2d) -> PackedConv:
        """Weights of a convolution."""
        return self._convs[conv]

    def of_gate(self, gate: Gate) -> PackedGate:
        """Weights of a gate."""
        return self._gates[gate]

    @property
    def num_bytes(self) -> int:
        """Memory of all copies."""
        convs = sum(weights.num_bytes for weights in self._convs.values())
        return convs + sum(weights.num_bytes for weights in self._gates.values())
