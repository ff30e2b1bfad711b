"""Own initialisation comes before weights are loaded, however a config asks for them."""

import pytest
import torch
from mmengine.model import BaseModule
from mmengine.model.weight_init import PretrainedInit

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.gates import named_gates

NETWORKS = [(GatedResNet, 18), (GatedResNetCifar, 8)]
KAIMING = dict(type="Kaiming", layer="Conv2d")
NORMAL = dict(type="Normal", std=1.0, layer="Linear")
CONSTANT = dict(type="Constant", val=1, layer="_BatchNorm")


def trained(network, depth):
    """A network of which no tensor has its initial value."""
    torch.manual_seed(1)
    backbone = network(depth)
    for value in backbone.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.1)
    return backbone


def assert_equal(backbone, expected):
    for key, value in expected.state_dict().items():
        assert torch.equal(backbone.state_dict()[key], value), key


@pytest.mark.parametrize(("network", "depth"), NETWORKS)
@pytest.mark.parametrize(
    "make",
    [
        lambda load: load,
        lambda load: [load],
        lambda load: [load, KAIMING, NORMAL, CONSTANT],
        lambda load: [KAIMING, NORMAL, load],
        lambda load: {**load, "type": PretrainedInit},
        lambda load: [KAIMING, {**load, "type": PretrainedInit}],
        lambda load: {**load, "type": "mmengine.Pretrained"},
        lambda load: [{**load, "type": "mmengine.Pretrained"}, KAIMING, CONSTANT],
    ],
    ids=["dict", "list", "first", "last", "class", "class-last", "scope", "scope-first"],
)
def test_loaded_weights_stay(network, depth, make, tmp_path):
    expected = trained(network, depth)
    torch.save(expected.state_dict(), tmp_path / "trained.pth")
    load = dict(type="Pretrained", checkpoint=str(tmp_path / "trained.pth"))
    backbone = network(depth, init_cfg=make(load))
    backbone.init_weights()
    assert_equal(backbone, expected)
    backbone.init_weights()
    assert_equal(backbone, expected)


@pytest.mark.parametrize(("network", "depth"), NETWORKS)
def test_initialising_after_loading_changes_nothing(network, depth):
    expected = trained(network, depth)
    backbone = network(depth)
    backbone.load_state_dict(expected.state_dict())
    backbone.init_weights()
    assert_equal(backbone, expected)
    again = network(depth)
    again.init_weights()
    again.load_state_dict(expected.state_dict())
    again.init_weights()
    assert_equal(again, expected)


class Model(BaseModule):
    """A host's model around a backbone."""

    def __init__(self, backbone, init_cfg):
        super().__init__(init_cfg)
        self.backbone = backbone


@pytest.mark.parametrize("kind", ["Pretrained", "mmengine.Pretrained", PretrainedInit])
def test_weights_that_a_whole_model_loads_stay(kind, tmp_path):
    expected = Model(trained(GatedResNetCifar, 8), None)
    torch.save(expected.state_dict(), tmp_path / "trained.pth")
    model = Model(GatedResNetCifar(8), dict(type=kind, checkpoint=str(tmp_path / "trained.pth")))
    model.init_weights()
    assert_equal(model, expected)


def test_plain_weights_leave_gates_as_they_begin(tmp_path):
    plain = GatedResNetCifar(8, gate=None)
    torch.save(plain.state_dict(), tmp_path / "plain.pth")
    load = dict(type="Pretrained", checkpoint=str(tmp_path / "plain.pth"))
    gate = dict(type="mmbas.ChannelGate", init_open_prob=0.9)
    backbone = GatedResNetCifar(8, gate=gate, init_cfg=[NORMAL, load])
    backbone.init_weights()
    for gate in named_gates(backbone).values():
        torch.testing.assert_close(gate.fc2.bias.sigmoid(), torch.full_like(gate.fc2.bias, 0.9))
        assert gate.fc1.weight.abs().max() < 1  # not NORMAL's


@pytest.mark.parametrize("gates", [True, False])
def test_the_first_stages_load_from_a_whole_network(gates):
    gate = dict(type="mmbas.ChannelGate") if gates else None
    whole = GatedResNet(18, gate=gate)
    backbone = GatedResNet(18, num_stages=3, out_indices=(2,))
    backbone.load_state_dict(whole.state_dict(), strict=False)
    for key, value in backbone.state_dict().items():
        if gates or ".gate." not in key:
            assert torch.equal(value, whole.state_dict()[key]), key
    with pytest.raises(ValueError, match="expected a checkpoint of the same depth"):
        GatedResNet(18).load_state_dict(backbone.state_dict(), strict=False)
    with pytest.raises(ValueError, match="expected a checkpoint of the same depth"):
        GatedResNet(34, num_stages=3, out_indices=(2,)).load_state_dict(whole.state_dict())
