"""A prior whose parameters are trained, themselves shaped to a hyperprior.

J. D. Havtorn, A. Royer, T. Blankevoort, B. E. Bejnordi: MSViT: Dynamic Mixed-Scale Tokenization for
Vision Transformers, ICCV Workshops 2023, https://arxiv.org/abs/2307.02321
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmbas.losses.batch_shaping.build_prior import build_prior
from mmbas.losses.batch_shaping.cramer_von_mises import cramer_von_mises, value_curve
from mmbas.losses.batch_shaping.prior import LinePrior, Prior
from mmbas.registry import MODELS

SHARED = ("layer", "gate")


@MODELS.register_module()
class LearnedPrior(nn.Module):
    """A family of priors with its own parameters for each layer, or each gate.

    The batch draws the parameters to itself while they draw the batch to them, and a hyperprior
    says how the parameters of all layers shall be distributed. So each layer finds its own
    sparsity, and the mean of the hyperprior sets that of the network.

    Args:
        prior: The family and the values that training starts from, a prior or its config: relaxed
            Bernoulli, Beta, Kumaraswamy, and for features also normal and Laplace.
        hyperpriors: Distributions by parameter, which the parameter's values in all layers are
            shaped to.
        penalties: Prices by parameter, >= 0, of its mean absolute value.
        learn: Names of the parameters to train; None trains all. The others stay as they are.
        shared: ``'layer'``, one set of parameters for each layer or feature, or ``'gate'``, one
            for each gate.
        hyper_weight: Factor of the loss of the hyperpriors, >= 0.
        min_density: Least density of a hyperprior in the gradient; see
            :func:`mmbas.losses.shaping_loss`.

    Attributes:
        raw: The trained tensors by name, shape (sets,): logarithms of positive parameters, logits
            of those in (0, 1). They exist after :meth:`reserve`.

    Raises:
        ValueError: If a name is none of the family's parameters, or a number is out of range.
        TypeError: If the family cannot be learned.

    Example:
        >>> from mmbas.losses import BetaPrior, LearnedPrior, RelaxedBernoulliPrior
        >>> prior = LearnedPrior(
        ...     prior=RelaxedBernoulliPrior(prob=0.5, temperature=0.5),
        ...     hyperpriors=dict(prob=BetaPrior(3, 7)),
        ... )
        >>> prior.reserve(30)
        >>> {name: tuple(values.shape) for name, values in prior.parameters_now().items()}
        {'prob': (30,), 'temperature': (30,)}
    """

    def __init__(
        self,
        *,
        prior: Prior | dict[str, Any],
        hyperpriors: Mapping[str, Prior | dict[str, Any]],
        penalties: Mapping[str, float] | None = None,
        learn: Sequence[str] | None = None,
        shared: str = "layer",
        hyper_weight: float = 1.0,
        min_density: float = 0.0,
    ) -> None:
        super().__init__()
        self.prior = build_prior(prior)
        if not self.prior.learnable:
            raise TypeError(
                "expected a family of priors that can be learned, such as RelaxedBernoulliPrior, "
                f"but got {type(self.prior).__name__}"
            )
        if shared not in SHARED:
            raise ValueError(f"expected shared to be one of {SHARED}, but got {shared!r}")
        self.hyperpriors = {name: build_prior(each) for name, each in hyperpriors.items()}
        self.penalties = dict(penalties or {})
        self.learn = tuple(self.prior.learnable if learn is None else learn)
        self.shared = shared
        self.hyper_weight = hyper_weight
        self.min_density = min_density
        if unknown := set(self.learn) - set(self.prior.learnable):
            raise ValueError(self._unknown("learn", unknown))
        if unknown := {*self.hyperpriors, *self.penalties} - set(self.learn):
            raise ValueError(self._unknown("hyperpriors and penalties", unknown))
        if min([hyper_weight, min_density, *self.penalties.values()]) < 0:
            raise ValueError(
                f"expected penalties, hyper_weight and min_density >= 0, but got {self.penalties}, "
                f"{hyper_weight} and {min_density}"
            )
        self.raw = nn.ParameterDict()

    def reserve(self, num_sets: int) -> None:
        """Make the parameters, all with the values to start from; before an optimizer is made.

        Raises:
            ValueError: If a hyperprior has fewer than two sets to shape.
        """
        if self.hyperpriors and num_sets < 2:
            raise ValueError(
                "expected at least 2 layers or features whose parameters a hyperprior shapes, but "
                f"got {num_sets}; use a fixed prior, or shared='gate'"
            )
        for name in self.learn:
            start = torch.full((num_sets,), float(getattr(self.prior, name)))
            self.raw[name] = nn.Parameter(_to_raw(start, self.prior.learnable[name]))

    def parameters_now(self) -> dict[str, Tensor]:
        """The family's parameters, each of shape (sets,), with a gradient to what is trained.

        Raises:
            RuntimeError: If the number of sets is not known yet.
        """
        if len(self.raw) < len(self.learn):
            raise RuntimeError(
                "expected a learned prior that knows its layers, but got one without parameters; "
                "call prepare_layers() or bind() of its loss before the optimizer is made"
            )
        first = next(iter(self.raw.values()))
        return {
            name: _from_raw(self.raw[name], domain)
            if name in self.learn
            else torch.full_like(first, float(getattr(self.prior, name)), requires_grad=False)
            for name, domain in self.prior.learnable.items()
        }

    def fixed(self, number: int) -> Prior:
        """The prior that a set of parameters is now.

        Args:
            number: Number of the layer, feature or gate.
        """
        values = {name: each[number].item() for name, each in self.parameters_now().items()}
        return type(self.prior)(**values)

    def gate_cdf(self, logits: Tensor, owners: Tensor) -> Tensor:
        """CDF at gate logits.

        Args:
            logits: Shape (N, G).
            owners: The set of parameters of each gate, shape (G,).
        """
        return self.prior.learned_cdf(logits, self._parameters_of(owners, logits))

    def value_cdf(self, values: Tensor, owners: Tensor) -> Tensor:
        """CDF at values of features; arguments as in :meth:`gate_cdf`."""
        if not isinstance(self.prior, LinePrior):
            limits = torch.finfo(values.dtype)
            values = values.clamp(limits.tiny, 1 - limits.eps / 2).logit()
        return self.prior.learned_cdf(values, self._parameters_of(owners, values))

    def check_gates(self) -> None:
        """Refuse a family on the whole line for gate probs, which lie in (0, 1).

        Raises:
            ValueError: If the family is one.
        """
        if isinstance(self.prior, LinePrior):
            raise ValueError(
                "expected a family of priors on (0, 1) to be learned for gates, such as "
                f"RelaxedBernoulliPrior, but got {type(self.prior).__name__}"
            )

    def hyper_loss(self) -> Tensor:
        """Loss of the parameters: distance to the hyperpriors, and penalties; a scalar."""
        values = self.parameters_now()
        # Every trained tensor takes part, so that several processes find a gradient for each.
        total = 0 * torch.stack([raw.sum() for raw in self.raw.values()]).sum()
        for name, hyperprior in self.hyperpriors.items():
            curve = value_curve(hyperprior, self.min_density)
            total = total + self.hyper_weight * cramer_von_mises(values[name][:, None], curve).sum()
        for name, penalty in self.penalties.items():
            total = total + penalty * values[name].abs().mean()
        return total

    def extra_repr(self) -> str:
        """Arguments for ``print(model)``."""
        return (
            f"prior={self.prior}, hyperpriors={self.hyperpriors}, penalties={self.penalties}, "
            f"learn={self.learn}, shared={self.shared!r}"
        )

    def _parameters_of(self, owners: Tensor, like: Tensor) -> dict[str, Tensor]:
        """The parameters of each gate, shape (G,)."""
        owners = owners.to(like.device)
        return {name: each.to(like)[owners] for name, each in self.parameters_now().items()}

    def _unknown(self, argument: str, names: set[str]) -> str:
        return (
            f"expected {argument} to name parameters of {type(self.prior).__name__} that are "
            f"learned, {sorted(self.prior.learnable)}, but got {sorted(names)}"
        )


def _to_raw(values: Tensor, domain: str) -> Tensor:
    """Unbounded numbers for parameters that live in a domain."""
    return {"real": values, "positive": values.log(), "unit": values.logit()}[domain]


def _from_raw(raw: Tensor, domain: str) -> Tensor:
    """The parameters in their domain."""
    if domain == "unit":
        return raw.sigmoid()
    return raw.exp() if domain == "positive" else raw
