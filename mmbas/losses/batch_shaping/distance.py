"""Distance of a batch to a prior, whether fixed or learned, of gate logits or of values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmbas.losses.batch_shaping.build_prior import build_prior
from mmbas.losses.batch_shaping.cramer_von_mises import (
    cramer_von_mises,
    cramer_von_mises_formula,
    gate_curve,
    value_curve,
)
from mmbas.losses.batch_shaping.learned_prior import LearnedPrior
from mmbas.losses.batch_shaping.prior import Prior
from mmbas.registry import MODELS, type_name


def build_target(prior: Prior | LearnedPrior | dict[str, Any]) -> Prior | LearnedPrior:
    """A prior that is fixed or learned, from itself or its config.

    Raises:
        TypeError: If it is neither.
    """
    if isinstance(prior, dict) and type_name(prior) == LearnedPrior.__name__:
        prior = MODELS.build(prior)
    return prior if isinstance(prior, LearnedPrior) else build_prior(prior)


@dataclass(frozen=True)
class Distance:
    """Settings of the distance of a batch to its prior.

    Args:
        of_gates: True if the prior is that of gate probs and the batch holds gate logits.
        min_density: Least density in the gradient, >= 0.
        handle_ties: True if equal values share the highest of their ranks.

    Raises:
        ValueError: If min_density is out of range.
    """

    of_gates: bool
    min_density: float = 0.0
    handle_ties: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.min_density < math.inf:
            raise ValueError(f"expected a finite min_density >= 0, but got {self.min_density}")

    def __call__(
        self,
        values: Tensor,
        prior: Prior | LearnedPrior,
        *,
        owners: Tensor | None = None,
        others: Tensor | None = None,
    ) -> Tensor:
        """Distance of each column, shape (G,).

        Args:
            values: Shape (N, G): gate logits, or values of features.
            prior: The distribution they are compared with.
            owners: The set of a learned prior's parameters for each column, shape (G,); None if
                each column has its own.
            others: Values that the batch is ranked among, shape (R, G).
        """
        if isinstance(prior, Prior):
            curve_of = gate_curve if self.of_gates else value_curve
            curve = curve_of(prior, self.min_density)
            return cramer_von_mises(values, curve, others=others, handle_ties=self.handle_ties)
        learned = prior
        sets = torch.arange(values.shape[1]) if owners is None else owners

        def cdf(at: Tensor) -> Tensor:
            return learned.gate_cdf(at, sets) if self.of_gates else learned.value_cdf(at, sets)

        return cramer_von_mises_formula(
            values, self._with_floor(cdf), others=others, handle_ties=self.handle_ties
        )

    def _with_floor(self, cdf: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The same CDF, whose gradient to the values is that of a density with a floor."""
        if self.min_density == 0:
            return cdf

        def floored(values: Tensor) -> Tensor:
            result = cdf(values)
            if not values.requires_grad:
                return result
            (density,) = torch.autograd.grad(result.sum(), values, retain_graph=True)
            scale = values.sigmoid() * values.neg().sigmoid() if self.of_gates else 1.0
            missing = (self.min_density * scale - density).clamp(min=0).detach()
            return result + (values - values.detach()) * missing

        return floored


def check_batch(name: str, values: Tensor, others: Tensor | None, *, advice: str) -> None:
    """Refuse values that cannot be compared with a distribution.

    Args:
        name: Name of the values in messages.
        values: Shape (N, G), as it should be.
        others: Shape (R, G), or None.
        advice: Ways to get more values.

    Raises:
        ValueError: If values is not 2-D, has too few rows, or others has another number of columns.
    """
    images = "images" if name == "gate_logits" else "values"
    if values.ndim != 2:
        raise ValueError(f"expected {name} of shape (N, G), but got shape {tuple(values.shape)}")
    fewest = 2 if others is None else 1
    if len(values) < fewest:
        raise ValueError(
            f"expected at least {fewest} {images} to compare with a distribution, but got "
            f"{len(values)}; {advice}"
        )
    if others is not None and others.shape[1:] != values.shape[1:]:
        raise ValueError(
            f"expected other_{name.removeprefix('gate_')} of shape (R, {values.shape[1]}), but got "
            f"shape {tuple(others.shape)}"
        )
