"""The bounds of DGNet and LAUDNet, and the l1 loss of gates, against their formulas."""

import math

import numpy as np
import pytest
import torch
from rival_methods import network

from mmbas.gates import GatedConvMACs, GateOutput, record_gate_outputs
from mmbas.losses import DensityBoundsLoss, GateL1Loss


def bound(d, t, p):
    return max(p * t - d, 0) ** 2 + max(d - (1 - p + p * t), 0) ** 2


@pytest.mark.parametrize("p", [1.0, 0.4, 0.0])
def test_bounds_of_tiles_and_of_channels(p):
    torch.manual_seed(0)
    model = network("dgnet")
    with record_gate_outputs(model) as records:
        model(torch.randn(6, 3, 8, 8))
    outputs = [output for (output,) in records.values()]
    loss = DensityBoundsLoss(target=0.4)
    loss.tightness = p
    expected = 0.0
    for kind in range(2):
        shares = []
        for output, tiles in zip(outputs, (16, 4, 1), strict=True):
            gates = output.gates.detach().numpy()
            shares.append((gates[:, :tiles] if kind else gates[:, tiles:]).mean())
        expected += np.mean([bound(d, math.sqrt(0.4), p) for d in shares])
    assert loss(outputs).item() == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_bounds_of_the_macs_of_a_block():
    convs = [GatedConvMACs(10, None, slice(0, 1)), GatedConvMACs(30, None, slice(0, 1))]
    gates = torch.tensor([[1.0], [1.0], [1.0], [0.0]])
    output = GateOutput(gates - 0.5, gates, convs)
    loss = DensityBoundsLoss(target=0.5, of="macs", loss_weight=10.0)
    loss.tightness = 0.8
    assert loss([output, output]).item() == pytest.approx(10 * bound(0.75, 0.5, 0.8))
    with pytest.raises(ValueError, match="expected target in"):
        DensityBoundsLoss(target=1.0)
    with pytest.raises(ValueError, match="expected of to be one of"):
        DensityBoundsLoss(target=0.5, of="layers")


def test_l1_of_drawn_gates_and_of_scales():
    gates = torch.tensor([[1.0, 0.3], [0.0, 0.5]])
    scales = torch.tensor([[2.0, 1.0], [0.0, 4.0]])
    output = GateOutput(gates, gates, scales=scales)
    assert GateL1Loss(loss_weight=2.0)([output]).item() == pytest.approx(2 * gates.mean().item())
    of_scales = GateL1Loss(of="scales", loss_weight=1.0, reduction="sum")
    assert of_scales([output]).item() == pytest.approx(1.0 + 2.5)
    with pytest.raises(ValueError, match="expected gates with scales"):
        of_scales([GateOutput(gates, gates)])
    with pytest.raises(ValueError, match="expected of to be one of"):
        GateL1Loss(of="logits")
