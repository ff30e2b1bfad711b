"""Independent oracles in numpy and scipy, float64, that the tests compare against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaln, expit, log_expit
from scipy.stats import truncnorm

Array = npt.NDArray[np.float64]
Curve = Callable[[Array], Array]


def beta_cdf(a: float, b: float, logits: Array) -> Array:
    """CDF of Beta(a, b) at sigmoid(logits), from the nearer end: 1 - x would lose its digits."""
    return np.where(logits <= 0, betainc(a, b, expit(logits)), 1 - betainc(b, a, expit(-logits)))


def beta_density(a: float, b: float, logits: Array) -> Array:
    """dF/dlogit = x^a (1 - x)^b / B(a, b)."""
    return np.exp(a * log_expit(logits) + b * log_expit(-logits) - betaln(a, b))


def kumaraswamy_cdf(a: float, b: float, logits: Array) -> Array:
    """1 - (1 - x^a)^b."""
    return 1 - (-np.expm1(a * log_expit(logits))) ** b


def kumaraswamy_density(a: float, b: float, logits: Array) -> Array:
    """a b x^a (1 - x^a)^(b - 1) (1 - x)."""
    x_to_a = np.exp(a * log_expit(logits))
    one_minus = -np.expm1(a * log_expit(logits))
    return a * b * x_to_a * one_minus ** (b - 1) * expit(-logits)


def normal_cdf(mean: float, std: float, logits: Array) -> Array:
    """CDF of a normal cut to (0, 1), at sigmoid(logits)."""
    return truncnorm.cdf(expit(logits), -mean / std, (1 - mean) / std, loc=mean, scale=std)


def normal_density(mean: float, std: float, logits: Array) -> Array:
    """dF/dlogit = f(x) x (1 - x) of a normal cut to (0, 1)."""
    x = expit(logits)
    pdf = truncnorm.pdf(x, -mean / std, (1 - mean) / std, loc=mean, scale=std)
    return pdf * x * expit(-logits)


def batch_shaping(
    logits: Array, cdf: Curve, density: Curve, older: Array | None = None
) -> tuple[Array, Array]:
    """Appendix A of the paper, gate by gate, with the 1/N of its eq. 2.

    Args:
        logits: Shape (N, G).
        cdf: F at logits.
        density: dF/dlogit at logits.
        older: Shape (R, G), values that the batch is ranked among; they come first among equals.

    Returns:
        Loss per gate, shape (G,), and the gradient of their sum, shape (N, G).
    """
    num_images, num_gates = logits.shape
    older = np.empty((0, num_gates)) if older is None else older
    num_ranked = len(older) + num_images
    losses, grads = np.zeros(num_gates), np.zeros((num_images, num_gates))
    for gate in range(num_gates):
        values = np.concatenate([older[:, gate], logits[:, gate]])
        order = np.argsort(values, kind="stable")
        empirical = np.empty(num_ranked)
        empirical[order] = np.arange(1, num_ranked + 1) / (num_ranked + 1)
        error = empirical[len(older) :] - cdf(logits[:, gate])
        losses[gate] = np.sum(error**2) / num_images
        grads[:, gate] = -2 / num_images * density(logits[:, gate]) * error
    return losses, grads
