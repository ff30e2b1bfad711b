"""Priors made of others, or of data: a mixture, and an empirical distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from mmbas.losses.batch_shaping.build_prior import build_prior
from mmbas.losses.batch_shaping.prior import LinePrior, Prior
from mmbas.registry import MODELS

MAX_QUANTILE_VALUES = 1 << 24  # what torch.quantile takes


@MODELS.register_module()
@dataclass(frozen=True)
class MixturePrior(Prior):
    """Weighted mean of priors: ``F(x) = sum_k weight_k F_k(x)``.

    Args:
        priors: At least one prior, or their configs.
        weights: Weight of each, > 0, in any unit; None weighs them equally.

    Raises:
        ValueError: If there is no prior, or the weights do not fit.
        TypeError: If a component is no prior.

    Example:
        >>> import torch
        >>> from mmbas.losses import MixturePrior, NormalPrior
        >>> two_peaks = MixturePrior([NormalPrior(-2, 0.5), NormalPrior(2, 0.5)], weights=[3, 1])
        >>> two_peaks.value_cdf(torch.tensor([-2.0, 0.0, 2.0]))
        tensor([0.3750, 0.7500, 0.8750])
    """

    priors: Sequence[Prior | dict[str, Any]]
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        weights = [1.0] * len(self.priors) if self.weights is None else list(self.weights)
        fits = len(weights) == len(self.priors) > 0
        if not fits or not all(0 < weight < math.inf for weight in weights):
            raise ValueError(
                "expected at least one prior and a weight > 0 for each, but got "
                f"{len(self.priors)} priors and weights {weights}"
            )
        object.__setattr__(self, "priors", tuple(build_prior(prior) for prior in self.priors))
        object.__setattr__(self, "weights", tuple(weight / sum(weights) for weight in weights))

    def cdf_and_density(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Prior.cdf_and_density`."""
        return self._mean([prior.cdf_and_density(logits) for prior in self._components])

    def value_cdf_and_density(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Prior.value_cdf_and_density`."""
        return self._mean([prior.value_cdf_and_density(values) for prior in self._components])

    def mass_inside(self) -> float:
        """See :meth:`Prior.mass_inside`; here the least of all components."""
        return min(prior.mass_inside() for prior in self._components)

    @property
    def _components(self) -> list[Prior]:
        return [prior for prior in self.priors if isinstance(prior, Prior)]

    def _mean(self, curves: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Weighted mean of CDFs and densities."""
        weighted = list(zip(self.weights or (), curves, strict=True))
        cdf, density = (sum(weight * curve[part] for weight, curve in weighted) for part in (0, 1))
        return torch.as_tensor(cdf), torch.as_tensor(density)


@MODELS.register_module()
@dataclass(frozen=True)
class EmpiricalPrior(LinePrior):
    """Distribution of given data: its CDF is linear between their quantiles.

    Outside of the data the density is 0, so values there get no gradient; see ``min_density`` of
    the losses. The density is constant between two quantiles, and jumps at each.

    Args:
        quantiles: At least two rising numbers, between two of which lies the same share of the
            data: the smallest value, ..., the largest one.

    Raises:
        ValueError: If the quantiles are too few, not finite, or do not rise.

    Example:
        >>> import torch
        >>> from mmbas.losses import EmpiricalPrior
        >>> EmpiricalPrior([0.0, 1.0, 3.0]).value_cdf(torch.tensor([-1.0, 0.5, 1.0, 2.0, 4.0]))
        tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
        >>> EmpiricalPrior.of(torch.arange(101.0), num_quantiles=5).quantiles
        (0.0, 25.0, 50.0, 75.0, 100.0)
    """

    quantiles: Sequence[float]

    def __post_init__(self) -> None:
        quantiles = tuple(float(quantile) for quantile in self.quantiles)
        steps = [high - low for low, high in pairwise(quantiles)]
        if not steps or not all(0 < step < math.inf for step in steps):
            raise ValueError(
                "expected at least two finite quantiles that rise, but got "
                f"{len(quantiles)} from {min(quantiles, default=math.nan)} to "
                f"{max(quantiles, default=math.nan)}; where many values are equal, as zeros after "
                "a ReLU are, there is no density: leave them out, or take fewer quantiles"
            )
        object.__setattr__(self, "quantiles", quantiles)

    @classmethod
    def of(cls, values: Tensor, *, num_quantiles: int = 257) -> EmpiricalPrior:
        """The distribution of a tensor's values.

        Args:
            values: Any shape, at least two finite values; evenly spaced ones of more than 2^24.
            num_quantiles: Number of quantiles, >= 2.
        """
        flat = values.detach().flatten().double()
        flat = flat[:: -(-len(flat) // MAX_QUANTILE_VALUES)] if len(flat) else flat
        shares = torch.linspace(0, 1, num_quantiles, dtype=torch.float64, device=flat.device)
        return cls(torch.quantile(flat, shares).tolist() if len(flat) else ())

    @torch.no_grad()
    def value_cdf_and_density(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Prior.value_cdf_and_density`."""
        knots = _knots(tuple(self.quantiles), values.dtype, values.device)
        num_cells = len(knots) - 1
        cell = torch.searchsorted(knots, values.contiguous(), right=True).sub_(1)
        cell.clamp_(0, num_cells - 1)
        low = knots[cell]
        density = (knots[cell + 1] - low).mul_(num_cells).reciprocal_()
        cdf = (values - low).mul_(density).add_(cell, alpha=1 / num_cells).clamp_(0, 1)
        density.masked_fill_((values < knots[0]) | (values > knots[-1]), 0)
        return cdf, density.masked_fill_(values.isnan(), math.nan)


@lru_cache(maxsize=32)
def _knots(quantiles: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The quantiles as a tensor; copied to a device once."""
    with torch.inference_mode(False):  # what is made in inference mode cannot be saved for backward
        return torch.tensor(quantiles, dtype=dtype, device=device)
