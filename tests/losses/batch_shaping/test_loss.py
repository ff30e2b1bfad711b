"""Batch-shaping loss: value and gradient equal to appendix A in numpy; reductions by hand."""

import copy
import math
from importlib import import_module

import numpy as np
import pytest
import references
import torch
from scipy.special import betaincinv, logit
from torch import nn

from mmbas.gates import GateOutput
from mmbas.losses import (
    BatchShapingLoss,
    BetaPrior,
    KumaraswamyPrior,
    NormalPrior,
    UniformPrior,
    batch_shaping_loss,
    batch_shaping_reference,
)
from mmbas.registry import MODELS

TOLERANCE = 1e-5
PRIOR = BetaPrior(0.6, 0.4)
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]


def outputs(*layers):
    """Stand-ins for gate outputs, of which the losses read the logits."""
    return [GateOutput(layer, layer) for layer in layers]


def reference(logits, older=None, a=0.6, b=0.4):
    return references.batch_shaping(
        logits.detach().cpu().double().numpy(),
        lambda values: references.beta_cdf(a, b, values),
        lambda values: references.beta_density(a, b, values),
        None if older is None else older.cpu().double().numpy(),
    )


def assert_equals_reference(logits, older=None, a=0.6, b=0.4):
    logits = logits.detach().requires_grad_()
    loss = batch_shaping_loss(logits, BetaPrior(a, b), other_logits=older)
    loss.sum().backward()
    expected_loss, expected_grad = reference(logits, older, a, b)
    np.testing.assert_allclose(loss.detach().cpu(), expected_loss, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(logits.grad.cpu(), expected_grad, rtol=0, atol=TOLERANCE)
    # The loss of one gate is near 0.1 and its gradients are smaller still: also in proportion.
    np.testing.assert_allclose(loss.detach().cpu(), expected_loss, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(
        logits.grad.cpu(), expected_grad, rtol=1e-4, atol=1e-5 * np.abs(expected_grad).max()
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_images", [2, 5, 256])
@pytest.mark.parametrize(
    "prior",
    [PRIOR, UniformPrior(), KumaraswamyPrior(0.6, 0.4), NormalPrior(0.5, 0.3)],
    ids=lambda prior: type(prior).__name__,
)
def test_fast_path_equals_the_readable_reference(prior, num_images, dtype):
    torch.manual_seed(num_images)
    logits = 3 * torch.randn(num_images, 20, dtype=dtype)
    logits[:, 0] = logits[:, 0].round()  # with ties
    values, grads = [], []
    for loss in (batch_shaping_loss, batch_shaping_reference):
        leaf = logits.clone().requires_grad_()
        values.append(loss(leaf, prior))
        grads += torch.autograd.grad((values[-1] * torch.arange(20)).sum(), leaf)
    torch.testing.assert_close(*values, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("num_images", [2, 3, 7, 256])
@pytest.mark.parametrize(("a", "b"), [(0.6, 0.4), (1, 1), (0.05, 20), (20, 20)])
def test_equals_appendix_a(num_images, a, b, device):
    torch.manual_seed(num_images)
    logits = math.log(a / b) + 3 * torch.randn(num_images, 20, device=device)
    assert_equals_reference(logits, a=a, b=b)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("num_images", [2, 16, 64])
def test_equals_appendix_a_with_ties(num_images, device):
    torch.manual_seed(0)
    logits = torch.randint(-3, 3, (num_images, 12), device=device).float()
    logits[:, 0] = 1.5
    logits[:, 1] = 0.0
    logits[1::2, 1] = -0.0
    assert_equals_reference(logits)


@pytest.mark.parametrize("device", DEVICES)
def test_equals_appendix_a_among_older_values(device):
    torch.manual_seed(0)
    for num_older in (1, 9, 100):
        older = torch.randint(-9, 9, (num_older, 6), device=device) / 4
        assert_equals_reference(torch.randint(-9, 9, (1, 6), device=device) / 4, older)
        assert_equals_reference(torch.randint(-9, 9, (5, 6), device=device) / 4, older)


def test_blocks_of_gates_change_nothing(monkeypatch):
    module = import_module("mmbas.losses.batch_shaping.cramer_von_mises")
    torch.manual_seed(0)
    logits = torch.randn(8, 50)
    whole = batch_shaping_loss(logits, PRIOR)
    for values in (1, 100, 399, 400, 401):
        monkeypatch.setattr(module, "CPU_BLOCK_VALUES", values)
        assert_equals_reference(logits)
        torch.testing.assert_close(batch_shaping_loss(logits, PRIOR), whole, rtol=1e-6, atol=0)


def test_zero_with_zero_gradient_at_the_quantiles():
    num_images = 31
    probs = betaincinv(0.6, 0.4, np.arange(1, num_images + 1) / (num_images + 1))
    logits = torch.tensor(logit(probs)[::-1, None].copy(), requires_grad=True)
    loss = batch_shaping_loss(logits, PRIOR)
    loss.backward()
    assert loss.item() < 1e-14
    assert logits.grad.abs().max() < 1e-8


def test_hand_worked_example():
    # F(x) = x; logits 0 and ln 3: x = 0.5, 0.75 against 1/3, 2/3, whichever comes first.
    # loss = ((1/6)^2 + (1/12)^2) / 2 = 5/288; gradient (F - rank / 3) * x (1 - x) * 2/2.
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, math.log(3.0)]], requires_grad=True)
    loss = batch_shaping_loss(logits, UniformPrior())
    loss.sum().backward()
    torch.testing.assert_close(loss, torch.full((2,), 5 / 288), rtol=1e-6, atol=0)
    low, high = 1 / 6 * 0.25, 1 / 12 * 0.1875
    expected = torch.tensor([[high, low], [low, high]])
    torch.testing.assert_close(logits.grad, expected, rtol=1e-5, atol=0)


def test_invariant_to_the_order_of_the_batch():
    torch.manual_seed(0)
    logits = torch.randn(33, 10, requires_grad=True)
    order = torch.randperm(33)
    shuffled = logits.detach()[order].requires_grad_()
    loss, shuffled_loss = (batch_shaping_loss(x, PRIOR) for x in (logits, shuffled))
    torch.testing.assert_close(loss, shuffled_loss, rtol=1e-6, atol=0)
    loss.sum().backward()
    shuffled_loss.sum().backward()
    torch.testing.assert_close(shuffled.grad, logits.grad[order], rtol=1e-6, atol=0)
    ties = torch.randint(-2, 2, (33, 10)).float()
    loss, shuffled_loss = (batch_shaping_loss(x, PRIOR) for x in (ties, ties[order]))
    torch.testing.assert_close(loss, shuffled_loss, rtol=1e-6, atol=0)


def test_gradcheck_in_float64():
    torch.manual_seed(0)
    logits = (2 * torch.randn(9, 4, dtype=torch.float64)).requires_grad_()
    older = torch.randn(5, 4, dtype=torch.float64)
    assert batch_shaping_loss(logits, PRIOR).dtype == torch.float64
    assert torch.autograd.gradcheck(lambda x: batch_shaping_loss(x, PRIOR), logits)
    assert torch.autograd.gradcheck(
        lambda x: batch_shaping_loss(x, PRIOR, other_logits=older), logits
    )


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradient_is_finite_for_every_finite_logit(dtype, autocast):
    largest = torch.finfo(dtype).max
    special = torch.tensor(
        [0.0, 1e-45, 1e-30, 80.0, 1e4, 1e30, largest], dtype=torch.float64
    ).clamp(max=largest)
    column = torch.cat([special, -special, torch.randn(18, dtype=torch.float64)]).to(dtype)
    logits = torch.stack([column[torch.randperm(32)] for _ in range(20)], 1).requires_grad_()
    for prior in (PRIOR, BetaPrior(0.05, 20), BetaPrior(20, 0.05)):
        logits.grad = None
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = batch_shaping_loss(logits, prior)
        loss.sum().backward()
        assert loss.dtype == torch.float32
        assert loss.isfinite().all()
        assert logits.grad.dtype == dtype
        assert logits.grad.isfinite().all()
        exact = logits.detach().float().requires_grad_()
        expected = batch_shaping_loss(exact, prior)
        expected.sum().backward()
        torch.testing.assert_close(loss, expected, rtol=0, atol=0)
        torch.testing.assert_close(logits.grad, exact.grad.to(dtype), rtol=0, atol=0)


def test_autocast_trains_a_linear_layer_as_float32_does():
    torch.manual_seed(0)
    linear, images = nn.Linear(16, 8), torch.randn(64, 16)
    losses = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            losses.append(batch_shaping_loss(linear(images), PRIOR).sum())
    losses[1].backward()
    assert linear.weight.grad.abs().max() > 0
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-2, atol=0)


def test_nan_spoils_its_own_gate_only():
    logits = torch.randn(4, 3)
    logits[2, 1] = math.nan
    assert batch_shaping_loss(logits, PRIOR).isnan().tolist() == [False, True, False]


def test_no_gradient_asked_for():
    logits = torch.randn(4, 3)
    assert not batch_shaping_loss(logits, PRIOR).requires_grad
    with torch.no_grad():
        assert not batch_shaping_loss(logits.requires_grad_(), PRIOR).requires_grad


def test_gradient_moves_a_gate_to_the_prior():
    torch.manual_seed(0)
    logits = (0.1 * torch.randn(200, 1) - 2).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        batch_shaping_loss(logits, PRIOR).sum().backward()
        optimizer.step()
    assert abs(logits.sigmoid().mean().item() - 0.6) < 0.02  # a / (a + b)


# The module


@pytest.mark.parametrize("reduction", ["sum", "layer_mean", "mean"])
def test_reductions_and_weights(reduction):
    torch.manual_seed(0)
    first, second = torch.randn(6, 3, requires_grad=True), torch.randn(6, 5, requires_grad=True)
    loss = BatchShapingLoss(loss_weight=0.5, reduction=reduction)
    loss.factor = 0.1
    value = loss(outputs(first, second))
    value.backward()
    (loss_1, grad_1), (loss_2, grad_2) = reference(first), reference(second)
    weights = {"sum": (1, 1), "layer_mean": (1 / 3, 1 / 5), "mean": (1 / 8, 1 / 8)}[reduction]
    expected = 0.05 * (weights[0] * loss_1.sum() + weights[1] * loss_2.sum())
    assert value.ndim == 0
    assert value.item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(first.grad, 0.05 * weights[0] * grad_1, rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(second.grad, 0.05 * weights[1] * grad_2, rtol=1e-4, atol=1e-8)


def test_built_from_config_with_defaults():
    loss = MODELS.build(dict(type="mmbas.BatchShapingLoss"))
    assert (loss.loss_name, loss.loss_weight, loss.factor) == ("loss_bas", 0.75, 1.0)
    assert (loss.reduction, loss.gather, loss.queue) == ("sum", False, None)
    assert loss.prior == BetaPrior(0.6, 0.4)
    assert list(loss.state_dict()) == []
    assert "BetaPrior(a=0.6, b=0.4)" in repr(loss)
    other = dict(type="mmbas.BatchShapingLoss", prior=dict(type="mmbas.BetaPrior", a=2, b=3))
    assert MODELS.build(other).prior == BetaPrior(2, 3)
    assert copy.deepcopy(loss).prior == loss.prior


@pytest.mark.parametrize("switch", ["factor", "loss_weight"])
def test_weight_zero_skips_the_work(switch, monkeypatch):
    loss = BatchShapingLoss(queue_size=8)
    monkeypatch.setattr(loss, "loss_per_gate", None)
    setattr(loss, switch, 0.0)
    logits = torch.randn(1, 3, requires_grad=True)
    value = loss(outputs(logits.bfloat16()))
    (value + logits.sum()).backward()
    assert (value.item(), value.dtype) == (0, torch.float32)
    assert torch.equal(logits.grad, torch.ones(1, 3))
    assert len(loss.queue) == 0


# Bad input


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), ()])
def test_not_two_dimensional(shape):
    with pytest.raises(ValueError, match=r"shape \(N, G\)"):
        batch_shaping_loss(torch.zeros(shape), PRIOR)
    with pytest.raises(ValueError, match=r"shape \(N, G\)"):
        BatchShapingLoss()(outputs(torch.zeros(shape)))


@pytest.mark.parametrize("num_images", [0, 1])
def test_too_few_images(num_images):
    with pytest.raises(ValueError, match=r"at least 2 images.*queue_size"):
        batch_shaping_loss(torch.zeros(num_images, 3), PRIOR)
    for gather in (False, True):
        with pytest.raises(ValueError, match=r"at least 2 images.*queue_size"):
            BatchShapingLoss(gather=gather)(outputs(torch.zeros(num_images, 3)))
    with pytest.raises(ValueError, match="at least 1 images"):
        BatchShapingLoss(queue_size=4)(outputs(torch.zeros(0, 3)))


def test_bad_inputs():
    with pytest.raises(ValueError, match="with the same N"):
        BatchShapingLoss()(outputs(torch.zeros(4, 2), torch.zeros(3, 2)))
    with pytest.raises(ValueError, match="at least one gated layer"):
        BatchShapingLoss()([])
    with pytest.raises(ValueError, match=r"other_logits of shape \(R, 3\)"):
        batch_shaping_loss(torch.zeros(4, 3), PRIOR, other_logits=torch.zeros(4, 2))
    with pytest.raises(TypeError, match="distribution.*GateL0Loss"):
        BatchShapingLoss(prior=dict(type="mmbas.GateL0Loss"))


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("loss_weight", -0.1, "loss_weight >= 0"),
        ("loss_weight", math.nan, "loss_weight >= 0"),
        ("loss_weight", math.inf, "finite loss_weight"),
        ("reduction", "none", "'layer_mean', 'mean'"),
        ("queue_size", -1, "queue_size >= 0"),
    ],
)
def test_bad_arguments(argument, value, message):
    with pytest.raises(ValueError, match=message):
        BatchShapingLoss(**{argument: value})
