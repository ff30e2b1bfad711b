"""The target-rate loss against its formula."""

import numpy as np
import pytest
import torch

from mmbas.backbones import GatedResNetCifar
from mmbas.gates import ChannelGate, GateOutput, record_gate_outputs
from mmbas.losses import TargetRateLoss


def outputs_of(*gates):
    return [GateOutput(value - 0.5, value) for value in gates]


def test_value_and_gradient_are_the_formulas():
    generator = np.random.default_rng(0)
    gates = [generator.integers(0, 2, (6, 1)).astype(float) for _ in range(3)]
    tensors = [torch.tensor(value, requires_grad=True) for value in gates]
    targets = [0.4, 0.6, 1.0]
    loss = TargetRateLoss(target=targets, loss_weight=2.0)
    loss.factor = 0.5
    value = loss(outputs_of(*tensors))
    errors = np.array([g.mean() - t for g, t in zip(gates, targets, strict=True)])
    assert value.item() == pytest.approx(2.0 * 0.5 * np.mean(errors**2))
    value.backward()
    for tensor, error in zip(tensors, errors, strict=True):
        expected = np.full((6, 1), 2.0 * 0.5 / 3 * 2 * error / 6)
        np.testing.assert_allclose(tensor.grad.numpy(), expected, rtol=1e-6)


def test_the_sum_over_blocks_is_the_papers_and_a_met_rate_costs_nothing():
    gates = torch.tensor([[1.0], [0.0]])
    loss = TargetRateLoss(target=0.0, loss_weight=1.0, reduction="sum")
    assert loss(outputs_of(gates, gates)).item() == 0.5
    assert TargetRateLoss(target=0.5, loss_weight=1.0)(outputs_of(gates, gates)).item() == 0


def test_it_trains_the_rate_of_a_gate_to_the_target():
    torch.manual_seed(0)
    gate = ChannelGate(4, 1, temperature=1.0, init_open_prob=0.87, init_weight_std=0.0014)
    optimizer = torch.optim.SGD(gate.parameters(), lr=2.0)
    loss = TargetRateLoss(target=0.3, loss_weight=2.0)
    x = torch.randn(256, 4, 2, 2)
    for _ in range(60):
        optimizer.zero_grad()
        loss([gate(x)]).backward()
        optimizer.step()
    assert float(gate(x).gates.detach().mean()) == pytest.approx(0.3, abs=0.1)


def test_targets_must_fit_the_gates():
    loss = TargetRateLoss(target=[0.5, 0.7])
    loss.prepare(2)
    with pytest.raises(ValueError, match="expected one target or 3"):
        loss.prepare(3)
    with pytest.raises(ValueError, match="expected target in"):
        TargetRateLoss(target=1.5)


def test_it_reads_the_drawn_gates_of_a_network():
    torch.manual_seed(0)
    model = GatedResNetCifar(8, base_channels=4, gate_positions="branch")
    with record_gate_outputs(model) as records:
        model(torch.randn(4, 3, 8, 8))
    outputs = [output for (output,) in records.values()]
    rates = torch.stack([output.gates.mean() for output in outputs])
    expected = (rates - 0.6).square().mean()
    torch.testing.assert_close(TargetRateLoss(target=0.6, loss_weight=1.0)(outputs), expected)
