"""The recurrent gate against torch's LSTM, and what gates share."""

import pytest
import torch
from rival_methods import network
from torch import nn

from mmbas.backbones import GatedResNetCifar
from mmbas.compress.match_macs import match_macs
from mmbas.gates import (
    RecurrentGate,
    RecurrentGater,
    named_gates,
    record_gate_outputs,
)


def test_the_shared_cell_is_an_lstm_from_block_to_block():
    torch.manual_seed(0)
    model = GatedResNetCifar(
        14,
        base_channels=4,
        gate_positions="block",
        gate=dict(type="mmbas.RecurrentGate"),
        gater=dict(type="mmbas.RecurrentGater"),
    ).eval()
    nn.init.normal_(model.gater.cell.bias)
    lstm = nn.LSTM(10, 10)
    weight, bias = model.gater.cell.weight, model.gater.cell.bias
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(weight[:, :10])
        lstm.weight_hh_l0.copy_(weight[:, 10:])
        lstm.bias_ih_l0.copy_(bias)
        lstm.bias_hh_l0.zero_()
    embedded = []
    for gate in named_gates(model).values():
        gate.embed.register_forward_hook(lambda _, inputs, out: embedded.append(out))
    with torch.no_grad(), record_gate_outputs(model) as records:
        model(torch.randn(3, 3, 8, 8))
        hidden, _ = lstm(torch.stack(embedded))  # (6 blocks, 3 images, 10), first state zero
    expected = model.gater.projection(hidden)
    actual = torch.stack([output.logits for (output,) in records.values()])
    torch.testing.assert_close(actual, expected)


def test_its_macs_are_those_of_each_step():
    model = network("skipnet")
    macs = model.costs((8, 8)).module_macs
    assert macs["gater.cell"] == 2 * 20 * 40
    assert macs["gater.projection"] == 2 * 10
    assert macs["layer2.0.gate.embed"] == 4 * 10
    assert macs["layer3.0.gate.embed"] == 8 * 10


def test_a_gate_outside_of_its_network_says_what_it_needs():
    gate = RecurrentGate(4, 1)
    with pytest.raises(RuntimeError, match=r"add gater=dict"):
        gate(torch.randn(2, 4, 2, 2))
    RecurrentGater().connect([gate])
    with pytest.raises(RuntimeError, match="in a forward pass of its network"):
        gate(torch.randn(2, 4, 2, 2))


def test_gates_and_gater_must_fit():
    recurrent = dict(type="mmbas.RecurrentGater")
    with pytest.raises(TypeError, match=r"mmbas\.RecurrentGate.*ChannelGate"):
        GatedResNetCifar(8, gate_positions="block", gater=recurrent)
    with pytest.raises(TypeError, match=r"mmbas\.GivenGate.*ChannelGate"):
        GatedResNetCifar(8, gater=dict(type="mmbas.ImageGater"))
    with pytest.raises(ValueError, match="set gater=None"):
        GatedResNetCifar(8, gate=None, gater=recurrent)
    with pytest.raises(TypeError, match="config of a mmbas gater"):
        GatedResNetCifar(8, gater=dict(type="mmbas.ChannelGate", in_channels=1, num_gates=1))


def test_one_bias_moves_all_gates():
    model = network("skipnet")
    biases = [bias for gate in named_gates(model).values() for bias in gate.logit_biases()]
    assert len({id(bias) for bias in biases}) == 1
    with pytest.raises(ValueError, match=r"biases to shift, but got 3 without"):
        match_macs(network("fbs").eval(), [], 0.5)
