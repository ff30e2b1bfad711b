"""The gating module against a plain re-computation, and its errors."""

import math

import pytest
import torch
from torch.nn import functional as F

from mmbas.gates import ChannelGate
from mmbas.registry import MODELS


def test_logits_equal_the_formula_in_evaluation():
    torch.manual_seed(0)
    gate = ChannelGate(8, 5).double()
    x = torch.randn(4, 8, 6, 7, dtype=torch.float64)
    for _ in range(3):
        gate(x)  # fills the running statistics
    gate.eval()
    pooled = x.mean(dim=(2, 3))
    hidden = pooled @ gate.fc1.weight.T
    hidden = (hidden - gate.norm.running_mean) / (gate.norm.running_var + gate.norm.eps).sqrt()
    hidden = F.relu(hidden * gate.norm.weight + gate.norm.bias)
    expected = hidden @ gate.fc2.weight.T + gate.fc2.bias
    output = gate(x)
    torch.testing.assert_close(output.logits, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(output.gates, (expected > 0).double())
    torch.testing.assert_close(output.probs, expected.sigmoid())


def test_evaluation_has_no_noise_and_training_has():
    gate = ChannelGate(8, 64)
    x = torch.randn(16, 8, 4, 4)
    assert not torch.equal(gate(x).gates, gate(x).gates)
    gate.eval()
    assert torch.equal(gate(x).gates, gate(x).gates)


@pytest.mark.parametrize("init_open_prob", [0.5, 0.9])
def test_init_open_prob_sets_the_bias(init_open_prob):
    gate = ChannelGate(4, 10, init_open_prob=init_open_prob)
    expected = math.log(init_open_prob / (1 - init_open_prob))
    torch.testing.assert_close(gate.fc2.bias.data, torch.full((10,), expected))


def test_hidden_layer_is_the_papers():
    gate = ChannelGate(64, 32)
    assert gate.fc1.weight.shape == (16, 64)
    assert gate.fc1.bias is None
    assert gate.fc2.weight.shape == (32, 16)
    assert gate.temperature == 2 / 3


def test_gate_stays_in_float32_under_autocast():
    torch.manual_seed(0)
    gate = ChannelGate(8, 5).eval()
    x = torch.randn(4, 8, 6, 6).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = gate(x)
    assert output.logits.dtype == torch.float32
    torch.testing.assert_close(output.logits, gate(x.float()).logits, rtol=1e-6, atol=1e-6)


def test_every_parameter_gets_a_gradient():
    gate = ChannelGate(8, 5)
    gate(torch.randn(16, 8, 4, 4)).gates.sum().backward()
    for name, parameter in gate.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_gradient_reaches_the_blocks_input():
    x = torch.randn(16, 8, 4, 4, requires_grad=True)
    ChannelGate(8, 5)(x).gates.sum().backward()
    assert (x.grad != 0).float().mean() > 0.9


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("temperature", 0),
        ("temperature", -1.0),
        ("init_open_prob", 0),
        ("init_open_prob", 1),
        ("hidden_channels", 0),
    ],
)
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=f"expected {argument} .*but got"):
        ChannelGate(8, 5, **{argument: value})


def test_one_image_in_training_says_what_to_do():
    gate = ChannelGate(8, 5)
    with pytest.raises(ValueError, match="at least 2 images .*drop_last=True"):
        gate(torch.randn(1, 8, 4, 4))
    assert gate.eval()(torch.randn(1, 8, 4, 4)).gates.shape == (1, 5)


def test_registered_in_scope():
    gate = MODELS.build(dict(type="mmbas.ChannelGate", in_channels=4, num_gates=3, temperature=0.5))
    assert isinstance(gate, ChannelGate)
    assert gate.temperature == 0.5


@pytest.mark.parametrize("training", [False, True])
def test_always_open_gates_are_not_computed(training):
    torch.manual_seed(0)
    gate = ChannelGate(8, 6, always_open=[0, 3, 4]).train(training)
    assert gate.decided == [1, 2, 5]
    assert gate.fc2.weight.shape == (3, 16)
    x = torch.randn(64, 8, 4, 4)
    output = gate(x)
    assert output.logits.shape == output.gates.shape == (64, 6)
    assert (output.gates[:, [0, 3, 4]] == 1).all()
    gate.fc2.bias.data -= 100
    output = gate(x)
    assert (output.gates == torch.tensor([1.0, 0, 0, 1, 1, 0])).all()


def test_decided_logits_are_those_of_the_last_layer():
    torch.manual_seed(0)
    gate = ChannelGate(8, 6, always_open=(2, 0)).eval()
    full = ChannelGate(8, 6).eval()
    state = gate.state_dict()
    assert state.keys() == full.state_dict().keys()
    full.load_state_dict({key: v for key, v in state.items() if "fc2" not in key}, strict=False)
    full.fc2.weight.data[gate.decided] = state["fc2.weight"]
    full.fc2.bias.data[gate.decided] = state["fc2.bias"]
    x = torch.randn(4, 8, 3, 3)
    decided = gate(x).logits[:, gate.decided]
    torch.testing.assert_close(decided, full(x).logits[:, gate.decided], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("always_open", "message"),
    [
        ([5], "expected always_open from 0 to 4"),
        ([-1], "expected always_open from 0 to 4"),
        (range(5), "expected a gate that is not always open, but got 5 .*gate=None"),
    ],
)
def test_bad_always_open(always_open, message):
    with pytest.raises(ValueError, match=message):
        ChannelGate(8, 5, always_open=always_open)


def test_shapes_without_numbers():
    """On torch's meta device, where its autocast is none."""
    gate = ChannelGate(8, 4).to("meta")
    output = gate(torch.empty(2, 8, 5, 5, device="meta"))
    assert (output.gates.shape, output.gates.device.type) == ((2, 4), "meta")
