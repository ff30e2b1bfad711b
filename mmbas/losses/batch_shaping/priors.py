"""Distributions on (0, 1) that gate probs can be shaped to, evaluated at gate logits.

With ``x = sigmoid(l)`` and density ``f``, what the losses need is ``F(x)`` and
``dF/dl = f(x) x (1 - x)``. The second is bounded and smooth even where ``f`` is infinite, as
Beta(0.6, 0.4) is at 0 and at 1, so nothing is clipped.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mmbas.losses.batch_shaping.beta_cdf_grid import beta_cdf_grid, beta_cdf_values
from mmbas.registry import MODELS

LOG2_E = 1 / math.log(2)
MIN_SHAPE, MAX_SHAPE = 0.01, 100.0
MIN_NORMAL_MASS = 1e-3


def at_least_float32(values: Tensor) -> Tensor:
    """The values themselves if float32 or float64, half precision as float32."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


class _CDF(torch.autograd.Function):
    """CDF of a prior at gate logits, with the exact density as its gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, prior: Prior) -> Tensor:
        cdf, density = prior.cdf_and_density(at_least_float32(logits))
        ctx.save_for_backward(density)
        return cdf

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (density,) = ctx.saved_tensors
        return grad_outputs[0] * density, None


class Prior(ABC):
    """A distribution on (0, 1), seen from gate logits ``l``: ``x = sigmoid(l)``.

    A subclass defines :meth:`cdf_and_density`. Priors hold numbers, no tensors: they need no
    ``.to(device)``, leave nothing in a checkpoint, and can be pickled and compared.
    """

    @abstractmethod
    def cdf_and_density(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """CDF and its derivative with respect to the logits; nothing is recorded for autograd.

        Args:
            logits: Any shape, float32 or float64, any value; NaN gives NaN.

        Returns:
            ``F(sigmoid(l))`` and ``dF/dl``: new tensors like ``logits``, which the caller may
            overwrite. They are computed on the device of the logits, without waiting for it.
        """

    def cdf(self, logits: Tensor) -> Tensor:
        """CDF at ``sigmoid(logits)``, differentiable once; float32 for half precision."""
        cdf: Tensor = _CDF.apply(logits, self)
        return cdf


@MODELS.register_module()
@dataclass(frozen=True)
class UniformPrior(Prior):
    """All gate probs equally likely: ``F(x) = x``.

    Example:
        >>> import torch
        >>> from mmbas.losses import UniformPrior
        >>> UniformPrior().cdf(torch.tensor([-2.0, 0.0, 2.0]))
        tensor([0.1192, 0.5000, 0.8808])
    """

    @torch.no_grad()
    def cdf_and_density(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Prior.cdf_and_density`."""
        cdf = logits.sigmoid()
        return cdf, logits.neg().sigmoid_().mul_(cdf)


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


@MODELS.register_module()
@dataclass(frozen=True)
class NormalPrior(Prior):
    """Normal distribution of the gate probs x themselves (not of the logits), cut to (0, 1).

    ``F(x) = (Phi((x - mean) / std) - Phi(-mean / std)) / mass``, with the mass that the normal
    distribution has inside (0, 1). Without the division F would not reach 0 and 1, and no batch
    of probs could match it. In float32 the CDF is exact to about 3e-7 / std.

    Args:
        mean: Mean of the normal before the cut, may lie outside (0, 1).
        std: Standard deviation of the normal before the cut, > 0.

    Raises:
        ValueError: If std <= 0, or less than 0.1 % of the normal lies inside (0, 1).

    Example:
        >>> import torch
        >>> from mmbas.losses import NormalPrior
        >>> NormalPrior(mean=0.5, std=0.2).cdf(torch.tensor([-2.0, 0.0, 2.0]))
        tensor([0.0225, 0.5000, 0.9775])
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and 0 < self.std < math.inf):
            raise ValueError(
                "expected a finite mean and std > 0 for a normal prior, but got "
                f"mean={self.mean}, std={self.std}"
            )
        mass = 0.5 * abs(self._tail(1.0) - self._tail(0.0))
        if mass < MIN_NORMAL_MASS:
            raise ValueError(
                f"expected a normal prior with at least {MIN_NORMAL_MASS:.1%} of its mass inside "
                f"(0, 1), but mean={self.mean}, std={self.std} has {mass:.2g}; move the mean "
                "towards (0, 1) or choose a larger std"
            )

    @torch.no_grad()
    def cdf_and_density(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Prior.cdf_and_density`."""
        x = logits.sigmoid()
        z = (x - self.mean) / self.std
        # The tail that is small inside (0, 1) keeps its digits in the difference.
        at_0, at_1 = self._tail(0.0), self._tail(1.0)
        cdf = (at_0 - torch.erfc(z * (self._side / math.sqrt(2)))) / (at_0 - at_1)
        peak = 1 / (self.std * math.sqrt(2 * math.pi) * 0.5 * abs(at_1 - at_0))
        density = torch.exp(-0.5 * z**2) * peak * x * logits.neg().sigmoid()
        return cdf.clamp_(0, 1), density

    @property
    def _side(self) -> float:
        return 1.0 if self.mean <= 0.5 else -1.0

    def _tail(self, x: float) -> float:
        """Twice the normal's probability beyond x, on the side away from its mean."""
        return math.erfc(self._side * (x - self.mean) / (self.std * math.sqrt(2)))


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
