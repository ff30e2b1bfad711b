"""Priors on an interval: uniform, Beta, Kumaraswamy and relaxed Bernoulli."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from mmbas.losses.batch_shaping.beta_cdf_grid import beta_cdf_grid, beta_cdf_values
from mmbas.losses.batch_shaping.learned_beta_cdf import learned_beta_cdf
from mmbas.losses.batch_shaping.prior import LinePrior, Prior
from mmbas.registry import MODELS

LOG2_E = 1 / math.log(2)
MIN_SHAPE, MAX_SHAPE = 0.01, 100.0
MAX_LEARNED_LOGIT = 80.0  # where float32 still tells probs from 0 and 1


@MODELS.register_module()
@dataclass(frozen=True)
class UniformPrior(LinePrior):
    """All values between two ends equally likely; by default ``F(x) = x``.

    Outside the ends the density is 0, so values there get no gradient; see ``min_density`` of the
    losses.

    Args:
        low: Lower end.
        high: Upper end, > low.

    Raises:
        ValueError: If high is not above low, or an end is not finite.

    Example:
        >>> import torch
        >>> from mmbas.losses import UniformPrior
        >>> UniformPrior().cdf(torch.tensor([-2.0, 0.0, 2.0]))  # at gate logits
        tensor([0.1192, 0.5000, 0.8808])
        >>> UniformPrior(-1, 3).value_cdf(torch.tensor([-2.0, 0.0, 2.0]))
        tensor([0.0000, 0.2500, 0.7500])
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.high - self.low < math.inf:
            raise ValueError(
                "expected finite ends with low < high for a uniform prior, but got "
                f"low={self.low}, high={self.high}"
            )

    @torch.no_grad()
    def cdf_and_density(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Prior.cdf_and_density`."""
        if (self.low, self.high) != (0, 1):
            return super().cdf_and_density(logits)
        cdf = logits.sigmoid()
        return cdf, logits.neg().sigmoid_().mul_(cdf)

    @torch.no_grad()
    def value_cdf_and_density(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Prior.value_cdf_and_density`."""
        width = self.high - self.low
        density = torch.full_like(values, 1 / width)
        density.masked_fill_((values < self.low) | (values > self.high), 0)
        density.masked_fill_(values.isnan(), math.nan)
        return ((values - self.low) / width).clamp_(0, 1), density


@MODELS.register_module()
@dataclass(frozen=True)
class BetaPrior(Prior):
    """Beta distribution ``I_x(a, b)``, the paper's prior with a = 0.6, b = 0.4.

    The mean is a / (a + b); with a, b < 1 most mass lies near 0 and 1, so a gate is decided for
    each image, but not for all images alike. In float32 the CDF is within 1e-6 (absolute) and the
    density within 1e-4 (relative) for a, b in [0.05, 20].

    Args:
        a: Shape at x = 0: ``dF/dl ~ exp(a l)`` for l -> -inf; in [0.01, 100].
        b: Shape at x = 1: ``dF/dl ~ exp(-b l)`` for l -> inf; in [0.01, 100].

    Raises:
        ValueError: If a or b is outside [0.01, 100].

    Example:
        >>> import torch
        >>> from mmbas.losses import BetaPrior
        >>> prior = BetaPrior(a=0.6, b=0.4)  # the paper's, of mean 0.6
        >>> prior.cdf(torch.tensor([-2.0, 0.0, 2.0]))
        tensor([0.1448, 0.3841, 0.6721])
        >>> density = prior.cdf_and_density(torch.tensor([-80.0, 0.0, 80.0]))[1]
        >>> density.isfinite()  # though that of Beta(0.6, 0.4) is infinite at 0 and at 1
        tensor([True, True, True])

    Source:
        Bejnordi et al., ICLR 2020, section 4.2.
    """

    a: float = 0.6
    b: float = 0.4

    learnable: ClassVar[Mapping[str, str]] = {"a": "positive", "b": "positive"}

    def __post_init__(self) -> None:
        _check_shapes("Beta", self.a, self.b)

    @torch.no_grad()
    def cdf_and_density(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Prior.cdf_and_density`."""
        density = self._density(logits)
        grid = beta_cdf_grid(self.a, self.b)
        values = beta_cdf_values(self.a, self.b, logits.dtype, logits.device)
        position = logits.clamp(grid.lower, grid.upper).div_(grid.step)
        # The nearest node. NaN becomes an arbitrary integer: clamp it, the offset carries the NaN.
        index = (position + (0.5 - grid.first)).to(torch.int32).clamp_(0, len(values) - 1)
        cdf = values.index_select(0, index.reshape(-1)).view(logits.shape)
        offset = position.sub_(index.add_(grid.first))
        if logits.dtype == torch.float64:
            offset = self._taylor_offset(logits, offset.mul_(grid.step)).div_(grid.step)
        return cdf.addcmul_(offset, density, value=grid.step), density

    @staticmethod
    def learned_cdf(at: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """See :meth:`Prior.learned_cdf`."""
        return learned_beta_cdf(at, parameters["a"], parameters["b"])

    def _density(self, logits: Tensor) -> Tensor:
        """``x^a (1 - x)^b / B(a, b)``, in log space and so exact far into the tails."""
        # ln x = min(l, 0) - softplus(-|l|), and ln(1 - x) likewise: the softplus appears a + b
        # times; what remains, -a l below zero and b l above, is one leaky ReLU. In powers of two,
        # as torch's exp and log hand even small blocks to several threads, and exp2 does not.
        log2_density = F.softplus(-logits.abs()).mul_(-(self.a + self.b) * LOG2_E)
        log2_density.sub_(F.leaky_relu(logits, -self.a / self.b), alpha=self.b * LOG2_E)
        return log2_density.sub_(beta_cdf_grid(self.a, self.b).log_beta * LOG2_E).exp2_()

    def _taylor_offset(self, logits: Tensor, offset: Tensor) -> Tensor:
        """``(F(l) - F(l - offset)) / dF/dl(l)`` to third order, for results exact in float64."""
        x = logits.sigmoid()
        slope = self.a - (self.a + self.b) * x  # (ln dF/dl)'
        curvature = -(self.a + self.b) * x * logits.neg().sigmoid()  # (ln dF/dl)''
        return offset * (1 - offset / 2 * slope + offset**2 / 6 * (slope**2 + curvature))


@MODELS.register_module()
@dataclass(frozen=True)
class KumaraswamyPrior(Prior):
    """Kumaraswamy distribution ``F(x) = 1 - (1 - x^a)^b``, like the Beta in closed form.

    Args:
        a: Shape at x = 0, in [0.01, 100].
        b: Shape at x = 1, in [0.01, 100].

    Raises:
        ValueError: If a or b is outside [0.01, 100].

    Example:
        >>> import torch
        >>> from mmbas.losses import KumaraswamyPrior
        >>> KumaraswamyPrior(a=0.6, b=0.4).cdf(torch.tensor([-2.0, 0.0, 2.0]))
        tensor([0.1227, 0.3503, 0.6484])

    Source:
        P. Kumaraswamy, Journal of Hydrology 46 (1980).
    """

    a: float
    b: float

    learnable: ClassVar[Mapping[str, str]] = {"a": "positive", "b": "positive"}

    def __post_init__(self) -> None:
        _check_shapes("Kumaraswamy", self.a, self.b)

    @torch.no_grad()
    def cdf_and_density(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Prior.cdf_and_density`."""
        log_x, log_1mx = F.logsigmoid(logits), F.logsigmoid(-logits)
        # ln(1 - x^a) = ln a + ln(1 - x) + excess, where the excess vanishes for x -> 1: there
        # x^a would round to 1, and the large terms of the density would cancel inexactly.
        excess = _log1m_exp(self.a * log_x) - math.log(self.a) - log_1mx
        excess = math.log(self.a) + torch.where(logits > 18, 0, excess)
        cdf = -torch.expm1(self.b * log_1mx + self.b * excess)
        density = torch.exp(self.a * log_x + self.b * log_1mx + (self.b - 1) * excess)
        return cdf.clamp_(min=0), density.mul_(self.a * self.b)

    @staticmethod
    def learned_cdf(at: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """See :meth:`Prior.learned_cdf`."""
        log_x = F.logsigmoid(at.clamp(-MAX_LEARNED_LOGIT, MAX_LEARNED_LOGIT))
        log_above = torch.log(-torch.expm1(parameters["a"] * log_x))  # ln(1 - x^a)
        return -torch.expm1(parameters["b"] * log_above)


@MODELS.register_module()
@dataclass(frozen=True)
class RelaxedBernoulliPrior(Prior):
    """Distribution of a binary concrete sample, ``F(x) = sigmoid(t logit(x) - logit(p))``.

    Nearly a Bernoulli variable: with a low temperature most of it lies near 0 and 1.

    Args:
        prob: Probability p that a sample lies above 1/2, in (0, 1).
        temperature: Temperature t, > 0.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> from mmbas.losses import RelaxedBernoulliPrior
        >>> RelaxedBernoulliPrior(prob=0.2, temperature=0.25).cdf(torch.tensor([-2.0, 0.0, 2.0]))
        tensor([0.7081, 0.8000, 0.8683])

    Source:
        C. J. Maddison, A. Mnih, Y. W. Teh: The Concrete Distribution, ICLR 2017.
    """

    prob: float
    temperature: float

    learnable: ClassVar[Mapping[str, str]] = {"prob": "unit", "temperature": "positive"}

    def __post_init__(self) -> None:
        if not (0 < self.prob < 1 and 0 < self.temperature < math.inf):
            raise ValueError(
                "expected prob in (0, 1) and temperature > 0 for a relaxed Bernoulli prior, but "
                f"got prob={self.prob}, temperature={self.temperature}"
            )

    @torch.no_grad()
    def cdf_and_density(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Prior.cdf_and_density`."""
        shifted = logits * self.temperature - math.log(self.prob / (1 - self.prob))
        cdf = shifted.sigmoid()
        return cdf, shifted.neg_().sigmoid_().mul_(cdf).mul_(self.temperature)

    @staticmethod
    def learned_cdf(at: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """See :meth:`Prior.learned_cdf`."""
        return torch.sigmoid(parameters["temperature"] * at - parameters["prob"].logit())


def _log1m_exp(log_p: Tensor) -> Tensor:
    """``ln(1 - exp(log_p))`` for log_p <= 0, without cancellation at either end."""
    return torch.where(
        log_p > -math.log(2), torch.log(-torch.expm1(log_p)), torch.log1p(-torch.exp(log_p))
    )


def _check_shapes(name: str, a: float, b: float) -> None:
    if not (MIN_SHAPE <= a <= MAX_SHAPE and MIN_SHAPE <= b <= MAX_SHAPE):
        raise ValueError(
            f"expected a > 0 and b > 0 for a {name} prior, both between {MIN_SHAPE} and "
            f"{MAX_SHAPE:g}, but got a={a}, b={b}"
        )
