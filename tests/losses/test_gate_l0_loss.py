"""L0 loss: the mean gate prob of each gate, and the same reductions as batch shaping."""

import math

import pytest
import torch

from mmbas.gates import GateOutput
from mmbas.losses import GateL0Loss, gate_l0_loss
from mmbas.registry import MODELS

LOGIT_3_4 = math.log(3.0)  # sigmoid = 3/4


def outputs(*layers):
    return [GateOutput(layer, layer) for layer in layers]


def test_hand_worked_example():
    # Gate 1: probs 1/2 and 3/4, mean 5/8; gate 2: probs 1/4 and 1/4.
    logits = torch.tensor([[0.0, -LOGIT_3_4], [LOGIT_3_4, -LOGIT_3_4]], requires_grad=True)
    loss = gate_l0_loss(logits)
    loss.sum().backward()
    torch.testing.assert_close(loss, torch.tensor([5 / 8, 1 / 4]), rtol=1e-6, atol=0)
    expected = torch.tensor([[1 / 4, 3 / 16], [3 / 16, 3 / 16]]) / 2  # x (1 - x) / N
    torch.testing.assert_close(logits.grad, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("reduction", "expected"), [("sum", 2 * 0.75 + 0.25), ("layer_mean", 1.0), ("mean", 7 / 12)]
)
def test_reductions(reduction, expected):
    first, second = torch.full((3, 2), LOGIT_3_4), torch.full((3, 1), -LOGIT_3_4)
    loss = GateL0Loss(loss_weight=0.5, reduction=reduction)
    loss.factor = 0.2
    assert loss(outputs(first, second)).item() == pytest.approx(0.1 * expected, rel=1e-6)


def test_gradcheck_in_float64():
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gate_l0_loss, logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_float32_and_finite_under_autocast(dtype):
    largest = torch.finfo(dtype).max
    logits = torch.tensor([[-largest, 0.3], [largest, -9.0]], dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = gate_l0_loss(logits)
    loss.sum().backward()
    torch.testing.assert_close(loss, gate_l0_loss(logits.float()), rtol=0, atol=0)
    assert logits.grad.dtype == dtype
    assert logits.grad.isfinite().all()


def test_built_from_config_with_defaults():
    loss = MODELS.build(dict(type="mmbas.GateL0Loss"))
    assert (loss.loss_name, loss.loss_weight, loss.factor) == ("loss_gate_l0", 0.05, 1.0)
    assert loss.reduction == "layer_mean"
    assert list(loss.state_dict()) == []


def test_weight_zero_skips_the_work(monkeypatch):
    loss = GateL0Loss(loss_weight=0.0)
    monkeypatch.setattr(loss, "loss_per_gate", None)
    value = loss(outputs(torch.randn(2, 3, requires_grad=True)))
    assert (value.item(), value.dtype, value.requires_grad) == (0, torch.float32, False)


def test_one_image_is_enough():
    assert gate_l0_loss(torch.zeros(1, 2)).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (0, 3)])
def test_bad_shapes(shape):
    with pytest.raises(ValueError, match=r"shape \(N, G\)"):
        gate_l0_loss(torch.zeros(shape))


@pytest.mark.parametrize("arguments", [dict(loss_weight=-1), dict(reduction="max")])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match="expected"):
        GateL0Loss(**arguments)
