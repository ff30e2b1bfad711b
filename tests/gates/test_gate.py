"""The contract between gates and their consumers."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from mmbas.gates import (
    ChannelGate,
    GatedConvMACs,
    GateOutput,
    force_gate_logits,
    record_gate_outputs,
)
from mmbas.gates.recorder import is_recording


class TwoGates(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = ChannelGate(3, 4)
        self.second = ChannelGate(3, 2)

    def forward(self, x):
        return self.first(x).gates.sum() + self.second(x).gates.sum()


def test_macs_of_a_hand_worked_bottleneck():
    # GIVEN 2 gates after conv1 and 3 after conv2; image 1 opens 1 and 3, image 2 opens 2 and 1
    gates = torch.tensor([[1.0, 0, 1, 1, 1], [1, 1, 0, 0, 1]])
    convs = (
        GatedConvMACs(100, outputs=slice(0, 2)),
        GatedConvMACs(600, inputs=slice(0, 2), outputs=slice(2, 5)),
        GatedConvMACs(30, inputs=slice(2, 5)),
    )
    output = GateOutput(gates, gates, convs)
    # THEN image 1: 100/2 + 600/2*3/3 + 30*3/3; image 2: 100 + 600*1/3 + 30/3
    torch.testing.assert_close(output.macs(), torch.tensor([380.0, 310.0], dtype=torch.float64))
    assert output.dense_macs == 730


def test_parameters_of_a_hand_worked_bottleneck():
    # GIVEN the same gates; 8 input and 8 output channels, 2 and 3 gated ones, a 3x3 in the middle
    gates = torch.tensor([[1.0, 0, 1, 1, 1], [1, 1, 0, 0, 1]])
    convs = (
        GatedConvMACs(100, outputs=slice(0, 2), params=8 * 2),
        GatedConvMACs(600, inputs=slice(0, 2), outputs=slice(2, 5), params=2 * 3 * 9),
        GatedConvMACs(30, inputs=slice(2, 5), params=3 * 8),
    )
    output = GateOutput(gates, gates, convs)
    # THEN image 1 reads 8*1 + 1*3*9 + 3*8 weights, image 2 reads 8*2 + 2*1*9 + 1*8
    torch.testing.assert_close(output.params(), torch.tensor([59.0, 42.0], dtype=torch.float64))
    assert output.dense_params == 94


def test_gates_on_positions_save_no_parameters():
    gates = torch.tensor([[0.0]])
    output = GateOutput(gates, gates, (GatedConvMACs(100, outputs=slice(None)),))
    assert (output.macs().item(), output.params().item(), output.dense_params) == (0, 0, 0)


def test_a_whole_block_gate_needs_nothing_new():
    gates = torch.tensor([[1.0], [0.0]])
    block = slice(0, 1)
    convs = (GatedConvMACs(70, outputs=block), GatedConvMACs(30, outputs=block))
    assert GateOutput(gates, gates, convs).macs().tolist() == [100.0, 0.0]


def test_macs_are_differentiable():
    gates = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    convs = (GatedConvMACs(8, inputs=slice(0, 2), outputs=slice(2, 4)),)
    assert torch.autograd.gradcheck(lambda g: GateOutput(g, g, convs).macs(), gates)


def test_records_only_inside_the_with_statement():
    model, x = TwoGates(), torch.randn(5, 3, 4, 4)
    with record_gate_outputs(model) as records:
        model(x)
        model(x)
    model(x)
    assert {name: len(outputs) for name, outputs in records.items()} == {"first": 2, "second": 2}
    assert records["first"][0].gates.shape == (5, 4)


def test_records_nest_and_survive_an_exception():
    model, x = TwoGates(), torch.randn(5, 3, 4, 4)
    with record_gate_outputs(model) as outer:
        with contextlib.suppress(RuntimeError), record_gate_outputs(model) as inner:
            model(x)
            model(torch.randn(5, 7, 4, 4))  # a wrong number of channels
        model(x)
    assert len(inner["first"]) == 1
    assert len(outer["first"]) == 2
    assert not is_recording()


def test_forced_logits_nest():
    model, x = TwoGates().eval(), torch.randn(5, 3, 4, 4)
    with force_gate_logits(model, 1.0):
        with force_gate_logits(model, {"second": -1.0}):
            assert model(x) == 5 * 4
        assert model(x) == 5 * 6
    with force_gate_logits(model, {"first": 1.0}), force_gate_logits(model, {"second": 1.0}):
        assert model(x) == 5 * 6


def test_forced_logits_that_do_not_fit_are_refused():
    model, x = TwoGates().eval(), torch.randn(5, 3, 4, 4)
    with (
        force_gate_logits(model, {"first": torch.ones(3)}),
        pytest.raises(ValueError, match=r"broadcast to \(5, 4\), but got shape \(3,\)"),
    ):
        model(x)


def test_threads_neither_record_nor_force_for_each_other():
    model, x = TwoGates().eval(), torch.randn(5, 3, 4, 4)
    with record_gate_outputs(model) as records, force_gate_logits(model, 1.0):
        with ThreadPoolExecutor(1) as pool:
            free = pool.submit(model, x).result()
        assert model(x) == 5 * 6
    assert [len(outputs) for outputs in records.values()] == [1, 1]
    assert free == model(x)


def test_forced_logits():
    model, x = TwoGates().eval(), torch.randn(5, 3, 4, 4)
    with force_gate_logits(model, 1.0):
        assert model(x) == 5 * 6
    with force_gate_logits(model, {"first": torch.tensor([[1.0, -1, 1, -1]]), "second": -1.0}):
        assert model(x) == 5 * 2
    with pytest.raises(ValueError, match="expected names of gates.*third"):
        force_gate_logits(model, {"third": torch.zeros(1)}).__enter__()
