"""A second network looks at the image and decides for all blocks, as in GaterNet.

Z. Chen, Y. Li, S. Bengio, S. Si: You Look Twice: GaterNet for Dynamic Filter Selection in CNNs,
CVPR 2019, https://arxiv.org/abs/1811.11205
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmbas.gates.channel_gate import average_pool, weight_dtype
from mmbas.gates.conv_macs import linear_macs
from mmbas.gates.gate import Gate
from mmbas.gates.gate_output import Decision
from mmbas.gates.gater import Gater, SharingGate, state_of_pass
from mmbas.gates.linear_gate import in_full_precision
from mmbas.registry import MODELS

NETWORK = dict(type="mmbas.GatedResNetCifar", depth=20, gate=None)


@MODELS.register_module()
class ImageGater(Gater):
    """Network on the image -> pool -> Linear(F, bottleneck) -> ReLU -> Linear(bottleneck, gates).

    Args:
        network: Config of a plain backbone of this package with one output, of F channels.
        bottleneck: Neurons between its features and the gates.
        norm: Normalise them over the batch.

    Raises:
        ValueError: If bottleneck is out of range.

    Note:
        The paper normalises the bottleneck, its authors' published code does not; ``norm=False`` is
        the code's.
    """

    def __init__(
        self, *, network: dict[str, Any] = NETWORK, bottleneck: int = 8, norm: bool = False
    ) -> None:
        super().__init__()
        if bottleneck < 1:
            raise ValueError(f"expected bottleneck >= 1, but got {bottleneck}")
        self.network: Any = MODELS.build(network)
        self.fc1 = nn.Linear(self.network.feat_dim, bottleneck)
        self.norm = nn.BatchNorm1d(bottleneck) if norm else nn.Identity()
        self.fc2 = nn.Linear(bottleneck, 1)  # as wide as there are gates, once that is known

    def init_weights(self) -> None:
        """Initialise the network as the backbones, and linear layers as PyTorch does."""
        if not self.network.is_init:
            self.network.init_weights()
        layers: list[Any] = [self.fc1, self.norm, self.fc2]
        for layer in layers:
            if not isinstance(layer, nn.Identity):
                layer.reset_parameters()

    def connect(self, gates: Sequence[Gate]) -> None:
        """See :meth:`Gater.connect`.

        Raises:
            TypeError: If a gate is no :class:`GivenGate`.
        """
        first = 0
        for gate in gates:
            if not isinstance(gate, GivenGate):
                raise TypeError(
                    "expected gates of the type 'mmbas.GivenGate', which take their decisions from "
                    f"the gater, but got {type(gate).__name__}"
                )
            gate.join(self, first)
            first += gate.num_gates
        self.fc2 = nn.Linear(self.fc1.out_features, first)

    def begin(self, images: Tensor) -> Tensor:
        """Logits of all gates for ``images``, shape (N, all gates)."""
        features: Tensor = self.network(images)[-1]
        with in_full_precision(images):
            pooled = average_pool(features, (2, 3)).to(weight_dtype(self.fc1))
            logits: Tensor = self.fc2(F.relu(self.norm(self.fc1(pooled))))
        return logits

    def module_macs(self, size: tuple[int, int]) -> dict[str, int]:
        """See :meth:`Gater.module_macs`."""
        own = {"fc1": linear_macs(self.fc1), "fc2": linear_macs(self.fc2)}
        network = self.network.costs(size).module_macs
        return {**{f"network.{name}": macs for name, macs in network.items()}, **own}


@MODELS.register_module()
class GivenGate(SharingGate):
    """A gate that takes its decisions from an :class:`ImageGater`; it has no weights of its own.

    Args:
        in_channels: Channels of the block's input, which it does not look at.
        num_gates: Number of gates, G.
        sampler: Config of the sampler; None is binary concrete.
        soft: Open gates multiply by their prob instead of 1.

    Example:
        >>> import torch
        >>> from mmbas.backbones import GatedResNetCifar
        >>> from mmbas.gates import named_gates
        >>> network = dict(type="mmbas.GatedResNetCifar", depth=8, gate=None)
        >>> backbone = GatedResNetCifar(
        ...     8,
        ...     gate_positions="out",
        ...     gate=dict(type="mmbas.GivenGate", sampler=dict(type="mmbas.SemanticHash")),
        ...     gater=dict(type="mmbas.ImageGater", network=network),
        ... ).eval()
        >>> backbone(torch.randn(2, 3, 32, 32))[0].shape, backbone.gater.fc2.out_features
        (torch.Size([2, 64, 8, 8]), 112)
    """

    def __init__(
        self,
        in_channels: int,
        num_gates: int,
        *,
        sampler: dict[str, Any] | None = None,
        soft: bool = False,
    ) -> None:
        super().__init__(num_gates, sampler)
        self.soft = soft

    def init_weights(self) -> None:
        """The gater initialises what there is."""

    def decide(self, x: Tensor) -> Decision:
        """See :meth:`Gate.decide`."""
        logits = self.compute_logits(x)
        return Decision(logits, torch.sigmoid(logits) if self.soft else None)

    def compute_logits(self, x: Tensor) -> Tensor:
        """See :meth:`Gate.compute_logits`."""
        all_logits: Tensor = state_of_pass(self.gater)
        return all_logits[:, self.position : self.position + self.num_gates]

    def logit_biases(self) -> list[nn.Parameter]:
        """See :meth:`Gate.logit_biases`: those of all gates are one parameter."""
        gater: Any = self.gater
        return [gater.fc2.bias]
