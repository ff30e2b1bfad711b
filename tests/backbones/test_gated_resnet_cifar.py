"""The CIFAR ResNets: sizes of the literature, shortcut, width."""

import pytest
import torch

from mmbas.backbones import GatedResNetCifar
from mmbas.backbones.gated_resnet_cifar import SubsampleShortcut
from mmbas.gates import named_gates


def params(depth, **arguments):
    model = GatedResNetCifar(depth, **arguments)
    return sum(p.numel() for p in model.parameters()) + 650  # classifier: 64 * 10 + 10


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)
def test_parameters_are_those_of_he_et_al(depth, millions):
    # Table 6 of arXiv:1512.03385
    digits = 1 if depth == 110 else 2
    assert round(params(depth, gate=None) / 1e6, digits) == millions


def test_shapes_and_gates():
    model = GatedResNetCifar(32, out_indices=(0, 1, 2))
    shapes = [tuple(out.shape) for out in model(torch.randn(2, 3, 32, 32))]
    assert shapes == [(2, 16, 32, 32), (2, 32, 16, 16), (2, 64, 8, 8)]
    assert [gate.num_gates for gate in named_gates(model).values()] == [16] * 5 + [32] * 5 + [
        64
    ] * 5


def test_width_factor_widens_only_the_inner_representation():
    model = GatedResNetCifar(20, width_factor=10)
    block = model.layer2[0]
    assert block.conv1.weight.shape == (320, 16, 3, 3)
    assert block.conv2.weight.shape == (32, 320, 3, 3)
    assert block.gate.num_gates == 320
    assert model(torch.randn(2, 3, 32, 32))[0].shape == (2, 64, 8, 8)


def test_shortcut_subsamples_and_pads():
    x = torch.arange(2 * 4 * 4.0).view(1, 2, 4, 4)
    out = SubsampleShortcut(3, 2)(x)
    assert out.shape == (1, 5, 2, 2)
    assert torch.equal(out[:, :2], x[:, :, ::2, ::2])
    assert out[:, 2:].abs().sum() == 0


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    model = GatedResNetCifar(20)
    model.init_weights()
    model(torch.randn(16, 3, 32, 32))[0].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(depth=18), "expected a depth of 6n"),
        (dict(depth=20, width_factor=0), "expected width_factor >= 1"),
        (dict(depth=20, out_indices=(3,)), "expected out_indices below 3"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GatedResNetCifar(**arguments)


def test_checkpoint_of_another_depth_or_width_is_refused():
    weights = GatedResNetCifar(20).state_dict()
    for other in (GatedResNetCifar(32), GatedResNetCifar(20, width_factor=2)):
        with pytest.raises(ValueError, match="expected a checkpoint of the same depth"):
            other.load_state_dict(weights, strict=False)
