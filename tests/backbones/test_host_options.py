"""Configs of the hosts' ResNet, written out, fit; what is not supported is named."""

import pytest
from torch import nn

from mmbas.backbones import GatedResNet, GatedResNetCifar

# What MMPretrain, MMSegmentation and MMDetection give their ResNet by default.
WRITTEN_OUT = dict(
    in_channels=3,
    stem_channels=64,
    base_channels=64,
    num_stages=4,
    strides=(1, 2, 2, 2),
    dilations=(1, 1, 1, 1),
    style="pytorch",
    deep_stem=False,
    avg_down=False,
    frozen_stages=-1,
    conv_cfg=None,
    norm_cfg=dict(type="BN", requires_grad=True),
    norm_eval=False,
    dcn=None,
    stage_with_dcn=(False, False, False, False),
    plugins=None,
    multi_grid=None,
    with_cp=False,
    zero_init_residual=True,
    pretrained=None,
    expansion=None,
    drop_path_rate=0.0,
)


def test_defaults_that_are_written_out_change_nothing():
    written, plain = GatedResNet(18, **WRITTEN_OUT), GatedResNet(18)
    shapes = [
        {key: value.shape for key, value in net.state_dict().items()} for net in (written, plain)
    ]
    assert shapes[0] == shapes[1]
    assert GatedResNet(18, stem_channels=None, conv_cfg=dict(type="Conv2d")).depth == 18


@pytest.mark.parametrize(
    ("option", "value", "unsupported"),
    [
        ("in_channels", 4, "images of other than 3 channels"),
        ("base_channels", 32, "stages of other base widths than 64 channels"),
        ("stem_channels", 32, "stems of other than 64 channels"),
        ("conv_cfg", dict(type="ConvWS"), "other convolutions than Conv2d"),
        ("dcn", dict(type="DCNv2"), "deformable convolutions"),
        ("stage_with_dcn", (False, True, True, True), "deformable convolutions"),
        ("plugins", [dict(cfg=dict(type="ContextBlock"))], "plugins"),
        ("multi_grid", (1, 2, 4), "dilations within a stage"),
        ("expansion", 2, "blocks of another expansion"),
        ("drop_path_rate", 0.1, "stochastic depth"),
    ],
)
def test_another_value_is_an_error_that_says_what_is_not_supported(option, value, unsupported):
    message = f"expected {option}=.*, since GatedResNet does not support {unsupported}, but got"
    with pytest.raises(ValueError, match=message):
        GatedResNet(18, **{option: value})


def test_an_argument_that_no_host_has_is_named():
    with pytest.raises(TypeError, match="expected an argument of GatedResNet, .* got 'depht'"):
        GatedResNet(18, depht=50)


def test_pretrained_is_short_for_an_initialisation():
    weights = "torchvision://resnet18"
    assert GatedResNet(18, pretrained=weights).init_cfg == dict(
        type="Pretrained", checkpoint=weights
    )
    with pytest.raises(ValueError, match="expected either init_cfg or pretrained"):
        GatedResNet(18, pretrained=weights, init_cfg=dict(type="Pretrained", checkpoint=weights))
    with pytest.raises(TypeError, match="expected pretrained to be a path or None, but got 0"):
        GatedResNet(18, pretrained=0)


@pytest.mark.parametrize("depth", [18, 50])
def test_norm_layers_have_the_hosts_names(depth):
    backbone = GatedResNet(depth)
    assert backbone.norm1 is backbone.bn1
    block = backbone.layer1[0]
    assert [block.norm1, block.norm2] == block.norms[:2]
    assert hasattr(block, "norm3") == (depth == 50)
    assert block.norms[-1] is (block.norm3 if depth == 50 else block.norm2)


def test_norm_layers_of_another_kind_have_the_hosts_names():
    backbone = GatedResNet(18, norm_cfg=dict(type="GN", num_groups=32))
    assert backbone.norm1 is backbone.gn1
    assert isinstance(backbone.layer2[0].norm2, nn.GroupNorm)
    assert GatedResNetCifar(8).norm1 is not None
    assert not hasattr(GatedResNet(18, deep_stem=True), "norm1")
