"""Base of the gate losses: layers become one row of gates, losses per gate one number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mmbas.gates import GateOutput

REDUCTIONS = ("sum", "layer_mean", "mean")


@dataclass(frozen=True)
class GateBatch:
    """All that a gate loss may read of a training batch.

    Attributes:
        outputs: Outputs of all gates for the batch.
        dense_macs: Gives the MACs per image of the whole network with all gates open.
        image_losses: Loss of each image in the task, shape (N,), without gradient; None where the
            host does not tell it.
    """

    outputs: Sequence[GateOutput]
    dense_macs: Callable[[], int]
    image_losses: Tensor | None = None


class GateLoss(nn.Module):
    """Base of the losses on gates, which a model adds to its own.

    A subclass defines ``loss_name`` and ``forward(gate_outputs)``, or :meth:`terms` if it needs or
    tells more. :class:`PerGateLoss` is for losses that are computed gate by gate.

    Args:
        loss_weight: Factor of the loss, >= 0.

    Attributes:
        factor: Second factor, set by a schedule; 1 without one.
        loss_name: Key in the model's dict of losses.
        needs_image_losses: True for a loss that reads the task's loss of each image.
        advice_if_large: Advice where the loss outweighs the task's; ``{name}`` stands for its key
            in the config.

    Raises:
        ValueError: If loss_weight is out of range.
    """

    loss_name: ClassVar[str]
    needs_image_losses: ClassVar[bool] = False
    advice_if_large: ClassVar[str] = "Lower {name}.loss_weight."

    def __init__(self, *, loss_weight: float) -> None:
        super().__init__()
        if not 0 <= loss_weight < math.inf:
            raise ValueError(f"expected a finite loss_weight >= 0, but got {loss_weight}")
        self.loss_weight = loss_weight
        self.factor = 1.0

    def prepare(self, num_gates: int) -> None:
        """Hear how many gates the model has, once, when it is built."""

    def prepare_layers(self, num_gates: Sequence[int]) -> None:
        """Hear how many gates each layer has, once, when the model is built."""
        self.prepare(sum(num_gates))

    def terms(
        self, gate_outputs: Sequence[GateOutput], dense_macs: Callable[[], int]
    ) -> dict[str, Tensor]:
        """Entries of the model's dict of losses: the loss, and what is logged beside it.

        Args:
            gate_outputs: Outputs of all gates for a batch.
            dense_macs: Gives the MACs per image of the whole network with all gates open.
        """
        return {self.loss_name: self(gate_outputs)}

    def batch_terms(self, batch: GateBatch) -> dict[str, Tensor]:
        """Entries of :meth:`terms`; a loss that reads more than gates overrides this instead."""
        return self.terms(batch.outputs, batch.dense_macs)


class PerGateLoss(GateLoss):
    """Base of the losses that are ``loss_weight * factor * reduction(loss per gate)``.

    A subclass defines :meth:`loss_per_gate` and ``loss_name``, and :meth:`columns` if it reads
    anything else than logits.

    Args:
        loss_weight: Factor of the loss, >= 0.
        reduction: Way from the losses of single gates to one number: ``'sum'`` over all gates;
            ``'layer_mean'``, mean over a layer's gates, summed over layers; ``'mean'`` over all
            gates.

    Raises:
        ValueError: If loss_weight or reduction is out of range.
    """

    advice_if_large = "Set {name}.reduction='layer_mean', or lower {name}.loss_weight."
    _forward_uncompiled: ClassVar[Callable[[PerGateLoss, Sequence[GateOutput]], Tensor] | None] = (
        None
    )

    def __init__(self, *, loss_weight: float, reduction: str) -> None:
        super().__init__(loss_weight=loss_weight)
        if reduction not in REDUCTIONS:
            raise ValueError(f"expected reduction to be one of {REDUCTIONS}, but got {reduction!r}")
        self.reduction = reduction

    def columns(self, output: GateOutput) -> Tensor:
        """Values of a layer that the loss reads, shape (N, G_layer): its logits, each once."""
        return output.decision_logits

    def loss_per_gate(self, columns: Tensor) -> Tensor:
        """Loss of each gate, shape (G,), for the values of all layers, shape (N, G)."""
        raise NotImplementedError

    def forward(self, gate_outputs: Sequence[GateOutput]) -> Tensor:
        """Weighted loss of all gates of a network, a scalar.

        Args:
            gate_outputs: One for each gated layer, with logits of shape (N, G_layer).

        Returns:
            The loss; a constant 0 if the weight or the factor is 0.

        Raises:
            ValueError: If there is no layer, or the logits are not of shape (N, G_layer).
        """
        # Left alone by torch.compile: each new factor of a schedule would compile the network
        # again. Made at the first call, since it imports torch's compiler, which takes seconds.
        if PerGateLoss._forward_uncompiled is None:
            PerGateLoss._forward_uncompiled = torch.compiler.disable(PerGateLoss._weighted_loss)
        return PerGateLoss._forward_uncompiled(self, gate_outputs)

    def _weighted_loss(self, gate_outputs: Sequence[GateOutput]) -> Tensor:
        layers = [self.columns(output) for output in gate_outputs]
        if not layers:
            raise ValueError("expected the outputs of at least one gated layer, but got none")
        weight = self.loss_weight * self.factor
        if weight == 0:
            return layers[0].new_zeros((), dtype=torch.float32)
        loss_per_gate = self.loss_per_gate(concatenate_logits(layers))
        num_gates = [logits.shape[1] for logits in layers]
        return weight * reduce_gates(loss_per_gate, num_gates, self.reduction)

    def extra_repr(self) -> str:
        """Arguments for ``print(model)``."""
        return f"loss_weight={self.loss_weight}, reduction={self.reduction!r}"


def concatenate_logits(layers: Sequence[Tensor]) -> Tensor:
    """Logits of all layers side by side.

    Args:
        layers: Logits of shape (N, G_layer).

    Returns:
        Shape (N, sum of G_layer); in memory gate by gate, as the batch of a gate is what counts.

    Raises:
        ValueError: If a shape is not (N, G_layer) with the same N.
    """
    shapes = [tuple(logits.shape) for logits in layers]
    if any(len(shape) != 2 or shape[0] != shapes[0][0] for shape in shapes):
        raise ValueError(
            f"expected gate logits of shape (N, G) with the same N in all layers, but got {shapes}"
        )
    return torch.cat([logits.t() for logits in layers]).t()


def reduce_gates(loss_per_gate: Tensor, num_gates: Sequence[int], reduction: str) -> Tensor:
    """One number from the losses of single gates.

    Args:
        loss_per_gate: Shape (sum of num_gates,).
        num_gates: Gates of each layer.
        reduction: ``'sum'``, ``'layer_mean'`` or ``'mean'``, see :class:`PerGateLoss`.
    """
    if reduction == "sum":
        return loss_per_gate.sum()
    if reduction == "mean":
        return loss_per_gate.mean()
    return torch.stack([layer.mean() for layer in loss_per_gate.split(list(num_gates))]).sum()
