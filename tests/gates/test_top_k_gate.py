"""Feature boosting and suppression against sorting in numpy."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmbas.blocks import GatedBasicBlock
from mmbas.gates import TopKGate

NORM = dict(type="BN", requires_grad=True)


def gate_of(density, num_gates=10):
    torch.manual_seed(0)
    gate = TopKGate(6, num_gates, density=density)
    gate.fc.weight.data.normal_()
    return gate


@pytest.mark.parametrize("density", [0.1, 0.25, 0.7, 1.0])
@pytest.mark.parametrize("training", [False, True])
def test_the_k_largest_saliencies_are_kept_with_their_values(density, training):
    gate = gate_of(density).train(training)
    x = torch.randn(20, 6, 4, 4)
    output = gate(x)
    saliency = gate.fc(x.mean(dim=(2, 3))).relu().detach().numpy()
    k = math.ceil(round(density * 10, 6))
    expected = np.zeros_like(saliency)
    for image, row in enumerate(saliency):
        kept = np.argsort(-row, kind="stable")[:k]
        expected[image, kept] = row[kept]
    np.testing.assert_allclose(output.multiplier.detach().numpy(), expected, rtol=1e-5)
    # Kept channels without saliency cost nothing.
    np.testing.assert_array_equal(output.gates.numpy(), expected > 0)


def test_only_open_channels_get_a_gradient_that_of_their_saliency():
    gate = gate_of(0.3)
    output = gate(torch.randn(5, 6, 4, 4))
    output.multiplier.sum().backward()
    torch.testing.assert_close(gate.fc.bias.grad, output.gates.sum(dim=0))


def test_scaling_after_the_relu_is_scaling_before_it():
    torch.manual_seed(0)
    gate = dict(type="mmbas.TopKGate", density=0.5)
    block = GatedBasicBlock(8, 6, 8, gate=gate, norm_cfg=NORM).eval()
    x = torch.randn(3, 8, 5, 5)
    decision = block.gate.decide(x)
    pi = (decision.scales * (decision.logits > 0))[:, :, None, None]
    inner = F.relu(pi * block.bn1(block.conv1(x)))
    torch.testing.assert_close(block(x), F.relu(x + block.bn2(block.conv2(inner))))
    assert ((decision.logits > 0).sum(dim=1) == 3).all()


def test_the_density_is_a_setting_of_the_gate_and_no_part_of_its_weights():
    gate = gate_of(0.5)
    gate.settings["density"].fill_(0.2)
    assert gate(torch.rand(4, 6, 2, 2)).gates.sum(dim=1).max() <= 2
    assert not any("density" in key for key in gate.state_dict())
    with pytest.raises(ValueError, match="expected density in"):
        TopKGate(6, 10, density=0.0)
