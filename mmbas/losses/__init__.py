"""Losses that shape and price the gates."""

from mmbas.losses.batch_shaping.composed_priors import EmpiricalPrior, MixturePrior
from mmbas.losses.batch_shaping.feature_loss import shaping_loss
from mmbas.losses.batch_shaping.learned_prior import LearnedPrior
from mmbas.losses.batch_shaping.line_priors import LaplacePrior, NormalPrior
from mmbas.losses.batch_shaping.loss import (
    BatchShapingLoss,
    batch_shaping_loss,
    batch_shaping_reference,
)
from mmbas.losses.batch_shaping.prior import LinePrior, Prior
from mmbas.losses.batch_shaping.priors import (
    BetaPrior,
    KumaraswamyPrior,
    RelaxedBernoulliPrior,
    UniformPrior,
)
from mmbas.losses.density_bounds_loss import DensityBoundsLoss
from mmbas.losses.feature_shaping_loss import ShapingLoss
from mmbas.losses.features import match_modules, record_features
from mmbas.losses.gate_l0_loss import GateL0Loss, gate_l0_loss
from mmbas.losses.gate_l1_loss import GateL1Loss
from mmbas.losses.gate_loss import GateBatch, GateLoss, PerGateLoss
from mmbas.losses.policy_gradient_loss import PolicyGradientLoss
from mmbas.losses.target_macs_loss import TargetMACsLoss, macs_fraction
from mmbas.losses.target_rate_loss import TargetRateLoss

__all__ = [
    "BatchShapingLoss",
    "BetaPrior",
    "DensityBoundsLoss",
    "EmpiricalPrior",
    "GateBatch",
    "GateL0Loss",
    "GateL1Loss",
    "GateLoss",
    "KumaraswamyPrior",
    "LaplacePrior",
    "LearnedPrior",
    "LinePrior",
    "MixturePrior",
    "NormalPrior",
    "PerGateLoss",
    "PolicyGradientLoss",
    "Prior",
    "RelaxedBernoulliPrior",
    "ShapingLoss",
    "TargetMACsLoss",
    "TargetRateLoss",
    "UniformPrior",
    "batch_shaping_loss",
    "batch_shaping_reference",
    "gate_l0_loss",
    "macs_fraction",
    "match_modules",
    "record_features",
    "shaping_loss",
]
