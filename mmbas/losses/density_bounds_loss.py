"""Density-bounds loss: holds every layer near a target first, then lets go of it.

F. Li et al.: Dynamic Dual Gating Neural Networks, ICCV 2021 (DGNet)
Y. Han et al.: Latency-aware Unified Dynamic Networks for Efficient Image Recognition, 2023,
https://arxiv.org/abs/2308.15949 (LAUDNet)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmbas.gates import GateOutput
from mmbas.losses.batch_shaping.gather import gather_batch
from mmbas.losses.gate_loss import GateLoss
from mmbas.registry import MODELS

READS = ("gates", "macs")


@MODELS.register_module()
class DensityBoundsLoss(GateLoss):
    """Squared distance of each layer's open share to the interval that the tightness leaves.

    ``relu(p t - d)^2 + relu(d - (1 - p + p t))^2``. There d is the open share of a layer over the
    batch of all processes, t its target and p the tightness. At p = 1 every layer is held at its
    target, at p = 0 none is held.

    Args:
        target: Wanted share of the MACs of gated convolutions, in (0, 1).
        of: ``'macs'`` bounds the share of each layer's MACs, with t = target. ``'gates'`` bounds
            the open share of its channels and that of its tiles, each with t = sqrt(target), since
            both multiply; the two kinds are averaged over layers and then added.
        loss_weight: >= 0.

    Attributes:
        tightness: p, in [0, 1]; a schedule sets it.

    Raises:
        ValueError: If an argument is out of range.

    Source:
        The authors' code of both methods; ``'gates'`` is DGNet's, ``'macs'`` LAUDNet's.
    """

    loss_name = "loss_density_bounds"

    def __init__(self, *, target: float, of: str = "gates", loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight=loss_weight)
        if not 0 < target < 1:
            raise ValueError(f"expected target in (0, 1), but got {target}")
        if of not in READS:
            raise ValueError(f"expected of to be one of {READS}, but got {of!r}")
        self.target = target
        self.of = of
        self.tightness = 1.0

    def forward(self, gate_outputs: Sequence[GateOutput]) -> Tensor:
        """The loss, a scalar.

        Args:
            gate_outputs: One for each gated layer.

        Raises:
            ValueError: If there is no layer.
        """
        if not gate_outputs:
            raise ValueError("expected the outputs of at least one gated layer, but got none")
        if self.of == "macs":
            kinds = [[output.macs() / output.dense_macs for output in gate_outputs]]
            target = self.target
        else:
            kinds = [
                [
                    output.gates[:, part].mean(dim=1)
                    for output in gate_outputs
                    for part in output.parts(positions=positions)
                ]
                for positions in (False, True)
            ]
            target = math.sqrt(self.target)
        total = torch.stack([self._of_shares(shares, target) for shares in kinds if shares]).sum()
        return self.loss_weight * self.factor * total

    def _of_shares(self, shares: Sequence[Tensor], target: float) -> Tensor:
        """Mean over layers of the squared distances; shares of each image, shape (N,)."""
        d = gather_batch(torch.stack(list(shares), dim=1).float()).mean(dim=0)
        lower = self.tightness * target
        upper = 1 - self.tightness + self.tightness * target
        return ((lower - d).relu().square() + (d - upper).relu().square()).mean()

    def extra_repr(self) -> str:
        """Arguments for ``print(model)``."""
        return f"target={self.target}, of={self.of!r}, loss_weight={self.loss_weight}"
