"""REINFORCE against the enumeration of all gate vectors of a network of three blocks."""

import itertools

import pytest
import torch

from mmbas.gates import GatedConvMACs, GateOutput
from mmbas.losses import GateBatch, PolicyGradientLoss
from mmbas.losses.policy_gradient_loss import returns_of

MACS = (3, 1, 2)


def outputs_of(logits, gates):
    return [
        GateOutput(
            logits[:, i : i + 1], gates[:, i : i + 1], [GatedConvMACs(macs, None, slice(0, 1))]
        )
        for i, macs in enumerate(MACS)
    ]


def task_loss(gates):
    """Any function of the gates of an image: (N, 3) -> (N,)."""
    weights = torch.tensor([0.7, -0.4, 1.1], dtype=torch.float64)
    return (gates * weights).sum(dim=1).square() + gates[:, 0] * gates[:, 2]


@pytest.mark.parametrize("costs", ["equal", "macs"])
@pytest.mark.parametrize("task_share", [1.0, None])
def test_the_expected_gradient_is_that_of_the_expected_cost(costs, task_share):
    logits = torch.tensor([[0.3, -1.0, 0.8]], dtype=torch.float64, requires_grad=True)
    alpha, weight = 0.5, 0.01
    loss = PolicyGradientLoss(alpha=alpha, task_share=task_share, costs=costs, loss_weight=weight)
    share = alpha / 3 if task_share is None else task_share
    prices = torch.tensor(MACS, dtype=torch.float64) / 2 if costs == "macs" else torch.ones(3)
    expected_cost, expected_grad = 0.0, torch.zeros(1, 3, dtype=torch.float64)
    for vector in itertools.product((0.0, 1.0), repeat=3):
        gates = torch.tensor([vector], dtype=torch.float64)
        probs = torch.where(gates > 0, logits.sigmoid(), 1 - logits.sigmoid()).prod()
        cost = share * task_loss(gates) - alpha / 3 * ((1 - gates) * prices).sum(dim=1)
        expected_cost = expected_cost + probs * cost.sum()
        (grad,) = torch.autograd.grad(loss(outputs_of(logits, gates), task_loss(gates)), logits)
        expected_grad += probs.detach() * grad
    (exact,) = torch.autograd.grad(weight * expected_cost, logits)
    torch.testing.assert_close(expected_grad, exact, rtol=1e-5, atol=1e-8)


def test_a_return_counts_savings_from_its_gate_on():
    gates = torch.tensor([[0.0, 1.0, 0.0]])
    returns = returns_of(
        outputs_of(torch.zeros(1, 3), gates), torch.tensor([2.0]), alpha=0.3, task_share=0.5
    )
    torch.testing.assert_close(returns, torch.tensor([[0.2 - 1, 0.1 - 1, 0.1 - 1]]))
    assert not returns.requires_grad


def test_what_it_needs_is_said():
    with pytest.raises(ValueError, match="tells the loss of each image"):
        PolicyGradientLoss().batch_terms(GateBatch([], lambda: 0))
    with pytest.raises(ValueError, match="expected costs to be one of"):
        PolicyGradientLoss(costs="all")
    with pytest.raises(ValueError, match="expected alpha >= 0"):
        PolicyGradientLoss(alpha=-1.0)
