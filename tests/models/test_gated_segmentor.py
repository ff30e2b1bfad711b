"""Gate losses and MACs in MMSegmentation's encoder-decoder."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmbas.gates import force_gate_logits
from mmbas.metrics import count_macs

NORM = dict(type="BN", requires_grad=True)
DILATED = dict(
    depth=18,
    num_stages=4,
    out_indices=(0, 1, 2, 3),
    dilations=(1, 1, 2, 4),
    strides=(1, 2, 1, 1),
    norm_cfg=NORM,
    norm_eval=False,
    style="pytorch",
    contract_dilation=True,
)
GATE_LOSSES = dict(
    bas=dict(type="mmbas.BatchShapingLoss", loss_weight=0.2),
)


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope("mmseg"):
        yield


def pspnet(segmentor, backbone, **arguments):
    torch.manual_seed(0)
    head = dict(
        type="PSPHead",
        in_channels=512,
        in_index=3,
        channels=32,
        pool_scales=(1, 2, 3, 6),
        dropout_ratio=0.0,
        num_classes=19,
        norm_cfg=NORM,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", loss_weight=1.0),
    )
    return MODELS.build(
        dict(
            type=segmentor,
            backbone=dict(**backbone, **DILATED),
            decode_head=head,
            test_cfg=ConfigDict(mode="whole"),
            **arguments,
        )
    )


def gated():
    backbone = dict(type="mmbas.GatedResNet", deep_stem=True)
    return pspnet("mmbas.GatedEncoderDecoder", backbone, gate_losses=GATE_LOSSES)


def samples(n, size):
    result = []
    for _ in range(n):
        labels = torch.randint(0, 19, (1, *size))
        meta = dict(img_shape=size, ori_shape=size, pad_shape=size)
        result.append(SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels)))
    return result


def test_gate_losses_join_the_hosts():
    model = gated()
    losses = model.loss(torch.randn(2, 3, 64, 96), samples(2, (64, 96)))
    assert {"decode.loss_ce", "loss_bas"} <= set(losses)
    assert losses["loss_bas"].requires_grad


def test_macs_are_those_of_the_whole_segmentor():
    model = gated().eval()
    x = torch.randn(2, 3, 64, 96)
    predicted = model.predict(x, samples(2, (64, 96)))
    with count_macs(model) as count:
        model(x)
    head = sum(m for name, m in count.module_macs.items() if name.startswith("decode_head")) // 2
    assert head > 0
    for sample in predicted:
        assert sample.dense_macs == count.dense_macs(2)
        assert head < sample.macs < sample.dense_macs
    assert [sample.macs for sample in predicted] == count.macs(2).tolist()


def test_sliding_window_counts_every_pass():
    model = gated().eval()
    model.test_cfg.update(mode="slide", crop_size=(64, 64), stride=(32, 32))
    sample = model.predict(torch.randn(1, 3, 64, 96), samples(1, (64, 96)))[0]
    with count_macs(model) as count:
        model(torch.randn(1, 3, 64, 64))
    assert sample.dense_macs == 2 * count.dense_macs(1)


def test_bitwise_equal_to_the_host_with_open_gates():
    ours, theirs = gated().eval(), pspnet("EncoderDecoder", dict(type="ResNetV1c")).eval()
    ours.load_state_dict(theirs.state_dict(), strict=False)
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad(), force_gate_logits(ours, 1.0):
        assert torch.equal(ours(x), theirs(x))
