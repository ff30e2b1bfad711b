"""Recurrent gates of SkipNet: one LSTM, shared by all blocks, that remembers the blocks before.

X. Wang, F. Yu, Z.-Y. Dou, T. Darrell, J. E. Gonzalez: SkipNet: Learning Dynamic Routing in
Convolutional Networks, ECCV 2018, https://arxiv.org/abs/1711.09485 (section 3.1)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmbas.gates.channel_gate import average_pool, weight_dtype
from mmbas.gates.conv_gate import HARD_STEP
from mmbas.gates.gate import Gate, linear_module_macs
from mmbas.gates.gater import Gater, SharingGate, state_of_pass
from mmbas.gates.linear_gate import in_full_precision
from mmbas.registry import MODELS


@MODELS.register_module()
class RecurrentGater(Gater):
    """LSTM cell and projection that all gates of a network share.

    The cell is one linear layer from input and hidden state to the four gates of an LSTM, in the
    order of ``nn.LSTM``: input, forget, cell, output. Each image begins with a state of zeros.

    Args:
        hidden_channels: Size of the embedded input, of the hidden state and of the cell state.
    """

    def __init__(self, *, hidden_channels: int = 10) -> None:
        super().__init__()
        if hidden_channels < 1:
            raise ValueError(f"expected hidden_channels >= 1, but got {hidden_channels}")
        self.hidden_channels = hidden_channels
        self.cell = nn.Linear(2 * hidden_channels, 4 * hidden_channels)
        self.projection = nn.Linear(hidden_channels, 1)
        self.num_steps = 0
        self.init_weights()

    def init_weights(self) -> None:
        """Normal weights as in the authors' code, no bias."""
        for layer in (self.cell, self.projection):
            nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.weight.numel()))
            nn.init.zeros_(layer.bias)

    def connect(self, gates: Sequence[Gate]) -> None:
        """See :meth:`Gater.connect`.

        Raises:
            TypeError: If a gate is no :class:`RecurrentGate` of one decision.
        """
        self.num_steps = len(gates)
        for position, gate in enumerate(gates):
            if not isinstance(gate, RecurrentGate) or gate.num_gates != 1:
                raise TypeError(
                    "expected gates of the type 'mmbas.RecurrentGate' with one decision per block, "
                    f"but got {type(gate).__name__} with {gate.num_gates}; set gate_positions to "
                    "'block' or 'branch'"
                )
            gate.join(self, position)

    def begin(self, images: Tensor) -> RecurrentPass:
        """See :meth:`Gater.begin`: a memory in which no block has been seen."""
        return RecurrentPass(self)

    def module_macs(self, size: tuple[int, int]) -> dict[str, int]:
        """See :meth:`Gater.module_macs`: each layer runs once for each gate."""
        return {name: self.num_steps * macs for name, macs in linear_module_macs(self).items()}


class RecurrentPass:
    """Memory of one forward pass: the LSTM's state after each gate.

    A gate reads the state after the gate before it, so that asking it twice changes nothing.

    Args:
        gater: Holds the weights.
    """

    def __init__(self, gater: RecurrentGater) -> None:
        self._gater = gater
        self._states: dict[int, tuple[Tensor, Tensor]] = {}

    def step(self, position: int, embedded: Tensor) -> Tensor:
        """Logits, shape (N, 1), of the gate at ``position``, for its input, shape (N, hidden)."""
        zeros = torch.zeros_like(embedded)
        hidden, memory = self._states.get(position - 1, (zeros, zeros))
        four = self._gater.cell(torch.cat([embedded, hidden], dim=1)).chunk(4, dim=1)
        memory = four[1].sigmoid() * memory + four[0].sigmoid() * four[2].tanh()
        hidden = four[3].sigmoid() * memory.tanh()
        self._states[position] = hidden, memory
        logits: Tensor = self._gater.projection(hidden)
        return logits


@MODELS.register_module()
class RecurrentGate(SharingGate):
    """Global average pool -> Linear(C, hidden) -> the shared LSTM and projection = one logit.

    Needs ``gater=dict(type='mmbas.RecurrentGater')`` in the config of the backbone.

    Args:
        in_channels: Channels C of the block's input.
        num_gates: 1.
        hidden_channels: Size of the LSTM, as in the gater.
        sampler: Config of the sampler.

    Example:
        >>> import torch
        >>> from mmbas.backbones import GatedResNetCifar
        >>> from mmbas.gates import record_gate_outputs
        >>> backbone = GatedResNetCifar(
        ...     8,
        ...     gate_positions="block",
        ...     gate=dict(type="mmbas.RecurrentGate"),
        ...     gater=dict(type="mmbas.RecurrentGater"),
        ... ).eval()
        >>> with torch.no_grad(), record_gate_outputs(backbone) as outputs:
        ...     _ = backbone(torch.randn(2, 3, 32, 32))
        >>> [tuple(calls[0].gates.shape) for calls in outputs.values()]
        [(2, 1), (2, 1), (2, 1)]
    """

    def __init__(
        self,
        in_channels: int,
        num_gates: int,
        *,
        hidden_channels: int = 10,
        sampler: dict[str, Any] | None = HARD_STEP,
    ) -> None:
        super().__init__(num_gates, sampler)
        self.embed = nn.Linear(in_channels, hidden_channels)
        self.init_weights()

    def init_weights(self) -> None:
        """Normal weights as in the authors' code, no bias."""
        nn.init.normal_(self.embed.weight, std=math.sqrt(2 / self.embed.weight.numel()))
        nn.init.zeros_(self.embed.bias)

    def compute_logits(self, x: Tensor) -> Tensor:
        """See :meth:`Gate.compute_logits`."""
        memory: RecurrentPass = state_of_pass(self.gater)
        with in_full_precision(x):
            pooled = average_pool(x, (2, 3)).to(weight_dtype(self.embed))
            return memory.step(self.position, self.embed(pooled))

    def logit_biases(self) -> list[nn.Parameter]:
        """See :meth:`Gate.logit_biases`: all gates share one."""
        gater: Any = self.gater
        return [gater.projection.bias]
