"""Ways from gate logits to the gates of training: what is drawn, and which gradient it has.

In evaluation a gate is open where its logit is > 0, whatever the sampler.

E. Jang, S. Gu, B. Poole: Categorical Reparameterization with Gumbel-Softmax, ICLR 2017,
https://arxiv.org/abs/1611.01144
Y. Bengio, N. Leonard, A. Courville: Estimating or Propagating Gradients Through Stochastic Neurons
for Conditional Computation, 2013, https://arxiv.org/abs/1308.3432
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbas.gates.binary_concrete import (
    hard_step,
    logistic_noise_like,
    sample_binary_concrete,
    uniform_like,
)
from mmbas.registry import MODELS


class Sampler(nn.Module):
    """Base of the samplers, functions of logits, shape (N, G), and a factor of their noise."""

    def forward(self, logits: Tensor, noise_scale: Tensor | float = 1.0) -> Tensor:
        """Gates of training, shape (N, G)."""
        raise NotImplementedError

    @property
    def settings(self) -> dict[str, Tensor]:
        """Scalars that a schedule may set, by name."""
        return {}


@MODELS.register_module()
class BinaryConcrete(Sampler):
    """Noisy gates with a straight-through gradient; :func:`mmbas.gates.sample_binary_concrete`.

    With ``temperature=1`` this is the hard two-class Gumbel softmax of the difference of its two
    logits: the difference of two Gumbel variables is logistic.

    Args:
        temperature: Temperature of the relaxation, > 0; a schedule may change it.

    Raises:
        ValueError: If temperature is out of range.
    """

    temperature: Tensor

    def __init__(self, *, temperature: float = 2 / 3) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"expected temperature > 0, but got {temperature}")
        value = torch.tensor(float(temperature), dtype=torch.float64, device="cpu")
        self.register_buffer("temperature", value, persistent=False)

    def forward(self, logits: Tensor, noise_scale: Tensor | float = 1.0) -> Tensor:
        """See :class:`Sampler`."""
        return sample_binary_concrete(logits, temperature=self.temperature, noise_scale=noise_scale)

    @property
    def settings(self) -> dict[str, Tensor]:
        """See :class:`Sampler`."""
        return {"temperature": self.temperature}

    def extra_repr(self) -> str:
        """Arguments for ``print(model)``."""
        return f"temperature={float(self.temperature):.4g}"


@MODELS.register_module()
class HardStep(Sampler):
    """The gates of evaluation, ``1[logit > 0]``, with the gradient of ``sigmoid(logit)``."""

    def forward(self, logits: Tensor, noise_scale: Tensor | float = 1.0) -> Tensor:
        """See :class:`Sampler`."""
        return hard_step(logits)


@MODELS.register_module()
class Bernoulli(Sampler):
    """Gates that are open with probability ``sigmoid(logit)``, without a gradient.

    For losses that learn from what the drawn gates led to, such as
    :class:`mmbas.losses.PolicyGradientLoss`.
    """

    def forward(self, logits: Tensor, noise_scale: Tensor | float = 1.0) -> Tensor:
        """See :class:`Sampler`; without noise the gates are those of evaluation."""
        drawn = logits.detach() + logistic_noise_like(logits).mul_(noise_scale)
        return (drawn > 0).to(logits.dtype)


@MODELS.register_module()
class SemanticHash(Sampler):
    """Improved semantic hashing: each image has all its gates hard, or all of them soft.

    ``l = logit + noise``, noise ~ N(0, 1); ``soft = clip(1.2 sigmoid(l) - 0.1, 0, 1)``; ``hard =
    1[soft > 0.5]`` with the gradient of soft. A coin for each image decides between the two.

    Args:
        hard_share: Probability that an image has hard gates, in [0, 1].

    Raises:
        ValueError: If hard_share is out of range.

    Source:
        L. Kaiser, S. Bengio: Discrete Autoencoders for Sequence Models, 2018,
        https://arxiv.org/abs/1801.09797; used for gates by Z. Chen et al., CVPR 2019,
        https://arxiv.org/abs/1811.11205
    """

    def __init__(self, *, hard_share: float = 0.5) -> None:
        super().__init__()
        if not 0 <= hard_share <= 1:
            raise ValueError(f"expected hard_share in [0, 1], but got {hard_share}")
        self.hard_share = hard_share

    def forward(self, logits: Tensor, noise_scale: Tensor | float = 1.0) -> Tensor:
        """See :class:`Sampler`."""
        eps = torch.finfo(logits.dtype).eps
        uniform = uniform_like(logits).clamp_(eps, 1 - eps)
        noise = torch.special.ndtri(uniform).mul_(noise_scale)
        soft = (1.2 * torch.sigmoid(logits + noise) - 0.1).clamp(0, 1)
        hard = (soft > 0.5).to(soft.dtype) + (soft - soft.detach())  # the difference is 0
        is_hard = uniform_like(logits[:, :1]) < self.hard_share
        return torch.where(is_hard, hard, soft)

    def extra_repr(self) -> str:
        """Arguments for ``print(model)``."""
        return f"hard_share={self.hard_share}"
