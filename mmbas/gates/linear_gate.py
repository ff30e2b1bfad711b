"""The smallest gate: one linear layer on the pooled input, as LAUDNet's layer gates have it.

Y. Han et al.: Latency-aware Unified Dynamic Networks for Efficient Image Recognition, 2023,
https://arxiv.org/abs/2308.15949
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from mmbas.gates.channel_gate import average_pool, weight_dtype
from mmbas.gates.sampled_gate import SampledGate
from mmbas.registry import MODELS


@MODELS.register_module()
class LinearGate(SampledGate):
    """Global average pool -> Linear(C, G) = logits.

    Args:
        in_channels: Channels C of the block's input.
        num_gates: Number of gates, G.
        sampler: Config of the sampler; None is binary concrete.
        temperature: Temperature of binary concrete gates.
        init_open_prob: Expected open probability at the start, in (0, 1); sets the bias.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> from mmbas.gates import LinearGate
        >>> LinearGate(64, 1, init_open_prob=0.99).eval()(torch.randn(2, 64, 8, 8)).gates
        tensor([[1.],
                [1.]])
    """

    def __init__(
        self,
        in_channels: int,
        num_gates: int,
        *,
        sampler: dict[str, Any] | None = None,
        temperature: float = 2 / 3,
        init_open_prob: float = 0.5,
    ) -> None:
        super().__init__(num_gates, sampler, temperature=temperature)
        if not 0 < init_open_prob < 1:
            raise ValueError(f"expected init_open_prob in (0, 1), but got {init_open_prob}")
        self.init_open_prob = init_open_prob
        self.fc = nn.Linear(in_channels, num_gates)
        self.init_weights()

    def init_weights(self) -> None:
        """PyTorch's own initialisation, and the bias that ``init_open_prob`` asks for."""
        self.fc.reset_parameters()
        nn.init.constant_(self.fc.bias, math.log(self.init_open_prob / (1 - self.init_open_prob)))

    def compute_logits(self, x: Tensor) -> Tensor:
        """See :meth:`Gate.compute_logits`."""
        with in_full_precision(x):
            logits: Tensor = self.fc(average_pool(x, (2, 3)).to(weight_dtype(self.fc)))
        return logits

    def logit_biases(self) -> list[nn.Parameter]:
        """See :meth:`Gate.logit_biases`."""
        return [self.fc.bias]


def in_full_precision(x: Tensor) -> torch.autocast:
    """Statement inside which autocast is off: decisions should not depend on its precision."""
    # torch (2.1, and 2.15) knows no autocast for meta tensors, which hold shapes alone.
    return torch.autocast("cpu" if x.device.type == "meta" else x.device.type, enabled=False)
