"""Output of a gate, as losses, MAC counts, statistics and fast execution read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmbas.gates.conv_macs import GatedConvMACs


@dataclass(frozen=True)
class Decision:
    """Answer of a gate's network.

    Attributes:
        logits: Gate logits, shape (N, G); in evaluation a gate is open exactly where its logit is
            > 0.
        scales: Factors >= 0 that open gates multiply by, shape (N, G); None stands for 1.
    """

    logits: Tensor
    scales: Tensor | None = None


@dataclass(frozen=True)
class GateOutput:
    """Decisions of one gate for one batch; consumers need not know which kind of gate it was.

    Attributes:
        logits: Gate logits, shape (N, G).
        gates: 0/1 decisions, shape (N, G); in training with a gradient to ``logits``, and some
            gates relax them to [0, 1].
        convs: The convolutions whose cost depends on these gates.
        decisions: One gate of each decision, where several gates follow one; None if each gate has
            its own.
        scales: Factors that open gates multiply by, shape (N, G); None stands for 1.
    """

    logits: Tensor
    gates: Tensor
    convs: Sequence[GatedConvMACs] = ()
    decisions: Sequence[int] | None = None
    scales: Tensor | None = None

    @property
    def multiplier(self) -> Tensor:
        """Factors that the block multiplies by, shape (N, G)."""
        return self.gates if self.scales is None else self.gates * self.scales

    @property
    def probs(self) -> Tensor:
        """Gate probs ``sigmoid(logits)``, shape (N, G)."""
        return self.logits.sigmoid()

    @property
    def decision_logits(self) -> Tensor:
        """Logits of the decisions, shape (N, decisions): each is there once."""
        return self.of_decisions(self.logits)

    def of_decisions(self, values: Tensor) -> Tensor:
        """Values of all gates, shape (N, G), of each decision once, shape (N, decisions)."""
        return values if self.decisions is None else values[:, self.decisions]

    def parts(self, *, positions: bool) -> list[slice]:
        """The different runs of gates that stand at channels, or those that stand at positions."""
        seats: list[slice | None] = []
        for conv in self.convs:
            seats += [conv.positions] if positions else [conv.inputs, conv.outputs]
        runs = {(seat.start, seat.stop): seat for seat in seats if seat is not None}
        return list(runs.values())

    @property
    def dense_macs(self) -> int:
        """MACs of the gated convolutions for one image with all gates open."""
        return sum(conv.macs for conv in self.convs)

    @property
    def dense_params(self) -> int:
        """Weights of the gated convolutions that are used with all gates open."""
        return sum(conv.params for conv in self.convs)

    def macs(self) -> Tensor:
        """MACs of the gated convolutions for each image, shape (N,), float64, differentiable."""
        return self._open_share([conv.macs for conv in self.convs], positions=True)

    def params(self) -> Tensor:
        """Weights of the gated convolutions that each image uses, shape (N,), float64."""
        return self._open_share([conv.params for conv in self.convs], positions=False)

    def _open_share(self, dense: Sequence[int], *, positions: bool) -> Tensor:
        """Sum over the convolutions of what is left of ``dense`` between open channels."""
        gates = self.gates.double()
        total = gates.new_zeros(len(gates))
        for conv, amount in zip(self.convs, dense, strict=True):
            share = torch.full_like(total, amount)
            for gated in (conv.inputs, conv.outputs, conv.positions if positions else None):
                if gated is not None:
                    share = share * gates[:, gated].mean(dim=1)
            total = total + share
        return total
