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
    Skip,
    address,
)


class ConvValues:
    """A convolution as the C interface takes it.

    Args:
        conv: Its normalisation is folded in.

    Attributes:
        struct: Points to tensors that live as long as this object.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        bias = conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias
        self._weights, self._bias = _float32(conv.weight), _float32(bias)
        self.struct = ConvStruct(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size[0],
            conv.stride[0],
            conv.dilation[0],
            address(self._weights),
            address(self._bias),
        )


class CNetwork:
    """A backbone as the C interface takes it: convolutions with float32 weights, and how they join.

    Args:
        description: Description of a backbone whose normalisation is folded.

    Attributes:
        struct: Points to tensors that live as long as this object.
    """

    def __init__(self, description: Description) -> None:
        self._kept: list[ConvValues] = []
        self._gate_tensors: list[Tensor] = []
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

    def _conv(self, conv: nn.Conv2d) -> ConvStruct:
        self._kept.append(ConvValues(conv))
        return self._kept[-1].struct

    def _gate(self, gate: ChannelGate) -> GateStruct:
        tensors = [_float32(tensor) for tensor in folded_gate(copy.deepcopy(gate).float())]
        self._gate_tensors += tensors
        return GateStruct(
            gate.fc1.in_features, gate.fc1.out_features, gate.num_gates, *map(address, tensors)
        )

    def _block(self, block: Block) -> BlockStruct:
        struct = BlockStruct(num_convs=len(block.layers), pooling=1, output=NONE)
        for i, conv in enumerate(block.convs):
            struct.convs[i] = self._conv(conv)
        struct.first_gates[:] = [NONE, NONE]
        if isinstance(block.gate, ChannelGate):
            struct.has_gate, struct.gate = True, self._gate(block.gate)
            if block.seats.branch is not None:
                struct.skip = Skip.BLOCK if block.seats.merge == "block" else Skip.BRANCH
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


def _float32(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32).contiguous()


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
