"""Data, prior, both CDFs and the gradient of the shaping loss (figure 1a of the paper)."""

from __future__ import annotations

import matplotlib.figure
import numpy as np
import torch
from numpy.typing import NDArray

from mmbas.analysis.plot_style import BLUE, GREY, ORANGE, VERMILION, new_figure
from mmbas.losses import Prior, shaping_loss

NUM_ARROWS = 24
LONGEST_ARROW = 0.12  # as a share of the width that is drawn
NUM_BINS = 40


def shaping_figure(
    values: NDArray[np.float64], prior: Prior, *, name: str
) -> matplotlib.figure.Figure:
    """Draw what a shaping loss sees of one distribution, and where it moves the values.

    The upper half has the data as a histogram and the prior's density, the lower one both CDFs.
    Between them stand arrows from some values, against the gradient: their lengths are in
    proportion to it, the longest is 12 % of the width.

    Args:
        values: Values of the feature, shape (N,).
        prior: Their prior.
        name: Name of the feature.
    """
    given = torch.tensor(np.sort(values)[:, None], requires_grad=True)
    loss = shaping_loss(given, prior)
    loss.sum().backward()
    moves = -np.asarray(given.grad)[:, 0]
    ordered = given.detach().numpy()[:, 0]
    low, high = shown_range(ordered, prior)
    at = np.linspace(low, high, 801)
    cdf, density = (each.numpy() for each in prior.value_cdf_and_density(torch.tensor(at)))

    figure = new_figure(6.4, 5.6)
    above, below = figure.subplots(2, 1, sharex=True)
    above.hist(ordered, bins=NUM_BINS, range=(low, high), density=True, color=BLUE, alpha=0.45,
               label="data")  # fmt: skip
    above.plot(at, np.where(density > 0, density, np.nan), color=ORANGE, label="prior")
    above.set(ylabel="density", ylim=(0, _top(ordered, density, low, high)))
    above.legend(frameon=False)
    above.set_title(f"{name}: {len(ordered)} values, loss {loss.item():.3g}")

    share = np.arange(1, len(ordered) + 1) / (len(ordered) + 1)
    below.step(ordered, share, where="post", color=BLUE, label="data, i / (N + 1)")
    below.plot(at, cdf, color=ORANGE, label="prior, F(x)")
    chosen = np.unique(np.linspace(0, len(ordered) - 1, NUM_ARROWS).round().astype(int))
    longest = max(np.abs(moves).max(), np.finfo(float).tiny)
    lengths = moves[chosen] / longest * LONGEST_ARROW * (high - low)
    below.vlines(ordered[chosen], share[chosen], _at(prior, ordered[chosen]), color=GREY, lw=0.8)
    below.quiver(
        ordered[chosen], share[chosen], lengths, np.zeros(len(chosen)), angles="xy",
        scale_units="xy", scale=1, color=VERMILION, width=0.004, label="against the gradient",
    )  # fmt: skip
    below.set(xlabel="value", ylabel="CDF", xlim=(low, high), ylim=(-0.02, 1.02))
    below.legend(frameon=False, loc="lower right")
    return figure


def shown_range(ordered: NDArray[np.float64], prior: Prior) -> tuple[float, float]:
    """Ends of what is drawn: nearly all of the data and of the prior, with a margin."""
    low, high = np.quantile(ordered, [0.002, 0.998])
    width = max(high - low, 1e-6)
    at = torch.linspace(low - 20 * width, high + 20 * width, 20001, dtype=torch.float64)
    inside = (prior.value_cdf_and_density(at)[0] - 0.5).abs() < 0.498
    if inside.any():
        low, high = min(low, at[inside].min().item()), max(high, at[inside].max().item())
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _at(prior: Prior, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The prior's CDF at values."""
    return prior.value_cdf_and_density(torch.tensor(values))[0].numpy()


def _top(
    ordered: NDArray[np.float64], density: NDArray[np.float64], low: float, high: float
) -> float:
    """Upper end of the densities that are drawn; a prior may be infinite somewhere."""
    bars = np.histogram(ordered, bins=NUM_BINS, range=(low, high), density=True)[0]
    return float(1.15 * max(bars.max(), np.quantile(density, 0.97)))
