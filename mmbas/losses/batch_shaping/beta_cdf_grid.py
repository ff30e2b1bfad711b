"""The CDF of a Beta distribution at the nodes of a grid of logits.

torch has no incomplete beta function, so the CDF is tabulated once with scipy in float64 and
looked up on the device of the logits. The grid follows from what the look-up
``F(l) = F(node) + (l - node) * dF/dl(l)`` needs to be exact to :data:`LOOKUP_ERROR`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import betainc, betaln, expit
from torch import Tensor

LOOKUP_ERROR = 5e-8  # of the CDF between two nodes, about the rounding of float32 near 1
TAIL = 1e-8  # probability cut off beyond either end of the grid
MAX_STEP_LOG2 = -4

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BetaCDFGrid:
    """CDF of Beta(a, b) at ``logit = (first + k) * step`` for k = 0, 1, ...

    Attributes:
        log_beta: ln B(a, b).
        step: Distance of two nodes, a power of two: nodes and distances to them are then exact in
            float32.
        first: Index of the first node; the grid starts at the logit ``first * step``.
        values: CDF at the nodes, shape (num_nodes,).
    """

    log_beta: float
    step: float
    first: int
    values: FloatArray

    @property
    def lower(self) -> float:
        """Logit of the first node."""
        return self.first * self.step

    @property
    def upper(self) -> float:
        """Logit of the last node."""
        return (self.first + len(self.values) - 1) * self.step


@lru_cache(maxsize=16)
def beta_cdf_grid(a: float, b: float) -> BetaCDFGrid:
    """Tabulate the CDF of Beta(a, b); takes milliseconds, and is done once for each (a, b)."""
    log_beta = float(betaln(a, b))
    lower = _tail_logit(a, b, log_beta)
    upper = -_tail_logit(b, a, log_beta)
    slope = _max_density_slope(a, b, log_beta)
    # |F(l) - look-up| <= (step / 2)^2 / 2 * max |d2F/dl2|
    step = 2.0 ** min(MAX_STEP_LOG2, math.floor(math.log2(math.sqrt(8 * LOOKUP_ERROR / slope))))
    first, last = math.floor(lower / step), math.ceil(upper / step)
    logits = np.arange(first, last + 1, dtype=np.float64) * step
    return BetaCDFGrid(log_beta, step, first, _beta_cdf(a, b, log_beta, logits))


@lru_cache(maxsize=32)
def beta_cdf_values(a: float, b: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The grid's values as a tensor, shape (num_nodes,); copied to a device once."""
    return torch.from_numpy(beta_cdf_grid(a, b).values).to(device=device, dtype=dtype)


def _tail_logit(a: float, b: float, log_beta: float) -> float:
    """A logit below which Beta(a, b) has no more probability than :data:`TAIL`.

    For x <= 1/2 the CDF is at most ``2 x^a / (a B(a, b))``, and x < exp(logit).
    """
    return (math.log(TAIL / 2) + math.log(a) + log_beta) / a


def _max_density_slope(a: float, b: float, log_beta: float) -> float:
    """Upper bound of ``|d2F/dlogit2|``, a little above the largest one on a fine grid."""
    mode = math.log(a / b)
    width = math.sqrt(1 / a + 1 / b)  # of the density around its mode
    logits = mode + width * np.linspace(-8, 8, 3201)
    log_density = -a * np.logaddexp(0, -logits) - b * np.logaddexp(0, logits) - log_beta
    slope = np.exp(log_density) * (a - (a + b) * expit(logits))
    return 1.05 * float(np.abs(slope).max())


def _beta_cdf(a: float, b: float, log_beta: float, logits: FloatArray) -> FloatArray:
    """CDF at ``sigmoid(logits)`` in float64, from the nearer end so that nothing cancels."""
    below = _lower_tail(a, b, log_beta, np.minimum(logits, 0))
    above = _lower_tail(b, a, log_beta, np.minimum(-logits, 0))
    return np.where(logits <= 0, below, 1 - above)


def _lower_tail(a: float, b: float, log_beta: float, logits: FloatArray) -> FloatArray:
    """CDF for logits <= 0; far out, where sigmoid would underflow, by its leading term."""
    leading = np.exp(a * logits - math.log(a) - log_beta)
    return np.where(logits < -50, leading, betainc(a, b, expit(logits)))
