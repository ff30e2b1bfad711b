"""What the masked network would cost: taken from a run of it that computes nothing."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmbas.costs.mac_count import count_macs
from mmbas.gates.conv_macs import GatedConvMACs


@dataclass(frozen=True)
class MACAccount:
    """Cost of one batch of a given shape.

    Attributes:
        module_macs: Dense MACs by module name, summed over the batch.
        gated_convs: By gate name the convolutions that the gates switch.
    """

    module_macs: dict[str, int]
    gated_convs: dict[str, Sequence[GatedConvMACs]]


class MACAccountant:
    """Works out the cost of a backbone for each shape of its input, once.

    Args:
        backbone: Its modules are copied, its weights shared.
    """

    def __init__(self, backbone: nn.Module) -> None:
        # A copy, since the gates of the original may be recorded or forced at the moment.
        shared = [*backbone.parameters(), *backbone.buffers()]
        memo: dict[int, object] = {id(tensor): tensor for tensor in shared}
        self._twin = copy.deepcopy(backbone, memo)
        self._accounts: dict[tuple[int, ...], MACAccount] = {}

    def account(self, input_shape: Sequence[int]) -> MACAccount:
        """Cost of a batch of the shape (N, C, H, W)."""
        shape = tuple(input_shape)
        if shape not in self._accounts:
            weight = next(self._twin.parameters())
            # Fake tensors have shapes only; what they meet computes nothing.
            fake = FakeTensorMode(allow_non_fake_inputs=True)
            with torch.no_grad(), fake, count_macs(self._twin) as count:
                self._twin(torch.empty(shape, dtype=weight.dtype, device=weight.device))
            convs = {name: outputs[0].convs for name, outputs in count.gate_outputs.items()}
            self._accounts[shape] = MACAccount(dict(count.module_macs), convs)
        return self._accounts[shape]
