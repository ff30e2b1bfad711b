"""L0 loss: the price of an open gate.

B. E. Bejnordi, T. Blankevoort, M. Welling: Batch-Shaping for Learning Conditional Channel Gated
Networks, ICLR 2020, https://arxiv.org/abs/1907.06627
"""

from __future__ import annotations

from torch import Tensor

from mmbas.losses.batch_shaping.prior import at_least_float32
from mmbas.losses.gate_loss import PerGateLoss
from mmbas.registry import MODELS


def gate_l0_loss(gate_logits: Tensor) -> Tensor:
    """Expected open fraction of each gate.

    loss_g = 1/N sum_n sigmoid(logit_ng)

    Args:
        gate_logits: Shape (N, G); N >= 1 images, G gates.

    Returns:
        Loss per gate, shape (G,), in [0, 1]; float32 for float32 and half precision.

    Raises:
        ValueError: If gate_logits is not 2-D or has no images.

    Example:
        >>> import torch
        >>> from mmbas.losses import gate_l0_loss
        >>> gate_l0_loss(torch.tensor([[0.0, 4.0], [0.0, -4.0], [0.0, 4.0]]))
        tensor([0.5000, 0.6607])

    Source:
        Bejnordi et al., ICLR 2020, eq. 5.
    """
    if gate_logits.ndim != 2 or len(gate_logits) == 0:
        raise ValueError(
            "expected gate_logits of shape (N, G) with N >= 1 images, but got shape "
            f"{tuple(gate_logits.shape)}"
        )
    return at_least_float32(gate_logits).sigmoid().mean(dim=0)


@MODELS.register_module()
class GateL0Loss(PerGateLoss):
    """Drives gates to close: ``loss_weight * factor * reduction(gate_l0_loss(logits))``.

    Args:
        loss_weight: gamma of the paper, >= 0.
        reduction: See :class:`PerGateLoss`. A plain ``'sum'`` outweighs the task's loss in networks
            with thousands of gates.

    Raises:
        ValueError: If an argument is out of range.
    """

    loss_name = "loss_gate_l0"

    def __init__(self, *, loss_weight: float = 0.05, reduction: str = "layer_mean") -> None:
        super().__init__(loss_weight=loss_weight, reduction=reduction)

    def loss_per_gate(self, columns: Tensor) -> Tensor:
        """Loss of each gate, shape (G,), for logits of shape (N, G)."""
        return gate_l0_loss(columns)
