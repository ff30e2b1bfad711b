"""L1 loss of gates as they are drawn, or of the factors that open gates multiply by.

Z. Chen et al.: You Look Twice: GaterNet for Dynamic Filter Selection in CNNs, CVPR 2019,
https://arxiv.org/abs/1811.11205
X. Gao et al.: Dynamic Channel Pruning: Feature Boosting and Suppression, ICLR 2019,
https://arxiv.org/abs/1810.05331
"""

from __future__ import annotations

from torch import Tensor

from mmbas.gates import GateOutput
from mmbas.losses.batch_shaping.prior import at_least_float32
from mmbas.losses.gate_loss import PerGateLoss
from mmbas.registry import MODELS

READS = ("gates", "scales")


@MODELS.register_module()
class GateL1Loss(PerGateLoss):
    """``loss_weight * factor * reduction(mean over the batch of each gate's absolute value)``.

    Args:
        of: ``'gates'`` for the gates as drawn, which may be between 0 and 1; ``'scales'`` for the
            factors of the gates, closed ones included.
        loss_weight: >= 0.
        reduction: See :class:`PerGateLoss`.

    Raises:
        ValueError: If an argument is out of range; in forward, if the gates have no scales.

    Example:
        >>> import torch
        >>> from mmbas.gates import GateOutput
        >>> from mmbas.losses import GateL1Loss
        >>> gates = torch.tensor([[1.0, 0.5], [0.0, 0.5]])
        >>> GateL1Loss(loss_weight=1.0)([GateOutput(gates, gates)])
        tensor(0.5000)
    """

    loss_name = "loss_gate_l1"

    def __init__(
        self, *, of: str = "gates", loss_weight: float = 0.1, reduction: str = "mean"
    ) -> None:
        super().__init__(loss_weight=loss_weight, reduction=reduction)
        if of not in READS:
            raise ValueError(f"expected of to be one of {READS}, but got {of!r}")
        self.of = of

    def columns(self, output: GateOutput) -> Tensor:
        """See :meth:`PerGateLoss.columns`: the gates or their scales."""
        values = output.gates if self.of == "gates" else output.scales
        if values is None:
            raise ValueError(
                "expected gates with scales for of='scales', but got gates that multiply by 1"
            )
        return output.of_decisions(values)

    def loss_per_gate(self, columns: Tensor) -> Tensor:
        """Loss of each gate, shape (G,), for gates or scales, shape (N, G)."""
        return at_least_float32(columns).abs().mean(dim=0)

    def extra_repr(self) -> str:
        """Arguments for ``print(model)``."""
        return f"of={self.of!r}, {super().extra_repr()}"
