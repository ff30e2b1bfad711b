"""How training gates are drawn, and their gradients."""

import pytest
import torch

from mmbas.gates import Bernoulli, BinaryConcrete, ChannelGate, HardStep, SemanticHash
from mmbas.registry import MODELS

MANY = 20_000


def gumbel_softmax_gradient(logits, noise):
    """Gradient of the soft second class, at temperature 1, to the difference of the logits."""
    pair = torch.stack([torch.zeros_like(logits), logits], dim=-1).requires_grad_()
    soft = ((pair + noise).softmax(dim=-1))[..., 1].sum()
    (grad,) = torch.autograd.grad(soft, pair)
    return grad[..., 1]


def test_binary_concrete_at_temperature_1_is_the_two_class_gumbel_softmax():
    torch.manual_seed(0)
    difference = torch.tensor([-1.5, 0.0, 1.9], dtype=torch.float64).expand(MANY, 3)
    logits = difference.clone().requires_grad_()
    gates = BinaryConcrete(temperature=1.0)(logits)
    # Open rate: softmax of the two logits = sigmoid of their difference.
    torch.testing.assert_close(
        gates.mean(dim=0).detach(), difference[0].sigmoid(), rtol=0, atol=0.02
    )
    (grad,) = torch.autograd.grad(gates.sum(), logits)
    uniform = torch.rand(MANY, 3, 2, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    other = gumbel_softmax_gradient(difference, -torch.log(-torch.log(uniform)))
    torch.testing.assert_close(grad.mean(dim=0), other.mean(dim=0), rtol=0, atol=0.005)
    # And in closed form: the gradient is y (1 - y) with y = sigmoid(logit + logistic noise).
    noise = torch.logit(torch.linspace(0.5 / MANY, 1 - 0.5 / MANY, MANY, dtype=torch.float64))
    y = torch.sigmoid(difference[0] + noise[:, None])
    torch.testing.assert_close(grad.mean(dim=0), (y * (1 - y)).mean(dim=0), rtol=0, atol=0.005)


def test_a_hard_step_is_evaluation_with_the_gradient_of_the_probability():
    logits = torch.tensor([[-2.0, 0.0, 0.5]], requires_grad=True)
    gates = HardStep()(logits)
    assert gates.tolist() == [[0.0, 0.0, 1.0]]
    (grad,) = torch.autograd.grad(gates.sum(), logits)
    prob = logits.sigmoid()
    torch.testing.assert_close(grad, prob * (1 - prob))


def test_bernoulli_gates_have_the_rate_and_no_gradient():
    torch.manual_seed(0)
    logits = torch.tensor([[-1.0, 2.0]]).expand(MANY, 2).clone().requires_grad_()
    gates = Bernoulli()(logits)
    assert not gates.requires_grad
    torch.testing.assert_close(gates.mean(dim=0), logits[0].sigmoid(), rtol=0, atol=0.02)
    assert torch.equal(Bernoulli()(logits, noise_scale=0.0), (logits > 0).float())


def test_semantic_hashing_makes_half_of_the_images_hard():
    torch.manual_seed(0)
    logits = torch.zeros(4000, 5, requires_grad=True)
    gates = SemanticHash()(logits)
    is_hard = ((gates == 0) | (gates == 1)).all(dim=1)
    # A soft image has 5 gates that clip to 0 or 1 only if all its noise is large.
    assert is_hard.float().mean() == pytest.approx(0.5, abs=0.04)
    assert 0.45 < gates[is_hard].mean() < 0.55
    assert ((gates >= 0) & (gates <= 1)).all()
    # Hard and soft images get the gradient of the soft gates.
    (grad,) = torch.autograd.grad(gates.sum(), logits)
    assert (grad[is_hard] != 0).float().mean() > 0.9
    torch.testing.assert_close(grad[is_hard].mean(), grad[~is_hard].mean(), rtol=0.1, atol=0.0)


def test_semantic_hashing_is_deterministic_in_evaluation():
    gate = ChannelGate(4, 3, sampler=dict(type="mmbas.SemanticHash")).eval()
    output = gate(torch.randn(8, 4, 2, 2))
    assert torch.equal(output.gates, (output.logits > 0).float())


def test_a_gate_takes_any_sampler():
    gate = ChannelGate(4, 3, sampler=dict(type="mmbas.HardStep"))
    output = gate(torch.randn(8, 4, 2, 2))
    assert torch.equal(output.gates, (output.logits > 0).float())
    assert output.gates.requires_grad
    assert ChannelGate(4, 3, temperature=0.5).settings["temperature"] == 0.5
    assert set(gate.settings) == {"noise_scale"}
    with pytest.raises(TypeError, match="expected the config of a sampler"):
        ChannelGate(4, 3, sampler=dict(type="mmbas.GateL0Loss"))
    with pytest.raises(ValueError, match="hard_share in"):
        MODELS.build(dict(type="mmbas.SemanticHash", hard_share=2.0))


def test_a_gate_without_norm_or_with_a_spread_of_first_weights():
    torch.manual_seed(0)
    gate = ChannelGate(64, 400, norm=False, init_weight_std=0.001)
    assert gate.fc1.bias is not None
    assert gate.min_batch_size == 1
    assert gate(torch.randn(1, 64, 2, 2)).logits.shape == (1, 400)
    assert float(gate.fc2.weight.detach().std()) == pytest.approx(0.001, rel=0.1)
