"""Output of a gate, as losses, MAC counts, statistics and fast execution read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmbas.gates.conv_macs import GatedConvMACs


@dataclass(frozen=True)
class GateOutput:
    """Decisions of one gate for one batch; consumers need not know which kind of gate it was.

    Attributes:
        logits: Gate logits, shape (N, G).
        gates: 0/1 decisions, shape (N, G); in training with a gradient to ``logits``.
        convs: The convolutions whose cost depends on these gates.
        decisions: One gate of each decision, where several gates follow one; None if each gate has
            its own.
    """

    logits: Tensor
    gates: Tensor
    convs: Sequence[GatedConvMACs] = ()
    decisions: Sequence[int] | None = None

    @property
    def probs(self) -> Tensor:
        """Gate probs ``sigmoid(logits)``, shape (N, G)."""
        return self.logits.sigmoid()

    @property
    def decision_logits(self) -> Tensor:
        """Logits of the decisions, shape (N, decisions): each is there once."""
        return self.logits if self.decisions is None else self.logits[:, self.decisions]

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
        return self._open_share([conv.macs for conv in self.convs])

    def params(self) -> Tensor:
        """Weights of the gated convolutions that each image uses, shape (N,), float64."""
        return self._open_share([conv.params for conv in self.convs])

    def _open_share(self, dense: Sequence[int]) -> Tensor:
        """Sum over the convolutions of what is left of ``dense`` between open channels."""
        gates = self.gates.double()
        total = gates.new_zeros(len(gates))
        for conv, amount in zip(self.convs, dense, strict=True):
            share = torch.full_like(total, amount)
            for gated in (conv.inputs, conv.outputs):
                if gated is not None:
                    share = share * gates[:, gated].mean(dim=1)
            total = total + share
        return total
