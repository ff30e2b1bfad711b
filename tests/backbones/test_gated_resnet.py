"""GatedResNet against the hosts' ResNets and torchvision's."""

import copy
import pickle
from unittest import mock

import pytest
import torch
import torchvision
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from mmpretrain.models import ResNet as PretrainResNet
from mmseg.models import ResNet as SegResNet
from mmseg.models import ResNetV1c, ResNetV1d

from mmbas.backbones import GatedResNet
from mmbas.gates import force_gate_logits, named_gates

GATE = dict(type="mmbas.ChannelGate")
DILATED = dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), out_indices=(0, 1, 2, 3))
V1C = dict(**DILATED, contract_dilation=True)


def host_keys(backbone):
    return [key for key in backbone.state_dict() if ".gate." not in key]


def randomize(model):
    for buffer_or_parameter in model.state_dict().values():
        if buffer_or_parameter.is_floating_point():
            torch.nn.init.uniform_(buffer_or_parameter, 0.01, 0.1)


@pytest.mark.parametrize("gate", [None, GATE])
@pytest.mark.parametrize(
    ("host", "depth", "host_arguments", "own_arguments"),
    [
        (PretrainResNet, 18, {}, {}),
        (PretrainResNet, 50, {}, {}),
        (PretrainResNet, 50, DILATED, DILATED),
        (SegResNet, 18, DILATED, DILATED),
        (SegResNet, 50, DILATED, DILATED),
        (ResNetV1c, 18, V1C, dict(**V1C, deep_stem=True)),
        (ResNetV1c, 50, V1C, dict(**V1C, deep_stem=True)),
        (ResNetV1d, 50, V1C, dict(**V1C, deep_stem=True, avg_down=True)),
    ],
)
def test_bitwise_equal_to_the_host(host, depth, host_arguments, own_arguments, gate):
    torch.manual_seed(0)
    theirs = host(depth=depth, **host_arguments)
    randomize(theirs)
    ours = GatedResNet(depth, gate=gate, **own_arguments)
    assert set(host_keys(ours)) == set(theirs.state_dict())
    missing = ours.load_state_dict(theirs.state_dict(), strict=False).missing_keys
    assert all(".gate." in key for key in missing)
    x = torch.randn(2, 3, 33, 49)
    # evaluation, with all gates forced open
    ours.eval()
    theirs.eval()
    with torch.no_grad(), force_gate_logits(ours, 1.0):
        for own, other in zip(ours(x), theirs(x), strict=True):
            assert torch.equal(own, other)
    # training: batch statistics, outputs and gradients (forced gates are open with certainty)
    ours.train()
    theirs.train()
    with force_gate_logits(ours, 80.0):
        own_outs, other_outs = ours(x), theirs(x)
    for own, other in zip(own_outs, other_outs, strict=True):
        assert torch.equal(own, other)
    sum(out.sum() for out in own_outs).backward()
    sum(out.sum() for out in other_outs).backward()
    own_grads = {name: p.grad for name, p in ours.named_parameters()}
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(own_grads[name], parameter.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_torchvision_weights_load_with_no_key_missing_but_gates(depth):
    weights = getattr(torchvision.models, f"resnet{depth}")().state_dict()
    result = GatedResNet(depth).load_state_dict(weights, strict=False)
    assert all(".gate." in key for key in result.missing_keys)
    assert result.unexpected_keys == ["fc.weight", "fc.bias"]


def test_torchvision_resnet50_gives_the_same_features():
    theirs = torchvision.models.resnet50().eval()
    ours = GatedResNet(50, gate=None).eval()
    ours.load_state_dict(theirs.state_dict(), strict=False)
    theirs.fc = torch.nn.Identity()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x)[0].mean(dim=(2, 3)), theirs(x), rtol=1e-5, atol=1e-6)


def test_classification_checkpoint_drops_into_a_dilated_backbone_with_its_gates():
    classifier = GatedResNet(18, avg_down=True, deep_stem=True)
    segmentor = GatedResNet(18, avg_down=True, deep_stem=True, **V1C)
    assert segmentor.load_state_dict(classifier.state_dict(), strict=True)


def test_parameters_of_resnet34_bas():
    # Table 1 of the paper: 21.91 M with the classifier's 513,000.
    params = sum(p.numel() for p in GatedResNet(34).parameters()) + 513_000
    assert params == 21_915_624


@pytest.mark.parametrize(("depth", "num_gates"), [(18, 1920), (34, 3776), (50, 7552)])
def test_number_of_gates(depth, num_gates):
    assert sum(gate.num_gates for gate in named_gates(GatedResNet(depth)).values()) == num_gates


@pytest.mark.parametrize("depth", [18, 50])
def test_every_parameter_gets_a_gradient(depth):
    torch.manual_seed(0)
    backbone = GatedResNet(depth, zero_init_residual=False)
    backbone.init_weights()
    backbone(torch.randn(8, 3, 32, 32))[0].square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_zero_init_residual_and_gates_after_init_weights():
    backbone = GatedResNet(50, gate=dict(type="mmbas.ChannelGate", init_open_prob=0.9))
    backbone.init_weights()
    assert backbone.layer2[1].bn3.weight.abs().sum() == 0
    assert backbone.layer2[1].bn2.weight.min() == 1
    torch.testing.assert_close(
        backbone.layer1[0].gate.fc2.bias.sigmoid(), torch.full((128,), 0.9), rtol=1e-6, atol=0
    )


def test_frozen_stages_stay_frozen_and_norm_eval_spares_the_gates():
    backbone = GatedResNet(18, frozen_stages=1, norm_eval=True).train()
    layer1 = dict(backbone.layer1.named_parameters())
    assert not any(p.requires_grad for name, p in layer1.items() if ".gate." not in name)
    assert all(p.requires_grad for name, p in layer1.items() if ".gate." in name)
    assert backbone.layer1[0].gate.training
    assert not any(p.requires_grad for p in backbone.bn1.parameters())
    assert not backbone.layer1.training
    assert all(p.requires_grad for p in backbone.layer2.parameters())
    assert not backbone.layer2[0].bn1.training
    assert backbone.layer2[0].gate.norm.training


def test_gates_synchronise_where_the_backbone_does():
    backbone = GatedResNet(18, norm_cfg=dict(type="SyncBN", requires_grad=True))
    assert isinstance(backbone.layer1[0].gate.norm, torch.nn.SyncBatchNorm)
    assert isinstance(GatedResNet(18).layer1[0].gate.norm, torch.nn.BatchNorm1d)
    assert backbone(torch.randn(2, 3, 64, 64))[0].shape == (2, 512, 2, 2)


def test_host_config_with_another_type_builds():
    config = dict(
        depth=50, num_stages=4, out_indices=(0, 1, 2, 3), style="pytorch", norm_eval=False
    )
    assert isinstance(MODELS.build(dict(type="mmbas.GatedResNet", **config)), GatedResNet)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(depth=20), "expected depth in"),
        (dict(depth=50, gate_positions="conv3"), "expected gate_positions in"),
        (dict(depth=18, gate_positions="conv2"), "one inner representation"),
        (dict(depth=18, style="caffe"), "expected style 'pytorch'"),
        (dict(depth=18, num_stages=5), "expected num_stages from 1 to 4"),
        (dict(depth=18, strides=(1, 2)), "a stride and a dilation for each"),
        (dict(depth=18, out_indices=(4,)), "expected out_indices below 4"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GatedResNet(**arguments)


@pytest.mark.parametrize(("depth", "other"), [(18, 34), (34, 18), (50, 101), (18, 50), (50, 34)])
def test_checkpoint_of_another_depth_is_refused(depth, other):
    with pytest.raises(ValueError, match="expected a checkpoint of the same depth"):
        GatedResNet(depth).load_state_dict(GatedResNet(other).state_dict(), strict=False)


def test_checkpoint_with_another_stem_is_refused():
    weights = torchvision.models.resnet18().state_dict()
    with pytest.raises(ValueError, match=r"same stem, but it lacks stem\.0\.weight.*deep_stem"):
        GatedResNet(18, deep_stem=True).load_state_dict(weights, strict=False)


def test_checkpoint_without_any_matching_key_is_refused():
    weights = {f"backbone.{k}": v for k, v in GatedResNet(18).state_dict().items()}
    with pytest.raises(ValueError, match=r"prefix='backbone\.'"):
        GatedResNet(18).load_state_dict(weights, strict=False)


def test_what_is_loaded_is_logged_by_name_and_count(capsys):
    weights = torchvision.models.resnet18().state_dict()
    ours = GatedResNet(18)
    logger = MMLogger.get_instance("loading")
    with mock.patch.object(MMLogger, "get_current_instance", return_value=logger):
        ours.load_state_dict(weights, strict=False)
    line = capsys.readouterr().out
    # 8 gates of 8 tensors each; 120 of the host, 2 of its classifier
    assert "GatedResNet: loading 120 of 184 tensors; 64 not in the checkpoint" in line
    assert "layer1.0.gate (8), layer1.1.gate (8), layer2.0.gate (8)" in line
    assert "2 in the checkpoint unused: fc (2)" in line


def test_loading_is_checked_in_copies_too():
    for copied in (copy.deepcopy(GatedResNet(18)), pickle.loads(pickle.dumps(GatedResNet(18)))):
        with pytest.raises(ValueError, match="expected a checkpoint of the same depth"):
            copied.load_state_dict(GatedResNet(34).state_dict(), strict=False)


def test_state_dict_keys_are_frozen():
    keys = list(GatedResNet(18).layer2[0].state_dict())
    assert [
        key for key in keys if not key.endswith(("running_mean", "running_var", "tracked"))
    ] == [
        "gate.fc1.weight",
        "gate.norm.weight",
        "gate.norm.bias",
        "gate.fc2.weight",
        "gate.fc2.bias",
        "downsample.0.weight",
        "downsample.1.weight",
        "downsample.1.bias",
        "conv1.weight",
        "bn1.weight",
        "bn1.bias",
        "conv2.weight",
        "bn2.weight",
        "bn2.bias",
    ]
