"""Feature boosting and suppression: the k most salient channels, each with a weight of its own.

X. Gao, Y. Zhao, L. Dudziak, R. Mullins, C. Xu: Dynamic Channel Pruning: Feature Boosting and
Suppression, ICLR 2019, https://arxiv.org/abs/1810.05331
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbas.gates.channel_gate import average_pool, weight_dtype
from mmbas.gates.gate import Gate
from mmbas.gates.gate_output import Decision
from mmbas.gates.linear_gate import in_full_precision
from mmbas.registry import MODELS

_ROUNDING = 1e-6  # 0.7 * 10 is a little more than 7


@MODELS.register_module()
class TopKGate(Gate):
    """Global average pool -> Linear(C, G) = u; open are the ceil(density * G) largest u > 0.

    An open gate multiplies by its saliency relu(u). The mask is a constant to the gradient, which
    reaches the saliencies of open channels only. There is no noise, in training neither.

    The logits are u minus a threshold: half way between the k-th and the (k+1)-th largest, at least
    0. So a channel without saliency is closed, also where fewer than k have one; the output is the
    same, and it costs nothing.

    Args:
        in_channels: Channels C of the block's input.
        num_gates: Number of gates, G.
        density: Share of the channels that are open, in (0, 1]. A schedule may lower it to this
            value; it is not part of checkpoints.

    Raises:
        ValueError: If density is out of range.

    Example:
        >>> import torch
        >>> from mmbas.gates import TopKGate
        >>> TopKGate(64, 16, density=0.25).eval()(torch.randn(2, 64, 8, 8)).gates.sum(dim=1)
        tensor([4., 4.])

    Note:
        The paper gives each convolution a gate on its own input. Here all gates of a block read the
        block's input. Equal saliencies at the threshold are all closed.
    """

    density: Tensor

    def __init__(self, in_channels: int, num_gates: int, *, density: float = 0.5) -> None:
        super().__init__(num_gates)
        if not 0 < density <= 1:
            raise ValueError(f"expected density in (0, 1], but got {density}")
        value = torch.tensor(float(density), dtype=torch.float64, device="cpu")
        self.register_buffer("density", value, persistent=False)
        self.fc = nn.Linear(in_channels, num_gates)
        self.init_weights()

    def init_weights(self) -> None:
        """Saliencies start near 1; the weights are small, as in the authors' code."""
        nn.init.trunc_normal_(self.fc.weight, std=0.05)
        nn.init.ones_(self.fc.bias)

    def decide(self, x: Tensor) -> Decision:
        """See :meth:`Gate.decide`; the scales are the saliencies."""
        with in_full_precision(x):
            u: Tensor = self.fc(average_pool(x, (2, 3)).to(weight_dtype(self.fc)))
            ranked = u.detach().sort(dim=1, descending=True).values
            k = (self.density * self.num_gates - _ROUNDING).ceil().long().clamp(min=1)
            last = self.num_gates - 1
            kept = ranked.index_select(1, (k - 1).view(1))
            next_one = ranked.index_select(1, k.clamp(max=last).view(1))
            threshold = ((kept + next_one) / 2).relu()
            threshold = torch.where(k > last, torch.zeros_like(threshold), threshold)
            return Decision(u - threshold, u.relu())

    def compute_logits(self, x: Tensor) -> Tensor:
        """See :meth:`Gate.compute_logits`."""
        return self.decide(x).logits

    def sample(self, logits: Tensor) -> Tensor:
        """The gates of evaluation, without gradient."""
        return (logits.detach() > 0).to(logits.dtype)

    @property
    def settings(self) -> dict[str, Tensor]:
        """See :attr:`Gate.settings`."""
        return {**super().settings, "density": self.density}

    def extra_repr(self) -> str:
        """Arguments for ``print(model)``."""
        return f"num_gates={self.num_gates}, density={float(self.density):.4g}"
