"""The base of all priors: distributions that gates and features are shaped to.

A prior is read in two ways, since gates and features tell different things.

- A gate tells its logit l, and its prob is ``x = sigmoid(l)``. The losses need ``F(x)`` and
  ``dF/dl = f(x) x (1 - x)``, which is bounded and smooth even where the density f is infinite, as
  that of Beta(0.6, 0.4) is at 0 and at 1. So nothing is clipped.
- A feature tells its value x, and the losses need ``F(x)`` and ``f(x)``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

Curve = Callable[[Tensor], tuple[Tensor, Tensor]]
MIN_MASS_INSIDE = 1e-3


def at_least_float32(values: Tensor) -> Tensor:
    """The values themselves if float32 or float64, half precision as float32."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


class _CDF(torch.autograd.Function):
    """CDF of a prior, with the exact density as its gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, curve: Curve) -> Tensor:
        cdf, density = curve(at_least_float32(values))
        ctx.save_for_backward(density)
        return cdf

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (density,) = ctx.saved_tensors
        return grad_outputs[0] * density, None


class Prior(ABC):
    """A distribution on (0, 1), or with :class:`LinePrior` on the whole line.

    A subclass on (0, 1) defines :meth:`cdf_and_density`, at gate logits; the rest follows from it.
    Priors hold numbers, no tensors: they need no ``.to(device)``, leave nothing in a checkpoint,
    and can be pickled and compared.

    Attributes:
        learnable: The parameters that :class:`mmbas.losses.LearnedPrior` can train, and where they
            live: ``'real'``, ``'positive'`` or ``'unit'``, the interval (0, 1).
    """

    learnable: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def cdf_and_density(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """CDF and its derivative with respect to the logits; nothing is recorded for autograd.

        Args:
            logits: Any shape, float32 or float64, any value; NaN gives NaN.

        Returns:
            ``F(sigmoid(l))`` and ``dF/dl``: new tensors like ``logits``, which the caller may
            overwrite. They are computed on the device of the logits, without waiting for it.
        """

    @torch.no_grad()
    def value_cdf_and_density(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """CDF and density at values of a feature; nothing is recorded for autograd.

        Args:
            values: Any shape, float32 or float64, any value; NaN gives NaN.

        Returns:
            ``F(x)`` and ``f(x)``: new tensors like ``values``. Outside [0, 1] the density is 0; at
            0 and at 1, where it may be infinite, it is that of the nearest number inside.
        """
        limits = torch.finfo(values.dtype)
        inside = values.clamp(limits.tiny, 1 - limits.eps / 2)
        cdf, density = self.cdf_and_density(inside.log() - inside.neg().log1p())
        density.div_(inside).div_(1 - inside).masked_fill_((values < 0) | (values > 1), 0)
        return cdf.masked_fill_(values <= 0, 0).masked_fill_(values >= 1, 1), density

    def cdf(self, logits: Tensor) -> Tensor:
        """CDF at ``sigmoid(logits)``, differentiable once; float32 for half precision."""
        cdf: Tensor = _CDF.apply(logits, self.cdf_and_density)
        return cdf

    def value_cdf(self, values: Tensor) -> Tensor:
        """CDF at values of a feature, differentiable once; float32 for half precision."""
        cdf: Tensor = _CDF.apply(values, self.value_cdf_and_density)
        return cdf

    def mass_inside(self) -> float:
        """Probability of the interval (0, 1), where gate probs are."""
        return 1.0

    def check_gates(self) -> None:
        """Refuse a distribution that gate probs cannot have.

        Raises:
            ValueError: If less than 0.1 % of it lies inside (0, 1).
        """
        mass = self.mass_inside()
        if mass < MIN_MASS_INSIDE:
            raise ValueError(
                f"expected a prior with at least {MIN_MASS_INSIDE:.1%} of its mass inside (0, 1), "
                f"where gate probs are, but {self} has {mass:.2g}; move it towards (0, 1) or make "
                "it wider"
            )

    @staticmethod
    def learned_cdf(at: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """CDF as a formula that autograd follows, also to the parameters.

        Args:
            at: Shape (N, G): gate logits for a distribution on (0, 1), else values.
            parameters: A tensor of shape (G,) for each name in ``learnable``.
        """
        raise NotImplementedError


class LinePrior(Prior):
    """A distribution on the whole line; a subclass defines :meth:`value_cdf_and_density`.

    For gate probs its CDF is read at ``sigmoid(l)``. What lies outside (0, 1) is then out of reach.
    """

    @abstractmethod
    def value_cdf_and_density(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Prior.value_cdf_and_density`."""

    @torch.no_grad()
    def cdf_and_density(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Prior.cdf_and_density`."""
        probs = logits.sigmoid()
        cdf, density = self.value_cdf_and_density(probs)
        return cdf, density.mul_(probs).mul_(logits.neg().sigmoid_())

    def mass_inside(self) -> float:
        """See :meth:`Prior.mass_inside`."""
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64, device="cpu")
        below, up_to_one = self.value_cdf_and_density(ends)[0].tolist()
        return up_to_one - below
