"""A setting that changes nothing warns; gates that a user froze stay frozen."""

import warnings

import pytest

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.gates import named_gates

WIDTHS = [dict(channels=8)] * 3


@pytest.mark.parametrize(
    ("network", "arguments", "setting"),
    [
        (GatedResNetCifar, dict(depth=8, width_factor=2, block_widths=WIDTHS), "width_factor=2"),
        (GatedResNet, dict(depth=18, gate_positions="conv1"), "gate_positions='conv1'"),
        (GatedResNet, dict(depth=50, gate_positions="conv2", gate=None), "gate_positions='conv2'"),
        (GatedResNet, dict(depth=18, frozen_stages=9), "frozen_stages=9"),
        (GatedResNet, dict(depth=18, contract_dilation=True), "contract_dilation=True"),
        (
            GatedResNet,
            dict(depth=18, norm_eval=True, norm_cfg=dict(type="GN", num_groups=8)),
            "norm_eval=True",
        ),
    ],
)
def test_a_setting_without_effect_warns(network, arguments, setting):
    with pytest.warns(UserWarning, match=f"{setting} has no effect: "):
        network(**arguments)


@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        (GatedResNetCifar, dict(depth=8, width_factor=2)),
        (GatedResNetCifar, dict(depth=8, block_widths=WIDTHS)),
        (GatedResNet, dict(depth=50, gate_positions="conv1", frozen_stages=4)),
        (GatedResNet, dict(depth=18, contract_dilation=True, dilations=(1, 1, 2, 4))),
        (GatedResNet, dict(depth=18, norm_eval=True)),
    ],
)
def test_a_setting_with_effect_does_not(network, arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network(**arguments)


@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        (GatedResNetCifar, dict(depth=8)),
        (GatedResNet, dict(depth=18)),
        (GatedResNet, dict(depth=18, frozen_stages=2)),
    ],
)
def test_gates_that_a_user_froze_stay_frozen(network, arguments):
    backbone = network(**arguments)
    frozen, free = named_gates(backbone.layer1), named_gates(backbone.layer2)
    for gate in frozen.values():
        gate.requires_grad_(False)
    for _ in range(2):
        backbone.train()
        for gate in frozen.values():
            assert not any(module.training for module in gate.modules())
            assert not any(parameter.requires_grad for parameter in gate.parameters())
        for gate in free.values():
            assert all(module.training for module in gate.modules())
            assert all(parameter.requires_grad for parameter in gate.parameters())
        backbone.eval()
