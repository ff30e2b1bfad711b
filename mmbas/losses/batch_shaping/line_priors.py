"""Priors on the whole line: normal and Laplace."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmbas.losses.batch_shaping.prior import LinePrior
from mmbas.registry import MODELS


@MODELS.register_module()
@dataclass(frozen=True)
class NormalPrior(LinePrior):
    """Normal distribution of features on the whole line, of gate probs cut to (0, 1).

    For gate probs (not logits) ``F(x) = (Phi((x - mean) / std) - Phi(-mean / std)) / mass``, with
    the mass that the normal distribution has inside (0, 1). Without the division F would not reach
    0 and 1, and no batch of probs could match it. In float32 the CDF is exact to about
    3e-7 / std there.

    Args:
        mean: Mean; for gates before the cut, and it may lie outside (0, 1).
        std: Standard deviation, > 0; for gates before the cut.

    Raises:
        ValueError: If std <= 0; for gates, if less than 0.1 % of the normal lies inside (0, 1).

    Example:
        >>> import torch
        >>> from mmbas.losses import NormalPrior
        >>> NormalPrior().value_cdf(torch.tensor([-2.0, 0.0, 2.0]))
        tensor([0.0228, 0.5000, 0.9772])
        >>> NormalPrior(mean=0.5, std=0.2).cdf(torch.tensor([-2.0, 0.0, 2.0]))  # at gate logits
        tensor([0.0225, 0.5000, 0.9775])
    """

    mean: float = 0.0
    std: float = 1.0

    learnable: ClassVar[Mapping[str, str]] = {"mean": "real", "std": "positive"}

    def __post_init__(self) -> None:
        _check_place("normal", "std", self.mean, self.std)

    def mass_inside(self) -> float:
        """See :meth:`Prior.mass_inside`."""
        return 0.5 * abs(self._tail(1.0) - self._tail(0.0))

    @torch.no_grad()
    def cdf_and_density(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Prior.cdf_and_density`."""
        self.check_gates()
        x = logits.sigmoid()
        z = (x - self.mean) / self.std
        # The tail that is small inside (0, 1) keeps its digits in the difference.
        at_0, at_1 = self._tail(0.0), self._tail(1.0)
        cdf = (at_0 - torch.erfc(z * (self._side / math.sqrt(2)))) / (at_0 - at_1)
        peak = 1 / (self.std * math.sqrt(2 * math.pi) * 0.5 * abs(at_1 - at_0))
        density = torch.exp(-0.5 * z**2) * peak * x * logits.neg().sigmoid()
        return cdf.clamp_(0, 1), density

    @torch.no_grad()
    def value_cdf_and_density(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Prior.value_cdf_and_density`."""
        z = (values - self.mean).div_(self.std)
        cdf = torch.erfc(z * -math.sqrt(0.5)).mul_(0.5)
        return cdf, z.square_().mul_(-0.5).exp_().mul_(1 / (self.std * math.sqrt(2 * math.pi)))

    @staticmethod
    def learned_cdf(at: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """See :meth:`Prior.learned_cdf`."""
        z = (at - parameters["mean"]) / parameters["std"]
        return 0.5 * torch.erfc(-math.sqrt(0.5) * z)

    @property
    def _side(self) -> float:
        return 1.0 if self.mean <= 0.5 else -1.0

    def _tail(self, x: float) -> float:
        """Twice the normal's probability beyond x, on the side away from its mean."""
        return math.erfc(self._side * (x - self.mean) / (self.std * math.sqrt(2)))


@MODELS.register_module()
@dataclass(frozen=True)
class LaplacePrior(LinePrior):
    """Laplace distribution, ``f(x) = exp(-|x - mean| / scale) / (2 scale)``.

    Sharper in the middle than a normal and with longer tails: what few features are far from, most
    are near to.

    Args:
        mean: Mean.
        scale: Mean distance to the mean, > 0.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> from mmbas.losses import LaplacePrior
        >>> LaplacePrior().value_cdf(torch.tensor([-2.0, 0.0, 2.0]))
        tensor([0.0677, 0.5000, 0.9323])
    """

    mean: float = 0.0
    scale: float = 1.0

    learnable: ClassVar[Mapping[str, str]] = {"mean": "real", "scale": "positive"}

    def __post_init__(self) -> None:
        _check_place("Laplace", "scale", self.mean, self.scale)

    @torch.no_grad()
    def value_cdf_and_density(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Prior.value_cdf_and_density`."""
        z = (values - self.mean).div_(self.scale)
        tail = z.abs().neg_().exp_().mul_(0.5)
        return torch.where(z < 0, tail, 1 - tail), tail / self.scale

    @staticmethod
    def learned_cdf(at: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """See :meth:`Prior.learned_cdf`."""
        z = (at - parameters["mean"]) / parameters["scale"]
        below, above = 0.5 * torch.exp(z.clamp(max=0)), 1 - 0.5 * torch.exp(-z.clamp(min=0))
        return torch.where(z < 0, below, above)


def _check_place(name: str, width_name: str, mean: float, width: float) -> None:
    if not (math.isfinite(mean) and 0 < width < math.inf):
        raise ValueError(
            f"expected a finite mean and {width_name} > 0 for a {name} prior, but got "
            f"mean={mean}, {width_name}={width}"
        )
