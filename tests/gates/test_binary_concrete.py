"""Binary concrete gates: 0/1 forward, the relaxation's gradient backward."""

import pytest
import torch

from mmbas.gates import sample_binary_concrete
from mmbas.gates.binary_concrete import logistic_noise_like


def test_gates_are_exactly_zero_or_one_in_every_precision():
    for dtype in (torch.float32, torch.float64):
        gates = sample_binary_concrete(torch.randn(100, 7, dtype=dtype))
        assert gates.dtype == dtype
        assert set(gates.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("logit", [-2.0, -0.5, 0.0, 1.0, 3.0])
def test_mean_of_gates_is_sigmoid_of_logit(logit):
    torch.manual_seed(0)
    n = 200_000
    gates = sample_binary_concrete(torch.full((n,), logit, dtype=torch.float64))
    p = torch.sigmoid(torch.tensor(logit, dtype=torch.float64))
    assert abs(gates.mean() - p) < 4 * (p * (1 - p) / n).sqrt()  # four standard errors


@pytest.mark.parametrize("temperature", [0.3, 2 / 3, 2.0])
def test_gradient_is_that_of_the_relaxation(temperature):
    logits = torch.randn(50, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(50, 3, dtype=torch.float64)
    torch.manual_seed(1)
    (sample_binary_concrete(logits, temperature=temperature) * weights).sum().backward()

    relaxed_logits = logits.detach().clone().requires_grad_()
    torch.manual_seed(1)
    noise = logistic_noise_like(relaxed_logits)
    (torch.sigmoid((relaxed_logits + noise) / temperature) * weights).sum().backward()
    torch.testing.assert_close(logits.grad, relaxed_logits.grad, rtol=1e-12, atol=0)


def test_same_seed_gives_same_gates():
    logits = torch.randn(64, 16)
    torch.manual_seed(3)
    first = sample_binary_concrete(logits)
    torch.manual_seed(3)
    assert torch.equal(first, sample_binary_concrete(logits))
    assert not torch.equal(first, sample_binary_concrete(logits))


def test_noise_is_finite_and_logistic():
    torch.manual_seed(0)
    noise = logistic_noise_like(torch.empty(1_000_000))
    assert noise.isfinite().all()
    assert abs(noise.mean()) < 0.01
    assert abs(noise.var() - torch.pi**2 / 3) < 0.02  # variance of Logistic(0, 1)


def test_the_noise_has_the_papers_scale_unless_told_otherwise():
    logits = torch.randn(500, 8)
    torch.manual_seed(4)
    expected = (logits + logistic_noise_like(logits) > 0).float()
    for scale in ({}, {"noise_scale": 1.0}, {"noise_scale": torch.ones(())}):
        torch.manual_seed(4)
        assert torch.equal(sample_binary_concrete(logits, **scale), expected)


def test_without_noise_gates_are_those_of_evaluation():
    logits = torch.randn(500, 8, requires_grad=True)
    torch.manual_seed(5)
    gates = sample_binary_concrete(logits, temperature=0.5, noise_scale=0.0)
    drawn = torch.rand(1)
    assert torch.equal(gates, (logits > 0).float())
    gates.sum().backward()
    y = torch.sigmoid(logits.detach() / 0.5)
    torch.testing.assert_close(logits.grad, y * (1 - y) / 0.5)
    # As many random numbers are drawn as with noise.
    torch.manual_seed(5)
    sample_binary_concrete(logits)
    assert torch.equal(torch.rand(1), drawn)


def test_a_gate_opens_with_the_probability_of_the_scaled_noise():
    torch.manual_seed(0)
    n, logit, scale = 200_000, 0.8, 0.4
    gates = sample_binary_concrete(torch.full((n,), logit, dtype=torch.float64), noise_scale=scale)
    p = torch.sigmoid(torch.tensor(logit / scale, dtype=torch.float64))
    assert abs(gates.mean() - p) < 4 * (p * (1 - p) / n).sqrt()  # four standard errors
