"""Describes a backbone to the C interface."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from mmbas.backbones.description import Block, Description
from mmbas.gates import ChannelGate
from mmbas.sliced.native.structures import (
    NONE,
    BlockStruct,
    ConvStruct,
    GateStruct,
    NetworkStruct,
    ShortcutKind,
    address,
)


class CNetwork:
    """A backbone as the C interface takes it: convolutions with float32 weights, and how they join.

    Args:
        description: Description of a backbone whose normalisation is folded.

    Attributes:
        struct: Points to tensors that live as long as this object.
    """

    def __init__(self, description: Description) -> None:
        self._tensors: list[Tensor] = []
        stem = [self._conv(layer.conv) for layer in description.stem]
        outputs = sorted(description.out_indices)
        blocks = []
        for index, stage in enumerate(description.stages):
            blocks += [self._block(block) for block in stage]
            if index in outputs:
                blocks[-1].output = outputs.index(index)
        self.struct = NetworkStruct(
            num_stem=len(stem),
            max_pool=description.max_pool,
            num_blocks=len(blocks),
            num_outputs=len(outputs),
            stem=(ConvStruct * len(stem))(*stem),
            blocks=(BlockStruct * len(blocks))(*blocks),
        )

    def _address(self, tensor: Tensor) -> int:
        kept = tensor.detach().to(torch.float32).contiguous()
        self._tensors.append(kept)
        return address(kept)

    def _conv(self, conv: nn.Conv2d) -> ConvStruct:
        bias = conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias
        return ConvStruct(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size[0],
            conv.stride[0],
            conv.dilation[0],
            self._address(conv.weight),
            self._address(bias),
        )

    def _gate(self, gate: ChannelGate) -> GateStruct:
        return GateStruct(
            gate.fc1.in_features,
            gate.fc1.out_features,
            gate.num_gates,
            *map(self._address, folded_gate(copy.deepcopy(gate).float())),
        )

    def _block(self, block: Block) -> BlockStruct:
        struct = BlockStruct(num_convs=len(block.layers), pooling=1, output=NONE)
        for i, conv in enumerate(block.convs):
            struct.convs[i] = self._conv(conv)
        struct.first_gates[:] = [NONE, NONE]
        if isinstance(block.gate, ChannelGate):
            struct.has_gate, struct.gate = True, self._gate(block.gate)
            for i, part in enumerate(block.gated):
                if part is not None:
                    struct.first_gates[i] = part.indices(block.gate.num_gates)[0]
        if block.shortcut is not None and block.shortcut.layer is None:
            struct.shortcut = ShortcutKind.SUBSAMPLE
        elif block.shortcut is not None and block.shortcut.layer is not None:
            struct.shortcut = ShortcutKind.CONV
            struct.shortcut_conv = self._conv(block.shortcut.layer.conv)
            if block.shortcut.pool is not None:
                struct.pooling = block.shortcut.pool.kernel_size
        return struct


@torch.no_grad()
def folded_gate(gate: ChannelGate) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights and bias of a gate's two layers, its normalisation folded into the first.

    Returns:
        Tensors of shape (hidden, C), (hidden,), (G, hidden) and (G,).
    """
    norm: Any = gate.norm
    scale = torch.rsqrt(norm.running_var + norm.eps)
    shift = -norm.running_mean * scale
    if norm.affine:
        scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
    weights2, bias2 = gate.last_layer()
    return gate.fc1.weight * scale[:, None], shift, weights2, bias2
