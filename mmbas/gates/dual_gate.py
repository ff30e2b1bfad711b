"""Dual gates of DGNet: which tiles of the feature maps, and which channels, are computed.

F. Li, G. Li, X. He, J. Cheng: Dynamic Dual Gating Neural Networks, ICCV 2021
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmbas.gates.channel_gate import average_pool, weight_dtype
from mmbas.gates.conv_macs import linear_macs
from mmbas.gates.linear_gate import in_full_precision
from mmbas.gates.sampled_gate import SampledGate
from mmbas.registry import MODELS


@MODELS.register_module()
class DualGate(SampledGate):
    """Logits of ``grid * grid`` tiles, row by row, then those of the channels.

    Tiles: average pool to the grid -> 3x3 convolution to one channel. Channels: global average pool
    -> Linear(C, C / 4) -> BN -> ReLU -> Linear(C / 4, channels).

    Args:
        in_channels: Channels C of the block's input.
        num_gates: Number of gates: tiles and channels.
        grid: Tiles along the height and along the width.
        sampler: Config of the sampler; None is binary concrete.
        init_open_prob: Expected open probability at the start, in (0, 1); sets both biases.

    Raises:
        ValueError: If an argument is out of range.

    Note:
        In a bottleneck the authors' gate of the second convolution reads the first one's gated
        output. Here all gates of a block read the block's input.
    """

    def __init__(
        self,
        in_channels: int,
        num_gates: int,
        *,
        grid: int,
        sampler: dict[str, Any] | None = None,
        init_open_prob: float = 0.88,
    ) -> None:
        super().__init__(num_gates, sampler)
        if not 0 < init_open_prob < 1:
            raise ValueError(f"expected init_open_prob in (0, 1), but got {init_open_prob}")
        num_channels = num_gates - grid**2
        if grid < 1 or num_channels < 1:
            raise ValueError(
                f"expected gates of {grid} x {grid} tiles and more, but got {num_gates}"
            )
        self.grid = grid
        self.init_open_prob = init_open_prob
        hidden_channels = max(in_channels // 4, 1)
        self.pool = nn.AdaptiveAvgPool2d(grid)
        self.tiles = nn.Conv2d(in_channels, 1, 3, padding=1)
        self.fc1 = nn.Linear(in_channels, hidden_channels, bias=False)
        self.norm = nn.BatchNorm1d(hidden_channels)
        self.fc2 = nn.Linear(hidden_channels, num_channels)
        self.init_weights()

    def init_weights(self) -> None:
        """PyTorch's own initialisation, and the biases that ``init_open_prob`` asks for."""
        for layer in (self.tiles, self.fc1, self.norm, self.fc2):
            layer.reset_parameters()
        logit = math.log(self.init_open_prob / (1 - self.init_open_prob))
        for bias in self.logit_biases():
            nn.init.constant_(bias, logit)

    @property
    def min_batch_size(self) -> int:
        """See :attr:`Gate.min_batch_size`."""
        return 2

    def compute_logits(self, x: Tensor) -> Tensor:
        """See :meth:`Gate.compute_logits`."""
        with in_full_precision(x):
            x = x.to(weight_dtype(self.fc1))
            tiles = self.tiles(self.pool(x)).flatten(1)
            hidden = F.relu(self.norm(self.fc1(average_pool(x, (2, 3)).to(x.dtype))))
            return torch.cat([tiles, self.fc2(hidden)], dim=1)

    def logit_biases(self) -> list[nn.Parameter]:
        """See :meth:`Gate.logit_biases`."""
        tiles: Any = self.tiles
        return [tiles.bias, self.fc2.bias]

    def module_macs(self, size: tuple[int, int]) -> dict[str, int]:
        """See :meth:`Gate.module_macs`."""
        tiles = self.grid**2 * self.tiles.weight.numel()
        return {"tiles": tiles, "fc1": linear_macs(self.fc1), "fc2": linear_macs(self.fc2)}
