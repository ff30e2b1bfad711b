"""Target-MACs loss: the user says what an average image may cost.

Not part of the paper, which tunes the weight gamma of the L0 loss until the cost fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from mmbas.gates import GateOutput
from mmbas.losses.batch_shaping.gather import gather_batch
from mmbas.losses.gate_loss import GateLoss
from mmbas.registry import MODELS


def macs_fraction(
    gate_outputs: Sequence[GateOutput], dense_macs: int, *, noise: bool = False
) -> Tensor:
    """Average conditional MACs of a batch as a fraction of the dense MACs, differentiable.

    Args:
        gate_outputs: Outputs of all gates of a network, one call each.
        dense_macs: MACs per image of the whole network with all gates open.
        noise: Count the gates that were drawn in training. Otherwise those that evaluation would
            choose, ``1[logits > 0]``, with the gradient of ``sigmoid(logits)``.

    Returns:
        A scalar in (0, 1], float32; over the images of all processes if there are several.

    Raises:
        ValueError: If there are no gate outputs, or they cost more than ``dense_macs``.

    Example:
        >>> import torch
        >>> from mmbas.backbones import GatedResNetCifar
        >>> from mmbas.gates import force_gate_logits, record_gate_outputs
        >>> from mmbas.losses import macs_fraction
        >>> backbone = GatedResNetCifar(20).eval()
        >>> with force_gate_logits(backbone, -1.0), record_gate_outputs(backbone) as outputs:
        ...     _ = backbone(torch.randn(2, 3, 32, 32))
        >>> calls = [calls[0] for calls in outputs.values()]
        >>> round(macs_fraction(calls, dense_macs=40_560_384).item(), 3)  # all gates are closed
        0.011
    """
    if not gate_outputs:
        raise ValueError("expected the outputs of at least one gated layer, but got none")
    gated_macs = sum(output.dense_macs for output in gate_outputs)
    if not 0 < gated_macs <= dense_macs:
        raise ValueError(
            f"expected dense MACs of at least the gated convolutions' {gated_macs}, which are > 0, "
            f"but got {dense_macs}"
        )
    counted = gate_outputs if noise else [_without_noise(output) for output in gate_outputs]
    macs = torch.stack([output.macs() for output in counted]).sum(dim=0)
    fractions = (macs + (dense_macs - gated_macs)) / dense_macs
    return gather_batch(fractions).mean().float()


def _without_noise(output: GateOutput) -> GateOutput:
    probs = output.probs
    # The difference is exactly 0 and carries the gradient.
    return replace(output, gates=(output.logits > 0).to(probs.dtype) + (probs - probs.detach()))


@MODELS.register_module()
class TargetMACsLoss(GateLoss):
    """Draws the average cost to a target: ``loss_weight * factor * (fraction - target)^2``.

    The fraction is that of :func:`macs_fraction`: of the whole network, over the batch of all
    processes, with the gates that evaluation would choose. A model with
    :class:`mmbas.models.GateLossMixin` computes it and logs it as ``macs_fraction``.

    Args:
        target: Conditional MACs as a fraction of the dense MACs, in (0, 1).
        loss_weight: >= 0. Where training settles, ``2 * loss_weight * (fraction - target)`` equals
            what the task's loss would gain from a larger fraction. That gain is about 1 for a
            cross entropy, so a weight of 100 leaves an error of about half a point.
        noise: Count the gates drawn in training instead, whose average differs from what
            evaluation computes as long as gate probs lie between 0 and 1.

    Raises:
        ValueError: If an argument is out of range.

    Note:
        The square is taken of the average over all processes, so W processes with N / W images
        each train as one with N; that needs every process in every step. With gradient
        accumulation each micro-batch is a batch.
    """

    loss_name = "loss_target_macs"
    advice_if_large = (
        "It falls as the average nears the target; if the task suffers, let its weight rise with "
        "GateLossScheduleHook, or lower {name}.loss_weight."
    )
    _forward_uncompiled: ClassVar[Callable[[TargetMACsLoss, Tensor], Tensor] | None] = None

    def __init__(self, *, target: float, loss_weight: float = 100.0, noise: bool = False) -> None:
        super().__init__(loss_weight=loss_weight)
        if not 0 < target < 1:
            raise ValueError(
                f"expected target in (0, 1), a fraction of the dense MACs, but got {target}"
            )
        self.target = target
        self.noise = noise

    def terms(
        self, gate_outputs: Sequence[GateOutput], dense_macs: Callable[[], int]
    ) -> dict[str, Tensor]:
        """The loss, and the fraction as ``macs_fraction``; see :meth:`GateLoss.terms`."""
        fraction = macs_fraction(gate_outputs, dense_macs(), noise=self.noise)
        return {"macs_fraction": fraction.detach(), self.loss_name: self(fraction)}

    def forward(self, fraction: Tensor) -> Tensor:
        """The weighted loss, a scalar, of a :func:`macs_fraction`."""
        # Left alone by torch.compile, as in PerGateLoss: each new factor would compile again.
        if TargetMACsLoss._forward_uncompiled is None:
            TargetMACsLoss._forward_uncompiled = torch.compiler.disable(_weighted_square)
        return TargetMACsLoss._forward_uncompiled(self, fraction)

    def extra_repr(self) -> str:
        """Arguments for ``print(model)``."""
        return f"target={self.target}, loss_weight={self.loss_weight}, noise={self.noise}"


def _weighted_square(loss: TargetMACsLoss, fraction: Tensor) -> Tensor:
    return loss.loss_weight * loss.factor * (fraction - loss.target).square()
