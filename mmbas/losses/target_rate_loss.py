"""Target-rate loss: how often the gates of each block may be open.

A. Veit, S. Belongie: Convolutional Networks with Adaptive Inference Graphs, ECCV 2018,
https://arxiv.org/abs/1711.11503
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmbas.gates import GateOutput
from mmbas.losses.batch_shaping.gather import gather_batch
from mmbas.losses.batch_shaping.prior import at_least_float32
from mmbas.losses.gate_loss import PerGateLoss
from mmbas.registry import MODELS


@MODELS.register_module()
class TargetRateLoss(PerGateLoss):
    """``loss_weight * factor * reduction((target - mean of the drawn gates over the batch)^2)``.

    The mean is over the batch of all processes, so several train as one with all images does; that
    needs every process in every step.

    Args:
        target: Wanted share of images that a gate is open for, 0 to 1: one number, or one for each
            gate in the order of the network.
        loss_weight: >= 0.
        reduction: See :class:`PerGateLoss`. ``'mean'`` is that of the authors' code.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> from mmbas.gates import GateOutput
        >>> from mmbas.losses import TargetRateLoss
        >>> gates = torch.tensor([[1.0, 1.0], [0.0, 1.0]])  # open for 1/2 and for all of 2 images
        >>> TargetRateLoss(target=0.5, loss_weight=1.0)([GateOutput(gates - 0.5, gates)])
        tensor(0.1250)
    """

    loss_name = "loss_target_rate"

    def __init__(
        self,
        *,
        target: float | Sequence[float],
        loss_weight: float = 2.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(loss_weight=loss_weight, reduction=reduction)
        targets = [target] if isinstance(target, float | int) else list(target)
        if not targets or not all(0 <= each <= 1 for each in targets):
            raise ValueError(f"expected target in [0, 1], one for each gate, but got {target}")
        self.target = target
        self._targets = torch.tensor(targets, dtype=torch.float32, device="cpu")

    def prepare(self, num_gates: int) -> None:
        """Check that there are as many targets as gates.

        Raises:
            ValueError: If there are not.
        """
        if len(self._targets) not in (1, num_gates):
            raise ValueError(
                f"expected one target or {num_gates}, one for each gate, but got "
                f"{len(self._targets)}"
            )

    def columns(self, output: GateOutput) -> Tensor:
        """See :meth:`PerGateLoss.columns`: the drawn gates."""
        return output.of_decisions(output.gates)

    def loss_per_gate(self, columns: Tensor) -> Tensor:
        """Loss of each gate, shape (G,), for drawn gates, shape (N, G)."""
        rates = gather_batch(at_least_float32(columns)).mean(dim=0)
        return (self._targets.to(rates) - rates).square()

    def extra_repr(self) -> str:
        """Arguments for ``print(model)``."""
        return f"target={self.target}, {super().extra_repr()}"
