"""The authors' published loss: equal where it does not clip; its floor and its ties as options.

Facts about https://github.com/Qualcomm-AI-research/batchshaping (2023): the mean over gates, a
density of Beta clipped to [0.001, 100], values of relaxed Bernoulli clipped to [0.001, 0.999].
"""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit, logit

from mmbas.losses import (
    BetaPrior,
    NormalPrior,
    RelaxedBernoulliPrior,
    batch_shaping_loss,
    shaping_loss,
)


def published(values, cdf, pdf):
    """Mean over gates (N, G) of the published loss, and its gradient, where nothing is clipped."""
    num_values, num_gates = values.shape
    order = np.argsort(values, axis=0)
    empirical = np.empty_like(values)
    ranks = np.arange(1, num_values + 1)[:, None] / (num_values + 1)
    np.put_along_axis(empirical, order, np.broadcast_to(ranks, values.shape), 0)
    error = cdf(values) - empirical
    return np.mean(error**2), 2 * pdf(values) * error / num_values / num_gates


CASES = {
    "beta": (BetaPrior(2, 6), stats.beta(2, 6).cdf, stats.beta(2, 6).pdf),
    "beta_of_the_paper": (BetaPrior(0.6, 0.4), stats.beta(0.6, 0.4).cdf, stats.beta(0.6, 0.4).pdf),
    "normal": (NormalPrior(0.4, 0.3), stats.norm(0.4, 0.3).cdf, stats.norm(0.4, 0.3).pdf),
    "relaxed_bernoulli": (
        RelaxedBernoulliPrior(0.2, 0.25),
        lambda x: expit(0.25 * logit(x) - logit(0.2)),
        lambda x: stats.logistic.pdf(0.25 * logit(x) - logit(0.2)) * 0.25 / x / (1 - x),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_the_published_loss(name):
    prior, cdf, pdf = CASES[name]
    values = np.random.default_rng(0).uniform(0.02, 0.75, (200, 6)).astype(np.float32)
    expected_loss, expected_grad = published(values.astype(np.float64), cdf, pdf)
    given = torch.tensor(values, requires_grad=True)
    loss = shaping_loss(given, prior).mean()
    loss.backward()
    assert loss.item() == pytest.approx(expected_loss, abs=1e-6)
    np.testing.assert_allclose(given.grad, expected_grad, rtol=0, atol=1e-5)


def moved(min_density):
    """Distances in logits that 500 values of seed 42 move in 100 steps, of those above 0.95."""
    torch.manual_seed(42)
    logits = ((torch.rand(500) * 2 - 1) * 4).requires_grad_()
    start = logits.detach().clone()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        batch_shaping_loss(
            logits[:, None], BetaPrior(2, 6), min_density=min_density
        ).sum().backward()
        optimizer.step()
    return (logits.detach() - start).abs()[start.sigmoid() > 0.95]


def test_a_floor_of_the_density_draws_saturated_values_back():
    """With Beta(2, 6) 47 of 65 saturated values stay where they are, none with the floor."""
    exact, floored = moved(0.0), moved(1e-3)
    assert len(exact) == 65
    assert abs((exact < 0.05).sum().item() - 47) <= 1  # another order of rounding may cost one
    assert (floored < 0.05).sum() == 0


def test_the_floor_changes_the_gradient_alone():
    values = torch.tensor([[0.01, 0.2], [0.3, 0.99], [0.6, 0.995]], requires_grad=True)
    grads = []
    for floor in (0.0, 0.5):
        loss = shaping_loss(values, BetaPrior(2, 6), min_density=floor)
        torch.testing.assert_close(loss, shaping_loss(values, BetaPrior(2, 6)))
        grads += torch.autograd.grad(loss.sum(), values)
    density = BetaPrior(2, 6).value_cdf_and_density(values.detach())[1]
    torch.testing.assert_close(
        grads[1], grads[0] * density.clamp(min=0.5) / density, rtol=1e-4, atol=0
    )
    logits = values.detach().logit().requires_grad_()
    batch_shaping_loss(logits, BetaPrior(2, 6), min_density=0.5).sum().backward()
    chained = grads[1] * values.detach() * (1 - values.detach())
    torch.testing.assert_close(logits.grad, chained, rtol=1e-4, atol=1e-9)


def test_ties_share_the_highest_of_their_ranks():
    """Values 1/4, 1/4, 1/2 have the empirical CDF 2/4, 2/4, 3/4 instead of 1/4, 2/4, 3/4."""
    values = torch.tensor([[0.25], [0.5], [0.25]], dtype=torch.float64, requires_grad=True)
    prior = BetaPrior(1, 1)
    loss = shaping_loss(values, prior, handle_ties=True)
    loss.backward()
    torch.testing.assert_close(loss, torch.tensor([3 * 0.0625 / 3], dtype=torch.float64))
    torch.testing.assert_close(
        values.grad, torch.full_like(values, -2 / 3 * 0.25), rtol=1e-6, atol=0
    )
    assert shaping_loss(values, prior).item() == pytest.approx((0 + 0.0625 + 0.0625) / 3)
    older = torch.tensor([[0.25], [0.9]], dtype=torch.float64)
    among = shaping_loss(values, prior, other_values=older, handle_ties=True).item()
    assert among == pytest.approx((2 * (1 / 4 - 3 / 6) ** 2 + (1 / 2 - 4 / 6) ** 2) / 3)


def test_without_ties_the_option_changes_nothing():
    logits = torch.randn(64, 5)
    prior = BetaPrior()
    torch.testing.assert_close(
        batch_shaping_loss(logits, prior, handle_ties=True), batch_shaping_loss(logits, prior)
    )


def test_bad_arguments():
    with pytest.raises(ValueError, match="min_density >= 0"):
        shaping_loss(torch.zeros(3, 1), NormalPrior(), min_density=-1.0)
    with pytest.raises(ValueError, match="at least 2 values"):
        shaping_loss(torch.zeros(1, 1), NormalPrior())
    with pytest.raises(ValueError, match=r"other_values of shape \(R, 2\)"):
        shaping_loss(torch.zeros(3, 2), NormalPrior(), other_values=torch.zeros(3, 1))
