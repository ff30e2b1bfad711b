"""Feed-forward gates of SkipNet: one or two convolutions on the block's input.

X. Wang, F. Yu, Z.-Y. Dou, T. Darrell, J. E. Gonzalez: SkipNet: Learning Dynamic Routing in
Convolutional Networks, ECCV 2018, https://arxiv.org/abs/1711.09485 (section 3.1)
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from mmbas.gates.channel_gate import average_pool, weight_dtype
from mmbas.gates.conv_macs import conv_macs, conv_output_size, linear_macs
from mmbas.gates.linear_gate import in_full_precision
from mmbas.gates.sampled_gate import SampledGate
from mmbas.registry import MODELS

KINDS = ("I", "II")
HARD_STEP = dict(type="mmbas.HardStep")


@MODELS.register_module()
class ConvGate(SampledGate):
    """Convolutions of C to C channels -> global average pool -> Linear(C, G) = logits.

    Kind ``'I'``: max pooling by 2, a 3x3 convolution, then one of stride 2. Kind ``'II'``: the one
    of stride 2 only. BN and ReLU follow each. The two logits of the authors' softmax are one here,
    their difference.

    Args:
        in_channels: Channels C of the block's input.
        num_gates: Number of gates, G.
        kind: ``'I'`` for networks of fewer than 100 layers, ``'II'`` for deeper ones.
        sampler: Config of the sampler.

    Raises:
        ValueError: If kind is none of the two.
    """

    def __init__(
        self,
        in_channels: int,
        num_gates: int,
        *,
        kind: str = "I",
        sampler: dict[str, Any] | None = HARD_STEP,
    ) -> None:
        super().__init__(num_gates, sampler)
        if kind not in KINDS:
            raise ValueError(f"expected kind to be one of {KINDS}, but got {kind!r}")
        self.kind = kind
        strides = (1, 2) if kind == "I" else (2,)
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, bias=False)
            for stride in strides
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(in_channels) for _ in strides)
        self.fc = nn.Linear(in_channels, num_gates)
        self.init_weights()

    def init_weights(self) -> None:
        """Normal weights as in the authors' code, no bias."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
        nn.init.normal_(self.fc.weight, std=math.sqrt(2 / self.fc.weight.numel()))
        nn.init.zeros_(self.fc.bias)

    @property
    def min_batch_size(self) -> int:
        """See :attr:`Gate.min_batch_size`: small feature maps may end as one position."""
        return 2

    def compute_logits(self, x: Tensor) -> Tensor:
        """See :meth:`Gate.compute_logits`."""
        if self.kind == "I":
            x = F.max_pool2d(x, 2, ceil_mode=True)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)), inplace=True)
        with in_full_precision(x):
            logits: Tensor = self.fc(average_pool(x, (2, 3)).to(weight_dtype(self.fc)))
        return logits

    def logit_biases(self) -> list[nn.Parameter]:
        """See :meth:`Gate.logit_biases`."""
        return [self.fc.bias]

    def module_macs(self, size: tuple[int, int]) -> dict[str, int]:
        """See :meth:`Gate.module_macs`."""
        if self.kind == "I":
            size = -(-size[0] // 2), -(-size[1] // 2)
        macs = {}
        for i, conv in enumerate(self.convs):
            assert isinstance(conv, nn.Conv2d)
            size = conv_output_size(conv, size)
            macs[f"convs.{i}"] = conv_macs(conv, size[0] * size[1])
        return {**macs, "fc": linear_macs(self.fc)}
