"""Losses that shape and price the gates."""

from mmbas.losses.batch_shaping.loss import (
    BatchShapingLoss,
    batch_shaping_loss,
    batch_shaping_reference,
)
from mmbas.losses.batch_shaping.priors import (
    BetaPrior,
    KumaraswamyPrior,
    NormalPrior,
    Prior,
    UniformPrior,
)
from mmbas.losses.gate_l0_loss import GateL0Loss, gate_l0_loss
from mmbas.losses.gate_loss import GateLoss, PerGateLoss
from mmbas.losses.target_macs_loss import TargetMACsLoss, macs_fraction
from mmbas.losses.target_rate_loss import TargetRateLoss

__all__ = [
    "BatchShapingLoss",
    "BetaPrior",
    "GateL0Loss",
    "GateLoss",
    "KumaraswamyPrior",
    "NormalPrior",
    "PerGateLoss",
    "Prior",
    "TargetMACsLoss",
    "TargetRateLoss",
    "UniformPrior",
    "batch_shaping_loss",
    "batch_shaping_reference",
    "gate_l0_loss",
    "macs_fraction",
]
