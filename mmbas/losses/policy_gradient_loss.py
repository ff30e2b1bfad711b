"""Policy-gradient loss: gates that are drawn learn from what the draw led to.

X. Wang et al.: SkipNet: Learning Dynamic Routing in Convolutional Networks, ECCV 2018,
https://arxiv.org/abs/1711.09485 (section 3.3)
R. J. Williams: Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
Learning, Machine Learning 8, 1992
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mmbas.gates import GateOutput
from mmbas.losses.gate_loss import GateBatch, GateLoss
from mmbas.registry import MODELS

COSTS = ("equal", "macs")


def returns_of(
    gate_outputs: Sequence[GateOutput],
    image_losses: Tensor,
    *,
    alpha: float,
    task_share: float,
    costs: str = "equal",
) -> Tensor:
    """Gain of each gate's decision for an image: savings from this gate on, and the task.

    R_i = alpha / L sum_{j >= i} (1 - g_j) C_j - task_share * loss of the image

    Args:
        gate_outputs: L layers with one output each, for the same N images.
        image_losses: Loss of each image, shape (N,).
        alpha: Weight of the savings.
        task_share: Weight of the task.
        costs: ``'equal'`` for C_j = 1; ``'macs'`` for the layer's share of the MACs, times L.

    Returns:
        Shape (N, L), without gradient.
    """
    closed = torch.stack([1 - output.gates.detach().float().mean(dim=1) for output in gate_outputs])
    weights = torch.ones(len(closed), device=closed.device)
    if costs == "macs":
        macs = torch.tensor(
            [float(output.dense_macs) for output in gate_outputs], device=closed.device
        )
        weights = macs / macs.mean()
    saved = closed * weights[:, None] * alpha / len(closed)
    from_here_on = saved.flip(0).cumsum(dim=0).flip(0)
    return (from_here_on - task_share * image_losses.detach().float()).t()


@MODELS.register_module()
class PolicyGradientLoss(GateLoss):
    """``-loss_weight * factor * mean over images of sum_i log p(g_i) R_i``; R: :func:`returns_of`.

    The gradient is that of the expected cost of drawn gates, so gates are drawn without a gradient
    of their own: ``sampler=dict(type='mmbas.Bernoulli')``.

    Args:
        alpha: Weight of the savings in a return, >= 0.
        task_share: Weight of an image's loss in a return, >= 0; None takes alpha / L for L gates.
        costs: ``'equal'`` prices all blocks alike, ``'macs'`` by their MACs.
        loss_weight: >= 0.

    Raises:
        ValueError: If an argument is out of range; in training, if the host does not tell the loss
            of each image.

    Source:
        Wang et al., ECCV 2018, section 3.3; the weight 0.01 is that of the authors' code.
    """

    loss_name = "loss_policy"
    needs_image_losses = True

    def __init__(
        self,
        *,
        alpha: float = 0.1,
        task_share: float | None = 1.0,
        costs: str = "equal",
        loss_weight: float = 0.01,
    ) -> None:
        super().__init__(loss_weight=loss_weight)
        if costs not in COSTS:
            raise ValueError(f"expected costs to be one of {COSTS}, but got {costs!r}")
        for name, value in (("alpha", alpha), ("task_share", task_share)):
            if value is not None and not value >= 0:
                raise ValueError(f"expected {name} >= 0, but got {value}")
        self.alpha = alpha
        self.task_share = task_share
        self.costs = costs

    def batch_terms(self, batch: GateBatch) -> dict[str, Tensor]:
        """See :meth:`GateLoss.batch_terms`."""
        if batch.image_losses is None:
            raise ValueError(
                "expected a model that tells the loss of each image, such as "
                "GatedImageClassifier, but got one that does not; train it without "
                "PolicyGradientLoss"
            )
        return {self.loss_name: self(batch.outputs, batch.image_losses)}

    def forward(self, gate_outputs: Sequence[GateOutput], image_losses: Tensor) -> Tensor:
        """The loss, a scalar, of gates that were drawn.

        Args:
            gate_outputs: One for each gated layer, with logits of shape (N, G_layer).
            image_losses: Loss of each image, shape (N,).

        Raises:
            ValueError: If there is no layer.
        """
        if not gate_outputs:
            raise ValueError("expected the outputs of at least one gated layer, but got none")
        share = self.alpha / len(gate_outputs) if self.task_share is None else self.task_share
        returns = returns_of(
            gate_outputs, image_losses, alpha=self.alpha, task_share=share, costs=self.costs
        )
        log_probs = torch.stack([_log_prob(output) for output in gate_outputs], dim=1)
        return -self.loss_weight * self.factor * (log_probs * returns).sum(dim=1).mean()

    def extra_repr(self) -> str:
        """Arguments for ``print(model)``."""
        return (
            f"alpha={self.alpha}, task_share={self.task_share}, costs={self.costs!r}, "
            f"loss_weight={self.loss_weight}"
        )


def _log_prob(output: GateOutput) -> Tensor:
    """Log probability of a layer's gates, shape (N,)."""
    logits = output.decision_logits.float()
    gates = output.of_decisions(output.gates).detach().float()
    return (gates * F.logsigmoid(logits) + (1 - gates) * F.logsigmoid(-logits)).sum(dim=1)
