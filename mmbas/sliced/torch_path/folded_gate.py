"""The gate network with folded normalisation, for execution by torch's operators."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from mmbas.gates import ChannelGate, Decision
from mmbas.gates.channel_gate import average_pool
from mmbas.gates.gate import Gate
from mmbas.sliced.folding import why_gate_not_folded


def decision_function(gate: Gate) -> Callable[[Tensor], Decision]:
    """Function from a block's input, shape (N, H, W, C), to the gate's decision."""
    if isinstance(gate, ChannelGate) and why_gate_not_folded(gate) is None:
        return FoldedChannelGate(gate)
    return lambda x: gate.decide(x.permute(0, 3, 1, 2))


class FoldedChannelGate:
    """Pool and two linear layers: a third of the time of the module's calls.

    Args:
        gate: Gate in evaluation mode.
    """

    def __init__(self, gate: ChannelGate) -> None:
        norm: nn.Module = gate.norm
        assert isinstance(norm, _BatchNorm)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
        self.first = gate.fc1.weight.detach() * scale[:, None]
        self.first_bias = norm.bias.detach() - norm.running_mean * scale
        self.second, self.second_bias = gate.last_layer()

    def __call__(self, x: Tensor) -> Decision:
        """See :func:`decision_function`."""
        pooled = average_pool(x, (1, 2)).to(x.dtype)
        hidden = F.linear(pooled, self.first, self.first_bias).relu_()
        return Decision(F.linear(hidden, self.second, self.second_bias))
