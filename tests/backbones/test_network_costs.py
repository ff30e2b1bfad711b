"""Costs in closed form equal what a real pass computes."""

import copy

import pytest
import torch
from torch import nn

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.gates import named_gates, record_gate_outputs
from mmbas.gates.memo import Memo

NETWORKS = {
    "resnet20": lambda: GatedResNetCifar(20),
    "resnet14-c12": lambda: GatedResNetCifar(14, base_channels=12, width_factor=2),
    "resnet18": lambda: GatedResNet(18),
    "resnet50": lambda: GatedResNet(50, gate_positions="conv2"),
    "resnet50-v1d-d8": lambda: GatedResNet(
        50, deep_stem=True, avg_down=True, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)
    ),
    "resnet34-plain": lambda: GatedResNet(34, gate=None, num_stages=3, out_indices=(1, 2)),
}


def macs_of_a_pass(model, x):
    """Multiply-accumulates of each layer of a real pass, by hooks on the layers."""
    macs = {}

    def hook(name):
        def count(module, inputs, output):
            values = output.numel() // output.shape[1]
            macs[name] = macs.get(name, 0) + values * module.weight.numel()

        return count

    handles = [
        module.register_forward_hook(hook(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return macs


@pytest.mark.parametrize("size", [(32, 32), (45, 37)])
@pytest.mark.parametrize("name", NETWORKS)
def test_costs_are_those_of_a_pass(name, size):
    model = NETWORKS[name]().eval()
    x = torch.randn(2, 3, *size)
    assert model.dense_module_macs(x.shape) == macs_of_a_pass(model, x)


@pytest.mark.parametrize("name", ["resnet14-c12", "resnet50-v1d-d8"])
def test_costs_of_the_gated_convolutions_are_those_that_the_blocks_tell(name):
    model = NETWORKS[name]().eval()
    with torch.no_grad(), record_gate_outputs(model) as records:
        model(torch.randn(1, 3, 45, 37))
    costs = model.costs((45, 37))
    assert list(costs.gated_convs) == list(named_gates(model).values())
    assert [output.convs for (output,) in records.values()] == list(costs.gated_convs.values())
    assert costs is model.costs((45, 37))


def test_a_copy_with_other_layers_has_other_costs():
    model = GatedResNetCifar(8)
    before = model.costs((32, 32))
    copied = copy.deepcopy(model)
    copied.conv1 = nn.Conv2d(3, 16, 5, padding=2)
    assert copied.costs((32, 32)).module_macs["conv1"] == 1024 * 25 * 48
    assert model.costs((32, 32)) is before


def test_what_is_kept_is_bounded():
    cache = Memo(max_values=3)
    for width in range(10):
        assert cache.get((1, width), lambda key: key[1]) == width
        assert cache.get((1, width), lambda key: -1) == width
        assert len(cache) <= 3
