"""Savings of all gates at once equal those of each gate, and are exact."""

import pytest
import torch

from mmbas.costs.closed_costs import MAX_TABLES, _tables, closed_costs
from mmbas.gates import GatedConvMACs, GateOutput


def random_output(generator, num_images, num_inputs, num_outputs):
    """A gate between three convolutions, as in a bottleneck, whose costs are whole per channel."""
    num_gates = num_inputs + num_outputs
    gates = torch.randint(2, (num_images, num_gates), generator=generator).float()
    first, second = slice(0, num_inputs), slice(num_inputs, num_gates)
    convs = (
        GatedConvMACs(40 * num_inputs, outputs=first, params=8 * num_inputs),
        GatedConvMACs(90 * num_inputs * num_outputs, first, second, 9 * num_inputs * num_outputs),
        GatedConvMACs(70 * num_outputs, inputs=second, params=7 * num_outputs),
        GatedConvMACs(11, params=3),
    )
    return GateOutput(gates * 2 - 1, gates, convs)


@pytest.mark.parametrize("num_images", [1, 5])
def test_savings_are_those_of_the_single_gates(num_images):
    generator = torch.Generator().manual_seed(0)
    outputs = [random_output(generator, num_images, 3 + i, 5 + 2 * i) for i in range(6)]
    macs = sum(output.dense_macs - output.macs() for output in outputs)
    params = sum(output.dense_params - output.params() for output in outputs)
    saved = torch.from_numpy(closed_costs(outputs))
    torch.testing.assert_close(saved, torch.stack([macs, params], dim=1), rtol=1e-12, atol=0)
    assert torch.equal(saved, saved.round())


def test_a_gate_on_a_whole_branch():
    gates = torch.tensor([[1.0], [0.0]])
    convs = (GatedConvMACs(100, outputs=slice(None), params=10), GatedConvMACs(50, slice(0, 1)))
    assert closed_costs([GateOutput(gates, gates, convs)]).tolist() == [[0, 0], [150, 10]]


def test_an_image_costs_the_same_whatever_its_neighbours():
    outputs = [random_output(torch.Generator().manual_seed(1), 7, 4, 6)]
    alone = [GateOutput(output.logits[3:4], output.gates[3:4], output.convs) for output in outputs]
    assert (closed_costs(outputs)[3:4] == closed_costs(alone)).all()


def test_tables_are_bounded():
    generator = torch.Generator().manual_seed(0)
    for i in range(3 * MAX_TABLES):
        closed_costs([random_output(generator, 1, 1 + i % 9, 2)])
    assert len(_tables) <= MAX_TABLES
